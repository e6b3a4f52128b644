"""ONNX files as messages, whose sizes are checked before anything is allocated."""

import math
import pathlib
from typing import Any

import numpy as np

from metanet.interop.imported import MAX_WEIGHTS, framework, refused

MAX_STRUCTURE = 2**20  # bytes of a file that are not numbers of tensors
# Fields by their numbers, from the model on: messages that lead to tensors, and their numbers.
_TENSORS = ((7, 5), (7, 1, 5, 5))  # graph.initializer; graph.node.attribute.t
_MESSAGES = {path[:length] for path in _TENSORS for length in range(1, len(path) + 1)}
_NUMBERS = {(*path, field) for path in _TENSORS for field in (4, 5, 7, 9, 10, 11)}
# What tensors may hold, by TensorProto.DataType: (numpy name, bytes).
_TYPES = {1: ("float32", 4), 10: ("float16", 2), 11: ("float64", 8), 16: ("bfloat16", 2),
          6: ("int32", 4), 7: ("int64", 8), 9: ("bool", 1)}  # fmt: skip
FLOATS = (1, 10, 11, 16)
STRING = 8


def load(path: pathlib.Path):
    """The ModelProto in a file.

    Raises:
      UserError: onnx is not installed.
      ValueError: the file is no such message, or most of it is structure.
    """
    onnx = framework("onnx")
    content = path.read_bytes()
    _check_structure(memoryview(content))
    return onnx.load_model_from_string(content)


def _check_structure(content: memoryview) -> None:
    """Small messages take much more memory than bytes, so that there are few bytes of them."""
    waiting: list[tuple[tuple[int, ...], int, int]] = [((), 0, len(content))]
    structure = 0
    while waiting:
        path, at, end = waiting.pop()
        while at < end:
            begin = at
            key, at = _varint(content, at, end)
            inner, kind = (*path, key >> 3), key & 7
            if kind == 2:
                length, at = _varint(content, at, end)
            elif kind == 0:
                length = 0
                _, at = _varint(content, at, end)
            elif kind in (1, 5):
                length = 8 if kind == 1 else 4
            else:
                raise refused("file", f"wire type {kind}", "a message of ONNX")
            if at + length > end:
                raise refused("file", "an end within a field", "a whole message of ONNX")
            if kind == 2 and inner in _MESSAGES:
                waiting.append((inner, at, at + length))
            structure += at - begin
            if not (kind == 2 and inner in _MESSAGES | _NUMBERS):
                structure += length
            if structure > MAX_STRUCTURE:
                found = f"more than {MAX_STRUCTURE} bytes beside the numbers of tensors"
                raise refused("file", found, "fewer")
            at += length


def _varint(content: memoryview, at: int, end: int) -> tuple[int, int]:
    """A number of variable length, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise refused("file", "an end within a number", "a whole message of ONNX")


def tensor(name: str, proto) -> np.ndarray:
    """The numbers of a TensorProto, which it has inside; of texts only how many there are.

    Raises:
      ValueError: it has them elsewhere, none, not as many as its shape says, or of another type.
    """
    if proto.data_location or proto.external_data:
        raise refused(name, "numbers in another file", "them inside: external data is not read")
    shape = tuple(proto.dims)
    if proto.data_type == STRING:  # names of classes
        return np.zeros(len(proto.string_data), "U1")
    if proto.data_type not in _TYPES:
        raise refused(name, f"data type {proto.data_type}", "floating numbers or integers")
    dtype, size = _TYPES[proto.data_type]
    if any(length < 1 for length in shape) or math.prod(shape) > MAX_WEIGHTS:
        raise refused(name, f"shape {shape}", f"1 to {MAX_WEIGHTS} numbers")
    count = math.prod(shape)
    fields = {"float32": "float_data", "float64": "double_data", "int64": "int64_data"}
    typed = len(getattr(proto, fields.get(dtype, "int32_data")))
    found = len(proto.raw_data) / size if proto.HasField("raw_data") else typed
    if found != count:
        raise refused(name, f"{found:g} numbers", f"{count} of shape {shape}")
    return framework("onnx.numpy_helper").to_array(proto)


def attributes(name: str, node) -> dict[str, Any]:
    """A node's attributes; floats, which are float32, as the shortest numbers that give them."""
    helper = framework("onnx.helper")
    found = {}
    for each in node.attribute:
        if each.type not in (1, 2, 3, 4, 6, 7, 8) or each.ref_attr_name or each.name in found:
            raise refused(name, f"attribute {each.name!r}", "plain ones: no graphs, none twice")
        value = helper.get_attribute_value(each)
        if isinstance(value, float):
            value = float(str(np.float32(value)))
        found[each.name] = value.decode() if isinstance(value, bytes) else value
    return found
