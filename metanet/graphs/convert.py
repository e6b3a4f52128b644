"""Parameters to graphs and back, bit for bit.

`pack` lays many models of many specs out in flat tile arrays (once, on the host); `gather` makes a
padded jraph.GraphsTuple of any of them (inside jit); `to_template` gives the same models as padded
adjacency matrices; `unpack` returns to parameters.
"""

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from flax import struct

from metanet.graphs.probes import ProbeTiles
from metanet.graphs.template import PaddedMLP
from metanet.graphs.tiling import from_tiles, layer_tiles, to_tiles
from metanet.graphs.topology import TILE, Template, template_of, tiles, topology_of
from metanet.mlp.network import MLPParams
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec


@struct.dataclass
class Topologies:
    """The topologies of S specs, one after the other; fields as in topology.Topology.

    Attributes:
      n_edges, n_nodes: [S] int32, in tiles.
      edge_start, node_start: [S] int32, where a spec's tiles begin.
      source, target: [edge tiles] int32;  skip: [edge tiles] bool.
      slot: [node tiles] int32;  exists: [node tiles, TILE] bool.
      norm: [S] int32.
    """

    n_edges: jax.Array
    n_nodes: jax.Array
    edge_start: jax.Array
    node_start: jax.Array
    source: jax.Array
    target: jax.Array
    skip: jax.Array
    slot: jax.Array
    exists: jax.Array
    norm: jax.Array


@struct.dataclass
class Models:
    """The parameters of M models of S specs, one model after the other.

    Attributes:
      weight: [edge tiles, TILE, TILE] float32, source by target.
      bias, scale, shift: [node tiles, TILE] float32; scale is 1 and shift 0 without a layer norm.
      spec: [M] int32, into `topologies`.
      activation: [M] int32.
      edge_start, node_start: [M] int32, where a model's tiles begin.
      probe: what the models do on a probe table, or None.
    """

    weight: jax.Array
    bias: jax.Array
    scale: jax.Array
    shift: jax.Array
    spec: jax.Array
    activation: jax.Array
    edge_start: jax.Array
    node_start: jax.Array
    topologies: Topologies
    template: Template = struct.field(pytree_node=False)
    probe: ProbeTiles | None = None


def pack(stacks: list[Stack], template: Template | None = None) -> Models:
    """All models of `stacks`, in their order; the template is theirs unless one is given.

    Raises:
      ValueError: the stacks do not share outputs, or do not fit `template`.
    """
    needed = template_of([stack.spec for stack in stacks])
    template = template or needed
    larger = [getattr(needed, k) > getattr(template, k) for k in ("n_in", "depth", "width")]
    if needed.n_out != template.n_out or any(larger):
        raise ValueError(f"stacks: found models that need {needed}, expected to fit {template}")
    topologies = [topology_of(stack.spec, template) for stack in stacks]
    parts = [parameter_tiles(s.spec, jax.tree.map(np.asarray, s.params)) for s in stacks]
    n_edges = np.array([len(t.source) for t in topologies], np.int32)
    n_nodes = np.array([len(t.slot) for t in topologies], np.int32)
    spec_of = np.repeat(np.arange(len(stacks)), [len(s.activation) for s in stacks])

    def starts(sizes):
        return (np.cumsum(sizes) - sizes).astype(np.int32)

    def joined(name):
        return jnp.asarray(np.concatenate([getattr(t, name) for t in topologies]))

    return Models(
        **{k: jnp.asarray(np.concatenate([part[k] for part in parts])) for k in parts[0]},
        spec=jnp.asarray(spec_of.astype(np.int32)),
        activation=jnp.asarray(np.concatenate([s.activation for s in stacks]).astype(np.int32)),
        edge_start=jnp.asarray(starts(n_edges[spec_of])),
        node_start=jnp.asarray(starts(n_nodes[spec_of])),
        topologies=Topologies(
            n_edges=jnp.asarray(n_edges),
            n_nodes=jnp.asarray(n_nodes),
            edge_start=jnp.asarray(starts(n_edges)),
            node_start=jnp.asarray(starts(n_nodes)),
            **{k: joined(k) for k in ("source", "target", "skip", "slot", "exists")},
            norm=jnp.asarray(np.array([t.norm for t in topologies], np.int32)),
        ),
        template=template,
    )


def parameter_tiles(spec: MLPSpec, params: MLPParams) -> dict[str, jax.Array]:
    """`weight`, `bias`, `scale` and `shift` of Models for M models of one spec; may be traced."""
    xp, count = params.weights[0].__array_namespace__(), len(params.weights[0])
    blocks = [to_tiles(leaf) for leaf in params.weights]
    found = {"weight": xp.concatenate(blocks, axis=1).reshape(-1, TILE, TILE)}
    for name, leaves, fill in (
        ("bias", params.biases, 0.0),
        ("scale", params.scales, 1.0),
        ("shift", params.shifts, 0.0),
    ):
        by_layer = dict(zip(range(1, spec.n_layers + 1), leaves, strict=False))
        parts = [
            layer_tiles(by_layer.get(k, xp.full((count, width), fill)), fill)
            for k, width in enumerate(spec.widths)
        ]
        found[name] = xp.concatenate(parts, axis=1).reshape(-1, TILE)
    return found


def unpack(models: Models, specs: list[MLPSpec]) -> list[Stack]:
    """The inverse of `pack`; `specs` in the order of the stacks that were packed."""
    arrays = {k: np.asarray(getattr(models, k)) for k in ("weight", "bias", "scale", "shift")}
    spec_of, activation = np.asarray(models.spec), np.asarray(models.activation)
    stacks, edge, node = [], 0, 0
    for number, spec in enumerate(specs):
        count = int((spec_of == number).sum())
        n_edges = int(models.topologies.n_edges[number])
        n_nodes = int(models.topologies.n_nodes[number])
        grid = arrays["weight"][edge : edge + count * n_edges]
        grid = grid.reshape(count, n_edges, TILE, TILE)
        weights, position = [], 0
        for s, t in spec.blocks:
            rows, columns = spec.widths[s], spec.widths[t]
            size = tiles(rows) * tiles(columns)
            weights.append(from_tiles(grid[:, position : position + size], rows, columns))
            position += size

        def by_layer(name, layers, node=node, count=count, n_nodes=n_nodes, spec=spec):
            flat = arrays[name][node : node + count * n_nodes].reshape(count, -1)
            first = np.cumsum([0, *[tiles(width) * TILE for width in spec.widths]])
            return tuple(flat[:, first[k] : first[k] + spec.widths[k]] for k in layers)

        normed = spec.hidden if spec.norm == "layer" else ()
        params = MLPParams(
            weights=tuple(weights),
            biases=by_layer("bias", range(1, spec.n_layers + 1)),
            scales=by_layer("scale", normed),
            shifts=by_layer("shift", normed),
        )
        stacks.append(Stack(spec, params, activation[spec_of == number]))
        edge, node = edge + count * n_edges, node + count * n_nodes
    return stacks


def _place(counts: jax.Array, budget: int) -> tuple[jax.Array, jax.Array]:
    """Which graph, and which of its tiles, lies at each of `budget` places: [budget] int32 each.

    Places past the last graph belong to graph number len(counts).
    """
    ends = jnp.cumsum(counts)
    place = jnp.arange(budget)
    graph = jnp.searchsorted(ends, place, side="right", method="compare_all")
    begins = jnp.concatenate([ends - counts, ends[-1:]])
    return graph, place - begins[graph]


def gather(
    models: Models, ids: jax.Array, preference: jax.Array, budget: tuple[int, int]
) -> jraph.GraphsTuple:
    """A padded batch of models as graphs.

    Args:
      ids: [G] int32 rows of `models`; -1 for none (an empty graph).
      preference: [G, requirements] float32, log10 of each requirement's weight lambda.
      budget: (node tiles, edge tiles) that hold any G graphs that will be asked for.

    Returns:
      G + 1 graphs, the last of which is padding, with V = (node tiles + 1) * TILE nodes and
      E = edge tiles * TILE^2 edges in tiles (TILE sources by TILE targets), by jraph's conventions:
        nodes: bias, scale, shift [V] float32; slot [V] int32, the node's place in the template;
          exists [V] bool.
        edges: weight [E] float32; skip [E] bool; exists [E] bool.
        globals: activation, norm [G + 1] int32; preference [G + 1, requirements].
      With `models.probe`, nodes, edges and globals have its statistics under "probe": [V, ...],
      [E, ...] and [G + 1, ...].
    """
    table, spec = models.topologies, models.spec[ids]
    present = ids >= 0
    n_nodes = jnp.where(present, table.n_nodes[spec], 0)
    n_edges = jnp.where(present, table.n_edges[spec], 0)
    node_budget, edge_budget = budget

    def lookup(graph, local, model_start, spec_start):
        real = graph < len(ids)
        graph = jnp.minimum(graph, len(ids) - 1)
        return real, model_start[ids[graph]] + local, spec_start[spec[graph]] + local

    graph, local = _place(n_nodes, node_budget + 1)
    real, row, static = lookup(graph, local, models.node_start, table.node_start)
    offsets = jnp.concatenate([jnp.cumsum(n_nodes) - n_nodes, n_nodes.sum()[None]])
    exists = table.exists[static] & real[:, None]
    slot = (table.slot[static] * TILE)[:, None] + jnp.arange(TILE)[None]
    nodes = {
        "bias": jnp.where(real[:, None], models.bias[row], 0.0),
        "scale": jnp.where(real[:, None], models.scale[row], 1.0),
        "shift": jnp.where(real[:, None], models.shift[row], 0.0),
        "slot": jnp.where(real[:, None], slot, 0),
        "exists": exists,
    }
    probe = models.probe
    if probe is not None:
        nodes["probe"] = jnp.where(real[:, None, None], probe.node[row], 0.0)
    graph, local = _place(n_edges, edge_budget)
    real, row, static = lookup(graph, local, models.edge_start, table.edge_start)
    source = jnp.where(real, offsets[graph] + table.source[static], node_budget)
    target = jnp.where(real, offsets[graph] + table.target[static], node_budget)
    weight = jnp.where(real[:, None, None], models.weight[row], 0.0)
    edges = {
        "weight": weight,
        "skip": jnp.broadcast_to((table.skip[static] & real)[:, None, None], weight.shape),
        "exists": exists[source][:, :, None] & exists[target][:, None, :],
    }
    of_graph = {
        "activation": jnp.where(present, models.activation[ids], 0),
        "norm": jnp.where(present, table.norm[spec], 0),
        "preference": preference,
    }
    if probe is not None:
        edges["probe"] = jnp.where(real[:, None, None, None], probe.edge[row], 0.0)
        of_graph["probe"] = jnp.where(present[:, None], probe.graph[ids], 0.0)
    ends = jnp.arange(TILE)
    senders = (source * TILE)[:, None, None] + ends[None, :, None] + 0 * ends[None, None, :]
    receivers = (target * TILE)[:, None, None] + 0 * ends[None, :, None] + ends[None, None, :]

    def with_padding(values, last):
        return jnp.concatenate([values, last])

    def flat(tree, axes):  # the first `axes` become one
        return {k: leaf.reshape(-1, *leaf.shape[axes:]) for k, leaf in tree.items()}

    return jraph.GraphsTuple(
        nodes=flat(nodes, 2),
        edges=flat(edges, 3),
        senders=senders.reshape(-1),
        receivers=receivers.reshape(-1),
        n_node=TILE * with_padding(n_nodes, (node_budget + 1 - n_nodes.sum())[None]),
        n_edge=TILE**2 * with_padding(n_edges, (edge_budget - n_edges.sum())[None]),
        globals={
            k: jnp.pad(leaf, ((0, 1), *[(0, 0)] * (leaf.ndim - 1))) for k, leaf in of_graph.items()
        },
    )


def graph_of(sizes: jax.Array, total: int) -> jax.Array:
    """The graph that each node (or edge) belongs to: [total] int32 from [graphs] sizes."""
    return jnp.repeat(jnp.arange(len(sizes)), sizes, total_repeat_length=total)


def edge_matrix(template: Template, graph: jraph.GraphsTuple, values: jax.Array) -> jax.Array:
    """Edge values [E] as adjacency matrices [G, sources, targets] of the G real graphs."""
    n_graphs = len(graph.n_node) - 1
    grid = values.reshape(-1, TILE, TILE)
    owner = graph_of(graph.n_edge // TILE**2, len(grid))
    first = graph.senders.reshape(-1, TILE**2)[:, 0]
    last = graph.receivers.reshape(-1, TILE**2)[:, 0]
    source = graph.nodes["slot"][first] // TILE
    target = graph.nodes["slot"][last] // TILE - tiles(template.n_in)
    shape = (n_graphs, template.n_sources, template.n_targets, TILE, TILE)
    # Padding has owner n_graphs, which is out of range and dropped.
    matrix = jnp.zeros(shape, values.dtype).at[owner, source, target].set(grid, mode="drop")
    matrix = matrix.transpose(0, 1, 3, 2, 4)
    return matrix.reshape(n_graphs, template.n_sources * TILE, template.n_targets * TILE)


def _by_slot(template, graph, values):
    """Node values [V] by template node: [G, slots * TILE]."""
    n_graphs = len(graph.n_node) - 1
    grid = values.reshape(-1, TILE)
    owner = graph_of(graph.n_node // TILE, len(grid))
    slot = graph.nodes["slot"].reshape(-1, TILE)[:, 0] // TILE
    shape = (n_graphs, template.n_slots, TILE)
    vector = jnp.zeros(shape, values.dtype).at[owner, slot].set(grid, mode="drop")
    return vector.reshape(n_graphs, -1)


def node_vector(template: Template, graph: jraph.GraphsTuple, values: jax.Array) -> jax.Array:
    """Node values [V] as vectors [G, targets] of the G real graphs; inputs are left out."""
    return _by_slot(template, graph, values)[:, tiles(template.n_in) * TILE :]


def input_vector(template: Template, graph: jraph.GraphsTuple, values: jax.Array) -> jax.Array:
    """Node values [V] of the inputs as vectors [G, features] of the G real graphs."""
    return _by_slot(template, graph, values)[:, : template.n_in]


def source_vector(template: Template, graph: jraph.GraphsTuple, values: jax.Array) -> jax.Array:
    """Node values [V] as vectors [G, sources] of the G real graphs; outputs are left out."""
    return _by_slot(template, graph, values)[:, : template.n_sources * TILE]


def to_template(template: Template, graph: jraph.GraphsTuple) -> PaddedMLP:
    """The G real graphs of a batch in their template: every leaf has a leading axis [G]."""
    return PaddedMLP(
        weight=edge_matrix(template, graph, graph.edges["weight"]),
        edge=edge_matrix(template, graph, graph.edges["exists"]),
        **{k: node_vector(template, graph, graph.nodes[k]) for k in ("bias", "scale", "shift")},
        node=node_vector(template, graph, graph.nodes["exists"]),
        activation=graph.globals["activation"][:-1],
        norm=graph.globals["norm"][:-1],
    )
