"""Methods of several runs as one run's results."""

import pathlib

from metanet.core import UserError
from metanet.evaluation.values import ENDS, Values
from metanet.report import stored
from metanet.report.comparison import analysed

_SHARED = ("schema", "kind", "task", "dataset", "requirements", "requirement_labels",
           "reference_point", "report_levels", "levels_of", "costs", "models_evaluated",
           "models_validated", "samples_evaluated", "level_floor")  # fmt: skip
_SAME = ("seed", "one_hot_floor")  # kept where all runs agree
Run = tuple[dict, dict[str, Values]]  # results.json, and the values of every test model


def read(folder: str) -> Run:
    """A run's results and values.

    Raises:
      UserError: there are none, of this schema, or they have no fronts of one requirement.
    """
    path = pathlib.Path(folder) / "results.json"
    results = stored.read(path)
    if results["kind"] != "fronts" or len(results["requirements"]) != 1:
        found = "several requirements" if results["kind"] == "fronts" else results["kind"]
        raise UserError(f"{path}: found {found}, expected the fronts of one requirement")
    # Runs of schema 2 stored none.
    return results, stored.read_values(path.parent, results) if results["ends"] else {}


def overlay(runs: dict[str, Run], names: list[str]) -> Run:
    """The results of `runs` by label as one; names: of the methods to keep, [] for all.

    Raises:
      UserError: the runs differ in what they measure, or none has one of the methods.
    """
    (head, (first, first_values)), *rest = runs.items()
    for label, (other, _) in rest:
        for key in _SHARED:
            if other.get(key) != first.get(key):
                raise UserError(f"--runs: found {key} {first.get(key)} in {head} and "
                                f"{other.get(key)} in {label}, expected one")  # fmt: skip
    chosen = {
        f"{name}, {label}": (run["methods"][name], values.get(name))
        for label, (run, values) in runs.items()
        for name in run["methods"]
        if not names or name in names
    }
    methods = {name: method for name, (method, _) in chosen.items()}
    if not methods:
        raise UserError(f"--methods: found {names}, expected methods of the runs")
    kept = [key for key in _SAME if all(run.get(key) == first.get(key) for run, _ in runs.values())]
    shared = {key: first[key] for key in (*_SHARED, *kept) if key in first}
    content = shared | {
        "main_methods": [],
        "methods": methods,
        "ends": first["ends"],
        "wall_seconds": {label: _total(run["wall_seconds"]) for label, (run, _) in runs.items()},
    }
    values = {name: one for name, (_, one) in chosen.items() if one is not None}
    if len(values) < len(chosen):
        return content, {}  # without intervals and comparisons
    values |= {ENDS: first_values[ENDS]}
    return analysed(content, values), values


def _total(seconds: dict[str, float | None]) -> float | None:
    """The seconds of all phases; None where those of one are not recorded."""
    known = [value for value in seconds.values() if value is not None]
    return round(sum(known), 2) if len(known) == len(seconds) else None
