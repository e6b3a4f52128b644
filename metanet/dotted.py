"""Dotted paths, by which a config names a function or a class anywhere on Python's path."""

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

from metanet.core import SettingError, UserError, raised, require


def check_known(path: Any, source: str) -> None:
    """Refuses a dotted path, read from a file, whose module would be imported for that file alone.

    To import a module runs its code, and a file of numbers may be from anybody. metanet's own
    modules, and those that the program has imported already, are known.

    Args:
      source: the file and key, for the message.

    Raises:
      UserError: the module is another one, or `path` is no dotted path.
    """
    parts = path.split(".") if isinstance(path, str) else []
    dotted = len(parts) > 1 and all(part.isidentifier() for part in parts)
    module = ".".join(parts[:-1])
    if not dotted or (parts[0] != "metanet" and module not in sys.modules):
        found = f"{path:.100}" if isinstance(path, str) else type(path).__name__
        expected = "metanet's own code, or that of a module which is imported before (of a command,"
        raise UserError(f"{source}: found {found}, expected {expected} with --imports): a file "
                        "has nothing imported")  # fmt: skip


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
