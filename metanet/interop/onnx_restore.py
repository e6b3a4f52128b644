"""An ONNX graph with an edited network's parameters."""

import numpy as np

from metanet.interop.folding import Arrays, cast
from metanet.interop.imported import framework
from metanet.interop.onnx_operators import Node, effective, factor, place_of, transposed


def restored(model, nodes: dict[int, Node], constants: dict[str, np.ndarray], arrays: Arrays):
    """A copy of `model` with these parameters; what they leave alone keeps its bits.

    Args:
      nodes: those with parameters, by their index.
      constants: arrays by the names of values.
      arrays: by the keys of `Node.parameter`.
    """
    helper = framework("onnx.numpy_helper")
    result = type(model)()
    result.CopyFrom(model)
    graph = result.graph
    initializers = {each.name: each for each in graph.initializer}
    readers = [name for node in graph.node for name in node.input]
    names = {*initializers, *readers, *(name for node in graph.node for name in node.output)}
    dtype = next(each.dtype for each in constants.values() if each.dtype.kind in "fV")
    inserted = []
    for key, value in arrays.items():
        index, position = place_of(key)
        proto, node = graph.node[index], nodes[index]
        old = proto.input[position] if position < len(proto.input) else ""
        if old:
            stored = constants[old]
            changed = _stored(node, position, stored, value)
            if np.array_equal(changed, stored):
                continue
            new = cast(node.name, changed, stored.dtype)
        else:
            new = cast(node.name, value / factor(node, position), dtype)
        if old in initializers and readers.count(old) == 1:
            initializers[old].CopyFrom(helper.from_array(new, old))
            continue
        name = _fresh(names, f"{old or proto.output[0]}_edited")
        graph.initializer.append(helper.from_array(new, name))
        if old:
            proto.input[position] = name
            readers.remove(old)  # the last reader takes the old array's place
        elif proto.op_type == "MatMul":
            inserted.append((index, name))
        else:
            proto.input.extend([""] * (position + 1 - len(proto.input)))
            proto.input[position] = name
    for index, name in sorted(inserted, reverse=True):
        output = graph.node[index].output[0]
        graph.node[index].output[0] = _fresh(names, f"{output}_product")
        addition = type(graph.node[index])(
            op_type="Add", input=[graph.node[index].output[0], name], output=[output]
        )
        graph.node.insert(index + 1, addition)
    return result


def _stored(node: Node, position: int, stored: np.ndarray, value: np.ndarray) -> np.ndarray:
    """An input like `stored` that has the effect of `value`, in float64."""
    before = effective(node, position, stored)
    before = np.broadcast_to(before.reshape(-1) if value.ndim == 1 else before, value.shape)
    same = value == before
    new = value / factor(node, position)
    if transposed(node, position):
        new, same = new.T, same.T
    if stored.size != new.size:  # one number for all neurons
        return stored.astype(np.float64) if same.all() else new
    return np.where(same.reshape(stored.shape), stored, new.reshape(stored.shape))


def _fresh(names: set[str], name: str) -> str:
    """A name like `name` that the graph does not have, and has from now on."""
    while name in names:
        name += "_"
    names.add(name)
    return name
