"""Stored results by today's rules, with their pictures and README.md.

python -m experiments.convert RESULTS_DIR

RESULTS_DIR has a folder with a results.json per run. What was measured stays as it is: values of
test models, seconds, commands. Costs at levels, intervals and comparisons are computed from those
values again, and the curves of front.png are those that a table's config names by now. A run that
stored no values of single models keeps its means. The command can be repeated; it draws all
pictures and writes README.md anew.
"""

import pathlib
import sys

from configs.presets import TABLES
from experiments import launch
from experiments.reproduce import config_of
from metanet.core import UserError
from metanet.pipeline.run import levels_of
from metanet.report import overview
from metanet.report.comparison import MEAN, analysed
from metanet.report.stored import SCHEMA, read_values
from metanet.storage import read_json, write_json

_DROPPED = ("by_budget",)  # which README.md computes from the times of all methods


def converted(old: dict, folder: pathlib.Path) -> dict:
    """The results of the run in `folder`, of this schema or the one before, in this one.

    Raises:
      UserError: the values of single models are missing or damaged.
    """
    new = {key: value for key, value in old.items() if key not in _DROPPED} | {"schema": SCHEMA}
    if old["kind"] != "fronts":
        return new
    new = _shown(folder.name, new) | {"levels_of": MEAN}
    if len(new["requirements"]) > 1 or not new["ends"]:
        return new
    new["levels_of"] = levels_of(new["requirements"])
    return analysed(new, read_values(folder, new))


def convert(folder: pathlib.Path) -> int:
    """Converts the results.json files below `folder`, all or none; returns how many changed.

    Raises:
      UserError: there is no such file, or one is of another schema or damaged.
    """
    paths = sorted(folder.glob("*/results.json"))
    if not paths:
        raise UserError(f"{folder}: found no */results.json, expected a folder of runs")
    changed: dict[pathlib.Path, dict] = {}
    for path in paths:
        old = read_json(path)
        try:
            if old.get("schema") not in (SCHEMA - 1, SCHEMA):
                raise ValueError(f"schema {old.get('schema')}")
            new = converted(old, path.parent)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            cause = f"no {error}" if isinstance(error, KeyError) else error
            expected = f"results of schema {SCHEMA - 1} or {SCHEMA}"
            raise UserError(f"{path}: found {cause}, expected {expected}") from error
        if new != old:
            changed[path] = new
    for path, new in changed.items():
        write_json(path, new)
    return len(changed)


def _shown(folder: str, results: dict) -> dict:
    """The results of a table's run with the curves of front.png that its config names by now."""
    run = folder.replace("_", ":", 1)
    if run not in TABLES:
        return results
    names = config_of(run, "small").evaluation.main_methods
    return results | {"main_methods": [name for name in names if name in results["methods"]]}


def _main(argv: list[str]) -> None:
    folders = [one for one in argv[1:] if not one.startswith("-")]
    launch.parse_flags([one for one in argv if one not in folders])
    if len(folders) != 1:
        raise UserError(f"command line: found {len(folders)} folders, expected RESULTS_DIR")
    folder = pathlib.Path(folders[0])
    count = convert(folder)
    overview.redraw(folder)
    about = launch.about("experiments.convert")
    overview.write(folder, about)
    print(f"converted: {count} files; report: {folder / 'README.md'}")


if __name__ == "__main__":
    sys.exit(launch.status(_main, sys.argv))
