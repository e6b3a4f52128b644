"""What the pickle in a PyTorch file would make, found out without making it.

`torch.load(weights_only=True)` calls only functions that it knows, but believes all sizes, and
nothing bounds how deep its objects are. A state dict needs little of the language of pickles, and
only this is let through.
"""

import dataclasses
import math
import pickletools  # nosec B403 # it lists a pickle's operations and runs none
from collections.abc import Mapping
from typing import Any

from metanet.interop.imported import MAX_WEIGHTS, refused

_EXPECTED = "a state dict: torch.save(module.state_dict(), path)"
_STORAGES = {"torch FloatStorage": 4, "torch DoubleStorage": 8, "torch HalfStorage": 2,
             "torch BFloat16Storage": 2, "torch LongStorage": 8}  # fmt: skip
_DICT = "collections OrderedDict"
_TENSOR, _PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
_ATOMS = {"BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


@dataclasses.dataclass(frozen=True)
class _Global:
    name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    size: int  # numbers


@dataclasses.dataclass(frozen=True)
class _Tensor:
    size: int


def check_pickle(content: bytes, sizes: Mapping[str, int]) -> None:
    """Checks that a pickle makes a dict of names to tensors, inside of the file and not too large.

    Args:
      content: the pickle.
      sizes: bytes of the file's storages by their keys.

    Raises:
      ValueError: it makes or calls anything else.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for code, argument, _ in pickletools.genops(content):
        match code.name:
            case "PROTO":
                pass
            case name if name in _ATOMS:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case "GLOBAL":
                stack.append(_global(str(argument)))
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT":
                stack.append({})
            case name if name in _TUPLES:
                stack.append(_tuple(_popped(stack, _TUPLES[name])))
            case "TUPLE":
                stack.append(_tuple(_to_mark(stack)))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINPERSID":
                stack.append(_storage(stack.pop(), sizes))
            case "REDUCE":
                function, arguments = _popped(stack, 2)
                stack.append(_called(function, arguments))
            case "SETITEM":
                _set(stack[-3], _popped(stack, 2))
            case "SETITEMS":
                items = _to_mark(stack)
                _set(stack[-1], items)
            case "BUILD":  # attributes of a dict, such as the versions of modules
                state = stack.pop()
                if not isinstance(state, dict) or not isinstance(stack[-1], dict):
                    raise refused("pickle", "objects with attributes", _EXPECTED)
            case "STOP":
                break
            case name:
                raise refused("pickle", f"operation {name}", _EXPECTED)
    (state,) = stack
    tensors = isinstance(state, dict) and all(isinstance(v, _Tensor) for v in state.values())
    if not tensors or not state:
        raise refused("pickle", "no dict of tensors alone", _EXPECTED)
    if sum(each.size for each in state.values()) > MAX_WEIGHTS:
        raise refused("pickle", "too many numbers", f"at most {MAX_WEIGHTS}")


def _global(name: str) -> _Global:
    if name not in {*_STORAGES, _DICT, _TENSOR, _PARAMETER}:
        raise refused("pickle", f"{name.replace(' ', '.'):.100}", _EXPECTED)
    return _Global(name)


def _popped(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count:
        raise refused("pickle", "a damaged one", _EXPECTED)
    found = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return found


def _to_mark(stack: list[Any]) -> list[Any]:
    found = []
    while (top := stack.pop()) is not _MARK:
        found.append(top)
    return found[::-1]


def _tuple(items: list[Any]) -> tuple[Any, ...]:
    """A tuple of anything but tuples of tuples: nothing is nested deeper than arguments are."""
    for item in items:
        if isinstance(item, tuple) and not all(type(each) is int for each in item):
            raise refused("pickle", "tuples in tuples in tuples", _EXPECTED)
    return tuple(items)


def _set(target: Any, items: list[Any]) -> None:
    if not isinstance(target, dict):
        raise refused("pickle", "items of another object", _EXPECTED)
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str) or key in target:
            raise refused("pickle", "keys that are no names, or a name twice", _EXPECTED)
        target[key] = value


def _storage(identity: Any, sizes: Mapping[str, int]) -> _Storage:
    """The storage that a persistent identity names: all of its numbers are in the file."""
    match identity:
        case ("storage", _Global(kind), str(key), str(), int(count)) if kind in _STORAGES:
            if 0 <= count * _STORAGES[kind] <= sizes.get(key, -1):
                return _Storage(count)
            found = f"storage {key:.20} of {count} numbers in {sizes.get(key, 0)} bytes"
            raise refused("pickle", found, "as many bytes as they need")
    raise refused("pickle", "a storage of another kind", "floating numbers or long integers")


def _called(function: Any, arguments: Any) -> Any:
    match function, arguments:
        case _Global(name), () if name == _DICT:
            return {}
        case _Global(name), (_Tensor() as tensor, bool(), dict()) if name == _PARAMETER:
            return tensor
        case _Global(name), (_Storage(count), int(offset), tuple(shape), tuple(strides), bool(),
                             dict(), *_) if name == _TENSOR:  # fmt: skip
            numbers = (*shape, *strides, offset)
            fits = len(shape) == len(strides) and all(type(n) is int and n >= 0 for n in numbers)
            steps = zip(shape, strides, strict=True) if fits else ()
            last = offset + sum((length - 1) * stride for length, stride in steps)
            size = math.prod(shape)
            if not fits or (size and last >= count) or size > MAX_WEIGHTS:
                found = f"a tensor of shape {shape} in {count} numbers"
                raise refused("pickle", f"{found:.150}", f"1 to {MAX_WEIGHTS} of its storage")
            return _Tensor(size)
    raise refused("pickle", "a call of another kind", _EXPECTED)
