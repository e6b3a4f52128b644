"""The report of results whose methods have any number of settings and points."""

import csv

import numpy as np
import pytest

from metanet import report
from metanet.core import write_json
from metanet.report import claims, comparison, front, overview, studies, summary

SETTINGS = {"one": {"lambda": 0.1}, "none": {}, "two": {"search": "pinned", "bound": 0.05}}
STAGES = ("early", "middle", "last")


def a_point(setting, number):
    values = {"requirement": 0.1 * number, "jsd": 0.02 / number, "accuracy": 0.8}
    deviations = {"requirement_std": 0.01, "jsd_std": 0.001, "accuracy_original": 0.85}
    stage = {"requirement": 0.1 * number, "jsd": 0.01}
    nothing = {"requirement": None, "jsd": None}
    by_stage = dict(zip(STAGES, (nothing, stage, stage), strict=True))
    return values | deviations | {"jsd_label": 0.01, "by_stage": by_stage, "setting": setting}


@pytest.fixture
def results():
    """A method for each kind of setting, with one point or three, and one that has no result."""
    methods = {
        name: {
            "front": [a_point(setting, number) for number in range(1, 2 + 2 * bool(setting))],
            "hypervolume": 0.5,
            "seconds_per_model": 0.01,
        }
        for name, setting in SETTINGS.items()
    }
    methods["empty"] = {"front": [], "hypervolume": 0.0, "seconds_per_model": None}
    worse = [point | {"jsd": 2 * point["jsd"]} for point in methods["one"]["front"]]
    methods["one"]["seeds"] = [
        {"hypervolume": 0.5, "front": methods["one"]["front"]},
        {"hypervolume": 0.25, "front": worse},
    ]
    shared = {"task": "fairness", "dataset": "synthetic", "reference_point": [0.3, 0.05]}
    shared |= {"models_evaluated": 6, "samples_evaluated": 1200, "one_hot_floor": 0.04}
    return shared | {"methods": methods, "comparison": comparison.compare(methods)}


def test_front_csv_has_a_row_for_every_point_and_says_its_setting(results, tmp_path):
    front.write_csv(results, tmp_path / "front.csv")
    with open(tmp_path / "front.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["one"] * 3 + ["none"] + ["two"] * 3
    assert [float(row["jsd"]) for row in rows[:3]] == [0.02, 0.01, 0.02 / 3]
    assert float(rows[0]["setting"]) == 0.1
    assert rows[3]["setting"] == ""
    for part in ("search", "pinned", "bound", "0.05"):
        assert part in rows[4]["setting"]


def test_the_table_and_the_pictures_have_every_method(results, tmp_path):
    lines = report.table(results).splitlines()
    assert [line.split()[0] for line in lines[2:6]] == list(results["methods"])
    assert float(lines[2].split()[1]) == 0.417  # the mean of two seeds, 1/2 and 1/3
    report.write(results, tmp_path)
    for name in ("front", "stages", "labels"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def line(*points, **more):
    return {"front": [{"requirement": x, "jsd": y} for x, y in points]} | more


def test_an_editor_is_compared_at_the_points_of_the_others_within_its_reach():
    ours = line((0.2, 0.08), (0.4, 0.02))
    methods = {
        "editor": ours | {"seeds": [ours, line((0.2, 0.06), (0.4, 0.04))]},  # mean .07, .03
        "other": line((0.1, 0.5), (0.2, 0.071), (0.3, 0.049), (0.4, 0.03), (0.9, 0.029)),
        "nothing": line(),
    }
    found = comparison.compare(methods)
    assert found.keys() == {"editor"} and found["editor"].keys() == {"other"}
    against = found["editor"]["other"]
    assert (against["points"], against["below"]) == (4, 1)
    assert [p["requirement"] for p in against["lost"]] == [0.3, 0.4, 0.9]
    ours_there = [p["editor_jsd"] for p in against["lost"]]
    # Beyond its last point the editor needs no more divergence than there.
    np.testing.assert_allclose(ours_there, [0.05, 0.03, 0.03])
    # Where they are equal the editor is not below.
    assert (
        comparison.compare({"editor": ours | {"seeds": [ours]}, "same": ours})["editor"]["same"][
            "below"
        ]
        == 0
    )


def test_a_method_is_compared_with_the_best_editor_that_takes_no_longer():
    def editor(seconds, *points):
        return line(*points, seeds=[line(*points)], seconds_per_model=seconds)

    methods = {
        "fast": editor(0.1, (0.2, 0.05), (0.4, 0.03)),
        "slow": editor(1.0, (0.3, 0.02), (0.4, 0.01)),
        "faster": line((0.2, 0.01), seconds_per_model=0.01),
        "between": line((0.1, 0.9), (0.2, 0.04), (0.4, 0.035), seconds_per_model=0.5),
        "slower": line((0.2, 0.04), (0.4, 0.02), seconds_per_model=2.0),
        "nothing": line(seconds_per_model=None),
    }
    found = comparison.by_budget(methods)
    assert {name: (f["points"], f["below"]) for name, f in found.items()} == {
        "faster": (0, 0),
        "between": (2, 1),
        "slower": (2, 1),
    }
    lost = {"requirement": 0.2, "jsd": 0.04, "editor_jsd": 0.05}
    assert found["between"]["lost"] == found["slower"]["lost"] == [lost]


def test_levels_below_the_reach_of_a_front_are_missing():
    found = comparison.at_levels(line((0.2, 0.4), (0.4, 0.2)), np.array([0.1, 0.3, 0.5]))
    np.testing.assert_allclose(found, [[np.nan, 0.3, 0.2]])
    assert np.isnan(comparison.at_levels(line(), np.array([0.1]))).all()


def test_preference_vectors_have_a_row_each_by_rising_divergence(tmp_path):
    rng = np.random.default_rng(0)
    grid = [(a, b) for a in (0.01, 0.1) for b in (0.02, 0.2)]
    points = [
        a_point({"lambda": list(vector)}, 1)
        | {"requirement": rng.random(2).tolist(), "requirement_std": [0.1, 0.2]}
        | {"jsd": float(value)}
        for vector, value in zip(grid, (0.03, 0.01, 0.04, 0.02), strict=True)
    ]
    results = {"task": "joint", "dataset": "synthetic", "models_evaluated": 6,
               "requirements": ["inputs_kept", "equalised_odds"],
               "methods": {"GMN": {"front": points, "hypervolume": 0.25}}}  # fmt: skip
    rows = [text.split() for text in report.table(results).splitlines()[-4:]]
    assert [float(row[4]) for row in rows] == [0.01, 0.02, 0.03, 0.04]
    assert [float(row[1]) for row in rows] == [0.2, 0.2, 0.02, 0.02]
    report.write(results, tmp_path)
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    with open(tmp_path / "front.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 4


def test_the_table_of_times_has_every_method():
    entry = {"first_call": 2.0, "one_model": 0.001, "per_model_of_batch": 0.0005, "batch": 64}
    results = {"task": "timing", "dataset": "adult", "device": "4 x cpu",
               "methods": {"dm: FS": entry, "dm: GMN": entry}}  # fmt: skip
    rows = report.table(results).splitlines()[1:]
    assert [row.split()[-4:] for row in rows[1:]] == 2 * [["2.00", "0.00100", "0.00050", "64"]]


@pytest.fixture
def runs():
    """Two runs as results.json files: in the first an editor loses once to a slower method."""

    def method(front, seconds, **more):
        points = [{"requirement": x, "jsd": y} for x, y in front]
        return {"front": points, "hypervolume": 0.5, "seconds_per_model": seconds} | more

    editor = method([(0.2, 0.02), (0.8, 0.001)], 0.01)
    editor["seeds"] = [{"hypervolume": v, "front": editor["front"]} for v in (0.7, 0.9)]
    methods = {
        "GMN": editor,
        "FS": method([(0.2, 0.03), (0.5, 0.02)], 0.001),
        "FS & Retrain": method([(0.1, 0.03), (0.2, 0.015), (0.5, 0.02)], 2.0)
        | {"hypervolume": 0.6},
    }
    run = {"task": "dm", "dataset": "adult", "methods": methods, "reference_point": [1.0, 0.1]}
    run |= {"comparison": comparison.compare(methods), "by_budget": comparison.by_budget(methods)}
    run |= {"command": "the command", "device": "a device", "wall_seconds": {"GMN": 12.0}}
    bank = run | {"dataset": "bank", "methods": {"GMN": editor}, "by_budget": {}}
    return {"dm_adult": run, "dm_bank": bank}


def test_the_summary_has_the_volumes_of_mixtures_and_the_best_of_the_other_methods(runs):
    lines = summary.hypervolumes(runs | {"whole_front_adult-dm": runs["dm_adult"]})
    assert lines[0] == "| | dm_adult | dm_bank |"
    assert "| GMN | 0.735 ± 0.000, 0.01 s | 0.735 ± 0.000, 0.01 s |" in lines
    assert lines[-1] == "| best other method | 0.758, 2 s (FS & Retrain) | – |"


def test_losses_are_to_methods_that_take_as_long_or_longer(runs):
    lines = summary.losses(runs)[2:]
    assert lines == [
        "| dm_adult | FS | 0.001 | 0 of 0 |  |",
        "| dm_adult | FS & Retrain | 2 | 1 of 2 | 0.2: 0.0150, 0.0200 |",
    ]


def test_studies_report_levels_asked_for_other_data_and_kinds_of_models(runs):
    run = runs["dm_adult"]
    assert studies.tables("dm_adult", run) == []
    method = run["methods"]["FS"]
    half = [{"requirement": 0.5, "jsd": 0.05}]
    method["shifted"] = {"older": {"front": half, "hypervolume": 0.25}}
    reached = {"requirement": 0.28, "jsd": 0.01, "meet": 0.9}
    method["targets"] = [{"target": 0.3, "family": {"lambda": 0.1} | reached, "model": reached}]
    for entry in run["methods"].values():
        for point in entry["front"]:
            point["by_kind"] = {"wide": half[0], "deep": {"requirement": None, "jsd": None}}
    lines = studies.tables("transfer_adult", run)
    assert "| FS | 0.3 | 0.280, 0.0100, 90% | 0.280, 0.0100, 90% |" in lines
    assert "| FS | 0.625 | 0.250 |" in lines
    assert "| FS & Retrain | 0.758 | 0.250 | 0.000 |" in lines


def test_seconds_stand_beside_those_of_the_paper():
    methods = {"pruning: GMN - Prune & Edit": 0.002, "pruning: SNIP": 0.01, "dm: FS": 1.0}
    run = {"task": "timing", "methods": {n: {"one_model": s} for n, s in methods.items()}}
    rows = [line for line in studies.tables("timing_adult", run) if line.startswith("| pruning")]
    assert rows == [
        "| pruning | SNIP | 0.41 | 0.01 | 13.7 | 5 |",
        "| pruning | GMN - Prune & Edit | 0.03 | 0.002 | 1 | 1 |",
    ]


def test_the_overview_judges_every_claim_and_shows_every_run(runs, tmp_path):
    for name, run in runs.items():
        write_json(tmp_path / name / "results.json", run)
    overview.write(tmp_path, {"command": "all", "device": "a device", "versions": {"jax": "1"}})
    text = (tmp_path / "README.md").read_text()
    assert "`all` on a device (jax 1)" in text
    for claim in claims.CLAIMS:
        assert claim.said in text
    assert "| GMN dominates FS | **holds** | points below: FS 2 of 2 |" in text
    assert "**holds partly**" not in text  # one of two points is not more than half
    assert "| GMN dominates FS & Retrain | **does not hold** |" in text
    assert "needs timing_adult" in text
    assert "## dm_bank (figure 6 of the paper)" in text and "GMN 12 s" in text
