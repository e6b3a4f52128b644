"""Dotted paths, by which a config names a function or a class anywhere on Python's path."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from metanet.core import SettingError, raised, require


def resolve(path: str, key: str, expected: str) -> Any:
    """The callable that a config names as `package.module.name`.

    Args:
      key: the config key that holds the path.
      expected: what the path should name, for the message.

    Raises:
      SettingError: there is no such callable, or its module cannot be imported.
    """
    expected = f"the dotted path of {expected}"
    require(isinstance(path, str), key, repr(path), expected)
    module, _, name = path.rpartition(".")
    require(bool(module) and not path.startswith("."), key, repr(path), expected)
    try:
        value = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # a user's module may do anything when it is imported
        raise SettingError(key, f"{path!r} ({raised(error)})", expected) from error
    require(callable(value), key, f"{path!r}, a {type(value).__name__}", expected)
    return value


def resolve_function(
    path: str, key: str, expected: str, arguments: int, options: bool = False
) -> Callable[..., Any]:
    """`resolve`, for a function that is called with so many positional arguments.

    Args:
      options: it may be called with keyword arguments too.

    Raises:
      SettingError: see `resolve`; or the path names a class, or takes other arguments.
    """
    function = resolve(path, key, expected)
    check_function(function, path, key, f"the dotted path of {expected}", arguments, options)
    return function


def check_function(
    function, path: str, key: str, expected: str, arguments: int, options: bool = False
) -> None:
    """Raises SettingError unless `function` is one and takes so many positional arguments."""
    require(not inspect.isclass(function), key, f"{path!r}, a class", expected)
    try:
        signature = inspect.signature(function)
        taken = [
            one
            for one in signature.parameters.values()
            if not (options and one.kind is inspect.Parameter.KEYWORD_ONLY)
        ]
        signature.replace(parameters=taken).bind(*[None] * arguments)
    except (TypeError, ValueError) as error:  # a builtin may have no signature
        called = f"{path!r}, which cannot be called with {arguments} arguments ({error})"
        raise SettingError(key, called, expected) from error
