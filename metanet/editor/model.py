"""The editor: a graph metanetwork that proposes an edit for every parameter (paper A.2)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
import numpy as np
from flax import struct

from metanet.core import require
from metanet.editor.layers import EdgeMLP, Layer, Tiles, sum_at_sources, sum_at_targets, tiles_of
from metanet.graphs.convert import Models, graph_of
from metanet.graphs.topology import TILE, Template
from metanet.mlp.network import ACTIVATIONS
from metanet.mlp.spec import NORMS

MASKS = ("none", "edges", "inputs", "both")
DTYPES = ("float32", "bfloat16")
# Kinds of blocks, each with a scale of its own: leaves the inputs or not, enters the outputs or
# not, consecutive or skip.
N_KINDS = 8
_SMALL = 1e-2  # in log(x + small): what counts as zero on the scale of a typical weight


@dataclasses.dataclass(frozen=True)
class EditorConfig:
    """The editor's shape (paper A.4).

    Attributes:
      node_width, edge_width, message_width: of the states and of the messages' hidden layers.
      layers: rounds of message passing.
      dropout: in the nodes' update.
      gamma: the residual's first scale, theta' = theta + gamma delta.
      edit: whether parameters are edited; with False there is only a mask.
      mask: what is masked: "none", "edges" (weights), "inputs" (features) or "both".
      mask_bias: the mask logits' first value; positive keeps.
      dtype: compute dtype; parameters are float32.
    """

    node_width: int = 32
    edge_width: int = 8
    message_width: int = 16
    layers: int = 3
    dropout: float = 0.0
    gamma: float = 0.01
    edit: bool = True
    mask: str = "edges"
    mask_bias: float = 3.0
    dtype: str = "float32"

    def __post_init__(self):
        for key in ("node_width", "edge_width", "message_width", "layers"):
            value = getattr(self, key)
            require(value >= 1, f"editor.{key}", value, "at least 1")
        require(0 <= self.dropout < 1, "editor.dropout", self.dropout, "0 <= dropout < 1")
        require(self.mask in MASKS, "editor.mask", self.mask, f"one of {', '.join(MASKS)}")
        require(self.dtype in DTYPES, "editor.dtype", self.dtype, f"one of {', '.join(DTYPES)}")


@struct.dataclass
class Scales:
    """Root mean squares of a population's parameters, the units of inputs and edits. float32.

    Attributes:
      weight: [N_KINDS];  bias: [2], of hidden and output neurons.
      scale: [], of a layer norm's scale minus 1;  shift: [].
    """

    weight: jax.Array
    bias: jax.Array
    scale: jax.Array
    shift: jax.Array


@struct.dataclass
class Proposal:
    """What the editor says of a batch with V nodes and E edges. Deltas are in parameter units.

    Attributes:
      weight: [E];  bias, scale, shift: [V], the deltas (zero without `EditorConfig.edit`).
      keep: [E], the edge mask's logits, or None without one.
      input_keep: [V], the input mask's logits, infinite outside the inputs' tiles; None without
        one.
    """

    weight: jax.Array
    bias: jax.Array
    scale: jax.Array
    shift: jax.Array
    keep: jax.Array | None
    input_keep: jax.Array | None


def _roles(template: Template, graph: jraph.GraphsTuple) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Per node tile: its layer in the template, whether it is input, whether it is output."""
    slot = graph.nodes["slot"].reshape(-1, TILE)[:, 0] // TILE
    layer = jnp.asarray(template.layer_of_slot)[slot]
    return layer, layer == 0, layer == template.depth + 1


def _kind(template: Template, graph: jraph.GraphsTuple, tiles: Tiles) -> jax.Array:
    """Per edge tile: its kind of block, [T] int32."""
    _, is_input, is_output = _roles(template, graph)
    skip = graph.edges["skip"].reshape(-1, TILE**2)[:, 0]
    return 4 * is_input[tiles.source] + 2 * is_output[tiles.target] + skip


def scales_of(models: Models, ids: np.ndarray) -> Scales:
    """The scales of the models `ids`, usually the population's training split."""
    table = jax.tree.map(np.asarray, models.topologies)
    slot_layer = models.template.layer_of_slot
    output = models.template.depth + 1
    sums = {"weight": np.zeros(N_KINDS), "bias": np.zeros(2), "scale": 0.0, "shift": 0.0}
    counts = {"weight": np.zeros(N_KINDS), "bias": np.zeros(2), "scale": 0.0, "shift": 0.0}
    arrays = {k: np.asarray(getattr(models, k)) for k in sums}
    spec_of = np.asarray(models.spec)[ids]
    for spec in np.unique(spec_of):
        nodes = slice(table.node_start[spec], table.node_start[spec] + table.n_nodes[spec])
        edges = slice(table.edge_start[spec], table.edge_start[spec] + table.n_edges[spec])
        layer, exists = slot_layer[table.slot[nodes]], table.exists[nodes]
        source, target = table.source[edges], table.target[edges]
        kind = 4 * (layer[source] == 0) + 2 * (layer[target] == output) + table.skip[edges]
        of_spec = ids[spec_of == spec]
        rows = np.asarray(models.node_start)[of_spec][:, None] + np.arange(len(layer))
        edge_rows = np.asarray(models.edge_start)[of_spec][:, None] + np.arange(len(kind))
        finite = np.isfinite(arrays["weight"][edge_rows]).all((1, 2, 3))
        for name in ("bias", "scale", "shift"):
            finite &= np.isfinite(arrays[name][rows]).all((1, 2))
        of_spec, rows, edge_rows = of_spec[finite], rows[finite], edge_rows[finite]
        squares = (arrays["weight"][edge_rows].astype(np.float64) ** 2).sum((0, 2, 3))
        real = exists[source].sum(1) * exists[target].sum(1) * len(of_spec)
        np.add.at(sums["weight"], kind, squares)
        np.add.at(counts["weight"], kind, real)
        neuron = layer > 0
        is_output = (layer == output)[neuron].astype(int)
        squares = (arrays["bias"][rows][:, neuron].astype(np.float64) ** 2).sum((0, 2))
        np.add.at(sums["bias"], is_output, squares)
        np.add.at(counts["bias"], is_output, exists[neuron].sum(1) * len(of_spec))
        if table.norm[spec] == NORMS.index("layer"):
            hidden = exists & (neuron & (layer != output))[:, None]
            for name, centre in (("scale", 1.0), ("shift", 0.0)):
                sums[name] += ((arrays[name][rows][:, hidden] - centre) ** 2).sum()
                counts[name] += hidden.sum() * len(of_spec)

    def rms(name):
        square = np.where(counts[name] > 0, sums[name] / np.maximum(counts[name], 1), 1.0)
        return jnp.asarray(np.sqrt(np.maximum(square, 1e-12)), jnp.float32)

    return Scales(**{name: rms(name) for name in sums})


@struct.dataclass
class TrainedEditor:
    """All that an edit needs; a pytree whose config and template are static.

    Attributes:
      params: the parameters of `Editor`.
      scales: the units of the population that it was trained on.
    """

    params: dict
    scales: Scales
    config: EditorConfig = struct.field(pytree_node=False)
    template: Template = struct.field(pytree_node=False)


class Editor(nn.Module):
    """Proposes an edit for every graph of a batch; equivariant to permutations of hidden neurons.

    Inputs are the parameters in several normalisations, positional and functional types, and the
    preference (log10 lambda) at every node. All normalisations are functions of the graph and of
    `scales`, so an edited model can be edited again.
    """

    config: EditorConfig
    template: Template

    @nn.compact
    def __call__(
        self, graph: jraph.GraphsTuple, scales: Scales, deterministic: bool = True
    ) -> Proposal:
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        tiles = tiles_of(graph)
        nodes, edges = self._initial_states(graph, scales, tiles, dtype)
        rounds = nn.scan(
            Layer,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast, nn.broadcast),
            length=config.layers,
        )(config.message_width, config.dropout, dtype, name="layers")
        (nodes, edges), _ = rounds((nodes, edges), tiles, deterministic)
        nodes = nn.LayerNorm(dtype=dtype)(nodes)
        layer, is_input, is_output = _roles(self.template, graph)
        keep = input_keep = None
        if config.mask in ("edges", "both"):
            # A fresh mask keeps everything: its logits are all `mask_bias`.
            head = EdgeMLP(config.message_width, 1, dtype, nn.initializers.zeros, name="keep")
            keep = config.mask_bias + head(edges, nodes, tiles).reshape(-1).astype(jnp.float32)
        if config.mask in ("inputs", "both"):
            head = nn.Dense(2 * config.node_width, dtype=dtype, name="input_hidden")(nodes)
            last = nn.Dense(1, kernel_init=nn.initializers.zeros, dtype=dtype, name="input_keep")
            logit = config.mask_bias + last(nn.relu(head))[:, 0].astype(jnp.float32)
            input_keep = jnp.where(jnp.repeat(is_input, TILE), logit, jnp.inf)
        n_nodes, n_edges = len(nodes), tiles.exists.size
        if not config.edit:
            none = jnp.zeros(n_nodes)
            return Proposal(jnp.zeros(n_edges), none, none, none, keep, input_keep)
        gamma = self.param("gamma", nn.initializers.constant(config.gamma), (), jnp.float32)
        delta = EdgeMLP(config.message_width, 1, dtype, name="delta")(edges, nodes, tiles)
        unit = scales.weight[_kind(self.template, graph, tiles)]
        weight = gamma * unit[:, None, None] * delta[..., 0].astype(jnp.float32)
        deltas = nn.Dense(3, dtype=dtype, name="node_delta")(nodes).astype(jnp.float32)
        bias_unit = scales.bias[is_output.astype(jnp.int32)]
        owner = graph_of(graph.n_node, n_nodes)
        normed = (graph.globals["norm"] == NORMS.index("layer"))[owner]
        normed &= jnp.repeat((layer > 0) & ~is_output, TILE)
        real = graph.nodes["exists"]
        neuron = real & jnp.repeat(layer > 0, TILE)
        return Proposal(
            weight=jnp.where(tiles.exists[..., 0] > 0, weight, 0.0).reshape(-1),
            bias=jnp.where(neuron, gamma * jnp.repeat(bias_unit, TILE) * deltas[:, 0], 0.0),
            scale=jnp.where(real & normed, gamma * scales.scale * deltas[:, 1], 0.0),
            shift=jnp.where(real & normed, gamma * scales.shift * deltas[:, 2], 0.0),
            keep=keep,
            input_keep=input_keep,
        )

    def _initial_states(self, graph, scales, tiles, dtype):
        """INIT_v and INIT_e of eq. 20."""
        config = self.config
        n_nodes = len(graph.nodes["slot"])
        weight = graph.edges["weight"].reshape(-1, TILE, TILE, 1)
        rms = self._block_rms(graph, tiles, weight)
        relative = weight / rms
        unit = scales.weight[_kind(self.template, graph, tiles)][:, None, None, None]
        magnitude = jnp.abs(relative)
        skip = graph.edges["skip"].reshape(weight.shape).astype(weight.dtype)
        edge_inputs = [weight / unit, relative, magnitude, jnp.log(magnitude + _SMALL), skip]

        square = weight**2
        ends = [sum_at_targets(tiles, square, n_nodes), sum_at_sources(tiles, square, n_nodes)]
        layer, _, is_output = _roles(self.template, graph)
        bias_unit = jnp.repeat(scales.bias[is_output.astype(jnp.int32)], TILE)
        owner = graph_of(graph.n_node, n_nodes)
        node_inputs = [
            (graph.nodes["bias"] / bias_unit)[:, None],
            ((graph.nodes["scale"] - 1.0) / scales.scale)[:, None],
            (graph.nodes["shift"] / scales.shift)[:, None],
            *[jnp.log(jnp.sqrt(total) + _SMALL) for total in ends],
            graph.globals["preference"][owner] + 2.0,  # around 0 for the usual lambdas
        ]
        # Functional types belong to hidden neurons; inputs and outputs have none.
        hidden = jnp.repeat((layer > 0) & ~is_output, TILE)
        slot = graph.nodes["slot"]
        types = [
            (jnp.asarray(self.template.position).reshape(-1)[slot], self.template.n_positions),
            (
                jnp.where(hidden, graph.globals["activation"][owner], len(ACTIVATIONS)),
                len(ACTIVATIONS) + 1,
            ),
            (jnp.where(hidden, graph.globals["norm"][owner], len(NORMS)), len(NORMS) + 1),
        ]
        first = nn.Dense(2 * config.node_width, dtype=dtype)(jnp.concatenate(node_inputs, -1))
        for index, count in types:
            first = first + nn.Embed(count, 2 * config.node_width, dtype=dtype)(index)
        nodes = nn.Dense(config.node_width, dtype=dtype)(nn.relu(first))
        init_edges = EdgeMLP(config.message_width, config.edge_width, dtype, name="init_edges")
        return nodes, init_edges(jnp.concatenate(edge_inputs, -1), nodes, tiles)

    def _block_rms(self, graph, tiles, weight):
        """The root mean square of the block that an edge tile belongs to: [T, 1, 1, 1]."""
        n_layers = self.template.depth + 2
        layer, _, _ = _roles(self.template, graph)
        owner = graph_of(graph.n_edge // TILE**2, len(weight))
        block = (owner * n_layers + layer[tiles.source]) * n_layers + layer[tiles.target]
        n_blocks = len(graph.n_node) * n_layers**2
        square = jax.ops.segment_sum((weight**2).sum((1, 2, 3)), block, n_blocks)
        count = jax.ops.segment_sum(tiles.exists.sum((1, 2, 3)), block, n_blocks)
        rms = jnp.sqrt(square / jnp.maximum(count, 1.0))
        return jnp.maximum(rms, 1e-6)[block][:, None, None, None]
