"""Bidirectional message passing over graphs whose edges come in tiles (see graphs.topology)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
from flax import struct

from metanet.graphs.topology import TILE


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
    """The tiles of a batch from `graphs.convert.gather`."""
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
        at_ends = nn.Dense(2 * self.hidden, use_bias=False, dtype=self.dtype)(nodes)
        source, target = jnp.split(at_ends, 2, axis=-1)
        first = nn.Dense(self.hidden, dtype=self.dtype)(edges)
        first = nn.relu(first + at_sources(tiles, source) + at_targets(tiles, target))
        return nn.Dense(self.out, kernel_init=self.last, dtype=self.dtype)(first)


class Layer(nn.Module):
    """One round: forward and backward messages, then nodes and edges are updated (paper A.2).

        forward  m_v  = sum over edges (u, v) of MSG_f(e_uv, h_u)
        backward m'_u = sum over edges (u, v) of MSG_b(e_uv, h_v)
        h_v <- h_v + NODE(h_v, m_v, m'_v);   e_uv <- e_uv + EDGE(e_uv, h_u, h_v)

    MSG and EDGE are two-layer MLPs whose first layers share one matrix product per edge and one per
    node; MSG's second layer is linear, so it comes after the sum.
    """

    message: int
    dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, state, tiles: Tiles, deterministic: bool):
        nodes, edges = state
        n_nodes, node_width = nodes.shape
        width = self.message

        def dense(features, **kwargs):
            return nn.Dense(features, dtype=self.dtype, **kwargs)

        normed = nn.LayerNorm(dtype=self.dtype)(nodes)
        at_ends = dense(4 * width, use_bias=False, name="ends")(normed)
        source = at_sources(tiles, at_ends[:, : 2 * width])
        target = at_targets(tiles, at_ends[:, 2 * width :])
        own = dense(3 * width, name="edge")(edges)
        exists = tiles.exists.astype(own.dtype)
        forward = nn.relu(own[..., :width] + source[..., :width]) * exists
        backward = nn.relu(own[..., width : 2 * width] + target[..., :width]) * exists
        change = nn.relu(own[..., 2 * width :] + source[..., width:] + target[..., width:])

        messages = [
            sum_at_targets(tiles, forward, n_nodes) / TILE,
            sum_at_sources(tiles, backward, n_nodes) / TILE,
        ]
        update = nn.relu(dense(2 * node_width)(jnp.concatenate([normed, *messages], axis=-1)))
        update = nn.Dropout(self.dropout, deterministic=deterministic)(update)
        nodes = nodes + dense(node_width)(update)
        edges = edges + dense(edges.shape[-1])(change)
        return (nodes, edges), None
