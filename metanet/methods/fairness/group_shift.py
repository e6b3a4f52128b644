"""One number per group, added to its logits."""

import numpy as np

from metanet.evaluation.scores import (
    Infeasible,
    Outcome,
    Scores,
    both_classes,
    count_above,
    known_groups,
)
from metanet.methods.fairness.settings import BOUNDS, EQUALISED_ODDS, swept
from metanet.methods.fairness.shifts import shift_jsd, shifted


@swept(tuple({"bound": bound} for bound in BOUNDS), requirements=(EQUALISED_ODDS,))
def group_shift(
    fit: Scores, test: Scores, setting: dict, *, limit: float = 4.0, count: int = 401
) -> Outcome:
    """One number per group, added to its logits: not in the paper, a strong baseline all the same.

    The numbers of a grid with the least mean JSD on `fit` whose EOD on its labels is within the
    bound; any number of groups. The output is probabilities. Setting: bound.

    Args:
      limit, count: the grid is `count` shifts, an odd number, from -limit to limit.

    Raises:
      Infeasible: see `known_groups`; or no shifts are within the bound.
    """
    groups, bound = known_groups(fit, test), setting["bound"] + 1e-12
    shifts = np.linspace(-limit, limit, count)
    p = np.clip(fit.probability, 1e-12, 1 - 1e-12)
    logit = np.log(p / (1 - p))
    # Of every group: the rates of positive decisions per class, [2][shifts], and the sum of JSD
    # (nats), [shifts].
    rates, costs = [], []
    for g in groups:
        rows = fit.group == g
        cells = [logit[rows & (fit.y == c)] for c in (0, 1)]
        rates.append([count_above(cell, -shifts) / len(cell) for cell in cells])
        weight = np.broadcast_to(fit.weight, rows.shape)[rows]
        costs.append(shift_jsd(fit.probability[rows], weight, shifts))
    # Rates are within the bound of each other in a window that starts at one of them. They grow
    # with the shift: the window is an interval of a group's shifts, the best nearest to zero.
    start = [np.unique([rate[c] for rate in rates]) for c in (0, 1)]  # windows of either class
    total, nearest = np.zeros([len(one) for one in start]), []  # each [windows of 0, of 1]
    for rate, cost in zip(rates, costs, strict=True):
        first = [np.searchsorted(rate[c], start[c]) for c in (0, 1)]
        last = [np.searchsorted(rate[c], start[c] + bound, side="right") - 1 for c in (0, 1)]
        # A shift has to be in both classes' intervals.
        low, high = np.maximum.outer(*first), np.minimum.outer(*last)
        nearest.append(np.clip(count // 2, low, high))
        total = total + np.where(low <= high, cost[nearest[-1]], np.inf)
    best = np.unravel_index(np.argmin(total), total.shape)
    if not np.isfinite(total[best]):
        raise Infeasible(f"no shifts have an equalised odds difference within {setting['bound']}")
    shift = shifts[[index[best] for index in nearest]][np.searchsorted(groups, test.group)]
    edited = shifted(test.probability, shift)
    return Outcome(((np.ones(len(edited)), both_classes(edited)),), both_classes(edited > 0.5))
