"""Methods of several runs in one front."""

import numpy as np
import pytest
from made_runs import a_method, a_run, write_run

from metanet.core import UserError
from metanet.evaluation.values import Values
from metanet.report import comparison
from metanet.report.overlay import overlay, read
from metanet.storage import write_json

OWN = [(level, 0.05 - 0.05 * level) for level in (0.1, 0.3, 0.5, 0.7)]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Intervals of these tests are of fewer draws than those of results."""
    monkeypatch.setattr(comparison, "DRAWS", 100)
    monkeypatch.setattr(comparison, "VOLUME_DRAWS", 20)


def run(factor=1.0, **changed):
    """A run's results and values, with an editor and a baseline."""
    seconds = {"wall_seconds": {"population": 1.0, "GMN": 1.5}}
    points = [(x, factor * y) for x, y in OWN]
    methods = {"GMN": a_method(points, seeds=1), "FS": a_method(OWN)}
    return a_run(methods, **seconds | changed)


def test_methods_are_named_by_their_run_and_compared_across_runs():
    loaded = run(0.5, wall_seconds={"population": None, "GMN": 1.5}, seed=1)
    found, _ = overlay({"offline": run(), "online": loaded}, ["GMN"])
    assert list(found["methods"]) == ["GMN, offline", "GMN, online"]
    online = loaded[0]["methods"]["GMN"]
    assert found["methods"]["GMN, online"]["hypervolume"] == online["hypervolume"]
    assert found["wall_seconds"] == {"offline": 2.5, "online": None}  # not all were recorded
    assert "seed" not in found and overlay({"a": run(), "b": run()}, [])[0]["seed"] == 0
    better = found["comparison"]["jsd"]["GMN, online"]["GMN, offline"]
    assert [one["verdict"] for one in better] == ["win"] * 4
    assert better[0]["ratio"] == pytest.approx(0.5, rel=1e-3)
    everything, _ = overlay({"a": run(), "b": run(0.9)}, [])
    assert len(everything["methods"]) == 4
    assert set(everything["comparison"]["jsd"]["GMN, a"]) == {"FS, a", "FS, b", "GMN, b"}
    assert everything["requirement_labels"] == ["weights kept (fraction of all weights)"]
    assert everything["ends"] == run()[0]["ends"]


def test_runs_that_do_not_go_together_are_refused():
    one = run()

    def pair(**changed):
        return {"a": one, "b": (one[0] | changed, one[1])}

    with pytest.raises(UserError, match="dataset synthetic in a and bank in b"):
        overlay(pair(dataset="bank"), [])
    with pytest.raises(UserError, match="requirements"):
        overlay(pair(requirements=["mine.sold"]), [])
    with pytest.raises(UserError, match="costs"):
        overlay(pair(costs=["jsd", "error"]), [])
    with pytest.raises(UserError, match=r"--methods: found \['SNIP'\]"):
        overlay(pair(), ["SNIP"])
    moved = {name: Values(old.model + 1, old.experiment, old.seeds) for name, old in one[1].items()}
    with pytest.raises(UserError, match="GMN, b: found values of other test models"):
        overlay({"a": one, "b": (one[0], moved)}, [])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"requirements": ["a", "b"]}, "several requirements"),
        ({"kind": "timing"}, "found timing"),
        ({"schema": 2}, "found schema 2"),
    ],
)
def test_only_fronts_of_one_requirement_are_read(changed, message, tmp_path):
    with pytest.raises(UserError, match="expected a run's results"):
        read(str(tmp_path))
    results, values = run()
    write_run(tmp_path, results, values)
    found, stored = read(str(tmp_path))
    assert found == results and stored.keys() == values.keys()
    np.testing.assert_array_equal(
        stored["GMN"].fronts("jsd")[0].cost, values["GMN"].fronts("jsd")[0].cost
    )
    write_json(tmp_path / "results.json", results | changed)
    with pytest.raises(UserError, match=message):
        read(str(tmp_path))


def test_a_run_without_values_of_single_models_is_refused(tmp_path):
    results, _ = run()
    write_json(tmp_path / "results.json", results)
    with pytest.raises(UserError, match=r"models/ends\.npz: found No such file") as error:
        read(str(tmp_path))
    assert "\n" not in str(error.value)
