"""Everything with one command: runs, what they publish, the report; through subprocesses."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from helpers import run_commands

from configs.presets import PRESETS
from experiments import launch
from experiments.reproduce import config_of
from metanet.pipeline.config import EDITED

ROOT = pathlib.Path(__file__).parents[1]
RUNS = PRESETS["smoke"][0]
FEW = ("dm:synthetic",)  # those of other kinds are long tests


def reproduce(*arguments, folder, timeout=3600):
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, "-m", "experiments.reproduce", *arguments]
    command += [f"--workdir={folder / 'runs'}", f"--results={folder / 'results'}"]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | quick, capture_output=True, text=True, timeout=timeout
    )


UNUSABLE = [
    ([], "--preset: found nothing, expected one of smoke, small, full, load"),
    (["--preset=smoke", "--runs=dm:synthetic,dm:iris"], "--runs: found dm:iris, expected some"),
    (["--preset=large"], "command line: "),
    (
        ["--preset=smoke", "--runs=timing:synthetic", "--processes=2"],
        "--processes: found 2, expected 1",
    ),
    (["--preset=smoke", "more"], "command line: found 'more', expected only flags"),
]


@pytest.mark.slow
def test_unusable_commands_are_refused(tmp_path):
    folders = [f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
    commands = [([*arguments, *folders], {}) for arguments, _ in UNUSABLE]
    ended = run_commands("experiments.reproduce", "_main", commands)
    for (status, _, err), (arguments, said) in zip(ended, UNUSABLE, strict=True):
        assert status == 2, arguments
        assert said in err and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduce")
    ended = reproduce("--preset=smoke", f"--runs={','.join(FEW)}", folder=folder)
    check_ended(ended, folder)
    return folder


@pytest.fixture(scope="module")
def every(few):
    """The others too, by the command for all, which finds `few` done."""
    check_ended(reproduce("--preset=smoke", folder=few), few)
    return few


def check_ended(ended, folder):
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert "Traceback" not in ended.stderr
    assert f"report: {folder / 'results' / 'README.md'}" in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("run", FEW)
def test_a_run_publishes_all_its_methods(run, few):
    check_published(run, few)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("run", sorted(set(RUNS) - set(FEW)))
def test_every_other_run_publishes_all_its_methods(run, every):
    check_published(run, every)


def check_published(run, done):
    def refuse(constant):
        raise ValueError(f"results.json: found {constant}")

    folder = done / "results" / run.replace(":", "_")
    results = json.loads((folder / "results.json").read_text(), parse_constant=refuse)
    config = config_of(run, "smoke")
    if results["kind"] == "timing":
        for name, entry in results["methods"].items():
            # The first call compiles, whatever the persistent cache holds.
            assert entry["first_call"] > 3 * entry["one_model"] > 0, name
            assert entry["per_model_of_batch"] > 0
        assert results["methods"].keys() == {"pruning: GMN - Prune & Edit", "pruning: Random"}
        return
    experiment = launch.parsed(config).args[0]
    assert tuple(results["methods"]) == experiment.method_names
    count = len(results["requirements"])
    for method in results["methods"].values():
        assert 0 <= method["hypervolume"] <= 1 and method["points_evaluated"] >= 1
        for point in method["front"]:
            values = point["requirement"] if count > 1 else [point["requirement"]]
            assert len(values) == count and all(0 <= value <= 1 for value in values)
            assert -1e-6 <= point["jsd"] <= 0.7
            assert "by_stage" in point
            assert point.get("by_subset", {}).keys() == set(config.evaluation.subsets)
        assert method.get("shifted", {}).keys() == set(config.shifts)
    if config.levels:  # an editor for one lambda is asked for none
        asked = {name for name in config.editors if "levels" in results["methods"][name]}
        assert asked == {"GMN"}
        assert len(results["methods"]["GMN"]["levels"]) == len(config.levels)
    for name, recipe in config.recipes.items():
        if recipe.recipe == EDITED and name in results["methods"]:
            method, own = (results["methods"][one] for one in (name, recipe.editors[0]))
            if "n_lambdas" in recipe:
                assert method["points_evaluated"] == recipe.n_lambdas
            else:
                assert method["front"] != own["front"]  # it is shown other points
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_report_shows_every_run_and_repeats_at_once(few):
    text = (few / "results" / "README.md").read_text()
    for run in FEW:
        assert f"## {run.replace(':', '_')}" in text
    stored = {path: path.stat().st_mtime_ns for path in (few / "runs").rglob("entry.json")}
    repeat = ("--preset=smoke", "--runs=dm:synthetic", "--processes=1")
    assert reproduce(*repeat, folder=few).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in stored} == stored
    results = json.loads((few / "results" / "dm_synthetic" / "results.json").read_text())
    assert f"--runs={','.join(FEW)}" in results["command"]
    assert "--processes" not in results["command"]  # that of the work, not of the repeat
