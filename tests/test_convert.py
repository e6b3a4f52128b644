"""Stored results of schema 1 as schema 2."""

import copy
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from experiments.convert import convert, converted
from metanet.core import UserError, write_json
from metanet.evaluation.pareto import mixed_hypervolume
from metanet.report import comparison, overview

ROOT = pathlib.Path(__file__).parents[1]
ABOUT = {"command": "python -m it", "device": "1 x cpu", "versions": {"jax": "0.10.2"}}

MET = {"requirement": 0.28, "jsd": 0.01, "meet": 0.9}


def a_point(requirement, jsd, kinds=("wide", "deep")):
    numbers = {key: 0.1 for key in ("requirement_std", "jsd_std", "jsd_label", "accuracy")}
    part = {"requirement": requirement, "jsd": jsd}
    return part | numbers | {
        "accuracy_original": 0.9, "infeasible": 0,
        "by_stage": {stage: part for stage in ("early", "middle", "last")},
        "by_kind": {kind: part for kind in kinds}, "setting": {"lambda": 0.1},
    }  # fmt: skip


def an_entry(*points, seeds=0, kinds=("wide", "deep")):
    front = [a_point(x, y, kinds) for x, y in points]
    entry = {"front": front, "hypervolume": 0.5, "seconds_per_model": 0.01, "points_evaluated": 2,
             "infeasible_on_validation": []}  # fmt: skip
    short = [{"requirement": x, "jsd": y} for x, y in points]
    return entry | ({"seeds": seeds * [{"hypervolume": 0.4, "front": short}]} if seeds else {})


@pytest.fixture
def old():
    """A run of data minimisation in schema 1."""
    methods = {
        "GMN, 10% of the models": an_entry((0.2, 0.03), (0.6, 0.01), seeds=2),
        "GMN, 100% of the models": an_entry((0.2, 0.03), seeds=1),
        "FS (GMN)": an_entry((0.2, 0.04)),
        "GMN, 5% of the models": an_entry((0.3, 0.03), seeds=1),
        "Per-model optimum": an_entry((0.1, 0.03), (0.5, 0.01)),
    }
    methods["GMN, 10% of the models"]["targets"] = [{"target": 0.3, "family": MET, "model": MET}]
    methods["FS (GMN)"]["shifted"] = {"older": {"front": [a_point(0.3, 0.02)], "hypervolume": 0.3}}
    return {
        "schema": 1, "task": "dm", "dataset": "adult", "seed": 0, "reference_point": [1.0, 0.1],
        "methods": methods, "models_evaluated": 100, "samples_evaluated": 9769,
        "comparison": {}, "by_budget": {"Per-model optimum": {}},
        "wall_seconds": {"population": 4.99, "GMN, 5% of the models": 130.0, "evaluation": 20.0},
    } | ABOUT  # fmt: skip


def test_a_run_has_the_keys_of_schema_2(old):
    new = converted("dm_adult", old, "abc")
    assert (new["schema"], new["kind"], new["task"], new["seed"]) == (2, "fronts", "dm", 0)
    assert new["requirements"] == ["metanet.objectives.data_minimisation.inputs_kept"]
    assert new["requirement_labels"] == ["input features kept (fraction of all features)"]
    assert new["report_levels"] == [0.15, 0.3, 0.45, 0.6, 0.75, 0.9]
    assert new["main_methods"] == []  # fewer than two of the paper's methods
    assert (new["commit"], new["dirty"], new["published_in"]) == (None, None, "abc")
    assert {key: new[key] for key in ABOUT} == ABOUT


def test_numbers_stay_and_hypervolumes_of_mixtures_are_those_of_the_stored_fronts(old):
    before = copy.deepcopy(old)
    new = converted("dm_adult", old, None)
    assert old == before
    for name, method in old["methods"].items():
        entry = new["methods"][name.replace("optimum", "optimisation")]
        for key in ("hypervolume", "seconds_per_model", "points_evaluated"):
            assert entry[key] == method[key]
        points = np.array([[p["requirement"], p["jsd"]] for p in method["front"]])
        assert entry["mixture_hypervolume"] == mixed_hypervolume(points, (1.0, 0.1))
        for one in entry.get("seeds", []):
            assert one["mixture_hypervolume"] == mixed_hypervolume(points, (1.0, 0.1))
        for point, was in zip(entry["front"], method["front"], strict=True):
            assert point == {key: value for key, value in was.items() if key != "by_kind"}
    shifted = new["methods"]["FS (GMN)"]["shifted"]["older"]
    assert shifted["hypervolume"] == 0.3 and 0 < shifted["mixture_hypervolume"] < 1
    assert "by_kind" not in json.dumps(new)


def test_rows_are_in_order_by_number_and_under_their_present_names(old):
    new = converted("sample_efficiency_adult", old, None)
    assert list(new["methods"]) == [
        "GMN, 5% of the models",
        "GMN, 10% of the models",
        "FS (GMN)",
        "GMN, 100% of the models",
        "Per-model optimisation",
    ]
    assert list(new["by_budget"]) == ["Per-model optimisation"]
    assert new["comparison"] == comparison.compare(new["methods"])
    assert new["methods"]["GMN, 10% of the models"]["levels"] == [
        {"level": 0.3, "family": MET, "model": MET}
    ]
    # What uses an editor has seeds; this one was made with the first.
    assert len(new["methods"]["FS (GMN)"]["seeds"]) == 1


def test_seconds_of_phases_that_only_loaded_are_left_out(old):
    seconds = converted("dm_adult", old, None)["wall_seconds"]
    assert seconds == {"population": None, "GMN, 5% of the models": 130.0, "evaluation": 20.0}
    del old["seed"]
    overlaid = converted("online", old | {"wall_seconds": {"offline": 1090.0}}, None)
    assert overlaid["wall_seconds"] == {"offline": None}


def test_subsets_of_models_stay_where_the_study_reports_them(old):
    points = converted("transfer_adult", old, None)["methods"]["FS (GMN)"]["front"]
    assert points[0]["by_subset"].keys() == {"wide", "deep"}


def test_fairness_has_its_floors(old):
    fair = old | {"task": "fairness", "one_hot_floor": 0.06, "degenerate_models": 1}
    new = converted("fairness_bank", fair | {"dataset": "bank"}, None)
    assert (new["constant_models"], new["one_hot_floor"], new["level_floor"]) == (1, 0.06, 0.034)
    assert min(new["report_levels"]) > new["level_floor"]


def test_several_requirements_have_a_path_and_a_label_each(old):
    for entry in old["methods"].values():
        entry.pop("shifted", None)
        for one in (entry, *entry.get("seeds", [])):
            for point in one["front"]:
                point["requirement"] = [0.1, 0.2]
    several = {"task": "compose", "requirements": ["inputs_kept", "weights_kept"]}
    new = converted("compose_adult", old | several | {"reference_point": [1.0, 1.0, 0.1]}, None)
    assert [path.rpartition(".")[2] for path in new["requirements"]] == several["requirements"]
    assert len(new["requirement_labels"]) == 2 and new["report_levels"] == []
    assert "comparison" not in new and "by_budget" not in new
    assert {m["mixture_hypervolume"] for m in new["methods"].values()} == {None}


def test_timing_and_scaling_keep_their_numbers():
    times = {"schema": 1, "task": "timing", "dataset": "adult", "seed": 0,
             "methods": {"dm: Per-model optimum": {"one_model": 1.0}}} | ABOUT  # fmt: skip
    new = converted("timing_adult", times, None)
    assert new["kind"] == "timing"
    assert new["methods"] == {"dm: Per-model optimisation": {"one_model": 1.0}}
    rates = {"population": {"weak": {"1": 2.0}}, "editor": {}, "bytes_summed": {"editor": 3}}
    new = converted("scaling", {"task": "scaling"} | rates | ABOUT, None)
    assert (new["schema"], new["kind"]) == (2, "scaling")
    assert {key: new[key] for key in rates} == rates


def git(folder, *arguments):
    who = ("-c", "user.name=x", "-c", "user.email=x@x")
    done = subprocess.run(["git", "-C", folder, *who, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_converting_twice_changes_nothing_and_the_commit_is_that_of_the_file(old, tmp_path):
    path = tmp_path / "dm_adult" / "results.json"
    write_json(path, old)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "dm_adult")
    git(tmp_path, "commit", "-qm", "results")
    head = git(tmp_path, "rev-parse", "HEAD")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "later")
    assert convert(tmp_path) == 1
    text = path.read_text()
    assert json.loads(text)["published_in"] == head
    assert convert(tmp_path) == 0 and path.read_text() == text


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"schema": 3}, "found schema 3"),
        ({"schema": None}, "found schema None"),
        ({"task": "my own"}, "no 'my own'"),
        ({"methods": None}, "NoneType"),
    ],
)
def test_anything_else_is_refused_and_nothing_is_written(old, change, found, tmp_path):
    write_json(tmp_path / "a" / "results.json", old)
    write_json(tmp_path / "b" / "results.json", old | change)
    with pytest.raises(UserError, match=found) as error:
        convert(tmp_path)
    assert "expected results of schema 1 or 2" in str(error.value) and "\n" not in str(error.value)
    assert json.loads((tmp_path / "a" / "results.json").read_text()) == old
    with pytest.raises(UserError, match="expected a folder of runs"):
        convert(tmp_path / "a")


def test_the_command_draws_writes_the_readme_and_ends_with_status_2_on_errors(old, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "experiments.convert", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)

    write_json(tmp_path / "dm_adult" / "results.json", old)
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "converted: 1 files" in done.stdout
    for name in ("front.png", "front_all.png", "stages.png", "front.csv"):
        assert (tmp_path / "dm_adult" / name).stat().st_size > 0
    assert "## dm_adult" in (tmp_path / "README.md").read_text()
    for arguments in ((tmp_path, tmp_path), ("--nonsense", tmp_path)):
        done = run(*arguments)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr


def test_pictures_are_drawn_anew_and_old_ones_go(old, tmp_path):
    write_json(tmp_path / "dm_adult" / "results.json", converted("dm_adult", old, None))
    stale = tmp_path / "dm_adult" / "labels.png"
    stale.write_bytes(b"")
    overview.redraw(tmp_path)
    assert not stale.exists() and (tmp_path / "dm_adult" / "front.png").stat().st_size > 0
