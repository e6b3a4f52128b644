"""The editor: a graph metanetwork that proposes an edit for every parameter (paper A.2)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from metanet.core import SettingError, require
from metanet.dotted import resolve
from metanet.editor.inputs import TYPES, Scales, inputs_of, kind_of, roles, type_counts
from metanet.editor.layers import EdgeMLP, Tiles, tiles_of
from metanet.editor.learned_probe import LearnedProbe
from metanet.editor.noise import Dropout, drop_change
from metanet.editor.relax import bounded
from metanet.graphs.batch import graph_of
from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.topology import TILE, Template
from metanet.mlp.spec import NORMS
from metanet.probes.rows import ProbeConfig

MASKS = ("none", "edges", "inputs", "both")
MOST_ROWS = 4096  # of a learned probe
DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class EditorConfig:
    """The editor's shape (paper A.4).

    Attributes:
      node_width, edge_width, message_width: of the states and of the messages' hidden layers.
      layers: rounds of message passing, each with its parameters.
      layer: the dotted path of the flax module of one round (see `layers.Layer`).
      gamma: the residual's first scale, theta' = theta + gamma delta.
      edit: whether parameters are edited; with False there is only a mask.
      mask: what is masked: "none", "edges" (weights), "inputs" (features) or "both".
      mask_bias: the mask logits' first value; positive keeps.
      mask_limit: how large the mask logits may become, either way (see relax.bounded); None is no
        limit.
      mean_replacement: whether the mean effect of a removed weight goes into the bias at its
        target; needs `probe`.
      imputation: whether features that the mask drops are replaced by their linear conditional
        means given those kept, from the moments of the table of training; needs `mask` "inputs".
      probe: the rows of data that networks are probed on, or None: then an edit needs none.
      learned_probe: how many rows that are its own parameters it runs networks on (see
        `LearnedProbe`), for which an edit needs no data; 0 is none.
      dtype: compute dtype; parameters are float32.
    """

    node_width: int = 32
    edge_width: int = 8
    message_width: int = 16
    layers: int = 3
    layer: str = "metanet.editor.layers.Layer"
    gamma: float = 0.01
    edit: bool = True
    mask: str = "edges"
    mask_bias: float = 3.0
    mask_limit: float | None = 5.0
    mean_replacement: bool = False
    imputation: bool = False
    probe: ProbeConfig | None = None
    learned_probe: int = 0
    dtype: str = "float32"

    def __post_init__(self):
        for key in ("node_width", "edge_width", "message_width", "layers"):
            value = getattr(self, key)
            require(value >= 1, f"editor.{key}", value, "at least 1")
        rows = self.learned_probe
        ok = 0 <= rows <= MOST_ROWS  # networks are run on all at once
        require(ok, "editor.learned_probe", rows, f"0 to {MOST_ROWS}")
        require(self.gamma > 0, "editor.gamma", self.gamma, "a positive number")
        ok = self.mask == "none" or self.mask_bias > 0
        expected = "a positive number: a fresh editor keeps everything"
        require(ok, "editor.mask_bias", self.mask_bias, expected)
        require(self.mask in MASKS, "editor.mask", self.mask, f"one of {', '.join(MASKS)}")
        largest, above = self.mask_limit, f"more than editor.mask_bias, {abs(self.mask_bias)}"
        ok = largest is None or largest > abs(self.mask_bias)
        require(ok, "editor.mask_limit", largest, above)
        ready = not self.mean_replacement or self.probe is not None
        require(ready, "editor.mean_replacement", True, "editor.probe, whose means it uses")
        ready = not self.imputation or self.mask == "inputs"
        require(ready, "editor.imputation", True, 'editor.mask = "inputs", which drops features')
        require(self.dtype in DTYPES, "editor.dtype", self.dtype, f"one of {', '.join(DTYPES)}")
        layer_of(self)


def layer_of(config: EditorConfig) -> type[nn.Module]:
    """The module of one round of message passing that a config names.

    Raises:
      UserError: there is no such class, or it is no flax module.
    """
    expected = "a flax module with the fields and the call of metanet.editor.layers.Layer"
    module = resolve(config.layer, "editor.layer", expected)
    if not (isinstance(module, type) and issubclass(module, nn.Module)):
        raise SettingError("editor.layer", repr(config.layer), f"the dotted path of {expected}")
    return module


class Proposal(struct.PyTreeNode):
    """The editor's output for a batch with V nodes and E edges. Deltas are in parameter units.

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


class TrainedEditor(struct.PyTreeNode):
    """Parameters and settings that an edit needs; a pytree whose settings are static.

    Attributes:
      params: the parameters of `Editor`.
      scales: the units of the population that it was trained on.
      lambda_range: (low, high) of lambda in training, one pair for each requirement.
    """

    params: dict
    scales: Scales
    config: EditorConfig = struct.field(pytree_node=False)
    template: Template = struct.field(pytree_node=False)
    lambda_range: tuple[tuple[float, float], ...] = struct.field(
        pytree_node=False, default=((0.001, 0.5),)
    )


class Editor(nn.Module):
    """Proposes an edit for every graph of a batch; equivariant to permutations of hidden neurons.

    Inputs are the parameters in several normalisations, positional and functional types, and the
    log10 of lambda at every node; with `EditorConfig.probe` also probe statistics, with
    `learned_probe` what the model does on rows that are parameters of the editor. All
    normalisations are functions of the graph and of `scales`, so an edited model can be edited
    again.
    """

    config: EditorConfig
    template: Template

    @nn.compact
    def __call__(
        self, graph: GraphsTuple, scales: Scales, dropout: Dropout | None = None
    ) -> Proposal:
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        tiles = tiles_of(graph)
        # [V, node_width] and [T, TILE, TILE, edge_width], in the compute dtype.
        nodes, edges = self._initial_states(graph, scales, tiles, dtype)

        def one_round(module, state, number):
            after, _ = module(state, tiles)
            if dropout is not None:
                after = drop_change(graph, dropout, number, state, after)
            return after, None

        rounds = nn.scan(one_round, variable_axes={"params": 0}, split_rngs={"params": True})
        module = layer_of(config)(config.message_width, dtype, name="layers")
        (nodes, edges), _ = rounds(module, (nodes, edges), jnp.arange(config.layers))
        nodes = nn.LayerNorm(dtype=dtype, name="norm")(nodes)
        layer, is_input, is_output = roles(self.template, graph)  # [node tiles] each
        keep = input_keep = None
        if config.mask in ("edges", "both"):
            # A fresh mask keeps everything: its logits are all `mask_bias`.
            edge_head = EdgeMLP(config.message_width, 1, dtype, nn.initializers.zeros, name="keep")
            # In float32: the limit and the noise that is added are finer than bfloat16.
            logit = config.mask_bias + edge_head(edges, nodes, tiles).astype(jnp.float32)
            keep = bounded(logit.reshape(-1), config.mask_limit)  # [E]
        if config.mask in ("inputs", "both"):
            hidden = nn.Dense(2 * config.node_width, dtype=dtype, name="input_hidden")(nodes)
            last = nn.Dense(1, kernel_init=nn.initializers.zeros, dtype=dtype, name="input_keep")
            logit = config.mask_bias + last(nn.relu(hidden))[:, 0].astype(jnp.float32)
            # [V]; nodes that are no inputs are kept.
            input_keep = jnp.where(
                jnp.repeat(is_input, TILE), bounded(logit, config.mask_limit), jnp.inf
            )
        n_nodes, n_edges = len(nodes), tiles.exists.size
        if not config.edit:
            zeros = jnp.zeros(n_nodes)
            return Proposal(jnp.zeros(n_edges), zeros, zeros, zeros, keep, input_keep)
        gamma = self.param("gamma", nn.initializers.constant(config.gamma), (), jnp.float32)
        delta = EdgeMLP(config.message_width, 1, dtype, name="delta")(edges, nodes, tiles)
        unit = scales.weight[kind_of(self.template, graph, tiles)]  # [T]
        weight = gamma * unit[:, None, None] * delta[..., 0].astype(jnp.float32)
        # [V, 3]: of bias, scale and shift, in units of the population's.
        deltas = nn.Dense(3, dtype=dtype, name="node_delta")(nodes).astype(jnp.float32)
        bias_unit = scales.bias[is_output.astype(jnp.int32)]  # [node tiles]
        graph_index = graph_of(graph.n_node, n_nodes)  # [V]
        # Neurons that have a scale and a shift: hidden ones of models with a layer norm.
        normed = (graph.globals["norm"] == NORMS.index("layer"))[graph_index]
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

    def _initial_states(
        self, graph: GraphsTuple, scales: Scales, tiles: Tiles, dtype: jnp.dtype
    ) -> tuple[jax.Array, jax.Array]:
        """INIT_v and INIT_e of eq. 20: [V, node_width] and [T, TILE, TILE, edge_width]."""
        config = self.config
        inputs = inputs_of(self.template, graph, scales)  # float32; Dense casts
        node, edge = inputs.node, inputs.edge
        if config.learned_probe:
            probe = LearnedProbe(config.learned_probe, self.template, name="learned_probe")
            of_nodes, of_edges = probe(graph)
            node = jnp.concatenate([node, of_nodes], -1)
            edge = jnp.concatenate([edge, of_edges], -1)
        first = nn.Dense(2 * config.node_width, dtype=dtype, name="init_nodes_hidden")(node)
        for name, index in zip(TYPES, inputs.types.T, strict=True):
            count = type_counts(self.template)[name]
            # A sum of embeddings is the product with the types as one-hot inputs, without zeros.
            first = first + nn.Embed(count, 2 * config.node_width, dtype=dtype, name=name)(index)
        nodes = nn.Dense(config.node_width, dtype=dtype, name="init_nodes")(nn.relu(first))
        # After the nodes: an edge's first state depends on its ends' first states.
        init_edges = EdgeMLP(config.message_width, config.edge_width, dtype, name="init_edges")
        return nodes, init_edges(edge, nodes, tiles)
