"""Bidirectional message passing over graphs whose edges come in tiles (see graphs.topology)."""

import functools

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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def edge_mlp(
    sums: bool,
    tiles: Tiles,
    edges: jax.Array,
    at_source: jax.Array,
    at_target: jax.Array,
    kernel: jax.Array,
    last: jax.Array,
):
    """A two-layer MLP on every edge and its ends, and sums of its hidden layer h at the ends.

        h_uv = relu(kernel e_uv + at_source_u + at_target_v), 0 where there is no edge

    An edge costs what moves through memory more than what is multiplied, so the backward pass is
    written out: nothing with a hidden axis is kept for it, and each such array is passed over once.

    Args:
      sums: whether h is summed too.
      edges: [T, TILE, TILE, F];  at_source, at_target: [V, H];  kernel: [F, H];  last: [H, out].

    Returns:
      last h [T, TILE, TILE, out]; with `sums` also h summed over every node's incoming edges and
      over its outgoing ones, [V, H] each.
    """
    return _edge_mlp(sums, tiles, _hidden(tiles, edges, at_source, at_target, kernel), last,
                     len(at_source))  # fmt: skip


def _per_edge(edges, kernel):
    return (edges.reshape(-1, edges.shape[-1]) @ kernel).reshape(*edges.shape[:3], -1)


def _hidden(tiles, edges, at_source, at_target, kernel):
    ends = at_sources(tiles, at_source) + at_targets(tiles, at_target)
    return nn.relu(_per_edge(edges, kernel) + ends) * tiles.exists.astype(edges.dtype)


def _edge_mlp(sums, tiles, hidden, last, n_nodes):
    out = _per_edge(hidden, last)
    if not sums:
        return out
    return out, sum_at_targets(tiles, hidden, n_nodes), sum_at_sources(tiles, hidden, n_nodes)


def _edge_mlp_forward(sums, tiles, *operands):
    return edge_mlp(sums, tiles, *operands), (tiles, *operands)


def _edge_mlp_backward(sums, saved, gradients):
    tiles, edges, at_source, at_target, kernel, last = saved
    n_nodes, width = at_source.shape
    hidden = _hidden(tiles, edges, at_source, at_target, kernel)
    of_out = gradients[0] if sums else gradients
    of_hidden = _per_edge(of_out, last.T)
    if sums:
        of_hidden += at_targets(tiles, gradients[1]) + at_sources(tiles, gradients[2])
    of_hidden = jnp.where(hidden > 0, of_hidden, 0)
    flat = of_hidden.reshape(-1, width)
    # The barrier keeps the small axis first, where the product is three times as fast.
    of_last = jax.lax.optimization_barrier(
        of_out.reshape(-1, of_out.shape[-1]).T @ hidden.reshape(-1, width)
    ).T
    return (
        None,
        _per_edge(of_hidden, kernel.T),
        sum_at_sources(tiles, of_hidden, n_nodes),
        sum_at_targets(tiles, of_hidden, n_nodes),
        edges.reshape(-1, edges.shape[-1]).T @ flat,
        of_last,
    )


edge_mlp.defvjp(_edge_mlp_forward, _edge_mlp_backward)


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
        at_ends = nn.Dense(2 * self.hidden, use_bias=False, dtype=self.dtype)(nodes)
        source, target = jnp.split(at_ends, 2, axis=-1)
        edges = edges.astype(self.dtype)
        kernel, bias = Kernel(edges.shape[-1], self.hidden, self.dtype, name="Dense_1")()
        last, shift = Kernel(self.hidden, self.out, self.dtype, self.last, name="Dense_2")()
        return (
            edge_mlp(False, tiles, edges, source + bias[None], target, kernel, last)
            + shift[None, None, None]
        )


class Layer(nn.Module):
    """One round: forward and backward messages, then nodes and edges are updated (paper A.2).

        forward  m_v  = sum over edges (u, v) of MSG_f(e_uv, h_u)
        backward m'_u = sum over edges (u, v) of MSG_b(e_uv, h_v)
        h_v <- h_v + NODE(h_v, m_v, m'_v);   e_uv <- e_uv + EDGE(e_uv, h_u, h_v)

    MSG and EDGE are two-layer MLPs whose hidden layers are computed as one; MSG's second layer is
    linear, so it comes after the sum, where NODE's first layer takes it in.
    """

    message: int
    dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, state, tiles: Tiles, deterministic: bool):
        nodes, edges = state
        node_width, edge_width, width = nodes.shape[-1], edges.shape[-1], self.message

        def dense(features, **kwargs):
            return nn.Dense(features, dtype=self.dtype, **kwargs)

        normed = nn.LayerNorm(dtype=self.dtype)(nodes)
        at_ends = dense(4 * width, use_bias=False, name="ends")(normed)
        # The hidden layer's parts are MSG_f's, MSG_b's and EDGE's.
        to_forward, source, to_backward, target = jnp.split(at_ends, 4, axis=-1)
        none = jnp.zeros_like(source)
        kernel, bias = Kernel(edge_width, 3 * width, self.dtype, name="edge")()
        last, shift = Kernel(width, edge_width, self.dtype, name="Dense_2")()
        change, incoming, outgoing = edge_mlp(
            True, tiles, edges,
            jnp.concatenate([to_forward, none, source], -1) + bias[None],
            jnp.concatenate([none, to_backward, target], -1),
            kernel, jnp.pad(last, ((2 * width, 0), (0, 0))),
        )  # fmt: skip
        messages = [incoming[:, :width] / TILE, outgoing[:, width : 2 * width] / TILE]
        update = nn.relu(dense(2 * node_width)(jnp.concatenate([normed, *messages], axis=-1)))
        update = nn.Dropout(self.dropout, deterministic=deterministic)(update)
        nodes = nodes + dense(node_width)(update)
        return (nodes, edges + change + shift[None, None, None]), None
