"""Group fairness: decisions should not depend on the group (paper eq. 6-9).

Rates are means of decisions over cells of the data, where rows count by their weight: a sample with
equal shares of rare cells still estimates those of the data as they are. A cell without rows has no
rate and takes no part in a comparison; where fewer than two groups have a rate, the difference is
0, with gradient 0: a batch without rare cells says nothing. Of whole tables such a 0 would claim a
fairness that cannot be estimated, and `objectives.check.check_cells` refuses them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from metanet.data.tabular import Table
from metanet.objectives.base import EditView, labelled


def _gap(decisions: jax.Array, members: jax.Array, view: EditView) -> jax.Array:
    """The largest difference between two groups' mean decision, by class: [classes] float32.

    Args:
      decisions: [rows, classes].
      members: [rows, classes], 1 where a row counts for a class.
    """
    one_hot = jax.nn.one_hot(view.batch.group, view.batch.n_groups)  # [rows, groups]
    group = view.batch.weight[:, None] * one_hot
    count = jnp.einsum("bc,bg->cg", members, group)  # [classes, groups], the weight of a cell
    total = jnp.einsum("bc,bg->cg", decisions * members, group)
    # Cells without rows are divided by 1, not 0: the gradient of the branch that `where` does not
    # take would still be NaN.
    rate = total / jnp.where(count > 0, count, 1.0)
    highest = jnp.where(count > 0, rate, -jnp.inf).max(-1)  # [classes]
    lowest = jnp.where(count > 0, rate, jnp.inf).min(-1)
    return jnp.where((count > 0).any(-1), highest - lowest, 0.0)


DRAWS = 2000  # of a floor


def odds_floor(table: Table, decisions: np.ndarray) -> float:
    """The expected equalised odds difference of a classifier with equal rates in all groups.

    From the sizes of the cells of `table` alone, by binomial draws: a lower value is noise.

    Args:
      decisions: [M, rows] bool, of M models for the second of two classes, whose mean rates it has.
    """
    y, group = np.asarray(table.y), np.asarray(table.group)
    rng = np.random.default_rng(0)
    gaps = []
    for label in (0, 1):
        rate = float(decisions[:, y == label].mean())
        counts = np.array([((y == label) & (group == one)).sum() for one in np.unique(group)])
        counts = counts[counts > 0]
        rates = rng.binomial(counts, rate, size=(DRAWS, len(counts))) / counts  # [draws, groups]
        gaps.append(rates.max(1) - rates.min(1))
    return float(np.maximum(*gaps).mean())


@labelled("equalised odds difference (0 to 1)", floor=odds_floor, grouped=True, classes=slice(None))
def equalised_odds(view: EditView) -> jax.Array:
    """Equalised odds difference (eq. 9): [] float32.

    The largest gap of true or of false positive rates: the maximum over pairs of groups and, with
    more than two classes, over one-vs-rest classes. On hard decisions of two classes it equals
    `fairlearn.metrics.equalized_odds_difference` where every group has samples of both classes. A
    cell without samples is left out here; fairlearn gives it the rate 0, so that its difference is
    at least the largest rate of the others.
    """
    label = jax.nn.one_hot(view.batch.y, view.decisions.shape[-1])  # [rows, classes]
    true_positive = _gap(view.decisions, label, view)
    false_positive = _gap(view.decisions, 1.0 - label, view)
    return jnp.maximum(true_positive, false_positive).max()


@labelled("equal opportunity difference (0 to 1)", grouped=True, classes=slice(-1, None))
def equal_opportunity(view: EditView) -> jax.Array:
    """Equal opportunity difference (Hardt, Price and Srebro 2016): [] float32.

    The largest gap between groups of the last class's true positive rate.
    """
    label = jax.nn.one_hot(view.batch.y, view.decisions.shape[-1])  # [rows, classes]
    return _gap(view.decisions, label, view)[-1]


@labelled("demographic parity difference (0 to 1)", grouped=True)
def demographic_parity(view: EditView) -> jax.Array:
    """Demographic parity difference (Kamiran and Calders 2009): [] float32.

    The largest gap between groups in the rate of decisions for a class, over all classes.
    """
    return _gap(view.decisions, jnp.ones_like(view.decisions), view).max()
