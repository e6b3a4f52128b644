"""Group fairness: decisions should not depend on the group (paper eq. 6-9).

Rates are means of decisions over cells of the data, where rows count by their weight: a sample with
equal shares of rare cells still estimates those of the data as they are. A cell without rows has no
rate and takes no part in a comparison; where fewer than two groups have a rate, the difference is
0.
"""

import jax
import jax.numpy as jnp

from metanet.objectives.base import EditView


def _gap(decisions: jax.Array, members: jax.Array, view: EditView) -> jax.Array:
    """The largest difference between two groups' mean decision, by class: [classes].

    decisions: [rows, classes];  members: [rows, classes], 1 where a row counts for a class.
    """
    group = view.batch.weight[:, None] * jax.nn.one_hot(view.batch.group, view.batch.n_groups)
    count = jnp.einsum("bc,bg->cg", members, group)
    total = jnp.einsum("bc,bg->cg", decisions * members, group)
    rate = total / jnp.where(count > 0, count, 1.0)
    highest = jnp.where(count > 0, rate, -jnp.inf).max(-1)
    lowest = jnp.where(count > 0, rate, jnp.inf).min(-1)
    return jnp.where((count > 0).any(-1), highest - lowest, 0.0)


def equalised_odds(view: EditView) -> jax.Array:
    """Equalised odds difference (eq. 9): the largest gap of true or false positive rates.

    The maximum over pairs of groups and, with more than two classes, over one-vs-rest classes. On
    hard decisions it equals `fairlearn.metrics.equalized_odds_difference`.
    """
    label = jax.nn.one_hot(view.batch.y, view.decisions.shape[-1])
    true_positive = _gap(view.decisions, label, view)
    false_positive = _gap(view.decisions, 1.0 - label, view)
    return jnp.maximum(true_positive, false_positive).max()


equalised_odds.label = "equalised odds difference (0 to 1)"


def equal_opportunity(view: EditView) -> jax.Array:
    """The largest gap of the last class's true positive rate (Hardt, Price and Srebro 2016)."""
    label = jax.nn.one_hot(view.batch.y, view.decisions.shape[-1])
    return _gap(view.decisions, label, view)[-1]


equal_opportunity.label = "equal opportunity difference (0 to 1)"


def demographic_parity(view: EditView) -> jax.Array:
    """The largest gap between groups in how often a class is decided on, over all classes."""
    return _gap(view.decisions, jnp.ones_like(view.decisions), view).max()


demographic_parity.label = "demographic parity difference (0 to 1)"
