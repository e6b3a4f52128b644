"""What the operators of ONNX graphs compute, in the parts of a network."""

import dataclasses
from typing import Any

import numpy as np
from scipy import special

from metanet.interop import parts
from metanet.interop.activations import GRID, activate, is_same, sigmoid
from metanet.interop.arrays import floats
from metanet.interop.imported import refused
from metanet.interop.onnx_file import FLOATS, tensor
from metanet.interop.parts import Parameter, Value

_EXPECTED = (
    "Gemm, MatMul, Add, activations, BatchNormalization, LayerNormalization (opset 17), Dropout "
    "and, after the logits, classes and probabilities"
)
_OF_ONE = {
    "Relu": lambda x: np.maximum(x, 0),
    "Tanh": np.tanh,
    "Sigmoid": sigmoid,
    "Erf": special.erf,
    "Neg": np.negative,
}
_OF_TWO = {
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Decision:
    """The class of the largest logit, in whatever form."""

    head: parts.Head


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """An operation of a graph.

    Attributes:
      name: in messages;  index: its place in the graph;  operator: with its domain, if any.
      attributes: by name;  opset: of the graph.
    """

    name: str
    index: int
    operator: str
    attributes: dict[str, Any]
    opset: int

    def parameter(self, position: int, stored: np.ndarray) -> Parameter:
        """The input at `position` as a parameter; its key is read by `place_of`."""
        floats(self.name, stored)
        return Parameter(f"{self.index}.{position}", effective(self, position, stored))

    def absent(self, position: int, width: int) -> Parameter:
        """A bias of zeros where there is no input at `position`."""
        return Parameter(f"{self.index}.{position}", np.zeros(width), absent=True)


def place_of(key: str) -> tuple[int, int]:
    """(index of the node, position among its inputs) of a parameter."""
    index, position = key.split(".")
    return int(index), int(position)


def factor(node: Node, position: int) -> float:
    """What an input is multiplied by."""
    roles = {1: "alpha", 2: "beta"} if node.operator == "Gemm" else {}
    return float(node.attributes.get(roles.get(position, ""), 1.0))


def transposed(node: Node, position: int) -> bool:
    """Whether an input has outputs first."""
    return node.operator == "Gemm" and position == 1 and bool(node.attributes.get("transB", 0))


def effective(node: Node, position: int, stored: np.ndarray) -> np.ndarray:
    """A constant input in the orientation of `Parameter.value`, float64."""
    value = stored.astype(np.float64) * factor(node, position)
    if transposed(node, position):
        return value.T
    return value[0] if value.ndim == 2 and len(value) == 1 and position != 1 else value


def computed(node: Node, operands: list[Any]) -> Any:
    """What a node computes: a constant as an array, a part of the network or a Decision.

    Args:
      operands: the same of its inputs; None where it has none.

    Raises:
      ValueError: no network has this; names the node.
    """
    if all(isinstance(each, np.ndarray) for each in operands):
        return _constant(node, operands)
    if operands[0] is None:
        raise refused(node.name, f"{node.operator} without its first input", "all inputs")
    if any(isinstance(each, Decision) for each in operands):
        return _decided(node, operands)
    options = node.attributes
    match node.operator, operands:
        case "Gemm", [value, np.ndarray() as weight, *bias] if not isinstance(value, np.ndarray):
            return _gemm(node, value, weight, *bias)
        case "MatMul", [value, np.ndarray() as weight] if not isinstance(value, np.ndarray):
            matrix = node.parameter(1, weight)
            return parts.linear(
                node.name, value, matrix, node.absent(2, weight.shape[-1] if weight.ndim else 0)
            )
        case "Add", [left, right]:
            return _add(node, left, right)
        case "BatchNormalization", [value, *constants]:
            scale, _, mean, variance = _arrays(node, constants, 4)
            if options.get("training_mode", 0):
                raise refused(node.name, "a training mode", "inference")
            epsilon, shift = options.get("epsilon", 1e-5), node.parameter(2, constants[1])
            return parts.batch_norm(node.name, value, mean, variance, epsilon, scale, shift)
        case "LayerNormalization", [value, np.ndarray() as scale, *more]:
            if options.get("axis", -1) not in (1, -1):
                raise refused(node.name, f"axis {options['axis']}", "-1")
            epsilon, own = options.get("epsilon", 1e-5), node.parameter(1, scale)
            return parts.layer_norm(node.name, value, epsilon, own, _bias(node, more, scale.size))
        case "ai.onnx.ml.Scaler", [value]:
            factors, means = (np.array(options.get(k, ()), float) for k in ("scale", "offset"))
            if not isinstance(value, parts.Features) or factors.shape != means.shape:
                raise refused(node.name, "a scaler elsewhere", "one of all inputs")
            norm = parts.affine(node.name, factors, -means * factors, None)
            return parts.normalise(node.name, value, norm)
        case ("Dropout", [value, *_]) if not np.any(operands[2:3]):
            return value
        case (("Identity" | "ai.onnx.ml.ZipMap"), [value]):
            return value
        case ("Cast", [value]) if options.get("to") in FLOATS:
            return value
        case ("Flatten", [value]) if options.get("axis", 1) == 1:
            return value
        case (("Softmax" | "LogSoftmax"), [value]):
            if options.get("axis", -1 if node.opset >= 13 else 1) not in (1, -1):
                raise refused(node.name, f"axis {options['axis']}", "-1")
            kind = "softmax" if node.operator == "Softmax" else "log_softmax"
            return parts.head(node.name, kind, value)
        case ("Concat", [_, _]) if options.get("axis") in (1, -1):
            return _both_classes(node, operands)
        case ("ArgMax", [value]) if options.get("axis", 0) in (1, -1):
            head = parts.head_of(value)
            if head.logits.width == 1 and head.kind != "both":
                raise refused(node.name, "the larger of one output", "of at least two")
            return Decision(head)
        case ("ai.onnx.ml.Normalizer", [parts.Head(kind="softmax" | "both") as value]):
            if options.get("norm", "MAX") == "L1":
                return value
    return _activated(node, operands)


def _arrays(node: Node, operands: list[Any], count: int) -> list[np.ndarray]:
    if len(operands) != count or not all(isinstance(each, np.ndarray) for each in operands):
        raise refused(node.name, "inputs that are computed or missing", f"{count} constants")
    return [floats(node.name, each).astype(np.float64) for each in operands]


def _constant(node: Node, operands: list[np.ndarray]) -> np.ndarray:
    """The few operations on constants that exporters leave."""
    match node.operator, node.attributes, operands:
        case "Constant", {"value": value}, []:
            return tensor(node.name, value)
        case "Constant", {"value_float": value}, []:
            return np.array(value, np.float32)
        case "Identity", _, [value]:
            return value
        case "Transpose", options, [value] if value.ndim == 2:
            if options.get("perm", [1, 0]) == [1, 0]:
                return value.T
    raise refused(node.name, f"{node.operator} of constants", "a tensor, Identity or Transpose")


def _decided(node: Node, operands: list[Any]) -> Decision:
    """The names of classes in place of their numbers, and changes of form."""
    found = [each for each in operands if isinstance(each, Decision)]
    known = ("ai.onnx.ml.ArrayFeatureExtractor", "Gather", "Reshape", "Cast", "Identity", "Squeeze",
             "ai.onnx.ml.LabelEncoder", "Flatten")  # fmt: skip
    others = [each for each in operands if not isinstance(each, Decision | np.ndarray)]
    if len(found) != 1 or others or node.operator not in known:
        raise refused(node.name, node.operator, _EXPECTED)
    return found[0]


def _bias(node: Node, given: list[Any], width: int) -> Parameter:
    """The third input, which may be left out."""
    if not given or given[0] is None:
        return node.absent(2, width)
    if not isinstance(given[0], np.ndarray):
        raise refused(node.name, "a bias that is computed", "a constant")
    bias = node.parameter(2, given[0])
    if bias.value.size == 1:  # one number for all
        return dataclasses.replace(bias, value=np.full(width, bias.value.item()))
    return bias


def _gemm(node: Node, value: Value, weight: np.ndarray, *bias: Any) -> parts.Sum:
    if node.attributes.get("transA", 0) or not (factor(node, 1) and factor(node, 2)):
        raise refused(node.name, "transA, alpha 0 or beta 0", "rows times weights plus a bias")
    matrix = node.parameter(1, weight)
    width = matrix.value.shape[1] if weight.ndim == 2 else 0
    return parts.linear(node.name, value, matrix, _bias(node, [*bias], width))


def _add(node: Node, left: Any, right: Any) -> Value:
    position = 0 if isinstance(left, np.ndarray) else 1
    constant, value = (left, right) if position == 0 else (right, left)
    if not isinstance(constant, np.ndarray):
        return parts.add(node.name, left, right)
    if isinstance(value, parts.Sum) and constant.ndim and constant.size == value.width:
        flat = node.parameter(position, constant.reshape(-1))
        return parts.add_bias(node.name, value, flat)
    return _numbers(node, np.add, [left, right])


def _numbers(node: Node, function, operands: list[Any]) -> Value:
    plain: list[Any] = []
    for each in operands:
        if isinstance(each, np.ndarray):
            if each.size != 1 or each.dtype.kind not in "fViu":
                raise refused(node.name, f"a constant of shape {each.shape}", "one number")
            plain.append(each.astype(np.float64).item())
        else:
            plain.append(each)
    return parts.elementwise(node.name, function, *plain)


def _activated(node: Node, operands: list[Any]) -> Value:
    """A function of single numbers."""
    if None in [each for each in operands if not isinstance(each, np.ndarray)]:
        raise refused(node.name, f"{node.operator} without an input", "all inputs")
    options = node.attributes
    match node.operator, operands:
        case ("LeakyRelu", [_]):
            alpha = options.get("alpha", 0.01)
            return _numbers(node, lambda x: np.where(x > 0, x, alpha * x), operands)
        case ("Gelu", [_]):
            name = "gelu" if options.get("approximate", "none") == "tanh" else "gelu_erf"
            return _numbers(node, lambda x: activate(name, x), operands)
        case (operator, [_]) if operator in _OF_ONE:
            return _numbers(node, _OF_ONE[operator], operands)
        case (operator, [_, _]) if operator in _OF_TWO:
            return _numbers(node, _OF_TWO[operator], operands)
    raise refused(node.name, node.operator, _EXPECTED)


def _both_classes(node: Node, operands: list[Any]) -> parts.Head:
    """1 - p beside p = sigmoid of one logit."""
    match operands:
        case [parts.Expression() as first, parts.Expression() as second]:
            p = sigmoid(GRID)
            one = first.sum is second.sum and first.sum.width == 1
            if one and is_same(second.values, p) and is_same(first.values, 1 - p):
                return parts.Head(node.name, "both", second.sum)
    raise refused(node.name, "Concat", "the probabilities of two classes, 1 - p and p")
