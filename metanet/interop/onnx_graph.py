"""Networks from ONNX graphs."""

import os
from typing import Any

import numpy as np

from metanet.interop import parts
from metanet.interop.folding import imported
from metanet.interop.guard import reading
from metanet.interop.imported import MAX_LAYERS, MAX_WEIGHTS, Imported, refused
from metanet.interop.onnx_file import FLOATS, attributes, load, tensor
from metanet.interop.onnx_operators import Decision, Node, computed
from metanet.interop.onnx_restore import restored

MAX_NODES = 20 * MAX_LAYERS
_ONNX = ("", "ai.onnx")  # the domain of most operators


def read_onnx(path: str | os.PathLike) -> Imported:
    """The network in an ONNX file, see `from_onnx`.

    Raises:
      UserError: onnx is not installed, or the file is no network; names it. Numbers in other files
        are never read.
    """
    with reading(path, "an ONNX file of a multilayer perceptron") as file:
        return from_onnx(load(file))


def from_onnx(model) -> Imported:
    """The network that an ONNX model computes.

    Known are Gemm, MatMul and Add, activations however they are composed, BatchNormalization,
    LayerNormalization (opset 17 and later), Dropout, casts, and the scaler at the beginning and
    the classes and probabilities at the end that scikit-learn's converters make.

    Args:
      model: a ModelProto, which is not changed.

    Returns:
      Its `restore` gives a ModelProto of the same graph with other initialisers; where an edit
      needs a bias that the graph lacks, it has one more.

    Raises:
      ValueError: the graph is no network; names the node.
    """
    graph = model.graph
    _check(model)
    constants = _constants(graph)
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1:
        raise refused("graph", f"{len(inputs)} inputs", "one, of shape [rows, features]")
    values: dict[str, Any] = {**constants, inputs[0].name: parts.Features()}
    opset = max(each.version for each in model.opset_import if each.domain in _ONNX)
    nodes, read = {}, 0
    for index, each in enumerate(graph.node):
        name = f"{each.name or each.op_type} (node {index})"
        missing = [repr(one) for one in each.input if one and one not in values]
        if missing:
            found = f"input {missing[0]}, which nothing before it computes"
            raise refused(name, found, "nodes in order, without cycles")
        if not each.output or not each.output[0] or each.output[0] in values:
            raise refused(name, "an output that has a value already, or no name", "a new name")
        operator = each.op_type if each.domain in _ONNX else f"{each.domain}.{each.op_type}"
        nodes[index] = Node(name, index, operator, attributes(name, each), opset)
        operands = [values[one] if one else None for one in each.input]
        read += sum(one.size for one in operands if isinstance(one, np.ndarray))
        if read > MAX_WEIGHTS:  # many readers of one array are as many arrays here
            raise refused(name, f"{read} numbers up to it", f"at most {MAX_WEIGHTS}")
        values[each.output[0]] = computed(nodes[index], operands)
    heads = []
    for each in graph.output:
        if each.name not in values or isinstance(values[each.name], np.ndarray):
            raise refused("graph", f"an output {each.name!r} that no node computes", "logits")
        value = values[each.name]
        heads.append(value.head if isinstance(value, Decision) else parts.head_of(value))
    if not heads or any(head.logits is not heads[0].logits for head in heads):
        raise refused("graph", "no output, or those of several layers", "those of the last layer")
    fixed = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    result = imported(
        heads[0].logits,
        lambda arrays: restored(model, nodes, fixed, arrays),
        classes=_classes(graph),
    )
    _check_input(inputs[0], result.network.spec.widths[0])
    if len(result.classes) not in (0, result.network.spec.widths[-1]):
        raise refused("graph", f"{len(result.classes)} classes", "one per logit")
    return result


def _check(model) -> None:
    graph = model.graph
    if model.functions or graph.sparse_initializer:
        raise refused("model", "functions or sparse initialisers", "a plain graph")
    if not 0 < len(graph.node) <= MAX_NODES:
        raise refused("graph", f"{len(graph.node)} nodes", f"1 to {MAX_NODES}")
    if not any(each.domain in _ONNX for each in model.opset_import):
        raise refused("model", "no version of its operators", "an opset")
    for each in model.opset_import:
        if each.domain not in (*_ONNX, "ai.onnx.ml"):
            raise refused("model", f"operators of {each.domain!r}", "those of ONNX")


def _constants(graph) -> dict[str, np.ndarray]:
    """The numbers of initialisers by their names."""
    constants = {}
    for each in graph.initializer:
        if each.name in constants or not each.name:
            raise refused(f"initialiser {each.name!r}", "its name twice, or none", "one of its own")
        constants[each.name] = tensor(f"initialiser {each.name!r}", each)
    return constants


def _classes(graph) -> tuple[str, ...]:
    """The names of classes: of a ZipMap, or else those among which the output picks."""
    arrays = {each.name: each for each in graph.initializer}
    names: list[bytes] = []
    for each in graph.node:
        if each.op_type == "ZipMap":
            for attribute in each.attribute:
                names = [*attribute.strings] or [b"%d" % one for one in attribute.ints]
        elif each.op_type == "ArrayFeatureExtractor" and not names and each.input[0] in arrays:
            labels = arrays[each.input[0]]
            names = [*labels.string_data] or [b"%d" % one for one in labels.int32_data]
    return tuple(name.decode(errors="replace") for name in names)


def _check_input(value, width: int) -> None:
    """An input of shape [rows, features], of floating numbers."""
    kind = value.type.tensor_type
    if kind.elem_type not in FLOATS:
        raise refused(f"input {value.name!r}", f"data type {kind.elem_type}", "floating numbers")
    if kind.HasField("shape"):
        sizes = [one.dim_value for one in kind.shape.dim]
        if len(sizes) != 2 or sizes[1] not in (0, width):
            raise refused(f"input {value.name!r}", f"shape {sizes}", f"[rows, {width}]")
