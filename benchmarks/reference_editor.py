"""The editor as it would be written with PyTorch and torch_geometric, edge by edge.

The structure is the published reference's: message MLPs on [edge, sender], an edge MLP on [edge,
sender, receiver], an update MLP on [node, forward sum, backward sum], every MLP on concatenations
gathered to the edges. With `activation="relu"` and `edge_norm=False` and our editor's parameters
(`load`) it computes what `metanet.editor.model.Editor` computes.
"""

import jax
import numpy as np
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing

from metanet.editor.inputs import TYPES, Inputs
from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.topology import TILE

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU}


def _mlp(n_in: int, hidden: int, out: int, activation: str) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, hidden), ACTIVATIONS[activation](), nn.Linear(hidden, out))


def _ends(nodes: torch.Tensor, edge_index: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    return torch.cat([edges, nodes[edge_index[0]], nodes[edge_index[1]]], -1)


class Messages(MessagePassing):
    """Sums MLP([edge, sender]) at every receiver; with flow "target_to_source" the other way."""

    def __init__(self, node: int, edge: int, width: int, activation: str, flow: str):
        super().__init__(aggr="add", flow=flow)
        self.mlp = _mlp(edge + node, width, width, activation)

    def forward(self, nodes, edge_index, edges):
        return self.propagate(edge_index, x=nodes, edge_attr=edges)

    def message(self, x_j, edge_attr):
        return self.mlp(torch.cat([edge_attr, x_j], -1))


class Round(nn.Module):
    def __init__(self, node: int, edge: int, width: int, activation: str, edge_norm: bool):
        super().__init__()
        self.norm = nn.LayerNorm(node, eps=1e-6)
        self.edge_norm = nn.LayerNorm(edge, eps=1e-6) if edge_norm else nn.Identity()
        self.forward_messages = Messages(node, edge, width, activation, "source_to_target")
        self.backward_messages = Messages(node, edge, width, activation, "target_to_source")
        self.update = _mlp(node + 2 * width, 2 * node, node, activation)
        self.edge = _mlp(edge + 2 * node, width, edge, activation)

    def forward(self, nodes, edge_index, edges):
        normed, seen = self.norm(nodes), self.edge_norm(edges)
        forward = self.forward_messages(normed, edge_index, seen)
        backward = self.backward_messages(normed, edge_index, seen)
        changed = self.edge(_ends(normed, edge_index, seen))
        nodes = nodes + self.update(torch.cat([normed, forward, backward], -1))
        return nodes, edges + changed

    def load(self, params: dict) -> None:
        _norm(self.norm, params["norm"])
        width = self.edge[0].out_features
        forward, source, backward, target = params["ends"]["kernel"].chunk(4, 1)
        kernels, biases = params["edge"]["kernel"].chunk(3, 1), params["edge"]["bias"].chunk(3)
        identity = {"kernel": torch.eye(width) / TILE, "bias": torch.zeros(width)}
        parts = (
            (self.forward_messages.mlp, [forward], identity),
            (self.backward_messages.mlp, [backward], identity),
            (self.edge, [source, target], params["edge_last"]),
        )
        for (mlp, ends, last), kernel, bias in zip(parts, kernels, biases, strict=True):
            _linear(mlp[0], {"kernel": torch.cat([kernel, *ends]), "bias": bias})
            _linear(mlp[2], last)
        _linear(self.update[0], params["node_hidden"])
        _linear(self.update[2], params["node_last"])


class ReferenceEditor(nn.Module):
    """Deltas and mask logits per edge, deltas per node, from the editor's inputs.

    Args:
      n_types: sizes of the node types' embeddings.
      node, edge, width, layers: as in EditorConfig.
    """

    def __init__(self, n_node_inputs, n_edge_inputs, n_types, node, edge, width, layers,
                 activation="silu", edge_norm=True):  # fmt: skip
        super().__init__()
        self.node_in = nn.Linear(n_node_inputs, 2 * node)
        self.types = nn.ModuleList(nn.Embedding(count, 2 * node) for count in n_types)
        self.node_out = nn.Sequential(ACTIVATIONS[activation](), nn.Linear(2 * node, node))
        self.init_edges = _mlp(n_edge_inputs + 2 * node, width, edge, activation)
        self.rounds = nn.ModuleList(
            Round(node, edge, width, activation, edge_norm) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(node, eps=1e-6)
        self.keep = _mlp(edge + 2 * node, width, 1, activation)
        self.delta = _mlp(edge + 2 * node, width, 1, activation)
        self.node_delta = nn.Linear(node, 3)

    def forward(self, data: Data) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        nodes = self.node_in(data.x)
        for index, embedding in enumerate(self.types):
            nodes = nodes + embedding(data.types[:, index])
        nodes = self.node_out(nodes)
        edges = self.init_edges(_ends(nodes, data.edge_index, data.edge_attr))
        for one in self.rounds:
            nodes, edges = one(nodes, data.edge_index, edges)
        nodes = self.norm(nodes)
        ends = _ends(nodes, data.edge_index, edges)
        return self.delta(ends)[:, 0], self.keep(ends)[:, 0], self.node_delta(nodes)

    def load(self, params: dict) -> None:
        """Copies the parameters of a `metanet` editor with an edge mask (`TrainedEditor.params`).

        Its messages have no second layer of their own: here it is the identity, divided as ours is.
        """
        params = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), params)
        _linear(self.node_in, params["init_nodes_hidden"])
        _linear(self.node_out[1], params["init_nodes"])
        for name, embedding in zip(TYPES, self.types, strict=True):
            embedding.weight.data.copy_(params[name]["embedding"])
        for name in ("init_edges", "keep", "delta"):
            part = params[name]
            source, target = part["ends"]["kernel"].chunk(2, 1)
            kernel = torch.cat([part["edge"]["kernel"], source, target])
            _linear(getattr(self, name)[0], {"kernel": kernel, "bias": part["edge"]["bias"]})
            _linear(getattr(self, name)[2], part["last"])
        for number, one in enumerate(self.rounds):
            one.load(jax.tree.map(lambda leaf, i=number: leaf[i], params["layers"]))
        _norm(self.norm, params["norm"])
        _linear(self.node_delta, params["node_delta"])


def _linear(layer: nn.Linear, params: dict) -> None:
    layer.weight.data.copy_(params["kernel"].T)
    layer.bias.data.copy_(params["bias"])


def _norm(layer: nn.LayerNorm, params: dict) -> None:
    layer.weight.data.copy_(params["scale"])
    layer.bias.data.copy_(params["bias"])


def graph_data(graph: GraphsTuple, inputs: Inputs) -> Data:
    """The real nodes and edges of a batch from `graphs.convert.gather`, in its order."""
    node, edge = np.asarray(graph.nodes["exists"]), np.asarray(graph.edges["exists"])
    number = np.cumsum(node) - 1
    ends = np.stack([np.asarray(graph.senders), np.asarray(graph.receivers)])[:, edge]
    edge_inputs = np.asarray(inputs.edge).reshape(len(edge), -1)
    return Data(
        x=torch.tensor(np.asarray(inputs.node)[node]),
        types=torch.tensor(np.asarray(inputs.types)[node].astype(np.int64)),
        edge_index=torch.tensor(number[ends].astype(np.int64)),
        edge_attr=torch.tensor(edge_inputs[edge]),
    )
