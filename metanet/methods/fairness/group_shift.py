"""One number per group, added to its logits."""

import numpy as np

from metanet.evaluation.scores import (
    Infeasible,
    Outcome,
    Scores,
    binary_jsd,
    both_classes,
    count_above,
    known_groups,
)
from metanet.methods.fairness.settings import BOUNDS, EQUALISED_ODDS, swept

SHIFTS = np.linspace(-4, 4, 401)  # of the logits


@swept(tuple({"bound": bound} for bound in BOUNDS), requirements=(EQUALISED_ODDS,))
def group_shift(fit: Scores, test: Scores, setting: dict) -> Outcome:
    """One number per group, added to its logits: not in the paper, a strong baseline all the same.

    The numbers of SHIFTS with the least mean JSD on `fit` whose EOD on its labels is within the
    bound; any number of groups. The output is probabilities. Setting: bound.

    Raises:
      Infeasible: see `known_groups`; or no shifts are within the bound.
    """
    groups, bound = known_groups(fit, test), setting["bound"] + 1e-12
    p, test_p = (np.clip(s.probability, 1e-12, 1 - 1e-12) for s in (fit, test))
    logit, test_logit = np.log(p / (1 - p)), np.log(test_p / (1 - test_p))
    # Of every group: the rates of positive decisions per class, [2][shifts], and the sum of JSD
    # (nats), [shifts].
    rates, costs = [], []
    for g in groups:
        rows = fit.group == g
        cells = [logit[rows & (fit.y == c)] for c in (0, 1)]
        rates.append([count_above(cell, -SHIFTS) / len(cell) for cell in cells])
        shifted = 1 / (1 + np.exp(-logit[rows, None] - SHIFTS))  # [rows of the group, shifts]
        weight = np.broadcast_to(fit.weight, rows.shape)[rows]
        costs.append(
            weight @ binary_jsd(both_classes(shifted), both_classes(fit.probability[rows, None]))
        )
    # Rates are within the bound of each other in a window that starts at one of them. They grow
    # with the shift: the window is an interval of a group's shifts, the best nearest to zero.
    start = [np.unique([rate[c] for rate in rates]) for c in (0, 1)]  # windows of either class
    total, nearest = np.zeros([len(one) for one in start]), []  # each [windows of 0, of 1]
    for rate, cost in zip(rates, costs, strict=True):
        first = [np.searchsorted(rate[c], start[c]) for c in (0, 1)]
        last = [np.searchsorted(rate[c], start[c] + bound, side="right") - 1 for c in (0, 1)]
        # A shift has to be in both classes' intervals.
        low, high = np.maximum.outer(*first), np.minimum.outer(*last)
        nearest.append(np.clip(len(SHIFTS) // 2, low, high))
        total = total + np.where(low <= high, cost[nearest[-1]], np.inf)
    best = np.unravel_index(np.argmin(total), total.shape)
    if not np.isfinite(total[best]):
        raise Infeasible(f"no shifts have an equalised odds difference within {setting['bound']}")
    shift = SHIFTS[[index[best] for index in nearest]][np.searchsorted(groups, test.group)]
    edited = np.where(shift == 0, test.probability, 1 / (1 + np.exp(-test_logit - shift)))
    return Outcome(((np.ones(len(edited)), both_classes(edited)),), both_classes(edited > 0.5))
