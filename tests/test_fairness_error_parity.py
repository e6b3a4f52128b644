"""The linear programme of error parity, against fairlearn, brute force and what its paper shows."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from metanet.evaluation.scores import Infeasible, Scores, eod, jsd_label, jsd_out
from metanet.methods.fairness.error_parity import error_parity
from metanet.methods.fairness.group_shift import group_shift

TARGETS = ("error", "decisions", "outputs")


def scores(sizes=(300, 240), seed=0, distinct=None) -> Scores:
    """Samples whose probability is about right in the first group, too high in the last."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    logit = rng.normal(0.4 * group - 0.8, 1.5)
    y = (rng.random(len(group)) < 1 / (1 + np.exp(-logit))).astype(int)
    p = 1 / (1 + np.exp(-logit - 0.7 * group - rng.normal(0, 0.5 + 0.5 * group)))
    if distinct:
        p = (np.round(p * distinct) + 0.5) / (distinct + 1)
    return Scores(p, y, group)


def error(outcome, found: Scores) -> float:
    return 1 - outcome.labels[np.arange(len(found.y)), found.y].mean()


def cost(target, outcome, found: Scores) -> float:
    if target == "error":
        return error(outcome, found)
    if target == "decisions":
        return jsd_label(outcome.labels, found.probability)
    return jsd_out(outcome, found.probability)


def rates(found: Scores, positive) -> np.ndarray:
    """(FPR, TPR) of each group: [groups, 2]."""
    return np.array([[positive[(found.group == g) & (found.y == c)].mean() for c in (0, 1)]
                     for g in np.unique(found.group)])  # fmt: skip


def test_at_tolerance_zero_it_is_fairlearns_threshold_optimizer():
    pytest.importorskip("fairlearn")
    from metanet.methods.fairness.threshold_opt import threshold_opt

    fit = scores((700, 500))
    ours = error_parity(fit, fit, {"tolerance": 0.0}, ticks=10_000)
    theirs = threshold_opt(fit, fit, {}, grid_size=100_000)
    assert error(ours, fit) == pytest.approx(error(theirs, fit), abs=1e-4)
    mine, other = (rates(fit, one.labels[:, 1]) for one in (ours, theirs))
    np.testing.assert_allclose(mine[0], mine[1], atol=1e-7)
    np.testing.assert_allclose(mine, other, atol=1e-3)


def hull(found: Scores, g: int, x: np.ndarray) -> np.ndarray:
    """The highest TPR of a mixture of thresholds at FPRs `x`, by trying all pairs of thresholds."""
    p, y = found.probability[found.group == g], found.y[found.group == g]
    points = [((p > t)[y == 0].mean(), (p > t)[y == 1].mean()) for t in [-1, *np.unique(p)]]
    best = np.zeros(len(x))
    for (x0, y0), (x1, y1) in itertools.product(points, points):
        if x0 < x1:
            between = (x >= x0) & (x <= x1)
            best[between] = np.maximum(best, y0 + (y1 - y0) * (x - x0) / (x1 - x0))[between]
        elif x0 == x1:
            best[x == x0] = np.maximum(best, y0)[x == x0]
    return best


@pytest.mark.parametrize("costs", [(1.0, 1.0), (1.0, 3.0)])
@pytest.mark.parametrize("tolerance", [0.0, 0.05, 0.2])
def test_error_is_that_of_a_brute_force_search_over_roc_hulls(tolerance, costs):
    fit = scores((60, 50), distinct=12)
    x = np.linspace(0, 1, 601)
    tops = [hull(fit, g, x) for g in (0, 1)]
    share = [[((fit.group == g) & (fit.y == c)).mean() for c in (0, 1)] for g in (0, 1)]
    near = np.abs(x[:, None] - x) <= tolerance + 1e-9  # [FPR of group 0, FPR of group 1]
    # The true positive rates as high as the hulls and the tolerance let them be.
    first = np.minimum(tops[0][:, None], tops[1] + tolerance)
    second = np.minimum(tops[1], tops[0][:, None] + tolerance)
    wrong = costs[0] * (share[0][0] * x[:, None] + share[1][0] * x)
    wrong = wrong + costs[1] * (share[0][1] * (1 - first) + share[1][1] * (1 - second))
    best = np.where(near, wrong, np.inf).min()
    options = {"false_positive_cost": costs[0], "false_negative_cost": costs[1]}
    labels = error_parity(fit, fit, {"tolerance": tolerance}, **options).labels[:, 1]
    found = costs[0] * (labels * (fit.y == 0)).mean()
    found += costs[1] * ((1 - labels) * (fit.y == 1)).mean()
    assert eod(np.stack([1 - labels, labels], 1), fit.y, fit.group) <= tolerance + 1e-6
    assert best - 5e-3 <= found <= best + 1e-5


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("groups", [2, 3])
def test_the_front_meets_its_tolerances_falls_and_is_convex(target, groups):
    fit = scores((300, 240, 180)[:groups])
    tolerances = np.linspace(0, 0.3, 7)
    outcomes = [error_parity(fit, fit, {"tolerance": t}, target=target) for t in tolerances]
    for tolerance, outcome in zip(tolerances, outcomes, strict=True):
        assert eod(outcome.labels, fit.y, fit.group) <= tolerance + 1e-6
    costs = np.array([cost(target, outcome, fit) for outcome in outcomes])
    slopes = np.diff(costs)
    assert costs[0] > costs[-1] + 1e-3
    assert (slopes <= 1e-6).all() and (np.diff(slopes) >= -1e-5).all()
    # Each target is the least where it is what is minimised.
    for other in TARGETS:
        theirs = error_parity(fit, fit, {"tolerance": 0.05}, target=other)
        assert costs[1] <= cost(target, theirs, fit) + 1e-5


def test_beyond_the_unconstrained_gap_every_group_has_its_own_best_threshold():
    fit = scores()
    found = error_parity(fit, fit, {"tolerance": 1.0})
    best = 0
    for g in (0, 1):
        p, y = fit.probability[fit.group == g], fit.y[fit.group == g]
        best += min(((p > t) != y).sum() for t in [-1, *p]) / len(fit.y)
    assert error(found, fit) == pytest.approx(best, abs=1e-6)
    gap = eod(found.labels, fit.y, fit.group)
    again = error_parity(fit, fit, {"tolerance": gap + 1e-6})
    assert error(again, fit) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("target", ["decisions", "outputs"])
def test_a_model_within_the_tolerance_is_left_as_it_is(target):
    fit, test = scores(), scores(seed=1)
    found = error_parity(fit, test, {"tolerance": 1.0}, target=target)
    own = np.eye(2)[(test.probability > 0.5).astype(int)]
    np.testing.assert_allclose(found.labels, own, atol=1e-6)
    if target == "outputs":
        assert jsd_out(found, test.probability) < 1e-9


def test_unprocessing_any_scores_that_rank_groups_alike_have_the_same_front():
    """A model that was made fair by thresholds, or unfair, is the same to the programme."""
    fit = scores()
    bent = np.where(fit.group == 0, fit.probability**3, 1 - (1 - fit.probability) ** 2)
    other = Scores(bent, fit.y, fit.group)
    for tolerance in (0.0, 0.1, 1.0):
        one, two = (error(error_parity(s, s, {"tolerance": tolerance}), s) for s in (fit, other))
        assert one == pytest.approx(two, abs=1e-5)


def test_no_shifts_of_groups_have_less_divergence():
    fit = scores((1500, 1200))
    for bound in (0.02, 0.1):
        theirs = group_shift(fit, fit, {"bound": bound})
        tolerance = eod(theirs.labels, fit.y, fit.group)
        ours = error_parity(fit, fit, {"tolerance": tolerance}, target="outputs", ticks=10_000)
        # Its thresholds are in the middle of gaps between scores, not at their better ends.
        assert jsd_out(ours, fit.probability) <= 1.002 * jsd_out(theirs, fit.probability)


def test_decisions_are_those_of_the_programme_over_all_monotone_random_decisions():
    """A distribution over thresholds is a rising probability of a positive decision."""
    fit = scores((60, 50))
    tolerance, n = 0.05, len(fit.y)
    own, share = fit.probability > 0.5, np.array([[(fit.group == g) & (fit.y == c)
                                                   for c in (0, 1)] for g in (0, 1)])  # fmt: skip
    upper = []
    for c in (0, 1):
        gap = share[0, c] / share[0, c].sum() - share[1, c] / share[1, c].sum()
        upper += [(gap, tolerance), (-gap, tolerance)]
    order = np.lexsort([fit.probability, fit.group])
    for a, b in itertools.pairwise(order):
        if fit.group[a] == fit.group[b]:
            upper.append((np.eye(n)[a] - np.eye(n)[b], 0.0))
    rows, limits = map(np.array, zip(*upper, strict=True))
    solved = linprog(np.where(own, -1, 1), A_ub=rows, b_ub=limits, bounds=(0, 1))
    best = np.log(2) * (solved.fun + own.sum()) / n
    found = error_parity(fit, fit, {"tolerance": tolerance}, target="decisions", ticks=10_000)
    assert jsd_label(found.labels, fit.probability) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_a_sample_of_weight_two_counts_as_two(target):
    fit, test = scores(), scores(seed=1)
    weight = np.where((fit.y == 1) & (fit.group == 1), 2, 1)
    rows = np.repeat(np.arange(len(fit.y)), weight)
    repeated = Scores(fit.probability[rows], fit.y[rows], fit.group[rows])
    weighted = Scores(fit.probability, fit.y, fit.group, weight)
    setting = {"tolerance": 0.05}
    ours, expected = (error_parity(one, test, setting, target=target)
                      for one in (weighted, repeated))  # fmt: skip
    np.testing.assert_allclose(ours.labels, expected.labels, atol=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_outputs_are_a_mixture_that_agrees_with_the_labels(target):
    fit, test = scores(), scores(seed=1)
    found = error_parity(fit, test, {"tolerance": 0.0}, target=target)
    np.testing.assert_allclose(sum(weight for weight, _ in found.outputs), 1, atol=1e-9)
    decided = sum(weight * (part[:, 1] > 0.5) for weight, part in found.outputs)
    np.testing.assert_allclose(decided, found.labels[:, 1], atol=1e-9)
    hidden = Scores(test.probability, np.full_like(test.y, -1), test.group)
    again = error_parity(fit, hidden, {"tolerance": 0.0}, target=target)
    np.testing.assert_array_equal(found.labels, again.labels)


def test_few_ticks_cost_little():
    fit = scores((2000, 1500))
    for target in TARGETS:
        fine, coarse = (
            cost(target, error_parity(fit, fit, {"tolerance": 0.03}, target=target, ticks=n), fit)
            for n in (10_000, 400)
        )
        assert fine - 1e-6 <= coarse <= fine + 2e-3


def test_models_of_one_decision_are_infeasible():
    fit = scores()
    low = Scores(fit.probability / 2, fit.y, fit.group)
    with pytest.raises(Infeasible, match="one class"):
        error_parity(low, low, {"tolerance": 0.1})
