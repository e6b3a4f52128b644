"""Methods of several runs as one run's results."""

import json
import pathlib

from metanet.core import UserError
from metanet.report.comparison import compare

_SHARED = ("schema", "task", "dataset", "reference_point", "models_evaluated", "samples_evaluated")


def read(folder: str) -> dict:
    """A run's results.

    Raises:
      UserError: there are none, or they have no front of one requirement.
    """
    path = pathlib.Path(folder) / "results.json"
    try:
        results = json.loads(path.read_text())
        missing = [key for key in (*_SHARED, "methods", "wall_seconds") if key not in results]
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: found {error}, expected a run's results") from error
    if missing or "requirements" in results:
        found = f"no {missing[0]}" if missing else "several requirements"
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
    seconds = {label: round(sum(run["wall_seconds"].values()), 2) for label, run in runs.items()}
    shared = {key: first[1][key] for key in _SHARED}
    return shared | {"methods": methods, "comparison": compare(methods), "wall_seconds": seconds}
