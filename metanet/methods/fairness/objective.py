"""The objective of fairness methods that edit a network, on all rows of a table at once."""

import jax
import jax.numpy as jnp

from metanet.data.tabular import Table
from metanet.editor.relax import hard_decisions
from metanet.graphs.padded import PaddedMLP, n_hidden
from metanet.graphs.topology import Template
from metanet.methods.fairness.settings import Target
from metanet.objectives.base import Objective, view_of_logits
from metanet.objectives.preservation import mean_jsd


def outputs_of(template: Template) -> jax.Array:
    """The template's targets that are the logits of the two classes: [2] int."""
    return n_hidden(template) + jnp.arange(2)


def with_margin(template: Template, model: PaddedMLP, weight: jax.Array, bias: jax.Array):
    """The model with weight [sources] and bias [] added to the margin of class 1 over class 0."""
    half, outputs = jnp.array([-0.5, 0.5]), outputs_of(template)
    return model.replace(
        weight=model.weight.at[:, outputs].add(weight[:, None] * half[None]),
        bias=model.bias.at[outputs].add(bias * half),
    )


def margin_logits(logits: jax.Array, added: jax.Array) -> jax.Array:
    """Logits [rows, 2] with `added`, [rows] or [], on the margin of class 1 over class 0."""
    added = jnp.broadcast_to(added, logits.shape[:1])
    return logits + jnp.stack([-added / 2, added / 2], axis=-1)


def measured(
    before: PaddedMLP,
    after: PaddedMLP,
    logits_before: jax.Array,
    logits_after: jax.Array,
    table: Table,
    requirement: Objective,
    target: Target,
) -> tuple[jax.Array, jax.Array]:
    """What one edit of one model costs, and its requirement, on hard decisions: [] each.

    Args:
      logits_before, logits_after: [rows, 2], on `table`.
    """
    decisions = hard_decisions(logits_after)
    view = view_of_logits(before, after, logits_before, logits_after, decisions, table)
    if target == "outputs":
        return mean_jsd(view), requirement(view)
    right = table.y if target == "error" else logits_before.argmax(-1)
    return (table.weight * (logits_after.argmax(-1) != right)).mean(), requirement(view)
