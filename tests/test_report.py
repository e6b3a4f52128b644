"""The report of results whose methods have any number of settings and points."""

import csv

import pytest

from metanet.report import front

SETTINGS = {"one": {"lambda": 0.1}, "none": {}, "two": {"search": "pinned", "bound": 0.05}}


def a_point(setting, number):
    values = {"requirement": 0.1 * number, "jsd": 0.02 / number, "accuracy": 0.8}
    deviations = {"requirement_std": 0.01, "jsd_std": 0.001, "accuracy_original": 0.85}
    return values | deviations | {"setting": setting}


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
    shared = {"task": "fairness", "dataset": "synthetic", "reference_point": [0.3, 0.05]}
    return shared | {"models_evaluated": 6, "samples_evaluated": 1200, "methods": methods}


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


def test_the_table_and_the_picture_have_every_method(results, tmp_path):
    lines = front.table(results).splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(results["methods"])
    front.plot(results, tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
