"""Features of a model, in the order in which they cost least to remove."""

import jax
import jax.numpy as jnp
from flax import struct

from metanet.data.moments import Moments, completion
from metanet.graphs.padded import PaddedMLP, apply_rows
from metanet.graphs.topology import Template
from metanet.mlp.network import js_divergence


class Elimination(struct.PyTreeNode):
    """How the features of one model were removed; of M, with a leading axis, where stacked.

    Attributes:
      turn: [features] float32, of a feature's removal, from 0.
      cost: [features] float32, the JS divergence (nats) after each turn, in the order of turns.
    """

    turn: jax.Array
    cost: jax.Array


def eliminated(
    template: Template,
    model: PaddedMLP,
    x: jax.Array,
    moments: Moments | None = None,
    damping: float = 0.0,
) -> Elimination:
    """Backward elimination (Kohavi and John 1997): features^2 forward passes.

    The feature whose removal, besides those removed before it, moves the outputs least by JS
    divergence goes first.

    Args:
      x: [rows, features]; columns that the template has more are 0.
      moments, damping: removed features are replaced by their conditional means, see
        `moments.completion`; without them by 0.
    """
    x = jnp.pad(x, ((0, 0), (0, template.n_in - x.shape[1])))
    logits = apply_rows(template, model, x)  # [rows, classes]

    def cost(kept):  # [features] -> [], nats
        if moments is None:
            seen = x * kept[None]
        else:
            matrix, offset = completion(moments, kept, damping)
            seen = x @ matrix + offset[None]
        return js_divergence(logits, apply_rows(template, model, seen)).mean()

    def remove(kept, _):  # kept [features], 1 for those not removed yet
        here = jnp.arange(template.n_in)
        costs = jax.lax.map(lambda one: cost(jnp.where(here == one, 0.0, kept)), here)
        # Those removed before cost nothing more: they are not to be removed again.
        worst = jnp.where(kept > 0, costs, jnp.inf).argmin()
        return kept.at[worst].set(0.0), (worst, costs[worst])

    _, (order, costs) = jax.lax.scan(remove, jnp.ones(template.n_in), None, length=template.n_in)
    turns = jnp.arange(template.n_in, dtype=jnp.float32)
    return Elimination(jnp.zeros(template.n_in).at[order].set(turns), costs)
