"""Strict settings: dataclasses from plain values, by their annotations.

Every key is consumed once or refused with its full name. A value of a config file, a command line
or a notebook becomes part of a frozen dataclass here, or one line that says why not.
"""

import collections.abc
import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np

from metanet.core import SettingError, UserError, require
from metanet.dotted import check_function, resolve, resolve_function

_WORDS = {
    bool: "True or False",
    int: "a whole number of at most 32 bits",
    float: "a finite number of float32",
    str: "text in one line",
}
_LISTS = (tuple, list, collections.abc.Sequence)
_DICTS = (dict, collections.abc.Mapping)
INT32, FLOAT32 = 2**31, 2**128  # whole and other numbers are below
DEPTH = 20  # of lists and dicts within one another, in a value of any type


def build(cls: type, values: Mapping, key: str = ""):
    """An instance of the dataclass `cls` from plain `values`.

    Args:
      values: by field name: numbers, text, lists or tuples, mappings for dataclasses, dotted paths
        for callables. Fields without a value take their defaults.
      key: the key of `values` in the config, for messages.

    Raises:
      SettingError: a key is unknown, missing or has a value of another type; the message names it.
    """
    require(isinstance(values, Mapping), key or "config", repr(values), "keys and values")
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
        name = error.key.rpartition(".")[2]
        if not key or name not in fields:  # it has said its full name
            raise
        raise SettingError(join(key, name), error.found, error.expected) from error


def verify(settings, key: str = "") -> None:
    """Checks the types of a dataclass's fields, which Python does not when it is made directly.

    Raises:
      SettingError: a value is not of its field's type; the message names the key.
    """
    annotations = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        convert(annotations[field.name], value, join(key, field.name), strict=True)


def refuse_unknown(values, known, key: str) -> None:
    """Raises SettingError about the first of the keys `values` that is not among `known`."""
    for name in values:
        near = ", ".join(sorted(known)) or "no keys"
        require(name in known, join(key, name), "a key that nothing reads", f"some of {near}")


def join(key: str, name) -> str:
    """The full name of the key `name` below `key`."""
    return f"{key}.{name}" if key else str(name)


def convert(annotation, value, key: str, strict: bool = False) -> Any:
    """`value` as the type `annotation`: a converted copy.

    Args:
      strict: dataclasses and tuples have to be ones already.

    Raises:
      SettingError: it is of no such type; the message names `key`.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _one_of(annotation, arguments, value, key, strict)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        if isinstance(value, annotation):
            verify(value, key)
            return value
        require(not strict, key, repr(value), f"an instance of {annotation.__name__}")
        return build(annotation, value, key)
    if collections.abc.Callable in (origin, annotation):
        return _function(arguments, value, key)
    if origin in _LISTS:
        return _list(annotation, origin, arguments, value, key, strict)
    if origin in _DICTS:
        require(isinstance(value, Mapping), key, repr(value), described(annotation))
        _require_names(value, key)
        return {
            name: convert(arguments[1], one, join(key, name), strict) for name, one in value.items()
        }
    if origin is typing.Literal:
        require(value in arguments, key, repr(value), described(annotation))
        return value
    if annotation is Any:
        _require_plain(value, key)
        return value
    require(isinstance(annotation, type), key, repr(value), f"no option of type {annotation}")
    if annotation is float and type(value) is int and abs(value) < FLOAT32:
        value = float(value)
    known = _is(annotation, value) if annotation in _WORDS else isinstance(value, annotation)
    require(known, key, repr(value), described(annotation))
    if isinstance(value, (Mapping, tuple, list)):
        _require_plain(value, key)
    return value


def _is(annotation: type, value: Any) -> bool:
    """Whether `value` is of the simple type `annotation`, within the range of programs' numbers."""
    if annotation is bool or isinstance(value, bool):  # True is an int to Python, not to a user
        return annotation is type(value)
    if annotation is int:
        return isinstance(value, int) and -INT32 <= value < INT32
    if annotation is float:
        if not isinstance(value, float):
            return False
        with np.errstate(over="ignore", under="ignore"):
            rounded = np.float32(value)  # neither infinite, nor 0 where the value is not
        return bool(np.isfinite(rounded)) and bool(rounded) == bool(value)
    return _is_text(value)


def _is_text(value) -> bool:
    return isinstance(value, str) and value.isprintable()


def _require_names(values: Mapping, key: str) -> None:
    for name in values:
        require(_is_text(name) and bool(name), key, f"the name {name!r}", described(str))


def _require_plain(value, key: str, depth: int = DEPTH) -> None:
    """Raises SettingError unless `value` is numbers, text, functions, lists and dicts of them."""
    require(depth > 0, key, "lists or dicts within one another", f"at most {DEPTH} of them")
    if isinstance(value, Mapping):
        _require_names(value, key)
        for name, one in value.items():
            _require_plain(one, join(key, name), depth - 1)
    elif isinstance(value, (tuple, list)):
        for index, one in enumerate(value):
            _require_plain(one, join(key, index), depth - 1)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        verify(value, key)
    elif callable(value):
        _function((), value, key)
    elif value is not None:
        ok = type(value) in _WORDS and _is(type(value), value)
        require(ok, key, repr(value), "numbers, text, lists or dicts of them")


def _function(arguments, value, key: str):
    """A function of as many arguments as `Callable[*arguments]` says, from its dotted path."""
    count = len(arguments[0]) if arguments and isinstance(arguments[0], list) else None
    if not callable(value):
        if count is None:
            return resolve(value, key, "a function")
        return resolve_function(value, key, "a function", count)
    path, expected = plain(value), "a function with a dotted path, not a local or partial one"
    ok = "<" not in path and getattr(value, "__qualname__", None) is not None
    require(ok, key, repr(value), expected)
    if count is not None:
        check_function(value, path, key, expected, count)
    return value


def _one_of(annotation, arguments, value, key: str, strict: bool):
    """The first alternative of a union that takes the value."""
    if value is None and types.NoneType in arguments:
        return None
    alternatives = [one for one in arguments if one is not types.NoneType]
    if len(alternatives) == 1:
        return convert(alternatives[0], value, key, strict)
    for one in alternatives:
        try:
            return convert(one, value, key, strict)
        except UserError:
            continue
    raise SettingError(key, repr(value), described(annotation))


def _list(annotation, origin, arguments, value, key: str, strict: bool) -> tuple | list:
    require(isinstance(value, (tuple, list)), key, repr(value), described(annotation))
    hashable = isinstance(value, tuple) or origin is not tuple
    require(hashable or not strict, key, repr(value), "a tuple instead of a list")
    if origin is not tuple or arguments[-1] is Ellipsis:
        arguments = arguments[:1] * len(value)
    require(len(value) == len(arguments), key, repr(value), described(annotation))
    pairs = zip(arguments, value, strict=True)
    items = [convert(one, item, join(key, i), strict) for i, (one, item) in enumerate(pairs)]
    return items if origin is list else tuple(items)


def described(annotation) -> str:
    """A type in words, for messages."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("None" if a is types.NoneType else described(a) for a in arguments)
    if origin in _LISTS and (origin is not tuple or arguments[-1] is Ellipsis):
        return f"a list, each {described(arguments[0])}"
    if origin is tuple:
        return f"({', '.join(described(one) for one in arguments)})"
    if origin in _DICTS or dataclasses.is_dataclass(annotation):
        return "keys and values"
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin is collections.abc.Callable:
        return "the dotted path of a function"
    return _WORDS.get(annotation, f"a value of type {getattr(annotation, '__name__', annotation)}")


def plain(value):
    """Settings as JSON has them: dicts, lists, numbers and text; callables by dotted path."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    if callable(value):
        return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    return value


def flat(value, prefix: str) -> dict:
    """`plain` settings as one dict, nested keys joined to `prefix.key`."""
    return _flat(plain(value), prefix)


def _flat(value, prefix: str) -> dict:
    if not isinstance(value, dict):
        return {prefix: value}
    pairs = [_flat(one, join(prefix, name)) for name, one in value.items()]
    return {name: one for part in pairs for name, one in part.items()}
