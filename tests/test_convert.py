"""Stored results are compared by today's rules, and what was measured stays."""

import json
import pathlib

import numpy as np
import pytest
from helpers import run_commands
from made_runs import a_method, a_run, write_run

from experiments.convert import convert, converted
from metanet.core import UserError
from metanet.evaluation.values import values_path
from metanet.report import comparison
from metanet.storage import read_json, write_json

ROOT = pathlib.Path(__file__).parents[1]
FIRST = [(0.1, 0.03), (0.3, 0.02), (0.5, 0.01), (0.7, 0.004)]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Intervals of these tests are of fewer draws than those of results."""
    monkeypatch.setattr(comparison, "DRAWS", 50)
    monkeypatch.setattr(comparison, "VOLUME_DRAWS", 10)


@pytest.fixture
def old(tmp_path):
    """A run of pruning on Adult in schema 3, whose levels were of means."""
    methods = {
        "GMN - Prune & Edit": a_method(FIRST, seeds=2, spread=0.5),
        "SNIP": a_method([(x, 2 * y) for x, y in FIRST]),
        "nothing": a_method([]),
    }
    for _, values in methods.values():
        x = values.seeds[0].fields["requirement"]
        uneven = np.random.default_rng(0).uniform(0.7, 1.3, x.shape)
        values.seeds[0].fields["requirement"] = (x * uneven).astype(np.float32)
    run, values = a_run(methods)
    for key in ("levels_of", "margins"):
        del run[key]
    run |= {"schema": 3, "by_budget": {"SNIP": None}, "task": "pruning", "dataset": "adult"}
    write_run(tmp_path / "pruning_adult", run, values)
    return run


def test_what_was_measured_stays_and_comparisons_follow_from_the_values(old, tmp_path):
    assert convert(tmp_path) == 1
    new = read_json(tmp_path / "pruning_adult" / "results.json")
    assert new["schema"] == 4 and new["levels_of"] == comparison.EACH and new["margins"]
    assert "by_budget" not in new
    same = old.keys() - {"schema", "by_budget", "methods", "comparison", "main_methods", "draws"}
    assert {key: new[key] for key in same} == json.loads(json.dumps({k: old[k] for k in same}))
    for name, method in old["methods"].items():
        ours = new["methods"][name]
        for key in method.keys() - {"at_levels", "front", "mixture_interval"}:
            assert ours[key] == json.loads(json.dumps(method[key])), key
        for one, other in zip(ours["front"], method["front"], strict=True):
            assert (one["requirement"], one["jsd"]) == (other["requirement"], other["jsd"])
    costs = [
        [one["cost"] for one in run["methods"]["SNIP"]["at_levels"]["jsd"]] for run in (old, new)
    ]
    assert costs[0] != pytest.approx(costs[1], rel=0.01)


def test_runs_that_stored_no_values_keep_their_means(old, tmp_path):
    without = {key: old[key] for key in old.keys() - {"comparison", "draws"}} | {"ends": []}
    folder = tmp_path / "any"
    assert converted(without, folder) == {key: without[key] for key in without.keys()
            - {"by_budget"}} | {"schema": 4, "levels_of": comparison.MEAN}  # fmt: skip
    several = old | {"requirements": ["a", "b"], "reference_point": [1.0, 1.0, 0.1]}
    assert converted(several, folder)["methods"] == several["methods"]
    for kind in ("timing", "scaling"):
        other = {"schema": 3, "kind": kind, "methods": {"dm: FS": {"one_model": 1.0}}}
        assert converted(other, folder) == other | {"schema": 4}


def test_values_that_are_missing_are_named(old, tmp_path):
    path = values_path(tmp_path / "pruning_adult", "SNIP")
    path.unlink()
    with pytest.raises(UserError, match=f"{path}: found No such file"):
        convert(tmp_path)


def test_converting_twice_changes_nothing(old, tmp_path):
    path = tmp_path / "pruning_adult" / "results.json"
    assert convert(tmp_path) == 1
    text = path.read_text()
    assert convert(tmp_path) == 0 and path.read_text() == text


def test_the_picture_of_a_table_shows_the_methods_that_its_config_names(old, tmp_path):
    path = tmp_path / "pruning_adult" / "results.json"
    convert(tmp_path)
    stored = read_json(path)
    assert stored["main_methods"] == []  # none of these is among the config's
    other = json.loads(json.dumps(stored).replace("SNIP", "LAMP"))
    values_path(path.parent, "SNIP").rename(values_path(path.parent, "LAMP"))
    write_json(path, other)
    assert convert(tmp_path) == 1
    assert read_json(path)["main_methods"] == ["LAMP"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"schema": 2}, "found schema 2"),
        ({"schema": 5}, "found schema 5"),
        ({"schema": None}, "found schema None"),
        ({"methods": None}, "NoneType"),
    ],
)
def test_anything_else_is_refused_and_nothing_is_written(old, change, found, tmp_path):
    write_json(tmp_path / "z" / "results.json", old | change)
    with pytest.raises(UserError, match=found) as error:
        convert(tmp_path)
    assert "expected results of schema 3 or 4" in str(error.value) and "\n" not in str(error.value)
    assert "z/results.json" in str(error.value)
    stored = read_json(tmp_path / "pruning_adult" / "results.json")
    assert stored == json.loads(json.dumps(old))
    with pytest.raises(UserError, match="expected a folder of runs"):
        convert(tmp_path / "z")


@pytest.mark.parametrize("content", [[], "text", None])
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    path = tmp_path / "a" / "results.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"found a {type(content).__name__}, expected a file that"):
        convert(tmp_path)


def test_a_missing_key_is_named(old, tmp_path):
    del old["reference_point"]
    write_json(tmp_path / "pruning_adult" / "results.json", old)
    with pytest.raises(UserError, match="found no 'reference_point'"):
        convert(tmp_path)


def test_the_command_draws_writes_the_readme_and_ends_with_status_2_on_errors(old, tmp_path):
    stale = tmp_path / "pruning_adult" / "labels.png"
    stale.write_bytes(b"")
    commands = [([tmp_path], {}), ([tmp_path, tmp_path], {})]
    (status, out, err), refused = run_commands("experiments.convert", "_main", commands)
    assert status == 0, err
    assert "converted: 1 files" in out
    assert {path.name for path in (tmp_path / "pruning_adult").glob("*.png")} == {
        "front.png",
        "front_all.png",
        "stages.png",
    }
    assert (tmp_path / "pruning_adult" / "front.csv").stat().st_size > 0
    assert "## pruning_adult" in (tmp_path / "README.md").read_text()
    status, _, err = refused
    assert status == 2 and err.count("\n") == 1, err
    assert "found 2 folders, expected RESULTS_DIR" in err
