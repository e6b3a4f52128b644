"""Random numbers of a training step, keyed by place: noise on mask logits, and dropout.

A value depends on its graph's key ([G]) and its position in that graph alone, so neither padding
nor the number of devices changes it.
"""

import jax
import jax.numpy as jnp
from flax import struct

from metanet.editor.edits import Masks
from metanet.graphs.batch import graph_of
from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.topology import TILE
from metanet.mlp import trainer


class Dropout(struct.PyTreeNode):
    """Dropout in the rounds of an editor (paper A.4), in training.

    Attributes:
      edge_keys, node_keys: [G], of the graphs.
      rate: [] float32, in [0, 1), rounded to 1/256 (see mlp.trainer.dropout).
    """

    edge_keys: jax.Array
    node_keys: jax.Array
    rate: jax.Array


def logistic_noise(graph: GraphsTuple, edge_keys: jax.Array, input_keys: jax.Array) -> Masks:
    """Standard logistic noise for every edge and node, from the graphs' keys [G] of either."""

    def draw(keys, size):
        """`size` values for each tile, whose keys are given."""
        return jax.vmap(lambda key: jax.random.logistic(key, (size,)))(keys).reshape(-1)

    return Masks(
        edges=draw(_edge_tile_keys(graph, edge_keys), TILE**2),
        inputs=draw(_node_tile_keys(graph, input_keys), TILE),
    )


def drop_change(
    graph: GraphsTuple,
    dropout: Dropout,
    number: jax.Array,
    before: tuple[jax.Array, jax.Array],
    after: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """The state after a round, with dropout of what the round has changed.

    Of the change and not of the state, so that what earlier rounds have found is never lost.

    Args:
      number: [] int32, of the round.
      before, after: nodes [V, node width] and edges [T, TILE, TILE, edge width].
    """

    def one(keys_of, keys, before, after):
        round_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, number)  # [G]
        tile_keys = keys_of(graph, round_keys)  # [tiles]
        change = (after - before).reshape(len(tile_keys), -1)
        dropped = jax.vmap(trainer.dropout, (0, None, 0))(tile_keys, dropout.rate, change)
        return before + dropped.reshape(before.shape).astype(before.dtype)

    return (
        one(_node_tile_keys, dropout.node_keys, before[0], after[0]),
        one(_edge_tile_keys, dropout.edge_keys, before[1], after[1]),
    )


def _edge_tile_keys(graph: GraphsTuple, keys: jax.Array) -> jax.Array:
    return _tile_keys(keys, graph.n_edge // TILE**2, len(graph.senders) // TILE**2)


def _node_tile_keys(graph: GraphsTuple, keys: jax.Array) -> jax.Array:
    return _tile_keys(keys, graph.n_node // TILE, len(graph.nodes["slot"]) // TILE)


def _tile_keys(keys: jax.Array, sizes: jax.Array, total: int) -> jax.Array:
    """A key for each of `total` tiles, of which a graph has `sizes` [G + 1], from its key [G]."""
    graph_index = graph_of(sizes, total)  # [total]
    local = jnp.arange(total) - (jnp.cumsum(sizes) - sizes)[graph_index]
    # The padding graph has no key: it takes the last one, and its values are not used.
    return jax.vmap(jax.random.fold_in)(keys[jnp.minimum(graph_index, len(keys) - 1)], local)
