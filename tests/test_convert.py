"""Stored results of schema 2 become schema 3, and keep their numbers."""

import copy
import json
import pathlib

import numpy as np
import pytest
from helpers import run_commands

from configs import dm
from experiments.convert import convert, converted
from metanet import report
from metanet.core import UserError, read_json, write_json
from metanet.report import overview

ROOT = pathlib.Path(__file__).parents[1]
ABOUT = {"command": "python -m it", "device": "1 x cpu", "versions": {"jax": "0.10.2"}}
VOLUMES = {"hypervolume": 0.4, "mixture_hypervolume": 0.5}


def a_point(requirement, jsd):
    part = {"requirement": requirement, "jsd": jsd}
    numbers = dict.fromkeys(("requirement_std", "jsd_std", "jsd_label"), 0.1)
    return part | numbers | {
        "accuracy": 0.8, "accuracy_original": 0.9, "infeasible": 0,
        "by_stage": {stage: part for stage in ("early", "middle", "last")},
        "setting": {"lambda": 0.1},
    }  # fmt: skip


def an_entry(*points, seeds=()):
    """A method's entry; of an editor, if it has `seeds`, the points of each."""
    entry = VOLUMES | {"front": [a_point(x, y) for x, y in points], "seconds_per_model": 0.01,
                       "points_evaluated": 2, "infeasible_on_validation": []}  # fmt: skip
    short = [VOLUMES | {"front": [{"requirement": x, "jsd": y} for x, y in one]} for one in seeds]
    return entry | ({"seeds": short} if seeds else {})


@pytest.fixture
def old():
    """A run of data minimisation in schema 2."""
    first, second = ((0.2, 0.03), (0.6, 0.01)), ((0.2, 0.05), (0.6, 0.03))
    methods = {
        "GMN": an_entry(*first, seeds=[first, second]),
        "FS & Retrain": an_entry((0.3, 0.04), (0.5, 0.0002)),
        "nothing": an_entry(),
    }
    return {
        "schema": 2, "kind": "fronts", "task": "dm", "dataset": "adult", "seed": 0,
        "requirements": ["metanet.objectives.data_minimisation.inputs_kept"],
        "requirement_labels": ["input features kept"], "reference_point": [1.0, 0.1],
        "report_levels": [0.1, 0.25, 0.4, 0.9], "main_methods": [], "methods": methods,
        "models_evaluated": 100, "samples_evaluated": 9769, "comparison": {"GMN": {}},
        "by_budget": {"FS & Retrain": {}}, "commit": None, "dirty": None, "published_in": "abc",
        "wall_seconds": {"population": None, "evaluation": 20.0},
    } | ABOUT  # fmt: skip


def test_numbers_stay_and_comparisons_by_other_rules_go(old):
    before = copy.deepcopy(old)
    new = converted(old)
    assert old == before
    assert new["schema"] == 3 and new["costs"] == ["jsd"] and new["ends"] == []
    assert not {"comparison", "by_budget", "draws"} & new.keys()
    changed = {"schema", "methods", "comparison", "by_budget"}
    assert {key: new[key] for key in old.keys() - changed} == {
        key: old[key] for key in old.keys() - changed
    }
    assert list(new["methods"]) == list(old["methods"])
    for name, method in old["methods"].items():
        assert {key: new["methods"][name][key] for key in method} == method


def test_costs_at_levels_are_read_off_the_fronts_of_all_seeds_without_intervals(old):
    methods = converted(old)["methods"]
    found = methods["GMN"]["at_levels"]["jsd"]
    assert found[0] is None  # no setting has so little
    costs = [one["cost"] for one in found[1:]]
    np.testing.assert_allclose(costs, [0.0375, 0.03, 0.02])  # above the last, what that one needs
    assert all((one["low"], one["high"]) == (None, None) for one in found[1:])
    # Between settings whose costs differ by a factor a line is an upper bound.
    coarse = [one and one["coarse"] for one in methods["FS & Retrain"]["at_levels"]["jsd"]]
    assert coarse == [None, None, True, True]
    assert "at_levels" not in methods["nothing"]


def test_runs_without_levels_get_some_in_the_box(old):
    new = converted(old | {"report_levels": [], "reference_point": [0.5, 0.1]})
    np.testing.assert_allclose(new["report_levels"], [0.05, 0.15, 0.25, 0.35, 0.45])
    assert len(new["methods"]["GMN"]["at_levels"]["jsd"]) == 5


def test_several_requirements_timing_and_scaling_keep_their_numbers(old):
    several = old | {"requirements": ["a", "b"], "reference_point": [1.0, 1.0, 0.1]}
    new = converted(several)
    assert new["methods"] == several["methods"] and new["ends"] == [] and new["schema"] == 3
    for kind in ("timing", "scaling"):
        other = {"schema": 2, "kind": kind, "methods": {"dm: FS": {"one_model": 1.0}}} | ABOUT
        assert converted(other) == other | {"schema": 3}


def test_converting_twice_changes_nothing(old, tmp_path):
    path = tmp_path / "dm_adult" / "results.json"
    write_json(path, old)
    assert convert(tmp_path) == 1
    text = path.read_text()
    shown = [name for name in dm.get_config("adult").evaluation.main_methods
             if name in old["methods"]]  # fmt: skip
    expected = converted(old) | {"main_methods": shown}
    assert read_json(path) == json.loads(json.dumps(expected))
    assert convert(tmp_path) == 0 and path.read_text() == text


def test_the_picture_of_a_table_shows_the_methods_that_its_config_names(old, tmp_path):
    path = tmp_path / "dm_adult" / "results.json"
    write_json(path, old)
    convert(tmp_path)
    stored = read_json(path)
    name = "Greedy & impute"
    methods = stored["methods"] | {name: next(iter(stored["methods"].values()))}
    write_json(path, stored | {"methods": methods, "main_methods": ["FS"]})
    assert convert(tmp_path) == 0
    assert name in read_json(path)["main_methods"] and "FS" not in read_json(path)["main_methods"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"schema": 1}, "found schema 1"),
        ({"schema": 4}, "found schema 4"),
        ({"schema": None}, "found schema None"),
        ({"methods": None}, "NoneType"),
    ],
)
def test_anything_else_is_refused_and_nothing_is_written(old, change, found, tmp_path):
    write_json(tmp_path / "a" / "results.json", old)
    write_json(tmp_path / "b" / "results.json", old | change)
    with pytest.raises(UserError, match=found) as error:
        convert(tmp_path)
    assert "expected results of schema 2 or 3" in str(error.value) and "\n" not in str(error.value)
    assert "b/results.json" in str(error.value)
    assert read_json(tmp_path / "a" / "results.json") == old
    with pytest.raises(UserError, match="expected a folder of runs"):
        convert(tmp_path / "a")


@pytest.mark.parametrize("content", [[], "text", None])
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    path = tmp_path / "a" / "results.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"found a {type(content).__name__}, expected a file that"):
        convert(tmp_path)


def test_a_missing_key_is_named(old, tmp_path):
    del old["reference_point"]
    write_json(tmp_path / "a" / "results.json", old)
    with pytest.raises(UserError, match="found no 'reference_point'"):
        convert(tmp_path)


def test_the_command_draws_writes_the_readme_and_ends_with_status_2_on_errors(old, tmp_path):
    write_json(tmp_path / "dm_adult" / "results.json", old)
    stale = tmp_path / "dm_adult" / "labels.png"
    stale.write_bytes(b"")
    commands = [([tmp_path], {}), ([tmp_path, tmp_path], {})]
    (status, out, err), refused = run_commands("experiments.convert", "_main", commands)
    assert status == 0, err
    assert "converted: 1 files" in out
    assert {path.name for path in (tmp_path / "dm_adult").glob("*.png")} == {
        "front.png",
        "front_all.png",
        "stages.png",
    }
    assert (tmp_path / "dm_adult" / "front.csv").stat().st_size > 0
    assert "## dm_adult" in (tmp_path / "README.md").read_text()
    status, _, err = refused
    assert status == 2 and err.count("\n") == 1, err
    assert "found 2 folders, expected RESULTS_DIR" in err


def test_a_converted_run_is_drawn_and_its_table_has_no_intervals(old, tmp_path):
    write_json(tmp_path / "dm_adult" / "results.json", converted(old))
    overview.redraw(tmp_path)
    assert (tmp_path / "dm_adult" / "front.png").stat().st_size > 0
    lines = report.table(converted(old)).splitlines()
    rows = {line.split("  ")[0]: line.split()[-5:-1] for line in lines[-3:]}
    assert rows == {"GMN": ["-", "37.5", "<30", "<20"], "FS & Retrain": ["-", "-", "<20.1", "<0.2"],
                    "nothing": ["-"] * 4}  # fmt: skip
    assert "±" not in "\n".join(lines[1:])
