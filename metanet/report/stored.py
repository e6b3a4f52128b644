"""Reading results.json files."""

import pathlib

from metanet.core import UserError
from metanet.evaluation.values import ENDS, Values, load_values, values_path
from metanet.storage import read_json

SCHEMA = 4


def read(path: pathlib.Path) -> dict:
    """The content of one results.json.

    Raises:
      UserError: there is none, or it is damaged or of another schema.
    """
    if not path.is_file():
        raise UserError(f"{path}: found no such file, expected a run's results")
    results = read_json(path, "run its command again")
    found = results.get("schema", "none")
    if found != SCHEMA:
        remedy = "run its command again"
        if found == SCHEMA - 1:
            remedy = "convert the folder of all runs with experiments.convert"
        raise UserError(f"{path}: found schema {found}, expected {SCHEMA}; {remedy}")
    return results


def read_values(folder: pathlib.Path, results: dict) -> dict[str, Values]:
    """The values for every test model, by method and ENDS, of the run in `folder`.

    Raises:
      UserError: a file is missing or damaged.
    """
    return {name: load_values(values_path(folder, name)) for name in (ENDS, *results["methods"])}


def read_all(folder: pathlib.Path) -> dict[str, dict]:
    """The results of every run below `folder`, by the name of its folder.

    Raises:
      UserError: see `read`.
    """
    return {path.parent.name: read(path) for path in sorted(folder.glob("*/results.json"))}
