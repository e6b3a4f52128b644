"""Methods of several runs as one run's results."""

import pathlib

from metanet.core import UserError
from metanet.report import stored
from metanet.report.comparison import by_budget, compare

_SHARED = ("schema", "kind", "task", "dataset", "requirements", "requirement_labels",
           "reference_point", "report_levels", "models_evaluated", "samples_evaluated")  # fmt: skip
_SAME = ("seed", "one_hot_floor", "level_floor")  # kept where all runs agree


def read(folder: str) -> dict:
    """A run's results.

    Raises:
      UserError: there are none, of this schema, or they have no fronts of one requirement.
    """
    path = pathlib.Path(folder) / "results.json"
    results = stored.read(path)
    if results["kind"] != "fronts" or len(results["requirements"]) != 1:
        found = "several requirements" if results["kind"] == "fronts" else results["kind"]
        raise UserError(f"{path}: found {found}, expected the fronts of one requirement")
    return results


def overlay(runs: dict[str, dict], names: list[str]) -> dict:
    """The results of `runs` by label as one; names: of the methods to keep, [] for all.

    Raises:
      UserError: the runs differ in what they measure, or none has one of the methods.
    """
    first, *rest = runs.items()
    for label, other in rest:
        for key in _SHARED:
            if other[key] != first[1][key]:
                raise UserError(f"--runs: found {key} {first[1][key]} in {first[0]} and "
                                f"{other[key]} in {label}, expected one")  # fmt: skip
    methods = {
        f"{name}, {label}": method
        for label, run in runs.items()
        for name, method in run["methods"].items()
        if not names or name in names
    }
    if not methods:
        raise UserError(f"--methods: found {names}, expected methods of the runs")
    kept = [key for key in _SAME if all(run.get(key) == first[1].get(key) for run in runs.values())]
    shared = {key: first[1][key] for key in (*_SHARED, *kept) if key in first[1]}
    floor = shared.get("level_floor", 0.0)
    return shared | {
        "main_methods": [],
        "methods": methods,
        "comparison": compare(methods, floor),
        "by_budget": by_budget(methods, floor),
        "wall_seconds": {label: _total(run["wall_seconds"]) for label, run in runs.items()},
    }


def _total(seconds: dict[str, float | None]) -> float | None:
    """The seconds of all phases; None where those of one are not recorded."""
    known = [value for value in seconds.values() if value is not None]
    return round(sum(known), 2) if len(known) == len(seconds) else None
