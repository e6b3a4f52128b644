"""Methods of several runs in one front."""

import pytest

from metanet.core import UserError, write_json
from metanet.report.overlay import overlay, read


def run(volume, **changed):
    """A run's results with an editor and a baseline."""
    front = [{"requirement": 0.5, "jsd": 0.01}]
    volumes = {"hypervolume": volume, "mixture_hypervolume": volume}
    editor = volumes | {"front": front, "seconds_per_model": 0.1}
    methods = {"GMN": editor | {"seeds": [editor]}, "FS": editor}
    shared = {"schema": 2, "kind": "fronts", "task": "dm", "dataset": "adult", "seed": 0,
              "requirements": ["mine.paid"], "requirement_labels": ["paid"],
              "reference_point": [1.0, 0.1], "report_levels": [0.5]}  # fmt: skip
    counts = {"models_evaluated": 10, "samples_evaluated": 20}
    seconds = {"wall_seconds": {"population": 1.0, "GMN": 1.5}}
    return shared | counts | {"methods": methods} | seconds | changed


def test_methods_are_named_by_their_run():
    loaded = run(0.9, wall_seconds={"population": None, "GMN": 1.5}, seed=1)
    found = overlay({"offline": run(0.8), "online": loaded}, ["GMN"])
    assert list(found["methods"]) == ["GMN, offline", "GMN, online"]
    assert found["methods"]["GMN, online"]["hypervolume"] == 0.9
    assert found["wall_seconds"] == {"offline": 2.5, "online": None}  # not all were recorded
    assert "seed" not in found and overlay({"a": run(0.8), "b": run(0.8)}, [])["seed"] == 0
    everything = overlay({"a": run(0.8), "b": run(0.9)}, [])
    assert len(everything["methods"]) == 4
    assert set(everything["comparison"]["GMN, a"]) == {"FS, a", "FS, b"}
    assert everything["requirement_labels"] == ["paid"]


def test_runs_that_do_not_go_together_are_refused():
    with pytest.raises(UserError, match="dataset adult in a and bank in b"):
        overlay({"a": run(0.8), "b": run(0.8, dataset="bank")}, [])
    with pytest.raises(UserError, match="requirements"):
        overlay({"a": run(0.8), "b": run(0.8, requirements=["mine.sold"])}, [])
    with pytest.raises(UserError, match=r"--methods: found \['SNIP'\]"):
        overlay({"a": run(0.8), "b": run(0.8)}, ["SNIP"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"requirements": ["a", "b"]}, "several requirements"),
        ({"kind": "timing"}, "found timing"),
        ({"schema": 1}, "found schema 1"),
    ],
)
def test_only_fronts_of_one_requirement_are_read(changed, message, tmp_path):
    with pytest.raises(UserError, match="expected a run's results"):
        read(str(tmp_path))
    write_json(tmp_path / "results.json", run(0.8))
    assert read(str(tmp_path)) == run(0.8)
    write_json(tmp_path / "results.json", run(0.8) | changed)
    with pytest.raises(UserError, match=message):
        read(str(tmp_path))
