"""The editor's inputs of a batch: parameters in several normalisations, types, lambda."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metanet.editor.layers import (
    Tiles,
    at_sources,
    at_targets,
    sum_at_sources,
    sum_at_targets,
    tiles_of,
)
from metanet.graphs.batch import graph_of
from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.packing import Models
from metanet.graphs.topology import TILE, Template
from metanet.mlp.network import ACTIVATIONS
from metanet.mlp.spec import NORMS
from metanet.probes.statistics import LOG_STD, VALUE_LOG_STD

# Kinds of blocks, each with a scale of its own: leaves the inputs or not, enters the outputs or
# not, consecutive or skip.
N_KINDS = 8
# A node's types, in the order of `Inputs.types`; names of their embeddings.
TYPES = ("position", "activation", "normalisation")
# The type of every activation: the two forms of gelu are one, so that editors know both.
_TYPE_OF = tuple(ACTIVATIONS.index(name.removesuffix("_erf")) for name in ACTIVATIONS)
_SMALL = 1e-2  # in log(x + small): below it, a weight of typical size 1 counts as zero


class Scales(struct.PyTreeNode):
    """A population's units of inputs and edits: root mean squares of its parameters. float32.

    And, of an editor that imputes, the moments of the table that it was trained with.

    Attributes:
      weight: [N_KINDS];  bias: [2], of hidden and output neurons.
      scale: [], of a layer norm's scale minus 1;  shift: [].
      probe_node: [roles, 2, features], mean and standard deviation of the probe statistics of
        inputs, hidden and output neurons;  probe_edge, probe_graph: [2, features]. None without
        probes.
      input_mean, input_covariance: [features], [features, features]. None without imputation.
    """

    weight: jax.Array
    bias: jax.Array
    scale: jax.Array
    shift: jax.Array
    probe_node: jax.Array | None = None
    probe_edge: jax.Array | None = None
    probe_graph: jax.Array | None = None
    input_mean: jax.Array | None = None
    input_covariance: jax.Array | None = None


def roles(template: Template, graph: GraphsTuple) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Per node tile: its layer in the template, whether it is input, whether it is output."""
    slot = graph.nodes["slot"].reshape(-1, TILE)[:, 0] // TILE  # [node tiles]
    layer = jnp.asarray(template.layer_of_slot)[slot]
    return layer, layer == 0, layer == template.depth + 1


def kind_of(template: Template, graph: GraphsTuple, tiles: Tiles) -> jax.Array:
    """Per edge tile: its kind of block, [T] int32."""
    _, is_input, is_output = roles(template, graph)
    skip = graph.edges["skip"].reshape(-1, TILE**2)[:, 0]
    return 4 * is_input[tiles.source] + 2 * is_output[tiles.target] + skip


def _by_spec(
    models: Models, ids: np.ndarray
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]]:
    """For each spec among the models `ids`: (topology arrays by name, its models, their rows).

    Models of one spec are read together, since their tiles have the same meaning.

    Yields:
      role [node tiles] (0 input, 1 hidden, 2 output), exists [node tiles, TILE], kind [edge tiles],
      edge_exists [edge tiles, TILE, TILE] and layer_norm []; the rows [m] of `models`; and those of
      its node tiles [m, node tiles] and edge tiles [m, edge tiles]. Models with a parameter that is
      not finite are left out.
    """
    table = jax.tree.map(np.asarray, models.topologies)
    slot_layer, output = models.template.layer_of_slot, models.template.depth + 1
    spec_of = np.asarray(models.spec)[ids]
    for spec in np.unique(spec_of):
        nodes = slice(table.node_start[spec], table.node_start[spec] + table.n_nodes[spec])
        edges = slice(table.edge_start[spec], table.edge_start[spec] + table.n_edges[spec])
        layer, exists = slot_layer[table.slot[nodes]], table.exists[nodes]
        source, target = table.source[edges], table.target[edges]
        topology = {
            "role": np.where(layer == 0, 0, np.where(layer == output, 2, 1)),
            "exists": exists,
            "kind": 4 * (layer[source] == 0) + 2 * (layer[target] == output) + table.skip[edges],
            "edge_exists": exists[source][:, :, None] & exists[target][:, None, :],
            "layer_norm": table.norm[spec] == NORMS.index("layer"),
        }
        of_spec = ids[spec_of == spec]
        # A model's tiles are consecutive: [m, node tiles] and [m, edge tiles].
        node_rows = np.asarray(models.node_start)[of_spec][:, None] + np.arange(len(layer))
        edge_rows = np.asarray(models.edge_start)[of_spec][:, None] + np.arange(len(source))
        finite = np.isfinite(np.asarray(models.weight)[edge_rows]).all((1, 2, 3))
        for name in ("bias", "scale", "shift"):
            finite &= np.isfinite(np.asarray(getattr(models, name))[node_rows]).all((1, 2))
        yield topology, of_spec[finite], node_rows[finite], edge_rows[finite]


def scales_of(models: Models, ids: np.ndarray) -> Scales:
    """The scales of the models `ids`, usually the population's training split."""
    shapes = {"weight": (N_KINDS,), "bias": (2,), "scale": (), "shift": ()}
    sums = {name: np.zeros(shape) for name, shape in shapes.items()}  # of squares
    counts = {name: np.zeros(shape) for name, shape in shapes.items()}
    arrays = {k: np.asarray(getattr(models, k)) for k in sums}
    for topology, of_spec, rows, edge_rows in _by_spec(models, ids):
        exists, neuron = topology["exists"], topology["role"] > 0  # inputs have no bias
        # In float64: millions of squares. Padding is 0 and adds nothing. [edge tiles]
        squares = (arrays["weight"][edge_rows].astype(np.float64) ** 2).sum((0, 2, 3))
        np.add.at(sums["weight"], topology["kind"], squares)
        real = topology["edge_exists"].sum((1, 2)) * len(
            of_spec
        )  # weights that exist, [edge tiles]
        np.add.at(counts["weight"], topology["kind"], real)
        is_output = (topology["role"][neuron] == 2).astype(int)
        squares = (arrays["bias"][rows][:, neuron].astype(np.float64) ** 2).sum((0, 2))
        np.add.at(sums["bias"], is_output, squares)
        np.add.at(counts["bias"], is_output, exists[neuron].sum(1) * len(of_spec))
        if topology["layer_norm"]:
            hidden = exists & (topology["role"] == 1)[:, None]  # [node tiles, TILE]
            for name, centre in (("scale", 1.0), ("shift", 0.0)):
                sums[name] += ((arrays[name][rows][:, hidden] - centre) ** 2).sum()
                counts[name] += hidden.sum() * len(of_spec)

    def rms(name):
        # 1 where there is no such parameter; never 0, since inputs are divided by it.
        square = np.where(counts[name] > 0, sums[name] / np.maximum(counts[name], 1), 1.0)
        return jnp.asarray(np.sqrt(np.maximum(square, 1e-12)), jnp.float32)

    probe = {} if models.probe is None else _probe_scales(models, ids)
    return Scales(**{name: rms(name) for name in sums}, **probe)


def _probe_scales(models: Models, ids: np.ndarray) -> dict[str, jax.Array]:
    """`probe_node`, `probe_edge` and `probe_graph` of Scales."""
    node, edge, graph = map(np.asarray, vars(models.probe).values())
    totals = {  # count, sum and sum of squares: [..., 3, features] float64
        "probe_node": np.zeros((3, 3, node.shape[-1])),
        "probe_edge": np.zeros((3, edge.shape[-1])),
        "probe_graph": np.zeros((3, graph.shape[-1])),
    }

    def add(total, values):  # values [n, features]
        total += [np.full(total.shape[-1], len(values)), values.sum(0), (values**2).sum(0)]

    for topology, of_spec, rows, edge_rows in _by_spec(models, ids):
        role = np.where(topology["exists"], topology["role"][:, None], -1)  # [node tiles, TILE]
        for one in range(3):
            values = node[rows][:, role == one].reshape(-1, node.shape[-1])
            add(totals["probe_node"][one], values.astype(np.float64))
        values = edge[edge_rows][:, topology["edge_exists"]].reshape(-1, edge.shape[-1])
        add(totals["probe_edge"], values.astype(np.float64))
        add(totals["probe_graph"], graph[of_spec].astype(np.float64))

    def moments(total):
        count, first, second = np.moveaxis(total, -2, 0)
        mean = first / np.maximum(count, 1)
        # A difference of large numbers, and below 1e-10 rounding: such features are constant.
        variance = second / np.maximum(count, 1) - mean**2
        std = np.where(variance > 1e-10, np.sqrt(np.maximum(variance, 0)), 1.0)
        return jnp.asarray(np.stack([mean, std], axis=-2), jnp.float32)

    return {name: moments(total) for name, total in totals.items()}


class Inputs(struct.PyTreeNode):
    """The editor's inputs of a batch with V nodes and T edge tiles.

    Attributes:
      node: [V, 5 + requirements] float32, parameters in several normalisations and log10 of lambda;
        then probe statistics of the node and of the graph, if any.
      types: [V, 3] int32, positional type, activation and normalisation (see `type_counts`).
      edge: [T, TILE, TILE, 5] float32, weights in several normalisations; then probe statistics,
        if any.
    """

    node: jax.Array
    types: jax.Array
    edge: jax.Array


def type_counts(template: Template) -> dict[str, int]:
    """The number of types by kind (TYPES), one for inputs and outputs included."""
    counts = template.n_positions, max(_TYPE_OF) + 2, len(NORMS) + 1
    return dict(zip(TYPES, counts, strict=True))


def inputs_of(template: Template, graph: GraphsTuple, scales: Scales) -> Inputs:
    """The editor's inputs: functions of the graph and of `scales` alone."""
    tiles, n_nodes = tiles_of(graph), len(graph.nodes["slot"])
    weight = graph.edges["weight"].reshape(-1, TILE, TILE, 1)
    # In units of the model's block, so that a rescaled layer looks the same, and of the population.
    relative = weight / _block_rms(template, graph, tiles, weight)
    unit = scales.weight[kind_of(template, graph, tiles)][:, None, None, None]
    magnitude = jnp.abs(relative)
    skip = graph.edges["skip"].reshape(weight.shape).astype(weight.dtype)
    edge = [weight / unit, relative, magnitude, jnp.log(magnitude + _SMALL), skip]

    square = weight**2
    # [V, 1] each: of incoming and of outgoing weights.
    ends = [sum_at_targets(tiles, square, n_nodes), sum_at_sources(tiles, square, n_nodes)]
    layer, _, is_output = roles(template, graph)
    bias_unit = jnp.repeat(scales.bias[is_output.astype(jnp.int32)], TILE)  # [V]
    graph_index = graph_of(graph.n_node, n_nodes)  # [V]
    node = [  # [V, features] each
        (graph.nodes["bias"] / bias_unit)[:, None],
        ((graph.nodes["scale"] - 1.0) / scales.scale)[:, None],
        (graph.nodes["shift"] / scales.shift)[:, None],
        *[jnp.log(jnp.sqrt(total) + _SMALL) for total in ends],
        graph.globals["log10_lambda"][graph_index] + 2.0,  # around 0 for the usual lambdas
    ]
    if "probe" in graph.nodes:
        if scales.probe_node is None or scales.probe_edge is None or scales.probe_graph is None:
            raise ValueError("scales: found none of probe statistics, expected those of the editor")
        of_nodes, of_edges = _probe_inputs(
            graph, scales.probe_node, scales.probe_edge, tiles, weight, layer, is_output
        )
        of_graphs = _standardised(graph.globals["probe"], scales.probe_graph)  # [G + 1, features]
        node += [of_nodes, of_graphs[graph_index]]
        edge += [of_edges]
    # Functional types belong to hidden neurons; inputs and outputs have none.
    hidden = jnp.repeat((layer > 0) & ~is_output, TILE)
    activation = jnp.asarray(_TYPE_OF)[graph.globals["activation"]]  # [G + 1]
    types = [
        jnp.asarray(template.position).reshape(-1)[graph.nodes["slot"]],
        jnp.where(hidden, activation[graph_index], max(_TYPE_OF) + 1),
        jnp.where(hidden, graph.globals["norm"][graph_index], len(NORMS)),
    ]
    return Inputs(jnp.concatenate(node, -1), jnp.stack(types, -1), jnp.concatenate(edge, -1))


def _standardised(values: jax.Array, scales: jax.Array) -> jax.Array:
    """(values - mean) / standard deviation, within 5: [..., features] of the shape of `values`.

    scales: [2, features], or [..., 2, features] with an entry for each of `values`.
    """
    if scales.ndim == 2:
        scales = scales.reshape((1,) * (values.ndim - 1) + scales.shape)
    mean, std = scales[..., 0, :], scales[..., 1, :]
    # Outliers, as the logarithm of a dead neuron's variance, would drown all others.
    return jnp.clip((values - mean) / std, -5.0, 5.0)


def _probe_inputs(
    graph: GraphsTuple,
    node_scales: jax.Array,
    edge_scales: jax.Array,
    tiles: Tiles,
    weight: jax.Array,
    layer: jax.Array,
    is_output: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Of nodes [V, features], and of edges [T, TILE, TILE, features + 1].

    An edge's last feature is its part in the spread at its target: w sd(source) / sd(target).
    """
    values = graph.nodes["probe"]  # [V, features]
    role = jnp.where(layer == 0, 0, jnp.where(is_output, 2, 1))  # [node tiles]
    of_nodes = _standardised(values, node_scales[jnp.repeat(role, TILE)])
    # Of a source after its activation, of a target before its norm: the weight is between the two.
    std = jnp.exp(values[:, [LOG_STD, VALUE_LOG_STD]])  # [V, 2]; the statistics are logarithms
    source, target = at_sources(tiles, std[:, :1]), at_targets(tiles, std[:, 1:])
    part = jnp.clip(weight * source / jnp.maximum(target, 1e-3), -5.0, 5.0)  # [T, TILE, TILE, 1]
    of_edges = graph.edges["probe"].reshape(*weight.shape[:3], -1)
    return of_nodes, jnp.concatenate([_standardised(of_edges, edge_scales), part], -1)


def _block_rms(
    template: Template, graph: GraphsTuple, tiles: Tiles, weight: jax.Array
) -> jax.Array:
    """The root mean square of the block that an edge tile belongs to: [T, 1, 1, 1]."""
    n_layers = template.depth + 2
    layer, _, _ = roles(template, graph)
    graph_index = graph_of(graph.n_edge // TILE**2, len(weight))  # [T]
    # A number for every pair of layers of every graph: [T]
    block = (graph_index * n_layers + layer[tiles.source]) * n_layers + layer[tiles.target]
    n_blocks = len(graph.n_node) * n_layers**2
    square = jax.ops.segment_sum((weight**2).sum((1, 2, 3)), block, n_blocks)
    count = jax.ops.segment_sum(tiles.exists.sum((1, 2, 3)), block, n_blocks)
    rms = jnp.sqrt(square / jnp.maximum(count, 1.0))
    return jnp.maximum(rms, 1e-6)[block][:, None, None, None]
