"""Dotted paths: how a config names a function, a class or a predicate, anywhere on the path."""

import importlib

from metanet.core import UserError


def resolve(path: str, key: str, expected: str):
    """The callable that a config names as `package.module.name`.

    Args:
      key: the config key that holds the path;  expected: what it should name, for the message.

    Raises:
      UserError: there is no such callable.
    """
    module, _, name = str(path).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"config key {key}: found {path!r} ({error}), expected the dotted path of {expected}"
        ) from error
    if not callable(found):
        raise UserError(
            f"config key {key}: found {path!r}, a {type(found).__name__}, expected the dotted path "
            f"of {expected}"
        )
    return found
