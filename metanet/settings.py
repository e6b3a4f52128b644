"""Strict settings: dataclasses from plain values, by their annotations.

Every key is consumed once or refused with its full name. What is written in a config file, on a
command line or in a notebook becomes a frozen dataclass here, or one line that says why not.
"""

import collections.abc
import dataclasses
import math
import types
import typing
from collections.abc import Mapping

from metanet.core import SettingError, UserError, require
from metanet.dotted import resolve

_WORDS = {bool: "True or False", int: "a whole number", float: "a finite number", str: "text"}


def build(cls, values: Mapping, key: str = ""):
    """An instance of the dataclass `cls` from plain `values`.

    Args:
      values: by field name: numbers, text, lists or tuples, mappings for dataclasses, dotted paths
        for callables. Fields without a value take their defaults.
      key: where `values` stand in the config, for messages.

    Raises:
      UserError: a key is unknown, missing or has a value of another type; the message names it.
    """
    require(isinstance(values, Mapping), key or "config", values, "keys and values")
    annotations = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    refuse_unknown(values, fields, key)
    for name, field in fields.items():
        defaults = (field.default, field.default_factory)
        given = name in values or any(one is not dataclasses.MISSING for one in defaults)
        require(given, join(key, name), "nothing", described(annotations[name]))
    converted = {k: convert(annotations[k], v, join(key, k)) for k, v in values.items()}
    try:
        return cls(**converted)
    except SettingError as error:
        if error.key not in fields:  # it has said its full name
            raise
        raise SettingError(join(key, error.key), error.found, error.expected) from error


def refuse_unknown(values, known, key: str) -> None:
    """Raises UserError about the first of the keys `values` that is not among `known`."""
    for name in values:
        if name not in known:
            near = ", ".join(sorted(known)) or "no keys"
            raise UserError(f"config key {join(key, name)}: found a key that nothing reads, "
                            f"expected some of {near}")  # fmt: skip


def join(key: str, name: str) -> str:
    """The full name of the key `name` below `key`."""
    return f"{key}.{name}" if key else str(name)


def convert(annotation, value, key: str):
    """`value` as the type `annotation`: a converted copy, or UserError that names `key`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _one_of(annotation, arguments, value, key)
    if dataclasses.is_dataclass(annotation):
        return value if isinstance(value, annotation) else build(annotation, value, key)
    if origin is collections.abc.Callable:
        return value if callable(value) else resolve(value, key, "a function")
    if origin is tuple:
        return _tuple(annotation, arguments, value, key)
    if origin is dict:
        require(isinstance(value, Mapping), key, value, described(annotation))
        return {name: convert(arguments[1], one, join(key, name)) for name, one in value.items()}
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if annotation in _WORDS:
        # True is an int to Python, not to a user.
        right = isinstance(value, annotation) and (annotation is bool or type(value) is not bool)
        finite = annotation is not float or (right and math.isfinite(value))
        require(right and finite, key, repr(value), described(annotation))
    return value


def _one_of(annotation, arguments, value, key):
    """The first alternative of a union that takes the value."""
    if value is None and types.NoneType in arguments:
        return None
    alternatives = [one for one in arguments if one is not types.NoneType]
    if len(alternatives) == 1:
        return convert(alternatives[0], value, key)
    for one in alternatives:
        try:
            return convert(one, value, key)
        except UserError:
            continue
    raise UserError(f"config key {key}: found {value!r}, expected {described(annotation)}")


def _tuple(annotation, arguments, value, key):
    require(isinstance(value, (tuple, list)), key, repr(value), described(annotation))
    if arguments[-1] is Ellipsis:
        arguments = arguments[:1] * len(value)
    require(len(value) == len(arguments), key, repr(value), described(annotation))
    pairs = zip(arguments, value, strict=True)
    return tuple(convert(one, item, join(key, i)) for i, (one, item) in enumerate(pairs))


def described(annotation) -> str:
    """A type in words, for messages."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("None" if a is types.NoneType else described(a) for a in arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a list, each {described(arguments[0])}"
    if origin is tuple:
        return f"({', '.join(described(one) for one in arguments)})"
    if origin is dict or dataclasses.is_dataclass(annotation):
        return "keys and values"
    if origin is collections.abc.Callable:
        return "the dotted path of a function"
    return _WORDS.get(annotation, "a value")


def plain(value):
    """Settings as JSON has them: dicts, lists, numbers and text; callables by dotted path."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else value


def flat(value, prefix: str) -> dict:
    """`plain` settings as one dict, nested keys joined to `prefix.key`."""
    return _flat(plain(value), prefix)


def _flat(value, prefix):
    if not isinstance(value, dict):
        return {prefix: value}
    pairs = [_flat(one, join(prefix, name)) for name, one in value.items()]
    return {name: one for part in pairs for name, one in part.items()}
