"""The parts of a model, as importers put them together: sums of dense blocks and their outputs.

An importer walks through its model's operations and calls the function of this module for each. A
function returns what the operation computes, or raises ValueError with the name of the operation,
what was found and what was expected. `chain.chain_of` makes the network of the last sum.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from metanet.interop.activations import GRID, activate, is_same, sigmoid
from metanet.interop.imported import refused
from metanet.mlp.network import ACTIVATIONS, NORM_EPSILON


@dataclasses.dataclass(frozen=True, eq=False)
class Parameter:
    """An array of the model.

    Attributes:
      key: by which the importer finds its place again; unique within the model.
      value: float64, which holds every dtype of parameters exactly: [n_in, n_out] or [n].
      absent: the model has no such array and need not have one while it is neutral, 0 or 1.
    """

    key: str
    value: np.ndarray
    absent: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Norm:
    """A normalisation in inference: gain z + offset, or a layer norm of that ("layer").

    Attributes:
      gain, offset: [n] float64, of a layer norm the factor that makes up for its epsilon, and 0.
      scale: of a layer norm.
      shift: of a layer norm; of a batch norm the part of `offset` that may take a bias.
    """

    name: str
    kind: str
    gain: np.ndarray
    offset: np.ndarray
    scale: Parameter | None = None
    shift: Parameter | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """A layer's output: `after`, if any, of the activation of its sum; the input has no sum."""

    sum: "Sum | None" = None
    activation: str = ""
    after: Norm | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """The product of a layer's features with a weight [n_in, n_out]."""

    name: str
    source: Features
    weight: Parameter


@dataclasses.dataclass(frozen=True, eq=False)
class Sum:
    """Blocks and biases, summed and then normalised by `norm`, if any; [rows, width].

    Attributes:
      depth: the number of sums on the longest way from the input, this one counted.
    """

    name: str
    width: int
    depth: int
    blocks: tuple[Block, ...]
    biases: tuple[Parameter, ...]
    norm: Norm | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Expression:
    """A function of each number of a sum, by its values at activations.GRID."""

    name: str
    sum: Sum
    values: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """What a model makes of its logits: "none", "softmax", "log_softmax" or "sigmoid" (of one)."""

    name: str
    kind: str
    logits: Sum


Value = Features | Sum | Expression | Head


def head(name: str, kind: str, value: Value) -> Head:
    """The end of a model, of the logits `value`."""
    if not isinstance(value, Sum):
        raise refused(name, f"a {kind} of something else", "one of the last layer's outputs")
    return Head(name, kind, value)


def head_of(value: Value) -> Head:
    """The end of a model whose output is `value`."""
    if isinstance(value, Head):
        return value
    if isinstance(value, Sum):
        return Head(value.name, "none", value)
    if isinstance(value, Expression) and is_same(value.values, sigmoid(GRID)):
        if value.sum.width == 1:
            return Head(value.name, "sigmoid", value.sum)
        found = f"a sigmoid of {value.sum.width} outputs"
        raise refused(value.name, found, "one output, or a softmax: classes exclude one another")
    name = getattr(value, "name", "output")
    raise refused(name, "an activation or normalisation at the end", "a linear layer")


def features(name: str, value: Value) -> Features:
    """What the operation called `name` reads, as features."""
    if isinstance(value, Features):
        return value
    if isinstance(value, Head):
        raise refused(name, f"an operation after {value.name}", "none after the model's end")
    if isinstance(value, Sum):
        raise refused(name, f"it directly after {value.name}", "an activation between them")
    for activation in ACTIVATIONS:
        if is_same(value.values, activate(activation, GRID)):
            return Features(value.sum, activation)
    raise refused(
        value.name, "an activation that no network has", f"one of {', '.join(ACTIVATIONS)}"
    )


def linear(name: str, value: Value, weight: Parameter, bias: Parameter | None) -> Sum:
    """value @ weight + bias."""
    source = features(name, value)
    if weight.value.ndim != 2 or 0 in weight.value.shape:
        raise refused(name, f"a weight of shape {weight.value.shape}", "two positive dimensions")
    width = weight.value.shape[1]
    depth = 1 if source.sum is None else source.sum.depth + 1
    total = Sum(name, width, depth, (Block(name, source, weight),), ())
    return total if bias is None else add_bias(name, total, bias)


def add_bias(name: str, value: Sum, bias: Parameter) -> Sum:
    """value + bias, a vector."""
    if value.norm is not None:
        raise refused(name, f"a bias after {value.norm.name}", "none after a normalisation")
    _check_width(name, "a bias", bias.value, value.width)
    return dataclasses.replace(value, biases=(*value.biases, bias))


def add(name: str, left: Value | float, right: Value | float) -> Value:
    """left + right: of two sums their sum, else a function of one sum's numbers."""
    sums = isinstance(left, Sum) and isinstance(right, Sum) and left is not right
    if not sums:
        return elementwise(name, np.add, left, right)
    assert isinstance(left, Sum) and isinstance(right, Sum)
    for one in (left, right):
        if one.norm is not None:
            raise refused(name, f"a sum after {one.norm.name}", "sums before a normalisation")
    if left.width != right.width:
        raise refused(name, f"widths {left.width} and {right.width}", "equal ones in a sum")
    return Sum(
        left.name,
        left.width,
        max(left.depth, right.depth),
        left.blocks + right.blocks,
        left.biases + right.biases,
    )


def elementwise(
    name: str, function: Callable[..., np.ndarray], *operands: Value | float
) -> Expression:
    """A function of numbers, of one sum and constants; it takes and returns arrays like GRID."""
    values = [operand for operand in operands if not isinstance(operand, float)]
    sums = []
    for value in values:
        if isinstance(value, Head):
            raise refused(name, f"an operation after {value.name}", "none after the model's end")
        if isinstance(value, Features):
            what = "the input" if value.sum is None else f"the output of {value.sum.name}"
            raise refused(name, f"an operation on {what}", "a linear layer that reads it")
        sums.append(value if isinstance(value, Sum) else value.sum)
    if any(other is not sums[0] for other in sums):
        names = ", ".join(sorted({total.name for total in sums}))
        raise refused(
            name,
            f"an operation on the outputs of {names} (a residual connection?)",
            "sums of linear layers only, since both blocks of a skip connection have weights",
        )
    numbers = [
        operand.values if isinstance(operand, Expression)
        else GRID if isinstance(operand, Sum)
        else operand
        for operand in operands
    ]  # fmt: skip
    with np.errstate(all="ignore"):
        return Expression(name, sums[0], np.asarray(function(*numbers), np.float64))


def affine(name: str, gain: np.ndarray, offset: np.ndarray, shift: Parameter | None) -> Norm:
    """A batch normalisation as gain z + offset, [n] each; `shift` is a summand of the offset."""
    if not (np.isfinite(gain).all() and np.isfinite(offset).all()):
        raise refused(name, "a number that is not finite", "finite statistics and parameters")
    if not gain.all():
        place = int(np.flatnonzero(gain == 0)[0])
        raise refused(
            name, f"scale 0 at neuron {place}", "others, through which edits can be written back"
        )
    return Norm(name, "batch", gain, offset, shift=shift)


def batch_norm(
    name: str,
    value: Value,
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
    scale: np.ndarray | None,
    shift: Parameter | None,
) -> Value:
    """Batch normalisation with running statistics, [n] each, before or after an activation."""
    shapes = {each.shape for each in (mean, variance, scale) if each is not None}
    shapes |= set() if shift is None else {shift.value.shape}
    if len(shapes) > 1 or mean.ndim != 1:
        raise refused(name, f"shapes {sorted(shapes)}", "one dimension, the same of all arrays")
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = np.sqrt(1 / (np.asarray(variance, np.float64) + epsilon))
    gain = gain if scale is None else gain * scale
    offset = -mean * gain if shift is None else shift.value - mean * gain
    return normalise(name, value, affine(name, gain, offset, shift))


def normalise(name: str, value: Value, norm: Norm) -> Value:
    """gain value + offset, before or after an activation or of the input."""
    if isinstance(value, Sum):
        if value.norm is not None:
            raise refused(name, f"a second one after {value.norm.name}", "one normalisation")
        _check_width(name, "a normalisation", norm.gain, value.width)
        return dataclasses.replace(value, norm=norm)
    read = features(name, value)
    if read.after is not None:
        raise refused(name, f"a second one after {read.after.name}", "one normalisation")
    if read.sum is not None:
        _check_width(name, "a normalisation", norm.gain, read.sum.width)
    return dataclasses.replace(read, after=norm)


def layer_norm(
    name: str, value: Value, epsilon: float, scale: Parameter | None, shift: Parameter | None
) -> Sum:
    """Layer normalisation, before an activation."""
    if not isinstance(value, Sum):
        raise refused(name, "a layer normalisation elsewhere", "it before an activation")
    if scale is None or shift is None:
        raise refused(name, "no scale or no shift", "both, since edits change them")
    if not epsilon > 0:
        raise refused(name, f"epsilon {epsilon}", "a positive one")
    for parameter in (scale, shift):
        _check_width(name, "a layer normalisation", parameter.value, value.width)
    # With c = gain, LN(c z) with our epsilon is LN(z) with the model's.
    gain = np.full(value.width, np.sqrt(NORM_EPSILON / epsilon))
    norm = Norm(name, "layer", gain, np.zeros(value.width), scale, shift)
    return normalise(name, value, norm)  # type: ignore[return-value]


def _check_width(name: str, what: str, value: np.ndarray, width: int) -> None:
    if value.shape != (width,):
        raise refused(name, f"{what} of shape {value.shape}", f"({width},)")
