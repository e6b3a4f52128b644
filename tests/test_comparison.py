"""Costs at levels, their intervals over models and seeds, who wins, and the values behind them."""

import dataclasses
import itertools
import json

import made_runs as runs
import numpy as np
import pytest
from made_runs import BOX, EXPERIMENT, a_method, a_run, write_run

from metanet.core import UserError
from metanet.evaluation import bootstrap
from metanet.evaluation.bootstrap import CURVE, LINE, Front
from metanet.evaluation.values import Values, load_values, save_values, values_path
from metanet.pipeline.run import levels_of
from metanet.report import comparison, stored, summary
from metanet.report.comparison import LOSS, TIE, WIN, analysed

LEVELS = np.array([-0.1, 0.02, 0.1, 0.25, 0.3, 0.5, 0.7, 0.95, 1.2])


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Intervals of these tests are of fewer draws than those of results."""
    monkeypatch.setattr(comparison, "DRAWS", 300)
    monkeypatch.setattr(comparison, "VOLUME_DRAWS", 40)


def random_front(seed, settings=6, models=30):
    rng = np.random.default_rng(seed)
    requirement = rng.uniform(0.05, 0.9, (settings, 1)) + 0.02 * rng.normal(size=(settings, models))
    return Front(requirement, np.exp(rng.normal(-4, 1, (settings, models))))


def end_values(requirement=(0.0, 1.0), cost=(0.08, 0.0), models=30):
    rng = np.random.default_rng(9)
    spread = 1 + 0.1 * rng.normal(size=(2, models))
    return Front(np.outer(requirement, np.ones(models)), np.array(cost)[:, None] * spread)


def fixed(points):
    """The front of settings with the same values for each of 30 models."""
    x, y = np.array(points, float).T
    return Front(np.outer(x, np.ones(30)), np.outer(y, np.ones(30)))


# Draws of models.


def test_whole_experiments_are_drawn_and_first_stands_the_sample_itself():
    cluster = np.array([7, 7, 2, 5, 5, 5, 2, 2, 9])  # neither sorted nor equally large
    weight = bootstrap.draws(cluster, 500)
    assert weight.shape == (501, 9)
    np.testing.assert_allclose(weight[0], 1 / 9)
    np.testing.assert_allclose(weight.sum(1), 1)
    for one in np.unique(cluster):
        own = weight[:, cluster == one]
        np.testing.assert_array_equal(own, own[:, :1].repeat(own.shape[1], 1))
    # A draw has as many experiments as there are, each a whole number of times.
    times = weight[1:, [0, 2, 3, 8]] / weight[1:].max(1, keepdims=True)
    for row in times:
        counts = next(n for k in range(1, 5) if np.allclose(n := row * k, np.round(n))
                      and round(n.sum()) == 4)  # fmt: skip
        assert (counts >= 0).all()
    assert (weight[1:, 0] == 0).mean() == pytest.approx(0.75**4, abs=0.08)


def test_two_calls_draw_the_same_models_and_another_seed_others():
    one = bootstrap.draws(EXPERIMENT, 50)
    np.testing.assert_array_equal(one, bootstrap.draws(EXPERIMENT, 50))
    assert (one != bootstrap.draws(EXPERIMENT, 50, seed=1)).any()
    # More draws begin like fewer: intervals of hypervolumes are over the first ones.
    assert (bootstrap.draws(EXPERIMENT, 50)[1:] >= 0).all()


def test_an_interval_is_of_the_draws_without_the_first():
    values = np.append(1e6, np.arange(101.0))
    np.testing.assert_allclose(bootstrap.interval(values), (2.5, 97.5))
    np.testing.assert_allclose(bootstrap.interval(values, 0.8), (10, 90))


def test_intervals_of_means_and_ratios_cover_the_truth_only_with_whole_clusters():
    rng = np.random.default_rng(0)
    datasets, clusters, alike = 600, 40, 3
    cluster = np.repeat(np.arange(clusters), alike)
    weight = bootstrap.draws(cluster, 400)
    single = bootstrap.draws(np.arange(len(cluster)), 400)

    def sample(mean, shared):
        """Costs [datasets, models] with this mean; of one cluster alike, of two methods a bit."""
        own = rng.normal(size=(datasets, clusters))
        each = 0.4 * np.repeat(shared + 0.5 * own, alike, 1)
        each += 0.2 * rng.normal(size=each.shape)
        return mean * np.exp(each - each.std() ** 2 / 2)

    shared = rng.normal(size=(datasets, clusters))
    ours, theirs = sample(0.02, shared), sample(0.025, shared)

    def covered(weight):
        means = [np.repeat((weight @ one.T)[..., None], 2, -1) for one in (ours, theirs)]
        low, high = bootstrap.interval(means[0][..., LINE])
        _, below, above = bootstrap.ratio(*means)
        inside = ((low < 0.02) & (high > 0.02)).mean(), ((below < 0.8) & (above > 0.8)).mean()
        return np.array(inside)

    found, naive = covered(weight), covered(single)
    assert (found > 0.9).all() and (found < 0.99).all(), found
    assert (naive < 0.87).all() and (naive < found - 0.07).all(), naive


# Costs at levels.


def along(points, level, curve=False):
    """The cost at a level on the way from point to point, as a line or as a line of logarithms."""
    points = sorted(points, key=lambda point: point[0])
    if level <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 < level <= x1:
            share = (level - x0) / (x1 - x0)
            return y0 ** (1 - share) * y1**share if curve else (1 - share) * y0 + share * y1
    return points[-1][1]


def slow_reading(points, ends, level, curve):
    """A method's cost at a level: the least of what its settings and the ends allow."""
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    beyond = [end for end in ends if not first <= end[0] <= last]
    found = min(along(points + beyond, level), along(points + ends, level))
    if level >= min(x for x, _ in ends):
        found = min(found, along(ends, level))
    return min(found, along(points, level, True)) if curve and first <= level <= last else found


@pytest.mark.parametrize(
    ("front", "ends"),
    [
        (random_front(0), end_values()),
        (random_front(1), end_values((0.2, 0.6), (0.05, 0.0))),  # settings beyond both ends
        (random_front(2, settings=1), end_values()),
        (Front(random_front(3).requirement, random_front(3).cost + 0.2), end_values()),
        (random_front(4, settings=20), end_values((0.0, 0.4))),
    ],
    ids=["inside", "beyond", "one setting", "above the chord", "unedited in the middle"],
)
def test_costs_at_levels_agree_with_a_plain_loop(front, ends):
    weight = bootstrap.draws(EXPERIMENT, 12)
    found = bootstrap.at_levels([front], ends, weight, LEVELS)
    assert found.shape == (13, len(LEVELS), 2) and np.isfinite(found).all()

    def mean(values, share):
        return sum(v * w for v, w in zip(values, share, strict=True)) / sum(share)

    for row, share in zip(found, weight.tolist(), strict=True):
        points, both = (
            [
                (mean(x, share), mean(y, share))
                for x, y in zip(one.requirement, one.cost, strict=True)
            ]
            for one in (front, ends)
        )
        for reading in (LINE, CURVE):
            slow = [slow_reading(points, both, x, reading == CURVE) for x in LEVELS.tolist()]
            np.testing.assert_allclose(row[:, reading], slow, rtol=1e-5, atol=1e-15)
    assert (found[..., CURVE] <= found[..., LINE] + 1e-12).all()


def test_at_levels_of_each_model_no_model_may_have_more_than_another():
    front, ends = random_front(0), end_values()
    weight = bootstrap.draws(EXPERIMENT, 6)
    found = bootstrap.at_levels([front], ends, weight, LEVELS, each=True)
    models = range(len(EXPERIMENT))
    slow = np.empty((len(models), len(LEVELS), 4))
    for m in models:
        points, both = (
            list(zip(one.requirement[:, m].tolist(), one.cost[:, m].tolist(), strict=True))
            for one in (front, ends)
        )
        first, last = min(x for x, _ in points), max(x for x, _ in points)
        beyond = [end for end in both if not first <= end[0] <= last]
        for place, level in enumerate(LEVELS.tolist()):
            outer = along(points + beyond, level)
            curve = along(points, level, True) if first <= level <= last else outer
            slow[m, place] = along(points + both, level), outer, along(both, level), curve
    means = np.einsum("dm,mlk->dlk", weight, slow)
    means[:, LEVELS < 0, 2] = np.inf
    line = means[..., :3].min(-1)
    np.testing.assert_allclose(found[..., LINE], line, rtol=1e-5)
    np.testing.assert_allclose(found[..., CURVE], np.minimum(line, means[..., 3]), rtol=1e-5)
    # Half of the models at .1 and half at .5 are at .3 on average, but no model is.
    uneven = Front(np.array([[0.1, 0.5] * 15]), np.array([[0.01, 0.001] * 15]))
    models = bootstrap.draws(np.arange(30), 1)
    at = np.array([0.3])
    (mean,), (each,) = (
        bootstrap.at_levels([uneven], end_values(), models, at, each=each)[0]
        for each in (False, True)
    )
    assert mean[LINE] == pytest.approx(0.0055) and each[LINE] > 1.5 * mean[LINE]


def test_settings_of_one_requirement_count_as_their_mean_whatever_rounding_says():
    """A model may have several with as many features, which float32 puts off the level."""
    weight = np.eye(1)
    for k in (1, 2, 3, 5, 9):
        x = np.float32(np.array([k / 14, k / 14, 1.0]))[:, None].astype(float)
        front = Front(x, np.array([[0.03], [0.01], [0.001]]))
        ends = Front(np.array([[0.0], [1.0]]), np.array([[0.1], [0.0]]))
        found = bootstrap.at_levels([front], ends, weight, np.array([k / 14]), each=True)
        np.testing.assert_allclose(found, 0.02)
    # Neither the first, the last nor the best of them, in any order.
    front = Front(x, np.array([[0.01], [0.03], [0.001]]))
    np.testing.assert_allclose(
        bootstrap.at_levels([front], ends, weight, np.array([9 / 14]), each=True), 0.02
    )


def test_between_two_settings_nothing_is_hoped_for_where_another_one_was_tried_or_costs_nothing():
    weight, at = bootstrap.draws(EXPERIMENT, 3), np.array([0.2, 0.7])
    front, ends = fixed([(0.1, 0.08), (0.3, 0.002), (0.9, 0.0001)]), fixed(runs.ENDS)
    for tried, closed in (((0.1, 0.3, 0.9), []), ((0.1, 0.2, 0.3, 0.9), [0]), ((0.302, 0.9), []),
            ((0.6,), [1]), ((0.2, 0.6), [0, 1])):  # fmt: skip
        found = bootstrap.at_levels([front], ends, weight, at, tried=np.array(tried))[0]
        same = np.isclose(found[:, LINE], found[:, CURVE])
        assert np.flatnonzero(same).tolist() == closed
    free = fixed([(0.1, 0.03), (0.3, 0.0), (0.9, 0.0)])
    found = bootstrap.at_levels([free], ends, weight, at)[0]
    np.testing.assert_allclose(found[0], 0.015)


def test_settings_that_were_tried_are_known_from_all_methods_of_one_grid():
    def method(*features, tried=4, key="features"):
        front = [{"setting": {key: one}, "requirement": one / 10} for one in features]
        return {"front": front, "points_evaluated": tried}

    methods = {"a": method(1, 2, 4), "b": method(2, 3), "few": method(1, tried=2), "none": method(),
               "editor": method(0.1, 0.2, key="lambda")}  # fmt: skip
    np.testing.assert_allclose(sorted(comparison.tried_by(methods, "a")), [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(sorted(comparison.tried_by(methods, "b")), [0.1, 0.2, 0.3, 0.4])
    for name in ("few", "none", "editor"):
        assert comparison.tried_by(methods, name) is None
    del methods["b"]
    assert comparison.tried_by(methods, "a") is None  # one of four is not known


def test_what_is_at_a_level_follows_from_the_run():
    rng = np.random.default_rng(0)
    entry, values = a_method(OWN, seeds=1)
    x = values.seeds[0].fields["requirement"]
    values.seeds[0].fields["requirement"] = (x * rng.uniform(0.7, 1.3, x.shape)).astype(np.float32)
    costs = {}
    for kind in (comparison.MEAN, comparison.EACH):
        run, _ = a_run({"GMN": (entry, values)}, levels_of=kind)
        costs[kind] = [one["cost"] for one in run["methods"]["GMN"]["at_levels"]["jsd"]]
    assert costs[comparison.MEAN] != pytest.approx(costs[comparison.EACH], rel=0.01)
    weights, odds = "metanet.objectives.pruning.weights_kept", "metanet.objectives.fairness."
    assert levels_of((weights,)) == comparison.EACH
    assert levels_of((f"{odds}equalised_odds",)) == comparison.MEAN
    assert levels_of((weights, f"{odds}equalised_odds")) == comparison.MEAN


def test_margins_are_paired_ratios_of_low_and_high_levels():
    ours = [(x, y * (0.5 if x < 0.5 else 0.9)) for x, y in OWN]
    run, _ = a_run({"GMN": a_method(ours, seeds=1), "other": a_method(OWN)})
    found = run["margins"]["jsd"]["GMN"]["other"]
    assert found["below"][0] == pytest.approx(0.5) and found["above"][0] == pytest.approx(0.9)
    assert found["wider"][0] == pytest.approx(0.5 / 0.9)
    # Costs of models differ by far more than the two methods do on any of them.
    assert all(high / low < 1.01 for _, low, high in found.values())
    run, _ = a_run({"GMN": a_method(ours, seeds=1), "other": a_method(OWN)}, report_levels=[0.1])
    assert run["margins"] == {"jsd": {}}
    # Far settings leave room on both sides, as they do at single levels.
    far = [(0.05, 0.06), (0.4, 0.02), (0.9, 0.0008)]
    run, _ = a_run({"GMN": a_method(ours, seeds=1), "other": a_method(far)})
    found = run["margins"]["jsd"]["GMN"]["other"]
    assert all(high / low > 1.05 for _, low, high in found.values())


def test_the_sample_is_the_mean_of_all_seeds_and_every_draw_is_of_as_many():
    fronts, ends = [random_front(seed) for seed in range(3)], end_values()
    weight = bootstrap.draws(EXPERIMENT, 60)
    found = bootstrap.at_levels(fronts, ends, weight, LEVELS)
    each = np.stack([bootstrap.at_levels([one], ends, weight, LEVELS) for one in fronts])
    np.testing.assert_allclose(found[0], each[:, 0].mean(0))
    chosen = list(itertools.combinations_with_replacement(range(3), 3))
    seen = set()
    for place in range(1, len(weight)):
        possible = [each[list(one), place].mean(0) for one in chosen]
        matches = [i for i, one in enumerate(possible) if np.allclose(one, found[place])]
        assert matches
        seen |= set(matches)
    assert len(seen) > 5  # of ten


def test_a_cost_of_nothing_stays_finite():
    exact = fixed([(0.2, 0.0), (0.4, 0.0), (0.6, 0.0)])
    weight = bootstrap.draws(EXPERIMENT, 5)
    found = bootstrap.at_levels([exact], fixed(runs.ENDS), weight, LEVELS)
    ratios = bootstrap.ratio(found, found)
    assert np.isfinite(found).all() and np.isfinite(ratios).all()
    assert np.allclose(found[:, 4:], 0, atol=1e-8)


def test_ends_count_in_any_order_and_among_the_settings():
    # An unedited model may have less of a requirement than a constant one.
    weight, front = bootstrap.draws(EXPERIMENT, 5), random_front(0)

    def costs(front, ends, level):
        return bootstrap.at_levels([front], fixed(ends), weight, np.array(level))

    one = costs(front, [(0.0, 0.08), (1.0, 0.0)], LEVELS)
    other = costs(front, [(1.0, 0.0), (0.0, 0.08)], LEVELS)
    np.testing.assert_array_equal(one, other)
    # Unedited models at .5: at .4 two thirds of them and a third at the first setting.
    found = costs(fixed([(0.2, 0.06), (0.9, 0.05)]), [(0.0, 0.5), (0.5, 0.0)], [0.4, 0.5])
    np.testing.assert_allclose(found[0, :, LINE], [0.02, 0.0], atol=1e-12)
    # Below both ends a mixture of them is no way to comply.
    found = costs(fixed([(0.1, 0.05)]), [(0.5, 0.0), (0.8, 0.08)], [0.2])
    np.testing.assert_allclose(found, 0.0375)


# Who wins.


def against(run, editor, other, cost="jsd"):
    return run["comparison"][cost][editor][other]


def verdicts(run, editor, other, cost="jsd"):
    return [one["verdict"] for one in against(run, editor, other, cost)]


OWN = [(level, 0.05 * np.exp(-4 * level)) for level in runs.LEVELS]  # a setting at every level


def times(factor, points=OWN):
    return [(x, factor * y) for x, y in points]


def test_equal_methods_tie_at_a_ratio_of_one():
    run, _ = a_run({"GMN": a_method(OWN, seeds=1), "same": a_method(OWN)})
    for one in against(run, "GMN", "same"):
        assert one["verdict"] == TIE
        assert [one[key] for key in ("ratio", "low", "high")] == pytest.approx([1.0] * 3, abs=1e-5)


def test_a_method_that_is_better_on_every_model_wins_though_intervals_overlap():
    run, _ = a_run({"GMN": a_method(OWN, seeds=1), "worse": a_method(times(1.03))})
    assert verdicts(run, "GMN", "worse") == [WIN] * 4
    ours, theirs = (run["methods"][name]["at_levels"]["jsd"] for name in ("GMN", "worse"))
    for one, other in zip(ours, theirs, strict=True):
        assert one["low"] < other["cost"] < one["high"] and other["low"] < one["cost"]
    # The other way round it loses; and where models disagree by more than that, it is a tie.
    run, _ = a_run({"GMN": a_method(OWN, seeds=1), "better": a_method(times(0.97))})
    assert verdicts(run, "GMN", "better") == [LOSS] * 4
    run, _ = a_run({"GMN": a_method(OWN, seeds=1), "other": a_method(times(1.03), noise=0.5)})
    assert verdicts(run, "GMN", "other") == [TIE] * 4


def test_verdicts_are_of_intervals_and_not_of_estimates():
    assert [comparison.verdict(*one) for one in ((0.5, 0.99), (0.5, 1.0), (0.9, 1.1), (1.0, 2.0),
            (1.01, 2.0))] == [WIN, TIE, TIE, TIE, LOSS]  # fmt: skip


@pytest.mark.parametrize(
    ("cost", "expected"), [(0.055, WIN), (0.03, TIE), (0.004, TIE), (0.0015, LOSS)]
)
def test_what_lies_between_settings_counts_for_neither_side(cost, expected):
    # At .5 the line of the far settings is .040, the curve .0028.
    far, close = [(0.1, 0.08), (0.9, 0.0001)], [(0.4, cost), (0.5, cost), (0.6, cost)]
    ends = [(0.0, 0.5), (1.0, 0.0)]  # whose chord is out of the way
    weight = bootstrap.draws(EXPERIMENT, 100)
    ours, theirs = (
        bootstrap.at_levels([fixed(one)], fixed(ends), weight, np.array([0.5]))
        for one in (far, close)
    )
    (ratio,), (low,), (high,) = bootstrap.ratio(ours, theirs)
    assert comparison.verdict(low, high) == expected
    assert low <= ratio <= high
    assert (low, high) == pytest.approx((np.sqrt(8e-6) / cost, 0.04005 / cost))
    # The same from the other side.
    (_,), (below,), (above,) = bootstrap.ratio(theirs, ours)
    opposite = {WIN: LOSS, LOSS: WIN, TIE: TIE}[expected]
    assert comparison.verdict(below, above) == opposite
    assert (below, above) == pytest.approx((1 / high, 1 / low))


def test_nothing_is_compared_below_the_floor_or_where_unedited_models_comply():
    methods = {"GMN": a_method(times(0.5), seeds=1), "other": a_method(OWN)}
    run, _ = a_run(methods, level_floor=0.2, report_levels=[0.1, 0.2, 0.5, 1.0, 1.5])
    assert verdicts(run, "GMN", "other") == [None, WIN, WIN, None, None]
    assert comparison.tally(against(run, "GMN", "other")) == (2, 0, 0)


def test_every_editor_is_compared_with_all_others_by_every_cost():
    methods = {"GMN": a_method(times(0.5), seeds=2), "GMN + probe": a_method(times(0.4), seeds=1),
               "other": a_method(OWN), "nothing": a_method([])}  # fmt: skip
    run, _ = a_run(methods, costs=list(runs.COSTS))
    assert run["comparison"].keys() == set(runs.COSTS)
    assert {name: set(found) for name, found in run["comparison"]["jsd"].items()} == {
        "GMN": {"GMN + probe", "other"},
        "GMN + probe": {"GMN", "other"},
    }
    # An error of .2 and more hides what the divergence shows.
    assert against(run, "GMN", "other")[0]["ratio"] == pytest.approx(0.5, rel=1e-3)
    assert against(run, "GMN", "other", "jsd_label")[0]["ratio"] == pytest.approx(0.5, rel=1e-3)
    assert 0.9 < against(run, "GMN", "other", "error")[0]["ratio"] < 1
    costs = run["methods"]["other"]["at_levels"]
    assert costs["jsd_label"][0]["cost"] == pytest.approx(2 * costs["jsd"][0]["cost"], rel=1e-3)
    assert "at_levels" not in run["methods"]["nothing"]
    assert run["methods"]["nothing"]["mixture_interval"] is None


def test_costs_far_from_settings_are_marked_as_upper_bounds():
    far = [(0.1, 0.04), (0.7, 0.0001)]
    run, _ = a_run({"GMN": a_method(OWN, seeds=1), "far": a_method(far)})
    marks = {name: [one["coarse"] for one in method["at_levels"]["jsd"]]
             for name, method in run["methods"].items()}  # fmt: skip
    assert marks == {"GMN": [False] * 4, "far": [False, True, True, False]}


def test_a_method_is_compared_with_the_slowest_editor_that_takes_no_longer():
    methods = {
        "fast": a_method(OWN, seeds=1, seconds=0.1),
        "slow": a_method(times(0.5), seeds=1, seconds=1.0),
        "never": a_method([], seeds=1),
        "faster": a_method(OWN, seconds=0.01),
        "as fast": a_method(OWN, seconds=0.1),
        "between": a_method(OWN, seconds=0.5),
        "slower": a_method(times(0.1), seconds=2.0),  # better than either: it does not matter
        "nothing": a_method([]),
    }
    run, _ = a_run(methods)
    seconds = {name: one["seconds_per_model"] for name, one in run["methods"].items()}
    found = {"faster": None, "as fast": "fast", "between": "fast", "slower": "slow"}
    assert comparison.by_budget(run["methods"], seconds) == found
    # Seconds of a run that times all methods alike decide, where there is one.
    timed = {one: {"per_model_of_batch": 1.0} for one in ("dm: fast", "dm: slow", "dm: faster")}
    rest = {f"dm: {one}": {"per_model_of_batch": 2.0} for one in ("as fast", "between", "slower")}
    timing = {"dataset": "synthetic", "kind": "timing"}
    all_runs = {"dm_synthetic": run, "timing_synthetic": timing | {"methods": timed | rest}}
    rows = {line.split(" | ")[2]: line.split(" | ")[3:5]
            for line in summary.against_budget(all_runs)[2:]}  # fmt: skip
    assert rows["faster"] == ["1", "fast"] and rows["slower"] == ["2", "fast"]
    del timed["dm: slow"]
    all_runs["timing_synthetic"] = timing | {
        "methods": timed | rest
    }  # of some methods: no comparison
    rows = [line.split(" | ")[2:5] for line in summary.against_budget(all_runs)[2:]]
    assert rows[0] == ["faster", "~0.01", "none as fast"] and rows[3][1:] == ["~2", "slow"]
    # Seconds in passing on another device are not compared.
    run["device"] = "1 x cpu"
    run["methods"]["slow"]["device"] = "1 x GPU"
    rows = [line.split(" | ")[2:5] for line in summary.against_budget(all_runs)[2:]]
    assert rows[3] == ["slower", "~2", "fast"]
    run["methods"]["slow"].pop("device")
    run["methods"]["slower"]["device"] = "1 x GPU"
    rows = [line.split(" | ")[2:5] for line in summary.against_budget(all_runs)[2:]]
    assert rows[3] == ["slower", "~2 on 1 x GPU", "slow"]  # no editor was on that device
    run["methods"]["fast"]["device"] = "1 x GPU"
    rows = [line.split(" | ")[2:5] for line in summary.against_budget(all_runs)[2:]]
    assert rows[3] == ["slower", "~2 on 1 x GPU", "fast"] and rows[0][2] == "none as fast"
    # Hours are those of the run's own device, whose training is not told apart.
    for seconds, method in zip((3600, 7200), run["methods"].values(), strict=False):
        method["wall_seconds"] = seconds
    for method in run["methods"].values():
        method.setdefault("wall_seconds", 360)
    hours = summary.core_hours({"dm_synthetic": run})
    assert not any(row.startswith(("| train", "| **all**", "| evaluate fast ")) for row in hours)
    assert "| evaluate slow | 2.000 |" in hours
    for method in run["methods"].values():
        method.pop("device", None)
    hours = summary.core_hours({"dm_synthetic": run})
    assert "| train GMN | 0.003 |" in hours and "| evaluate fast | 1.000 |" in hours
    assert "| **all** | 3.603 |" in hours


# Seeds and hypervolumes.


def test_intervals_contain_the_estimates_and_seeds_that_differ_widen_them():
    methods = {"one": a_method(OWN, seeds=1), "alike": a_method(OWN, seeds=3),
               "apart": a_method(OWN, seeds=3, spread=1.0),
               "single": a_method([(0.3, 0.01)])}  # fmt: skip
    run, values = a_run(methods)
    width = {}
    for name, method in run["methods"].items():
        for one in method["at_levels"]["jsd"]:
            assert 0 <= one["low"] <= one["cost"] <= one["high"]
        low, high = method["mixture_interval"]
        assert low < comparison.volumes(method).mean() < high
        for point in method["front"]:
            assert 0 < point["jsd_low"] < point["jsd"] < point["jsd_high"]
        first = method["at_levels"]["jsd"][1]
        width[name] = np.array([(first["high"] - first["low"]) / first["cost"], high - low])
    np.testing.assert_allclose(width["alike"], width["one"], rtol=1e-6)
    assert (width["apart"] > 1.1 * width["alike"]).all()
    weight = bootstrap.draws(EXPERIMENT, 40)
    ends = values["ends"].fronts("jsd")[0]
    mean, low, high = bootstrap.volume_interval(values["apart"].fronts("jsd"), ends, weight, BOX)
    assert low < mean < high
    assert mean == pytest.approx(comparison.volumes(run["methods"]["apart"]).mean(), abs=1e-5)


def test_hypervolumes_vary_with_the_seeds_that_are_drawn():
    ends, weight = fixed(runs.ENDS), bootstrap.draws(EXPERIMENT, 60)  # models do not differ

    def interval(factors):
        fronts = [fixed(times(factor)) for factor in factors]
        return bootstrap.volume_interval(fronts, ends, weight, BOX)

    mean, low, high = interval((1, 1, 1))
    assert low == pytest.approx(mean, abs=1e-12) and high == pytest.approx(mean, abs=1e-12)
    singly = [interval((factor,))[0] for factor in (0.2, 0.5, 0.8)]
    mean, low, high = interval((0.2, 0.5, 0.8))
    assert mean == pytest.approx(np.mean(singly))
    assert singly[2] <= low < mean - 0.02 < mean + 0.02 < high <= singly[0]


# Values of single models, stored and read.


def test_values_are_read_as_they_were_written(tmp_path):
    _, values = a_method(OWN, seeds=2, spread=0.1)
    save_values(tmp_path / "a.npz", values)
    found = load_values(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.model, values.model)
    np.testing.assert_array_equal(found.experiment, values.experiment)
    assert len(found.seeds) == 2
    for one, other in zip(found.seeds, values.seeds, strict=True):
        for part in ("fields", "selected"):
            ours, theirs = getattr(one, part), getattr(other, part)
            assert ours.keys() == theirs.keys()
            for key in ours:
                np.testing.assert_array_equal(ours[key], theirs[key])
                assert ours[key].dtype == theirs[key].dtype


def npz(**arrays):
    def write(path, whole):
        np.savez(path, **dict(np.load(path)) | arrays)

    return write


def without(name):
    def write(path, whole):
        np.savez(path, **{key: one for key, one in np.load(path).items() if key != name})

    return write


DAMAGE = {
    "missing": lambda path, whole: path.unlink(),
    "empty": lambda path, whole: path.write_bytes(b""),
    "truncated": lambda path, whole: path.write_bytes(whole[: len(whole) // 2]),
    "text": lambda path, whole: path.write_text("results"),
    "one array": lambda path, whole: np.save(open(path, "wb"), np.zeros(3)),
    "flipped": lambda path, whole: path.write_bytes(
        whole[:200] + bytes(255 - one for one in whole[200:260]) + whole[260:]
    ),
    "no models": without("model"),
    "no cost": without("0.jsd"),
    "no seed": lambda path, whole: np.savez(path, model=np.arange(3), experiment=np.arange(3)),
    "objects": npz(model=np.array([{}, None], dtype=object)),
    "a folder": lambda path, whole: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_values_that_cannot_be_read_are_one_line_that_names_the_file(damage, tmp_path):
    path = values_path(tmp_path, "GMN + probe")
    save_values(path, a_method(OWN, seeds=1)[1])
    damage(path, path.read_bytes())
    with pytest.raises(UserError) as error:
        load_values(path)
    message = str(error.value)
    assert str(path) in message and "\n" not in message and "expected a method's values" in message


def test_no_damaged_byte_is_taken_for_a_value(tmp_path):
    path = tmp_path / "a.npz"
    save_values(path, a_method(OWN[:1])[1])
    whole, before = path.read_bytes(), load_values(path)
    for place in range(0, len(whole), 41):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = load_values(path)
        except UserError:
            continue
        for one, other in ((found.model, before.model), (found.experiment, before.experiment)):
            np.testing.assert_array_equal(one, other)
        for key, one in found.seeds[0].fields.items():
            np.testing.assert_array_equal(one, before.seeds[0].fields[key])


def test_intervals_and_comparisons_are_those_that_the_stored_files_give_again(tmp_path):
    methods = {"GMN": a_method(times(0.5), seeds=2, spread=0.1), "other": a_method(OWN, noise=0.3),
               "nothing": a_method([])}  # fmt: skip
    results, values = a_run(methods, costs=list(runs.COSTS))
    write_run(tmp_path, results, values)
    content = stored.read(tmp_path / "results.json")
    assert content == json.loads(json.dumps(results))
    again = analysed(content, stored.read_values(tmp_path, content))
    assert json.loads(json.dumps(again)) == content
    (tmp_path / "models" / "other.npz").unlink()
    with pytest.raises(UserError, match=r"models/other\.npz: found No such file"):
        stored.read_values(tmp_path, content)


def test_values_of_other_test_models_are_refused():
    results, values = a_run({"GMN": a_method(OWN, seeds=1), "other": a_method(OWN)})
    moved = dataclasses.replace(values["other"], model=values["other"].model + 1)
    with pytest.raises(UserError, match=r"^other: found values of other test models") as error:
        analysed(results, values | {"other": moved})
    assert "\n" not in str(error.value)
    fewer = Values(np.arange(27), EXPERIMENT[:27], values["other"].seeds)
    with pytest.raises(UserError, match="other test models"):
        analysed(results, values | {"other": fewer})
