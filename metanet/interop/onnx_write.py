"""A network as a new ONNX graph."""

import numpy as np

from metanet.interop.imported import framework
from metanet.interop.network import Network
from metanet.mlp.network import NORM_EPSILON

OPSET = 20  # the first that has Gelu


def to_onnx(network: Network):
    """A ModelProto that maps "x" [rows, features] to "logits" [rows, classes], float32.

    Raises:
      UserError: onnx is not installed.
    """
    onnx = framework("onnx")
    helper, numpy = framework("onnx.helper"), framework("onnx.numpy_helper")
    spec, params = network.spec, network.params
    nodes, arrays = [], {}

    def node(operator: str, inputs: list[str], output: str, **attributes) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def array(name: str, value) -> str:
        arrays[name] = np.asarray(value, np.float32)
        return name

    outputs = ["x"]
    for layer in range(1, spec.n_layers + 1):
        hidden = layer < spec.n_layers
        value, blocks = "", [each for each in zip(spec.blocks, params.weights, strict=True)
                             if each[0][1] == layer]  # fmt: skip
        for (source, _), weight in blocks:
            name = f"weight.{source}.{layer}"
            product = node(
                "MatMul", [outputs[source], array(name, weight)], f"product.{source}.{layer}"
            )
            value = node("Add", [value, product], f"sum.{source}.{layer}") if value else product
        bias = array(f"bias.{layer}", params.biases[layer - 1])
        value = node("Add", [value, bias], f"z.{layer}" if hidden else "logits")
        if hidden and spec.norm == "layer":
            scale = array(f"scale.{layer}", params.scales[layer - 1])
            shift = array(f"shift.{layer}", params.shifts[layer - 1])
            value = node("LayerNormalization", [value, scale, shift], f"norm.{layer}",
                         epsilon=NORM_EPSILON)  # fmt: skip
        outputs.append(_activated(node, network.activation, value, layer) if hidden else value)
    graph = helper.make_graph(
        nodes,
        "metanet",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", spec.widths[0]])],
        [
            helper.make_tensor_value_info(
                "logits", onnx.TensorProto.FLOAT, ["rows", spec.widths[-1]]
            )
        ],
        [numpy.from_array(value, name) for name, value in arrays.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, producer_name="metanet", opset_imports=opsets, ir_version=9)


def _activated(node, activation: str, value: str, layer: int) -> str:
    """The name of the activation's output."""
    name = f"a.{layer}"
    match activation:
        case "relu":
            return node("Relu", [value], name)
        case "leaky_relu":
            return node("LeakyRelu", [value], name, alpha=0.01)
        case "tanh":
            return node("Tanh", [value], name)
        case "silu":
            return node("Mul", [value, node("Sigmoid", [value], f"gate.{layer}")], name)
    approximate = "tanh" if activation == "gelu" else "none"
    return node("Gelu", [value], name, approximate=approximate)
