"""Bidirectional message passing over graphs whose edges come in tiles (see graphs.topology)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.topology import TILE

CHUNK_BYTES = 2**18  # of a hidden layer: all that a chunk needs stays in a core's cache


class Tiles(struct.PyTreeNode):
    """The structure of a batch in tiles, as every layer needs it; T edge tiles, N node tiles.

    Attributes:
      source, target: [T] int32, the node tiles that an edge tile leaves and enters.
      exists: [T, TILE, TILE, 1] float32, source by target, 0 for padding.
    """

    source: jax.Array
    target: jax.Array
    exists: jax.Array


def tiles_of(graph: GraphsTuple) -> Tiles:
    """The tiles of a batch from `graphs.batch.gather`."""
    exists = graph.edges["exists"].reshape(-1, TILE, TILE, 1)
    # All edges of a tile leave one node tile and enter one: its first edge tells which.
    return Tiles(
        source=graph.senders.reshape(-1, TILE, TILE)[:, 0, 0] // TILE,
        target=graph.receivers.reshape(-1, TILE, TILE)[:, 0, 0] // TILE,
        exists=exists.astype(jnp.float32),
    )


def at_sources(tiles: Tiles, values: jax.Array) -> jax.Array:
    """Node values [N * TILE, F] at every edge's source: [T, TILE, 1, F], to broadcast."""
    grid = values.reshape(-1, TILE * values.shape[-1])  # [N, TILE * F]: a gather moves whole tiles
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


def softmax_at_targets(tiles: Tiles, logits: jax.Array, n_nodes: int) -> jax.Array:
    """Softmax over every node's incoming edges, each feature by itself: attention weights.

    Args:
      logits: [T, TILE, TILE, F], one per edge; padding may have any values.
      n_nodes: N * TILE.

    Returns:
      [T, TILE, TILE, F] in the dtype of `logits`, which add up to 1 over the incoming edges of a
      node that has any; 0 for padding.
    """
    exists = tiles.exists > 0
    # In float32: a sum over hundreds of edges in bfloat16 would lose most of them.
    values = jnp.where(exists, logits.astype(jnp.float32), -jnp.inf)
    # The largest logit of a node's edges [n_nodes, F], whose power is 1: none overflows, and a
    # node's total is at least 1. It cancels, so it has no gradient. Nodes without edges have none.
    of_tiles = jax.lax.stop_gradient(values).max(1)  # [T, TILE, F], by target
    largest = jax.ops.segment_max(
        of_tiles.reshape(len(of_tiles), -1), tiles.target, num_segments=n_nodes // TILE
    ).reshape(n_nodes, -1)
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
    # Padding is chosen away before exp too: its gradient must be 0, not 0 * inf.
    shifted = jnp.where(exists, values - at_targets(tiles, largest), 0.0)
    powers = jnp.where(exists, jnp.exp(shifted), 0.0)
    total = sum_at_targets(tiles, powers, n_nodes)
    total = jnp.where(total > 0, total, 1.0)  # [n_nodes, F]
    return (powers / at_targets(tiles, total)).astype(logits.dtype)


def _sum(partial: jax.Array, index: jax.Array, n_nodes: int) -> jax.Array:
    """Sums [T, TILE, F] of tiles added up by node tile, `index` [T]: [n_nodes, F]."""
    width = partial.shape[-1]
    # A row per tile [T, TILE * F]: one scatter moves TILE nodes.
    total = jax.ops.segment_sum(
        partial.reshape(-1, TILE * width), index, num_segments=n_nodes // TILE
    )
    return total.reshape(n_nodes, width)


def over_chunks(function, tiles: Tiles, width: int, *arrays: jax.Array):
    """function(exists, *arrays), all [T, ...], computed for chunks of edge tiles on CPU.

    Moving hidden layers, by far the largest arrays, through memory is slow there. So they never
    exist as a whole: a chunk's array of `width` features takes about CHUNK_BYTES, stays in a core's
    cache, and is computed again in the backward pass. Other devices take all tiles at once.

    Args:
      function: its outputs have the leading axis of its arguments, and no tile's output depends on
        another tile.
      width: features of the largest array inside.
    """
    arrays = (tiles.exists.astype(arrays[0].dtype), *arrays)
    n_tiles = len(tiles.source)
    # 4 bytes per float32; bfloat16 chunks take half of CHUNK_BYTES.
    count = -(-n_tiles * TILE**2 * width * 4 // CHUNK_BYTES)
    if jax.default_backend() != "cpu" or count == 1:
        return function(*arrays)
    size = -(-n_tiles // count)

    def split(leaf):  # [T, ...] -> [count, size, ...], so that chunks share one program
        padded = jnp.pad(leaf, ((0, count * size - n_tiles), *[(0, 0)] * (leaf.ndim - 1)))
        return padded.reshape(count, size, *leaf.shape[1:])

    # Checkpoint inside the loop: else the backward pass would keep every chunk's hidden layers.
    chunk = jax.checkpoint(lambda part: function(*part), prevent_cse=False)
    outputs = jax.lax.map(chunk, jax.tree.map(split, arrays))
    # [count, size, ...] -> [T, ...], without the padding.
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:n_tiles], outputs)


def _per_edge(edges: jax.Array, kernel: jax.Array) -> jax.Array:
    """Edge states [T, TILE, TILE, F] times a kernel [F, F']: [T, TILE, TILE, F']."""
    # One long product; of four axes it would be many small ones.
    return (edges.reshape(-1, edges.shape[-1]) @ kernel).reshape(*edges.shape[:3], -1)


class Kernel(nn.Module):
    """A dense layer's parameters, [n_in, n_out] and [n_out], for modules that apply them."""

    n_in: int
    n_out: int
    dtype: jnp.dtype
    initialiser: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        kernel = self.param("kernel", self.initialiser, (self.n_in, self.n_out), jnp.float32)
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
        source, target = jnp.split(at_ends, 2, axis=-1)  # [V, hidden] each
        edges = edges.astype(self.dtype)
        kernel, bias = Kernel(edges.shape[-1], self.hidden, self.dtype, name="edge")()
        last, shift = Kernel(self.hidden, self.out, self.dtype, self.last, name="last")()

        def mlp(_, edges, source, target):
            return _per_edge(nn.relu(_per_edge(edges, kernel) + source + target), last)

        # Biases are added to nodes, of which there are fewer than edges.
        ends = at_sources(tiles, source + bias[None]), at_targets(tiles, target)
        return over_chunks(mlp, tiles, self.hidden, edges, *ends) + shift[None, None, None]


class Layer(nn.Module):
    """One round: forward and backward messages, then nodes and edges are updated (paper A.2).

        forward  m_v  = sum over edges (u, v) of MSG_f(e_uv, h_u)
        backward m'_u = sum over edges (u, v) of MSG_b(e_uv, h_v)
        h_v <- h_v + NODE(h_v, m_v, m'_v);   e_uv <- e_uv + EDGE(e_uv, h_u, h_v)

    MSG and EDGE are two-layer MLPs whose first layers do their node parts once per node. MSG's
    second layer is linear, so it comes after the sum, where NODE's first layer takes it in.

    What `EditorConfig.layer` names has the same fields and the same call: (nodes [V, node width],
    edges [T, TILE, TILE, edge width]), tiles -> ((nodes, edges) of the same shapes and dtypes,
    None).
    """

    message: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, state: tuple[jax.Array, jax.Array], tiles: Tiles
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        nodes, edges = state
        node_width, edge_width, width = nodes.shape[-1], edges.shape[-1], self.message

        def dense(features, **kwargs):
            return nn.Dense(features, dtype=self.dtype, **kwargs)

        normed = nn.LayerNorm(dtype=self.dtype, name="norm")(nodes)
        at_ends = dense(4 * width, use_bias=False, name="ends")(normed)
        to_forward, source, to_backward, target = jnp.split(at_ends, 4, axis=-1)  # [V, width] each
        kernel, bias = Kernel(edge_width, 3 * width, self.dtype, name="edge")()
        last, shift = Kernel(width, edge_width, self.dtype, name="edge_last")()
        kernels, biases = jnp.split(kernel, 3, axis=1), jnp.split(bias, 3)

        def round_of(exists, edges, to_forward, to_backward, source, target):
            forward = nn.relu(_per_edge(edges, kernels[0]) + to_forward) * exists
            backward = nn.relu(_per_edge(edges, kernels[1]) + to_backward) * exists
            change = nn.relu(_per_edge(edges, kernels[2]) + source + target)
            # Sums over a tile's sources and over its targets, [T, TILE, width] each: messages never
            # leave the chunk, and what is left to add up by node is TILE times smaller.
            return forward.sum(1), backward.sum(2), _per_edge(change, last)

        forward, backward, change = over_chunks(
            round_of, tiles, width, edges,
            at_sources(tiles, to_forward + biases[0][None]),
            at_targets(tiles, to_backward + biases[1][None]),
            at_sources(tiles, source + biases[2][None]),
            at_targets(tiles, target),
        )  # fmt: skip
        messages = [  # [V, width] each; divided so that sums over a tile are of the order of states
            _sum(forward, tiles.target, len(nodes)) / TILE,
            _sum(backward, tiles.source, len(nodes)) / TILE,
        ]
        inputs = jnp.concatenate([normed, *messages], axis=-1)  # [V, node width + 2 width]
        update = nn.relu(dense(2 * node_width, name="node_hidden")(inputs))
        nodes = nodes + dense(node_width, name="node_last")(update)
        return (nodes, edges + change + shift[None, None, None]), None
