"""What benchmarks say of their measurements, and that alternatives are timed where they should."""

import os

import jax
import numpy as np
import pytest

from benchmarks.alternate import Case, device_count, measure
from benchmarks.harness import Comparison, markdown


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
    assert len(os.sched_getaffinity(0)) >= cores
    if jax.default_backend() == "cpu":
        assert device_count() == len(os.sched_getaffinity(0))
