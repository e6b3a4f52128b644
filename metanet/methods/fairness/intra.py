"""Parts of the intra-processing methods (Savani, White and Govindarajulu, NeurIPS 2020).

They change the weights of a trained network to treat groups alike, and then the threshold of its
decisions. A weighted sum of bias and error, by rho and 1 - rho, is up to a factor

    cost + lambda * requirement,   lambda = rho / (1 - rho)

on hard decisions of the `edit` data, where the cost is the share of wrong decisions ("error"), or
here also the divergence from the network as it is. The authors maximise balanced accuracy where
the bias is below .05, which is one point of a front. A threshold is part of the output layer's
bias.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metanet.data.tabular import Table
from metanet.editor.edits import EditFn
from metanet.evaluation.method import Method
from metanet.graphs.padded import PaddedMLP, apply_rows
from metanet.graphs.topology import Template
from metanet.methods.compiled import Group, compiled, lambdas
from metanet.methods.fairness.objective import (
    margin_logits,
    measured,
    with_margin,
)
from metanet.methods.fairness.settings import Target
from metanet.objectives.base import Objective
from metanet.pipeline.testbed import Testbed

LIMIT = 3.0  # of a threshold's logit
COARSE, FINE = 25, 241  # thresholds that are tried of a candidate, and of the edit that is chosen


def thresholds(count: int) -> jax.Array:
    """Shifts of the margin, which move the threshold of decisions from 1/2: [count], 0 included."""
    return jnp.asarray(np.linspace(-LIMIT, LIMIT, count), jnp.float32)


def tried(
    template: Template,
    before: PaddedMLP,
    after: PaddedMLP,
    logits_before: jax.Array,
    table: Table,
    requirement: Objective,
    target: Target,
    shifts: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The cost and the requirement of one candidate at every threshold: [shifts] each.

    Args:
      logits_before: [rows, 2], of the unedited model on `table`.
    """
    logits = apply_rows(template, after, jnp.asarray(table.x))

    def at(shift):
        edited = with_margin(template, after, jnp.zeros(len(after.weight)), shift)
        moved = margin_logits(logits, shift)
        return measured(before, edited, logits_before, moved, table, requirement, target)

    return jax.lax.map(at, shifts)


def tuned(
    template: Template,
    before: PaddedMLP,
    candidates: PaddedMLP,
    logits_before: jax.Array,
    table: Table,
    requirement: Objective,
    target: Target,
    weight: jax.Array,
) -> PaddedMLP:
    """The candidate of least cost + lambda * requirement at its best threshold, as a network.

    Args:
      candidates: of one model, leaves [candidates, ...].
      weight: [], lambda.
    """
    shifts = thresholds(FINE)

    def costs(after):
        parts = after, logits_before, table, requirement, target, shifts
        cost, required = tried(template, before, *parts)
        return cost + weight * required

    values = jax.lax.map(costs, candidates)  # [candidates, shifts]
    best, shift = jnp.unravel_index(values.argmin(), values.shape)
    chosen = jax.tree.map(lambda leaf: leaf[best], candidates)
    return with_margin(template, chosen, jnp.zeros(len(before.weight)), shifts[shift])


def stacked(*models: PaddedMLP) -> PaddedMLP:
    """Candidates of one model, leaves [candidates, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)


def intra_processing(
    testbed: Testbed,
    edit_fn_in: Callable[[Template], EditFn],
    context,
    n_lambdas: int | None,
    groups: Sequence[Group] | None = None,
) -> Method:
    """A method whose setting is lambda, of the experiment's range.

    Args:
      n_lambdas: by default `evaluation.n_lambdas`.
    """
    experiment = testbed.experiment
    values = lambdas(experiment.lambda_range, n_lambdas or experiment.evaluation.n_lambdas)
    return compiled(testbed, edit_fn_in, context, "lambda", values, groups)
