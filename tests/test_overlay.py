"""Methods of several runs in one front."""

import pytest

from metanet.core import UserError, write_json
from metanet.report.overlay import overlay, read


def run(volume, **changed):
    """A run's results with an editor and a baseline."""
    front = [{"requirement": 0.5, "jsd": 0.01}]
    editor = {"hypervolume": volume, "front": front, "seconds_per_model": 0.1}
    methods = {"GMN": editor | {"seeds": [editor]}, "FS": editor}
    shared = {"schema": 1, "task": "dm", "dataset": "adult", "reference_point": [1.0, 0.1]}
    counts = {"models_evaluated": 10, "samples_evaluated": 20}
    return shared | counts | {"methods": methods, "wall_seconds": {"GMN": 1.5}} | changed


def test_methods_are_named_by_their_run():
    found = overlay({"offline": run(0.8), "online": run(0.9)}, ["GMN"])
    assert list(found["methods"]) == ["GMN, offline", "GMN, online"]
    assert found["methods"]["GMN, online"]["hypervolume"] == 0.9
    assert found["wall_seconds"] == {"offline": 1.5, "online": 1.5}
    everything = overlay({"a": run(0.8), "b": run(0.9)}, [])
    assert len(everything["methods"]) == 4
    assert set(everything["comparison"]["GMN, a"]) == {"FS, a", "FS, b"}


def test_runs_that_do_not_go_together_are_refused(tmp_path):
    with pytest.raises(UserError, match="dataset adult in a and bank in b"):
        overlay({"a": run(0.8), "b": run(0.8, dataset="bank")}, [])
    with pytest.raises(UserError, match=r"--methods: found \['SNIP'\]"):
        overlay({"a": run(0.8), "b": run(0.8)}, ["SNIP"])
    with pytest.raises(UserError, match="expected a run's results"):
        read(str(tmp_path))
    write_json(tmp_path / "results.json", run(0.8) | {"requirements": ["a", "b"]})
    with pytest.raises(UserError, match="several requirements"):
        read(str(tmp_path))
