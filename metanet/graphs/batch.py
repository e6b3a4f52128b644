"""Packed models as padded GraphsTuples and as adjacency matrices, inside jit."""

import jax
import jax.numpy as jnp

from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.packing import Models
from metanet.graphs.padded import PaddedMLP
from metanet.graphs.topology import TILE, Template, tiles


def _graph_and_tile(counts: jax.Array, budget: int) -> tuple[jax.Array, jax.Array]:
    """The graph that each of `budget` tiles belongs to, and its index in that graph: [budget] each.

    Args:
      counts: [G] int32, tiles per graph. Tiles past the last graph's belong to graph G.
    """
    ends = jnp.cumsum(counts)  # [G]
    tile = jnp.arange(budget)
    # Comparing all pairs is faster than bisecting: G is a few dozen. "right": empty graphs, whose
    # end is their begin, get no tile.
    graph = jnp.searchsorted(ends, tile, side="right", method="compare_all")
    begins = jnp.concatenate([ends - counts, ends[-1:]])  # [G + 1]
    return graph, tile - begins[graph]


def gather(
    models: Models, ids: jax.Array, log10_lambda: jax.Array, budget: tuple[int, int]
) -> GraphsTuple:
    """A padded batch of models as graphs.

    Args:
      ids: [G] int32 rows of `models`; -1 for none (an empty graph).
      log10_lambda: [G, requirements] float32, log10 of each requirement's weight lambda.
      budget: (node tiles, edge tiles) that hold any G graphs that will be asked for.

    Returns:
      G + 1 graphs, the last of which is padding, with V = (node tiles + 1) * TILE nodes and
      E = edge tiles * TILE^2 edges in tiles (TILE sources by TILE targets), by jraph's conventions:
        nodes: bias, scale, shift [V] float32; slot [V] int32, the node in the template;
          exists [V] bool.
        edges: weight [E] float32; skip [E] bool; exists [E] bool.
        globals: activation, norm [G + 1] int32; log10_lambda [G + 1, requirements].
      With `models.probe`, nodes, edges and globals have its statistics under "probe": [V, ...],
      [E, ...] and [G + 1, ...].
    """
    table, spec = models.topologies, models.spec[ids]  # [G] specs; -1 reads the last one's
    present = ids >= 0
    n_nodes = jnp.where(present, table.n_nodes[spec], 0)  # [G], in tiles
    n_edges = jnp.where(present, table.n_edges[spec], 0)
    node_budget, edge_budget = budget

    def rows_of(graph, local, model_start, spec_start):
        """Whether tiles belong to a graph, and their rows in `models` and `table`: [tiles] each."""
        real = graph < len(ids)
        graph = jnp.minimum(graph, len(ids) - 1)  # in range; what padding reads is replaced below
        return real, model_start[ids[graph]] + local, spec_start[spec[graph]] + local

    # One node tile more than the budget: padding edges need a node to lie at, even in a full batch.
    graph, local = _graph_and_tile(n_nodes, node_budget + 1)
    real, row, static = rows_of(graph, local, models.node_start, table.node_start)
    offsets = jnp.concatenate([jnp.cumsum(n_nodes) - n_nodes, n_nodes.sum()[None]])  # [G + 1]
    exists = table.exists[static] & real[:, None]  # [node tiles + 1, TILE]
    slot = (table.slot[static] * TILE)[:, None] + jnp.arange(TILE)[None]
    nodes = {  # [node tiles + 1, TILE] each
        "bias": jnp.where(real[:, None], models.bias[row], 0.0),
        "scale": jnp.where(real[:, None], models.scale[row], 1.0),
        "shift": jnp.where(real[:, None], models.shift[row], 0.0),
        "slot": jnp.where(real[:, None], slot, 0),
        "exists": exists,
    }
    probe = models.probe
    if probe is not None:
        nodes["probe"] = jnp.where(real[:, None, None], probe.node[row], 0.0)
    graph, local = _graph_and_tile(n_edges, edge_budget)
    real, row, static = rows_of(graph, local, models.edge_start, table.edge_start)
    # [edge tiles], by node tile of the batch; padding leaves and enters the last, which is empty.
    source = jnp.where(real, offsets[graph] + table.source[static], node_budget)
    target = jnp.where(real, offsets[graph] + table.target[static], node_budget)
    weight = jnp.where(real[:, None, None], models.weight[row], 0.0)  # [edge tiles, TILE, TILE]
    edges = {
        "weight": weight,
        "skip": jnp.broadcast_to((table.skip[static] & real)[:, None, None], weight.shape),
        "exists": exists[source][:, :, None] & exists[target][:, None, :],
    }
    of_graph = {  # [G, ...] each
        "activation": jnp.where(present, models.activation[ids], 0),
        "norm": jnp.where(present, table.norm[spec], 0),
        "log10_lambda": log10_lambda,
    }
    if probe is not None:
        edges["probe"] = jnp.where(real[:, None, None, None], probe.edge[row], 0.0)
        of_graph["probe"] = jnp.where(present[:, None], probe.graph[ids], 0.0)
    ends = jnp.arange(TILE)
    # [edge tiles, TILE, TILE], source by target; the zeros broadcast, which must be explicit.
    senders = (source * TILE)[:, None, None] + ends[None, :, None] + 0 * ends[None, None, :]
    receivers = (target * TILE)[:, None, None] + 0 * ends[None, :, None] + ends[None, None, :]

    def with_padding(values, last):
        return jnp.concatenate([values, last])

    def flat(tree, axes):  # the first `axes` become one
        return {k: leaf.reshape(-1, *leaf.shape[axes:]) for k, leaf in tree.items()}

    return GraphsTuple(
        nodes=flat(nodes, 2),  # [V, ...]
        edges=flat(edges, 3),  # [E, ...]
        senders=senders.reshape(-1),
        receivers=receivers.reshape(-1),
        n_node=TILE * with_padding(n_nodes, (node_budget + 1 - n_nodes.sum())[None]),
        n_edge=TILE**2 * with_padding(n_edges, (edge_budget - n_edges.sum())[None]),
        globals={  # [G + 1, ...], 0 for the padding graph
            k: jnp.pad(leaf, ((0, 1), *[(0, 0)] * (leaf.ndim - 1))) for k, leaf in of_graph.items()
        },
    )


def graph_of(sizes: jax.Array, total: int) -> jax.Array:
    """The graph that each node (or edge) belongs to: [total] int32 from [graphs] sizes."""
    return jnp.repeat(jnp.arange(len(sizes)), sizes, total_repeat_length=total)


def edge_matrix(template: Template, graph: GraphsTuple, values: jax.Array) -> jax.Array:
    """Edge values [E] as adjacency matrices [G, sources, targets] of the G real graphs."""
    n_graphs = len(graph.n_node) - 1
    grid = values.reshape(-1, TILE, TILE)  # [edge tiles, source, target]
    shape = (n_graphs, template.n_sources, template.n_targets, TILE, TILE)
    # Padding belongs to graph n_graphs, which is out of range and dropped.
    where = _places_of_edges(template, graph)
    matrix = jnp.zeros(shape, values.dtype).at[where].set(grid, mode="drop")
    # Tiles are the unit of the scatter, so that their axes come last; in a matrix they interleave.
    matrix = matrix.transpose(0, 1, 3, 2, 4)  # [G, sources, TILE, targets, TILE]
    return matrix.reshape(n_graphs, template.n_sources * TILE, template.n_targets * TILE)


def edge_values(template: Template, graph: GraphsTuple, matrix: jax.Array) -> jax.Array:
    """The inverse of `edge_matrix`: values [E], 0 for padding."""
    shape = (len(matrix), template.n_sources, TILE, template.n_targets, TILE)
    blocks = matrix.reshape(shape).transpose(0, 1, 3, 2, 4)  # as in `edge_matrix`
    return blocks.at[_places_of_edges(template, graph)].get(mode="fill", fill_value=0).reshape(-1)


def _places_of_edges(template: Template, graph: GraphsTuple) -> tuple[jax.Array, ...]:
    """The graph, source tile and target tile of every edge tile: [edge tiles] each."""
    first = graph.senders.reshape(-1, TILE**2)[:, 0]  # a node of the source tile
    last = graph.receivers.reshape(-1, TILE**2)[:, 0]
    graph_index = graph_of(graph.n_edge // TILE**2, len(first))
    source = graph.nodes["slot"][first] // TILE
    target = graph.nodes["slot"][last] // TILE - tiles(template.n_in)  # inputs are no targets
    return graph_index, source, target


def _by_slot(template: Template, graph: GraphsTuple, values: jax.Array) -> jax.Array:
    """Node values [V] by template node: [G, slots * TILE]."""
    n_graphs = len(graph.n_node) - 1
    grid = values.reshape(-1, TILE)  # [node tiles, TILE]
    shape = (n_graphs, template.n_slots, TILE)
    vector = jnp.zeros(shape, values.dtype).at[_places_of_nodes(graph)].set(grid, mode="drop")
    return vector.reshape(n_graphs, -1)


def _places_of_nodes(graph: GraphsTuple) -> tuple[jax.Array, jax.Array]:
    """The graph and slot of every node tile: [node tiles] each."""
    slot = graph.nodes["slot"].reshape(-1, TILE)[:, 0] // TILE
    return graph_of(graph.n_node // TILE, len(slot)), slot


def node_vector(template: Template, graph: GraphsTuple, values: jax.Array) -> jax.Array:
    """Node values [V] as vectors [G, targets] of the G real graphs; inputs are left out."""
    return _by_slot(template, graph, values)[:, tiles(template.n_in) * TILE :]


def node_values(template: Template, graph: GraphsTuple, vector: jax.Array) -> jax.Array:
    """The inverse of `node_vector`: values [V], 0 for inputs and padding."""
    return slot_values(graph, jnp.pad(vector, ((0, 0), (tiles(template.n_in) * TILE, 0))))


def slot_values(graph: GraphsTuple, by_slot: jax.Array) -> jax.Array:
    """Values by template node [G, slots * TILE, ...] at the nodes: [V, ...], 0 for padding."""
    grid = by_slot.reshape(len(by_slot), -1, TILE, *by_slot.shape[2:])
    found = grid.at[_places_of_nodes(graph)].get(mode="fill", fill_value=0)
    return found.reshape(-1, *by_slot.shape[2:])


def input_vector(template: Template, graph: GraphsTuple, values: jax.Array) -> jax.Array:
    """Node values [V] of the inputs as vectors [G, features] of the G real graphs."""
    return _by_slot(template, graph, values)[:, : template.n_in]


def source_vector(template: Template, graph: GraphsTuple, values: jax.Array) -> jax.Array:
    """Node values [V] as vectors [G, sources] of the G real graphs; outputs are left out."""
    return _by_slot(template, graph, values)[:, : template.n_sources * TILE]


def to_template(template: Template, graph: GraphsTuple) -> PaddedMLP:
    """The G real graphs of a batch in their template: every leaf has a leading axis [G]."""
    return PaddedMLP(
        weight=edge_matrix(template, graph, graph.edges["weight"]),
        edge=edge_matrix(template, graph, graph.edges["exists"]),
        **{k: node_vector(template, graph, graph.nodes[k]) for k in ("bias", "scale", "shift")},
        node=node_vector(template, graph, graph.nodes["exists"]),
        activation=graph.globals["activation"][:-1],
        norm=graph.globals["norm"][:-1],
    )
