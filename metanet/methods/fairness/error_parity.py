"""Relaxed equalised odds at least cost, by a linear programme over thresholds."""

import numpy as np
from scipy.optimize import linprog
from scipy.special import logit

from metanet.evaluation.scores import (
    Infeasible,
    Outcome,
    Scores,
    both_classes,
    decided,
    known_groups,
)
from metanet.methods.fairness.settings import BOUNDS, EQUALISED_ODDS, Target, swept
from metanet.methods.fairness.shifts import shift_jsd, shifted

TIE = 1e-6  # the cost of a changed decision where only errors are to be few


@swept(tuple({"tolerance": one} for one in (0.0, *BOUNDS)), requirements=(EQUALISED_ODDS,))
def error_parity(
    fit: Scores,
    test: Scores,
    setting: dict,
    *,
    target: Target = "error",
    false_positive_cost: float = 1.0,
    false_negative_cost: float = 1.0,
    ticks: int = 1000,
) -> Outcome:
    """Relaxed equalised odds at least cost (Cruz and Hardt, ICLR 2024, "Unprocessing Seven Years of
    Algorithmic Fairness"), by a linear programme over random thresholds.

        minimise sum_a sum_k w_ak cost_ak   so that   q_c <= sum_k w_ak rate_ack <= q_c + tolerance

    over a distribution w_a on the thresholds of every group a and a free q_c for each class c,
    whose positive rate (FPR, TPR) is rate_ack: points in the hulls of the groups' ROC curves, no
    two further apart than the tolerance in either coordinate. Any number of groups. The
    distribution is the classifier: points inside of a hull are mixtures of thresholds, constant
    ones included. Setting: tolerance; 0 is equalised odds.

    Args:
      target: what is to be least. "error", of labels, is the published method, whose output is its
        decision. Of the same programme, the currency here being divergence from the model as it is:
        "decisions", the share of decisions that change; "outputs", the mean JSD (nats) of outputs,
        which are those of the model with the logits shifted so that a threshold becomes 1/2.
      false_positive_cost, false_negative_cost: of errors.
      ticks: thresholds per group at most, evenly over its ranked scores, as in the authors'
        package.

    Raises:
      Infeasible: see `known_groups`; or the programme has no solution.
    """
    groups = known_groups(fit, test)
    weight = np.broadcast_to(fit.weight, fit.y.shape)
    weight = weight / weight.sum()
    thresholds, rates, costs = [], [], []
    for g in groups:
        rows = fit.group == g
        p, own = fit.probability[rows], weight[rows]
        of_class = [np.where(fit.y[rows] == c, own, 0.0) for c in (0, 1)]
        threshold = _thresholds(p, ticks)
        positive = np.stack([_above(p, one, threshold) for one in of_class])  # [2, thresholds]
        mass = np.array([[one.sum()] for one in of_class])  # [2, 1]
        changed = np.abs(positive.sum(0) - _above(p, own, np.array([0.5])))
        if target == "outputs":
            cost = shift_jsd(p, own, _shift(threshold))
        elif target == "decisions":
            cost = changed
        else:
            wrong = false_positive_cost * positive[0] + false_negative_cost * (mass - positive)[1]
            cost = wrong + TIE * changed
        thresholds.append(threshold)
        rates.append(positive / mass)
        costs.append(cost)
    mixtures = _solve(rates, costs, setting["tolerance"])
    outcome = _outputs if target == "outputs" else _labels
    return outcome(test, groups, thresholds, mixtures)


def _thresholds(probability: np.ndarray, ticks: int) -> np.ndarray:
    """Rising thresholds, one between any two neighbours of the scores [n] and beyond both ends.

    1/2 is the one of its gap, so that the model's own decisions are always among them.
    """
    p = np.unique(probability)
    own = np.searchsorted(p, 0.5, side="right")  # p > 1/2 from here on
    between = np.concatenate([[-1.0], (p[1:] + p[:-1]) / 2, [2.0]])
    between[own] = 0.5
    if len(between) <= ticks:
        return between
    kept = np.linspace(0, len(between) - 1, max(ticks - 1, 2)).round().astype(int)
    return between[np.union1d(kept, own)]


def _above(probability: np.ndarray, weight: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The weight of the samples [n] above each threshold: [thresholds]."""
    order = np.argsort(probability)
    place = np.searchsorted(probability[order], thresholds, side="right")
    return np.append(np.cumsum(weight[order][::-1])[::-1], 0.0)[place]


def _shift(threshold: np.ndarray) -> np.ndarray:
    """The shift of the logits that takes `threshold` to 1/2; infinite beyond both ends."""
    return 0.0 - logit(np.clip(threshold, 0, 1))


def _solve(rates: list[np.ndarray], costs: list[np.ndarray], tolerance: float) -> list[np.ndarray]:
    """Every group's distribution over its thresholds: [thresholds] each, of least total cost.

    Args:
      rates: of positive decisions per class, [2, thresholds] each;  costs: [thresholds] each.
    """
    sizes = [len(cost) for cost in costs]
    first = np.cumsum([0, *sizes])
    n = first[-1]
    # A row per group and class; columns are the distributions' entries and the two free rates.
    row = np.zeros((len(rates), 2, n + 2))
    whole = np.zeros((len(rates), n + 2))  # distributions sum to 1
    for a, rate in enumerate(rates):
        row[a, :, first[a] : first[a + 1]] = rate
        row[a, (0, 1), (n, n + 1)] = -1
        whole[a, first[a] : first[a + 1]] = 1
    row = row.reshape(-1, n + 2)
    solved = linprog(
        1e3 * np.concatenate([*costs, [0, 0]]),  # well above the solver's absolute tolerances
        A_ub=np.concatenate([row, -row]),
        b_ub=np.repeat([tolerance, 0.0], len(row)),
        A_eq=whole,
        b_eq=np.ones(len(rates)),
        bounds=[(0, 1)] * n + [(0, 1)] * 2,
        method="highs-ds",  # a vertex: distributions on few thresholds
    )
    if solved.status != 0:
        raise Infeasible(f"linear programme: {solved.message}")
    mixtures = np.split(np.where(solved.x[:n] > 1e-9, solved.x[:n], 0), first[1:-1])
    return [mixture / mixture.sum() for mixture in mixtures]


def _labels(test: Scores, groups, thresholds, mixtures) -> Outcome:
    """The decisions of random thresholds."""
    positive = np.zeros(len(test.y))
    for g, threshold, mixture in zip(groups, thresholds, mixtures, strict=True):
        rows, used = test.group == g, mixture > 0
        above = test.probability[rows, None] > threshold[used]  # [rows of the group, used]
        positive[rows] = above @ mixture[used]
    return decided(np.clip(positive, 0, 1))


def _outputs(test: Scores, groups, thresholds, mixtures) -> Outcome:
    """The outputs of random shifts, as a mixture of as many parts as the widest distribution."""
    parts = max((mixture > 0).sum() for mixture in mixtures)
    weight, output = np.zeros((2, parts, len(test.y)))
    positive = np.zeros(len(test.y))
    for g, threshold, mixture in zip(groups, thresholds, mixtures, strict=True):
        rows = test.group == g
        for part, k in enumerate(np.flatnonzero(mixture)):
            weight[part, rows] = mixture[k]
            output[part, rows] = shifted(test.probability[rows], _shift(threshold[k]))
            positive[rows] += mixture[k] * (test.probability[rows] > threshold[k])
    outputs = tuple((w, both_classes(one)) for w, one in zip(weight, output, strict=True))
    return Outcome(outputs, both_classes(np.clip(positive, 0, 1)))
