"""The script that fills the GPU tables: all of it at tiny size on CPU, and its time boxes."""

import json
import os
import pathlib
import subprocess
import sys
import time

import jax
import pytest

from benchmarks.gpu import __main__ as script
from benchmarks.gpu.parts import PARTS, Table
from benchmarks.harness import installed

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.long
@pytest.mark.slow
def test_one_command_fills_every_table_at_tiny_size(tmp_path):
    cache = jax.config.jax_compilation_cache_dir
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_COMPILATION_CACHE_DIR": cache}
    environment = os.environ | quick | {"OUT": str(tmp_path), "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", "benchmarks/gpu/run", tmp_path / "carry", "--tiny"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert list(parts) == list(PARTS)
    wanted = [name for name in PARTS if name != "pytorch" or installed("torch")]
    assert {name: parts[name]["status"] for name in wanted} == dict.fromkeys(wanted, "done")
    text = (tmp_path / "gpu.md").read_text()
    for name in wanted:
        for table in parts[name]["tables"]:
            assert f"### {table['title']}\n" in text
            assert table["rows"], table["title"]
            assert all(len(row) == len(table["columns"]) for row in table["rows"])
    (whole,) = parts["experiments"]["tables"][0]["rows"]
    assert whole[:3] == [8, 8, 1]  # stored, of, epochs
    trainings, targets = parts["hypervolumes"]["tables"]
    assert len(trainings["rows"]) == 2
    assert targets["rows"][1] == [0.999, "not reached"]


def test_without_a_gpu_there_are_no_gpu_tables(tmp_path, monkeypatch, capsys):
    if jax.default_backend() != "cpu":
        pytest.skip("there is a GPU")
    monkeypatch.setenv("OUT", str(tmp_path))
    assert script.main(["--budget=20"]) == 2
    assert "expected a GPU" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unknown_parts_are_named(capsys):
    assert script.main(["--parts=edits,epochs"]) == 2
    expected = f"error: --parts: found epochs, expected some of {', '.join(PARTS)}\n"
    assert capsys.readouterr().err == expected
    assert script.main(["--parts="]) == 2 and "--parts: found , exp" in capsys.readouterr().err


def fails(sizes, folder, left):
    yield Table("First", ("a", "b"), [(1, 2)])
    raise ValueError("no more")


def takes_all(sizes, folder, left):
    while left() > 0:
        yield Table("Count", ("n",), [(1,)])


def test_parts_end_in_time_and_one_that_fails_is_not_the_last(tmp_path):
    results = script.Results(tmp_path)
    results.content |= {"versions": {"jax": "0"}, "device": "a device", "gpu": None}
    results.run("fails", fails, None, tmp_path, time.monotonic() + 100)
    results.run("long", takes_all, None, tmp_path, time.monotonic() + 0.05)
    results.run("late", takes_all, None, tmp_path, time.monotonic() - 1)
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert {name: part["status"] for name, part in parts.items()} == {
        "fails": "failed: ValueError: no more",
        "long": "ended: its time was over",
        "late": "skipped: no time left",
    }
    text = (tmp_path / "gpu.md").read_text()
    assert "### First\n\n| a | b |\n|---|---|\n| 1 | 2 |" in text
    assert "late: skipped: no time left." in text


def test_what_is_measured_stays_when_a_call_does_not_return(tmp_path, monkeypatch):
    results = script.Results(tmp_path)
    results.content |= {"versions": {"jax": "0"}, "device": "a device", "gpu": None}
    results.run("fails", fails, None, tmp_path, time.monotonic() + 100)
    ended = []
    monkeypatch.setattr(script.os, "_exit", ended.append)
    results.give_up()
    assert ended == [0]
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert parts["fails"]["status"] == "ended: a call did not return in time"
    assert parts["fails"]["tables"]
