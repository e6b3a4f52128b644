"""Judges of the paper's claims: each says yes, says that noise decides, and says no."""

import pytest
from made_runs import a_method, a_run

from metanet.report import caveats, claims, judges, verdicts
from metanet.report.comparison import verdict as verdict_of

HOLDS, PARTLY, FAILS, NOISE = verdicts.HOLDS, verdicts.PARTLY, verdicts.FAILS, verdicts.NOISE
KEPT = {"requirements": ["metanet.objectives.pruning.weights_kept"], "reference_point": [1.0, 0.1],
        "ends": [{"requirement": 0.0}, {"requirement": 1.0}]}  # fmt: skip
LEVELS = (0.1, 0.3, 0.6, 0.8)
WON, TIED, LOST, APART = (0.7, 0.9), (0.9, 1.1), (1.2, 1.4), None  # intervals of a ratio


def entry(*points, **more):
    return {"front": [{"requirement": x, "jsd": y} for x, y in points or ((0.5, 0.01),)]} | more


def rows(*intervals):
    """The entries of one comparison, a level each; None does not count."""
    return [
        {"ratio": sum(one or TIED) / 2, "low": (one or TIED)[0], "high": (one or TIED)[1],
         "verdict": one and verdict_of(*one)}
        for one in intervals
    ]  # fmt: skip


def run(*names, cost="jsd", **found):
    """Results with a comparison of GMN with the other methods by `cost`."""
    methods = {name: entry() for name in ("GMN", *found, *names)}
    pairs = {other: rows(*intervals) for other, intervals in found.items()}
    comparison = {cost: {"GMN": pairs}}
    return KEPT | {"methods": methods, "report_levels": LEVELS, "comparison": comparison}


def verdict(judge, results):
    return judge(results)[0]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((3, 0, 0), HOLDS),
        ((2, 1, 0), PARTLY),
        ((2, 1, 1), PARTLY),
        ((2, 0, 2), FAILS),  # no more wins than losses
        ((1, 2, 0), NOISE),
        ((0, 3, 0), NOISE),
        ((0, 1, 1), FAILS),
        ((1, 1, 2), FAILS),
        ((0, 0, 2), FAILS),
        ((0, 7, 1), NOISE),  # one of eight may be chance
        ((1, 6, 1), NOISE),
        ((1, 4, 3), FAILS),
        ((2, 4, 2), NOISE),
    ],
)
def test_a_claim_on_all_levels_holds_by_wins_alone(counts, expected):
    assert verdicts.share_verdict(*counts) == expected


def test_lower_counts_wins_ties_and_losses_against_all():
    judge = judges.lower("GMN", ("FS", "SNIP"))
    assert judge(run(FS=[WON] * 4, SNIP=[WON] * 4)) == (
        HOLDS,
        "wins/ties/losses against FS 4/0/0, SNIP 4/0/0",
    )
    assert verdict(judge, run(FS=[WON] * 4, SNIP=[WON, TIED, LOST, WON])) == PARTLY
    assert verdict(judge, run(FS=[TIED] * 4, SNIP=[TIED, TIED, WON, LOST])) == NOISE
    assert verdict(judge, run(FS=[LOST] * 4, SNIP=[WON, WON, TIED, LOST])) == FAILS


def test_levels_that_do_not_count_or_lie_elsewhere_decide_nothing():
    judge = judges.lower("GMN", ("FS",))
    assert verdict(judge, run(FS=[APART, WON, WON, APART])) == HOLDS
    between = judges.lower("GMN", ("FS",), between=(0.2, 0.7))
    assert verdict(between, run(FS=[LOST, WON, WON, LOST])) == HOLDS
    with pytest.raises(verdicts.OpenError, match="no level above the floor"):
        judge(run(FS=[APART] * 4))


def test_a_claim_is_judged_by_the_cost_that_it_is_about():
    results = run(FS=[WON] * 4) | {
        "comparison": {
            "jsd": {"GMN": {"FS": rows(*[WON] * 4)}},
            "jsd_label": {"GMN": {"FS": rows(*[LOST] * 4)}},
        }
    }
    assert verdict(judges.lower("GMN", ("FS",)), results) == HOLDS
    assert verdict(judges.lower("GMN", ("FS",), "jsd_label"), results) == FAILS
    with pytest.raises(verdicts.OpenError, match="no values of single models"):
        judges.lower("GMN", ("FS",), "error")(results)


@pytest.mark.parametrize("others", [{}, {"SNIP": {"front": []}}], ids=["absent", "infeasible"])
def test_a_baseline_that_is_missing_lets_nothing_hold(others):
    judge = judges.lower("GMN", ("FS", "SNIP"))
    results = run(FS=[WON] * 4)
    results["methods"] |= others
    found, evidence = judge(results)
    assert found == PARTLY
    assert "SNIP (not run)" in evidence or "SNIP (no feasible setting)" in evidence
    worse = run(FS=[LOST] * 4)
    worse["methods"] |= others
    assert verdict(judge, worse) == FAILS


def test_without_any_baseline_nothing_is_judged():
    judge = judges.lower("GMN", ("FS", "SNIP"))
    assert judge(run()) == (verdicts.ABSENT, "needs FS, SNIP")
    results = run()
    results["methods"] |= {"FS": {"front": []}, "SNIP": {"front": []}}
    assert verdict(judge, results) == verdicts.OPEN
    with pytest.raises(verdicts.NotRunError, match="GMN"):
        judge(run() | {"methods": {"FS": entry()}})


def test_a_baseline_with_a_caveat_is_set_aside_and_named():
    judge = judges.lower("GMN", ("FS", "Lottery Ticket"))
    found = {"FS": [WON] * 4, "Lottery Ticket": [LOST] * 4}
    # Of a run without ends, which stored a weaker form of the method.
    verdict_, evidence = judge(run(**found) | {"ends": []})
    assert verdict_ == PARTLY and "Lottery Ticket (its tickets are never trained)" in evidence
    assert verdict(judge, run(**found)) == FAILS
    alone = judges.lower("GMN", ("Lottery Ticket",))
    assert verdict(alone, run("Lottery Ticket") | {"ends": []}) == verdicts.OPEN


def test_margins_are_compared_as_ratios():
    judge = judges.wider_below("GMN", "FS")

    def results(below, above, wider):
        found = {"below": below, "above": above, "wider": wider}
        margins = {"jsd": {"GMN": {"FS": found} if below else {}}}
        return run("FS") | {"reference_point": [1.0, 0.1], "margins": margins}

    lower, wide = (0.45, 0.4, 0.5), (0.7, 0.6, 0.9)
    assert verdict(judge, results(lower, (0.85, 0.8, 0.9), wide)) == HOLDS
    # Above the middle the other is better: that is no margin to be wider than.
    assert verdict(judge, results(lower, (1.5, 1.4, 1.6), wide)) == HOLDS
    # Intervals of both sides overlap, but of every draw the low levels' ratio is smaller.
    assert verdict(judge, results((0.6, 0.4, 0.8), (0.8, 0.7, 0.9), wide)) == HOLDS
    # Smaller below, but the interval reaches as far as the other side, or as 1.
    assert verdict(judge, results(lower, (0.85, 0.8, 0.9), (0.9, 0.8, 1.1))) == NOISE
    assert verdict(judge, results((0.9, 0.8, 1.1), (1.3, 1.2, 1.4), wide)) == NOISE
    assert verdict(judge, results(lower, lower, (1.1, 0.9, 1.3))) == NOISE
    assert verdict(judge, results((1.1, 0.9, 1.2), (1.5, 1.4, 1.6), wide)) == NOISE
    assert verdict(judge, results((0.85, 0.8, 0.9), lower, (1.9, 1.6, 2.1))) == FAILS
    assert verdict(judge, results((1.1, 1.0, 1.2), (1.5, 1.4, 1.6), wide)) == FAILS
    assert verdict(judge, results((), (), ())) == verdicts.OPEN
    with pytest.raises(verdicts.OpenError, match="no values of single models"):
        judge(run("FS"))


def test_wins_over_weak_baselines_make_up_for_no_loss():
    judge = judges.lower("GMN", ("A", "B", "C"))
    assert verdict(judge, run(A=[WON] * 4, B=[WON] * 4, C=[LOST] * 4)) == FAILS
    assert verdict(judge, run(A=[WON] * 4, B=[WON] * 4, C=[TIED] * 4)) == NOISE
    assert verdict(judge, run(A=[WON] * 4, B=[TIED] * 4, C=[WON, LOST, LOST, TIED])) == FAILS


def test_one_win_is_enough_for_some_cases():
    judge = judges.sometimes_lower("GMN", "FS")
    assert verdict(judge, run(FS=[LOST, LOST, LOST, WON])) == HOLDS
    assert verdict(judge, run(FS=[LOST, TIED, LOST, LOST])) == NOISE
    assert verdict(judge, run(FS=[LOST] * 4)) == FAILS


def test_an_editor_fades_that_keeps_nearly_all():
    judge = judges.fades("GMN")
    for points, expected in (
        (((0.5, 0.1), (0.99, 1e-5)), HOLDS),
        (((0.5, 0.1), (0.9, 1e-5)), FAILS),
        (((0.5, 0.1), (0.99, 0.01)), FAILS),
    ):
        assert verdict(judge, KEPT | {"methods": {"GMN": entry(*points)}}) == expected


def test_the_least_requirement_counts_without_constant_classifiers_and_down_to_the_floor():
    judge = judges.reaches_lower("GMN", ("FairCls", "RejectOption"))

    def results(ours, theirs, more=((0.04, 0.0),), **changed):
        fronts = {"GMN": ours, "FairCls": theirs, "RejectOption": more}
        methods = {
            name: {"front": [{"requirement": x, "jsd": 0.1, "constant": share}
                             for x, share in front]}
            for name, front in fronts.items()
        }  # fmt: skip
        return KEPT | {"methods": methods} | changed

    lowest, low, high = (0.01, 0.0), (0.02, 0.1), (0.03, 0.0)
    assert judge(results([lowest, high], [low, high])) == (
        HOLDS,
        "GMN 0.010, FairCls 0.020, RejectOption 0.040",
    )
    assert verdict(judge, results([low, high], [lowest, high])) == FAILS
    assert verdict(judge, results([low], [high], more=[lowest])) == FAILS
    # Settings that another cost chose count.
    other = results([lowest, high], [high])
    other["methods"]["FairCls"]["fronts"] = {"error": [{"requirement": 0.005, "jsd": 0.2}]}
    assert verdict(judge, other) == FAILS
    # A majority of constant models does not count, on either side.
    assert verdict(judge, results([low], [(0.001, 0.5), high])) == HOLDS
    assert verdict(judge, results([(0.001, 0.9), high], [low])) == FAILS
    assert verdict(judge, results([(0.001, 0.9)], [low])) == FAILS
    # Below the floor values are noise: whoever gets there reaches as low.
    assert verdict(judge, results([lowest], [low], level_floor=0.025)) == FAILS
    assert verdict(judge, results([lowest], [low], level_floor=0.015)) == HOLDS
    assert verdict(judge, results([lowest], [low], ends=[])) == verdicts.OPEN
    found, evidence = judge(results([lowest], [low], more=[]))
    assert found == PARTLY and evidence.endswith("without RejectOption")
    with pytest.raises(verdicts.NotRunError, match="FairCls, RejectOption"):
        judge(results([lowest], [], more=[]))


def timed(**seconds):
    return {"methods": {f"dm: {name}": {"one_model": value} for name, value in seconds.items()}}


def test_faster_than_each_and_not_than_those_that_were_timed():
    judge = judges.faster("dm", "GMN", ("A", "B"), ("C",))
    assert verdict(judge, timed(GMN=1, A=2, B=3, C=0.5)) == HOLDS
    assert verdict(judge, timed(GMN=1, A=1, B=1, C=3)) == FAILS
    assert verdict(judge, timed(GMN=1, A=2, C=3)) == PARTLY
    for missing in (timed(A=1, B=2), timed(GMN=1, C=2)):
        with pytest.raises(verdicts.NotRunError):
            judge(missing)


def test_near_is_within_a_factor_at_every_level_by_its_interval():
    judge = judges.near("GMN", "LS", 1.25)
    both = judges.near("GMN", "LS", 1.25, both_ways=True)
    assert verdict(judge, run(LS=[(0.9, 1.1)] * 4)) == HOLDS
    assert verdict(judge, run(LS=[(0.2, 0.3)] * 4)) == HOLDS
    assert verdict(both, run(LS=[(0.85, 1.1)] * 4)) == HOLDS
    assert verdict(both, run(LS=[(0.2, 0.3)] * 4)) == FAILS
    assert verdict(judge, run(LS=[(0.9, 1.1)] * 3 + [(1.3, 1.4)])) == PARTLY
    assert verdict(judge, run(LS=[(1.0, 1.5)] * 4)) == NOISE
    assert verdict(both, run(LS=[(0.5, 1.0)] * 4)) == NOISE
    assert verdict(judge, run(LS=[(1.3, 1.5)] * 3 + [(0.9, 1.0)])) == FAILS


def vectors(*points):
    return {"front": [{"requirement": [x, y], "jsd": z} for x, y, z in points]}


def test_composed_editors_dominate_by_points_and_not_by_mixtures():
    judge = judges.dominates_points("A", "B")

    def found(ours, theirs):
        return verdict(judge, KEPT | {"methods": {"A": ours, "B": theirs}})

    ends = vectors((0.2, 0.8, 0.01), (0.8, 0.2, 0.01))
    # A mixture of both ends is below this point; neither setting is.
    between = (0.5, 0.5, 0.02)
    assert found(ends, vectors(between)) == FAILS
    assert found(ends, vectors((0.3, 0.8, 0.01), (0.9, 0.9, 0.02))) == HOLDS
    assert found(ends, vectors((0.3, 0.8, 0.01), (0.9, 0.9, 0.02), between)) == PARTLY
    assert found(ends, ends) == FAILS


def test_a_win_over_a_weaker_form_is_not_judged_and_a_loss_is():
    other = "FS & Retrain, then SNIP"
    judge = judges.dominates_points("A", other)
    ours = vectors((0.2, 0.8, 0.01))
    worse, better = vectors((0.3, 0.9, 0.02)), vectors((0.1, 0.1, 0.001))
    for theirs, old, new in ((worse, verdicts.OPEN, HOLDS), (better, FAILS, FAILS)):
        results = KEPT | {"methods": {"A": ours, other: theirs}}
        assert verdict(judge, results | {"ends": []}) == old
        assert verdict(judge, results) == new


def test_fewer_vectors_have_to_bring_a_larger_share_by_more_than_noise():
    judge = judges.larger_share("A", "B", "5")

    def results(first, second):
        methods = {
            name: entry(mixture_interval=interval, mixture_hypervolume=sum(interval) / 2)
            for name, interval in {"A, 5": first, "B, 5": second, "A": (0, 1), "B": (0, 1)}.items()
        }
        return KEPT | {"methods": methods}

    assert judge(results((0.85, 0.95), (0.75, 0.84))) == (
        HOLDS,
        "hypervolume of mixtures: A, 5 0.900 (0.850 to 0.950); B, 5 0.795 (0.750 to 0.840)",
    )
    assert verdict(judge, results((0.85, 0.95), (0.75, 0.86))) == NOISE
    assert verdict(judge, results((0.75, 0.86), (0.85, 0.95))) == NOISE
    assert verdict(judge, results((0.75, 0.84), (0.85, 0.95))) == FAILS
    old = {"A, 5": entry(mixture_hypervolume=0.9), "B, 5": entry(mixture_hypervolume=0.1)}
    assert verdict(judge, KEPT | {"methods": old}) == verdicts.OPEN


BASELINES = ("Random", "Magnitude", "Grad Importance", "SNIP", "Lottery Ticket", "FS",
             "FS & Retrain", "ThresholdOpt", "CalEqOdds", "RejectOption", "FairCls", "GMN - LS",
             "GMN - LS, 5 editors", "FS & Retrain, then SNIP")  # fmt: skip
OURS = ("GMN", claims.PAPER, "FS (GMN)", "GMN - Prune", "GMN - Prune & Edit", "GMN - EPO",
        "GMN - EPO, 5 editors", "GMN - Features, then weights",
        *(f"GMN, {percent}% of the models" for percent in (5, 10, 25, 100)))  # fmt: skip


def told(claim, good):
    """Results of a claim's run in which all speaks for it, or all against it."""
    if claim.run == "timing_adult":
        slow = ("GMN", "GMN - Prune & Edit")
        names = ("FS (per model)", *BASELINES, *OURS)
        seconds = {name: {"one_model": 1.0 if (name in slow) == good else 9.0} for name in names}
        tasks = ("dm", "fairness", "pruning")
        return {"methods": {f"{task}: {n}": one for task in tasks for n, one in seconds.items()}}

    def method(ours):
        best = ours == good
        point = {"requirement": 0.99 if ours and good else 0.1 if best else 0.5, "constant": 0.0,
                 "jsd": 1e-5 if best else 0.05}  # fmt: skip
        least = point | {"requirement": 0.05 if best else 0.2}
        volumes = {"mixture_interval": (0.8, 0.9) if best else (0.1, 0.2)}
        return volumes | {"front": [least, point], "mixture_hypervolume": 0.5}

    def pair(one, other):
        if claim.judge.__qualname__.startswith("near"):
            return rows(*[(0.95, 1.05) if good else (8.0, 9.0)] * 4)
        if good:
            return rows((0.2, 0.3), (0.2, 0.3), (0.7, 0.8), (0.7, 0.8))
        return rows((3.0, 4.0), (3.0, 4.0), (1.2, 1.3), (1.2, 1.3))

    methods = {name: method(name in OURS) for name in (*BASELINES, *OURS)}
    if claim.run == "compose_adult":
        for one in (point for entry in methods.values() for point in entry["front"]):
            one["requirement"] = [one["requirement"] if not good else 0.1] * 2
    found = {one: {other: pair(one, other) for other in methods if other != one} for one in OURS}
    both = ((0.4, 0.3, 0.5), (0.8, 0.7, 0.9)) if good else ((3.0, 2.0, 4.0), (1.2, 1.1, 1.3))
    low, high = both
    margins = {
        "below": low,
        "above": high,
        "wider": tuple(a / b for a, b in zip(*both, strict=True)),
    }
    wide = {one: dict.fromkeys(methods, margins) for one in OURS}
    return KEPT | {"methods": methods, "report_levels": LEVELS, "reference_point": [1.0, 0.1],
                   "comparison": {"jsd": found, "jsd_label": found},
                   "margins": {"jsd": wide}}  # fmt: skip


@pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda c: f"{c.run}: {c.text}")
def test_every_claim_can_hold_and_can_be_refuted(claim):
    for good, expected in ((True, HOLDS), (False, FAILS)):
        found, evidence = claims.judged(claim, {claim.run: told(claim, good)})
        assert found == expected, evidence
    assert claims.judged(claim, {}) == (verdicts.ABSENT, f"needs {claim.run}")
    empty = KEPT | {"methods": {}, "report_levels": LEVELS}
    assert claims.judged(claim, {claim.run: empty})[0] == verdicts.ABSENT


def test_claims_of_the_papers_recipe_are_judged_by_it_alone():
    rest = {
        claims.PAPER: "GMN - Prune & Edit dominates",
        "GMN - Prune & Edit": "GMN (paper) dominates",
    }
    for better, refuted in rest.items():
        claim = next(one for one in claims.CLAIMS if one.text == refuted)
        good, bad = told(claim, True), told(claim, False)
        mixed = good | {"comparison": {"jsd": bad["comparison"]["jsd"]
                                       | {better: good["comparison"]["jsd"][better]}}}  # fmt: skip
        assert claims.judged(claim, {claim.run: mixed})[0] == FAILS
        other = next(one for one in claims.CLAIMS if one.text == f"{better} dominates")
        assert claims.judged(other, {other.run: mixed})[0] == HOLDS


def test_claims_are_judged_from_the_values_of_single_models():
    own = [(level, 0.05 - 0.05 * level) for level in (0.1, 0.3, 0.5, 0.7)]
    better, worse = ([(x, factor * y) for x, y in own] for factor in (0.97, 1.03))
    lottery = {name: a_method(worse) for name in ("Magnitude", "SNIP", "Lottery Ticket", "Random")}
    claim = next(one for one in claims.CLAIMS if one.text == "GMN - Prune dominates")
    for grad, noise, expected in ((worse, 0, HOLDS), (better, 0, FAILS), (worse, 0.5, NOISE)):
        methods = {"GMN - Prune": a_method(own, seeds=1), **lottery}
        methods["Grad Importance"] = a_method(grad, noise=noise)
        found, evidence = claims.judged(claim, {"pruning_adult": a_run(methods)[0]})
        assert found == expected, evidence
    assert "Random 4/0/0" in evidence and "Grad Importance 0/4/0" in evidence


def test_methods_measured_on_another_device_are_named():
    methods = {"GMN": entry(seeds=[]), "SNIP": entry(), "OBD": entry(device="1 x GPU")}
    run = KEPT | {"device": "1 x cpu", "methods": methods}
    assert caveats.elsewhere(run) == {"OBD": "1 x GPU"}
    note = "* Measured on 1 x GPU, so that their seconds are not those of 1 x cpu: OBD."
    assert caveats.notes(run) == [note]


def test_caveats_are_of_runs_that_stored_no_ends():
    names = ("GMN + probe", "SNIP & Distil", "Per-model optimisation")
    methods = {name: entry() for name in names} | {"GMN + probe": entry(seeds=[])}
    old = KEPT | {"methods": methods, "ends": []}
    notes = "\n".join(caveats.notes(old))
    assert "SNIP & Distil: distilled at one learning rate" in notes and "Per-model" not in notes
    assert "An earlier run: it stored no values of single models" in notes
    kept = {"requirements": ["metanet.objectives.data_minimisation.inputs_kept"]}
    assert "Per-model optimisation: its straight-through" in "\n".join(caveats.notes(old | kept))
    assert caveats.notes(KEPT | {"methods": methods}) == []


def test_editors_of_one_seed_are_named_where_others_have_more():
    methods = {"GMN": entry(seeds=[{}] * 3), "GMN, 10 steps": entry(seeds=[{}]), "FS": entry()}
    assert caveats.notes(KEPT | {"methods": methods}) == [
        "* One editor seed instead of 3, so that intervals are of models alone: GMN, 10 steps."
    ]


def test_models_that_diverged_are_counted():
    run = KEPT | {"methods": {"FS": entry()}, "models_diverged": 3}
    assert caveats.notes(run) == [
        "* 3 models of the population diverged, or are far larger than the others, and are left "
        "out of everything."
    ]


def test_notes_name_what_to_mind_in_a_run():
    point = {"requirement": 0.1, "jsd": 0.1}
    methods = {"GMN": entry(seeds=[]), "FairCls": {"front": [point | {"infeasible": 2}, point]}}
    fair = KEPT | {"one_hot_floor": 0.06, "level_floor": 0.023, "models_evaluated": 27}
    text = "\n".join(caveats.notes(fair | {"methods": methods}))
    assert "0.060 nats" in text and "0.023 on these test rows" in text
    assert "at most at one setting: FairCls (2) of 27." in text
    assert "Hollow marks" not in text
    hollow = {"GMN": entry(seeds=[]), "FairCls": {"front": [point | {"constant": 0.5}]}}
    assert "* Hollow marks are settings" in "\n".join(caveats.notes(fair | {"methods": hollow}))
    editors = "\n".join(caveats.notes(fair | {"methods": {"GMN": entry(seeds=[])}}))
    assert "0.060 nats" not in editors and "stay as they are" not in editors
