"""Every benchmark runs, at tiny size; what tables say; cases are timed where they should be."""

import ast
import importlib
import json
import os
import pathlib
import time

import jax
import numpy as np
import pytest

from benchmarks import harness
from benchmarks.alternate import Case, devices, measure, places
from benchmarks.harness import Comparison, markdown
from configs import pruning
from metanet.methods.retrain import RetrainConfig

ROOT = pathlib.Path(__file__).parents[1]
STEPS = RetrainConfig(steps=2, batch_size=8)


def tiny_pruning():
    config = pruning.get_config("synthetic")
    tiny = {"experiments": 8, "max_specs": 2, "epochs": 1, "widths": (8,), "depths": (1,)}
    config.population.update(tiny)
    config.methods, config.evaluation.main_methods = ("GMN - Prune",), ()
    config.editor.update({"seeds": 1, "batch_size": 4, "points": 32, "layers": 1})
    config.evaluation.n_lambdas = 2
    return config


# How every module with a `main` is run: its arguments, and the file that it writes.
def runs(tmp_path):
    from benchmarks import baselines, population

    rows = {"rows": 256, "batch": 64, "epochs": 1, "steps": 2, "products": 2, "members": 4}
    quick = ("--config.methods=('Random',)", "--config.evaluation.main_methods=()",
             "--config.population.experiments=8", "--config.population.max_specs=1",
             "--config.population.epochs=1", "--config.population.depths=(1,)")  # fmt: skip
    return {
        "baselines": ((baselines.Sizes(64, 4, student=STEPS, ticket=STEPS),), "baselines.json"),
        "compact": (
            (("14-32-32-32-2 with a skip", "14-32-64-2 with layer norms"), 1),
            "compact.json",
        ),
        "edit": ((2, 2), "edit.json"),
        "editor": ((("default sizes",), 1), "editor.json"),
        "forward": ((64, (32,)), "forward.json"),
        "population": ((population.Sizes(**rows),), "population.json"),
        "quality": ((tiny_pruning(), tmp_path, "ours", (2,)), "quality_ours.json"),
        "startup": ((("--config=configs/quickstart.py", *quick), 1), "startup.json"),
    }


def here(cases, repeats=1):
    """`measure` in this process: every case is built and called twice."""
    seconds = {}
    for case in cases:
        run = case.build(**case.options)
        run()
        start = time.perf_counter()
        units = run()
        seconds[case.name] = np.array([(time.perf_counter() - start) / units])
    return seconds


def has_main(path):
    return any(getattr(part, "name", "") == "main" for part in ast.parse(path.read_text()).body)


WITH_MAIN = [path.stem for path in sorted((ROOT / "benchmarks").glob("*.py")) if has_main(path)]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_MAIN)
def test_every_benchmark_runs_and_writes_its_table(name, tmp_path, monkeypatch):
    arguments, file = runs(tmp_path / "work")[name]
    module = importlib.import_module(f"benchmarks.{name}")
    if name == "compact" and not module.runtimes():
        pytest.skip("needs PyTorch or ONNX Runtime")
    for patched, value in (("measure", here), ("places", lambda: {"1 core": 1})):
        if hasattr(module, patched) and name != "quality":
            monkeypatch.setattr(module, patched, value)
    for owner in (harness, module):
        if hasattr(owner, "RESULTS"):
            monkeypatch.setattr(owner, "RESULTS", tmp_path)
    module.main(*arguments)
    written = json.loads((tmp_path / file).read_text())
    rows = [row for table in written.get("tables", [written]) for row in table["rows"]]
    assert rows
    for row in rows:
        seconds = row["seconds"]
        assert 0 < (seconds["median"] if isinstance(seconds, dict) else seconds) < 600


def test_make_benchmark_names_every_benchmark_but_quality():
    (loop,) = [
        line for line in (ROOT / "Makefile").read_text().splitlines() if "for name in" in line
    ]
    named = loop.split("for name in ")[1].split(";")[0].split()
    assert sorted(named) == sorted(set(WITH_MAIN) - {"quality"})


def test_ratios_are_taken_repeat_by_repeat():
    seconds = {"ours": np.array([1.0, 2.0, 4.0]), "theirs": np.array([3.0, 4.0, 20.0])}
    comparison = Comparison("Work", "job", seconds, "ours", (("theirs", "ours"),))
    ours, theirs = comparison.rows()
    assert ours["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert theirs["seconds"] == {"median": 4.0, "min": 3.0, "max": 20.0}
    assert theirs["ratio"] == {"median": 3.0, "min": 2.0, "max": 5.0}
    text = markdown(comparison)
    assert "| theirs | 4 (3 to 20) | 3 (2 to 5) |" in text
    assert "theirs: 3 times its floor, ours." in text


def build(units):
    cores = len(os.sched_getaffinity(0))

    def run():
        return units * cores

    return run


@pytest.mark.slow
def test_a_case_runs_in_a_process_of_its_own_on_its_cores():
    cores = min(2, len(os.sched_getaffinity(0)))
    cases = [Case("one", build, {"units": 1}), Case("all", build, {"units": 1}, cores)]
    seconds = measure(cases, repeats=3)
    assert list(seconds) == ["one", "all"]
    assert all(values.shape == (3,) and (values >= 0).all() for values in seconds.values())
    allowed = len(os.sched_getaffinity(0))
    assert allowed >= cores
    if jax.default_backend() == "cpu":
        assert devices() == (allowed, "cpu")
        assert set(places().values()) == {1, allowed}
