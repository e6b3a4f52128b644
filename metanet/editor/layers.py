"""Bidirectional message passing over graphs whose edges come in tiles (see graphs.topology)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
from flax import struct

from metanet.graphs.topology import TILE

CHUNK_BYTES = 2**18  # of a hidden layer: all that a chunk needs stays in a core's own cache


@struct.dataclass
class Tiles:
    """The structure of a batch in tiles, as every layer needs it; T edge tiles, N node tiles.

    Attributes:
      source, target: [T] int32, node tiles.
      exists: [T, TILE, TILE, 1] float32, 0 for padding.
    """

    source: jax.Array
    target: jax.Array
    exists: jax.Array


def tiles_of(graph: jraph.GraphsTuple) -> Tiles:
    """The tiles of a batch from `graphs.batch.gather`."""
    exists = graph.edges["exists"].reshape(-1, TILE, TILE, 1)
    first = (0, 0)
    return Tiles(
        source=graph.senders.reshape(-1, TILE, TILE)[:, *first] // TILE,
        target=graph.receivers.reshape(-1, TILE, TILE)[:, *first] // TILE,
        exists=exists.astype(jnp.float32),
    )


def at_sources(tiles: Tiles, values: jax.Array) -> jax.Array:
    """Node values [N * TILE, F] at every edge's source: [T, TILE, 1, F], to broadcast."""
    grid = values.reshape(-1, TILE * values.shape[-1])
    return grid[tiles.source].reshape(-1, TILE, 1, values.shape[-1])


def at_targets(tiles: Tiles, values: jax.Array) -> jax.Array:
    """Node values [N * TILE, F] at every edge's target: [T, 1, TILE, F], to broadcast."""
    grid = values.reshape(-1, TILE * values.shape[-1])
    return grid[tiles.target].reshape(-1, 1, TILE, values.shape[-1])


def sum_at_targets(tiles: Tiles, messages: jax.Array, n_nodes: int) -> jax.Array:
    """Messages [T, TILE, TILE, F] summed over every node's incoming edges: [n_nodes, F]."""
    return _sum(messages.sum(1), tiles.target, n_nodes)


def sum_at_sources(tiles: Tiles, messages: jax.Array, n_nodes: int) -> jax.Array:
    """Messages [T, TILE, TILE, F] summed over every node's outgoing edges: [n_nodes, F]."""
    return _sum(messages.sum(2), tiles.source, n_nodes)


def _sum(partial, index, n_nodes):
    width = partial.shape[-1]
    total = jax.ops.segment_sum(
        partial.reshape(-1, TILE * width), index, num_segments=n_nodes // TILE
    )
    return total.reshape(n_nodes, width)


def over_chunks(function, tiles: Tiles, width: int, *arrays: jax.Array):
    """function(exists, *arrays), all [T, ...], computed for chunks of edge tiles on CPU.

    What is slow there is to move hidden layers, by far the largest arrays, through memory. So they
    never exist as a whole: a chunk's array of `width` features takes about CHUNK_BYTES, stays in a
    core's own cache, and is computed again in the backward pass. Other devices take all tiles at
    once.
    """
    arrays = (tiles.exists.astype(arrays[0].dtype), *arrays)
    n_tiles = len(tiles.source)
    count = -(-n_tiles * TILE**2 * width * 4 // CHUNK_BYTES)
    if jax.default_backend() != "cpu" or count == 1:
        return function(*arrays)
    size = -(-n_tiles // count)

    def split(leaf):
        padded = jnp.pad(leaf, ((0, count * size - n_tiles), *[(0, 0)] * (leaf.ndim - 1)))
        return padded.reshape(count, size, *leaf.shape[1:])

    chunk = jax.checkpoint(lambda part: function(*part), prevent_cse=False)
    outputs = jax.lax.map(chunk, jax.tree.map(split, arrays))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:n_tiles], outputs)


def _per_edge(edges, kernel):
    # One long product; of four axes it would be many small ones.
    return (edges.reshape(-1, edges.shape[-1]) @ kernel).reshape(*edges.shape[:3], -1)


class Kernel(nn.Module):
    """A dense layer's parameters, [n_in, n_out] and [n_out], for what applies them itself."""

    n_in: int
    n_out: int
    dtype: jnp.dtype
    init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        kernel = self.param("kernel", self.init, (self.n_in, self.n_out), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.n_out,), jnp.float32)
        return kernel.astype(self.dtype), bias.astype(self.dtype)


class EdgeMLP(nn.Module):
    """relu(W_e e + (W_s h)[source] + (W_t h)[target]), then a linear map: [T, TILE, TILE, out].

    An MLP of the concatenation [e, h_source, h_target] whose first layer does its node part once
    per node instead of once per edge. `last` initialises the last kernel.
    """

    hidden: int
    out: int
    dtype: jnp.dtype
    last: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, edges: jax.Array, nodes: jax.Array, tiles: Tiles) -> jax.Array:
        at_ends = nn.Dense(2 * self.hidden, use_bias=False, dtype=self.dtype, name="ends")(nodes)
        source, target = jnp.split(at_ends, 2, axis=-1)
        edges = edges.astype(self.dtype)
        kernel, bias = Kernel(edges.shape[-1], self.hidden, self.dtype, name="edge")()
        last, shift = Kernel(self.hidden, self.out, self.dtype, self.last, name="last")()

        def mlp(_, edges, source, target):
            return _per_edge(nn.relu(_per_edge(edges, kernel) + source + target), last)

        ends = at_sources(tiles, source + bias[None]), at_targets(tiles, target)
        return over_chunks(mlp, tiles, self.hidden, edges, *ends) + shift[None, None, None]


class Layer(nn.Module):
    """One round: forward and backward messages, then nodes and edges are updated (paper A.2).

        forward  m_v  = sum over edges (u, v) of MSG_f(e_uv, h_u)
        backward m'_u = sum over edges (u, v) of MSG_b(e_uv, h_v)
        h_v <- h_v + NODE(h_v, m_v, m'_v);   e_uv <- e_uv + EDGE(e_uv, h_u, h_v)

    MSG and EDGE are two-layer MLPs whose first layers do their node parts once per node. MSG's
    second layer is linear, so it comes after the sum, where NODE's first layer takes it in.
    """

    message: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, state, tiles: Tiles):
        nodes, edges = state
        node_width, edge_width, width = nodes.shape[-1], edges.shape[-1], self.message

        def dense(features, **kwargs):
            return nn.Dense(features, dtype=self.dtype, **kwargs)

        normed = nn.LayerNorm(dtype=self.dtype, name="norm")(nodes)
        at_ends = dense(4 * width, use_bias=False, name="ends")(normed)
        to_forward, source, to_backward, target = jnp.split(at_ends, 4, axis=-1)
        kernel, bias = Kernel(edge_width, 3 * width, self.dtype, name="edge")()
        last, shift = Kernel(width, edge_width, self.dtype, name="edge_last")()
        kernels, biases = jnp.split(kernel, 3, axis=1), jnp.split(bias, 3)

        def round_of(exists, edges, to_forward, to_backward, source, target):
            forward = nn.relu(_per_edge(edges, kernels[0]) + to_forward) * exists
            backward = nn.relu(_per_edge(edges, kernels[1]) + to_backward) * exists
            change = nn.relu(_per_edge(edges, kernels[2]) + source + target)
            return forward.sum(1), backward.sum(2), _per_edge(change, last)

        forward, backward, change = over_chunks(
            round_of, tiles, width, edges,
            at_sources(tiles, to_forward + biases[0][None]),
            at_targets(tiles, to_backward + biases[1][None]),
            at_sources(tiles, source + biases[2][None]),
            at_targets(tiles, target),
        )  # fmt: skip
        messages = [
            _sum(forward, tiles.target, len(nodes)) / TILE,
            _sum(backward, tiles.source, len(nodes)) / TILE,
        ]
        inputs = jnp.concatenate([normed, *messages], axis=-1)
        update = nn.relu(dense(2 * node_width, name="node_hidden")(inputs))
        nodes = nodes + dense(node_width, name="node_last")(update)
        return (nodes, edges + change + shift[None, None, None]), None
