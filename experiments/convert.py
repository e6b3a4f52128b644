"""Stored results of schema 2 as schema 3, with their pictures and README.md.

python -m experiments.convert RESULTS_DIR

RESULTS_DIR has a folder with a results.json per run. Numbers stay as they are. Schema 2 stored
neither the values of single models, so that there are no intervals and no comparisons, nor the ends
that all methods share, so that its hypervolumes are of a method's own settings. Of schema 3 only
the choice of curves in front.png is renewed, to that of today's config. The command can be
repeated; it draws all pictures and writes README.md anew.
"""

import pathlib
import sys

import numpy as np

from configs.presets import TABLES
from experiments import launch
from experiments.reproduce import config_of
from metanet.core import UserError, read_json, write_json
from metanet.evaluation.bootstrap import LEAST
from metanet.evaluation.pareto import interpolate
from metanet.report import overview
from metanet.report.comparison import COARSE, points
from metanet.report.stored import SCHEMA

_DROPPED = ("comparison", "by_budget")  # by rules that schema 3 does not have
_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the box, where schema 2 had no levels


def converted(old: dict) -> dict:
    """The results of a run of schema 2 in schema 3."""
    new = {key: value for key, value in old.items() if key not in _DROPPED} | {"schema": SCHEMA}
    if old["kind"] != "fronts":
        return new
    new |= {"costs": ["jsd"], "ends": []}
    if len(old["requirements"]) > 1:
        return new
    edge = old["reference_point"][0]
    levels = old["report_levels"] or [share * edge for share in _SHARES]
    methods = {
        name: method | {"fronts": {}, "at_levels": {"jsd": _at_levels(method, np.array(levels))}}
        if method["front"]
        else method | {"fronts": {}}
        for name, method in old["methods"].items()
    }
    return new | {"report_levels": levels, "methods": methods}


def _at_levels(method: dict, levels: np.ndarray) -> list[dict | None]:
    """The mean JSD over seeds at levels, without intervals; None below the reach of a front.

    Linear between a front's points; above its last point, that point's, which needs no more.
    """
    fronts = [points(one["front"]) for one in method.get("seeds", [method]) if one["front"]]
    lines, coarse = [], np.zeros(len(levels), bool)
    for front in fronts:
        x, y = front[front[:, 0].argmax()]
        line = interpolate(front, levels)
        logs = np.stack([front[:, 0], np.log(np.maximum(front[:, 1], LEAST))], axis=1)
        with np.errstate(invalid="ignore"):
            coarse |= line > (1 + COARSE) * np.maximum(np.exp(interpolate(logs, levels)), LEAST)
        coarse |= levels > x
        lines.append(np.where(levels > x, y, line))
    return [
        None if np.isnan(cost) else {"cost": cost, "low": None, "high": None, "coarse": bool(bound)}
        for cost, bound in zip(np.mean(lines, 0).tolist(), coarse, strict=True)
    ]


def convert(folder: pathlib.Path) -> int:
    """Converts the results.json files below `folder`, all or none; returns how many.

    Raises:
      UserError: there is no such file, or one is neither of schema 2 nor of schema 3.
    """
    paths = sorted(folder.glob("*/results.json"))
    if not paths:
        raise UserError(f"{folder}: found no */results.json, expected a folder of runs")
    found: dict[pathlib.Path, dict] = {}
    renewed: dict[pathlib.Path, dict] = {}
    for path in paths:
        old = read_json(path)
        if isinstance(old, dict) and old.get("schema") == SCHEMA:
            if (new := _shown(path.parent.name, old)) != old:
                renewed[path] = new
            continue
        try:
            if old.get("schema") != SCHEMA - 1:
                raise ValueError(f"schema {old.get('schema')}")
            found[path] = _shown(path.parent.name, converted(old))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            cause = f"no {error}" if isinstance(error, KeyError) else error
            expected = f"results of schema {SCHEMA - 1} or {SCHEMA}"
            raise UserError(f"{path}: found {cause}, expected {expected}") from error
    for path, new in (found | renewed).items():
        write_json(path, new)
    return len(found)


def _shown(folder: str, results: dict) -> dict:
    """The results of a table's run with the curves of front.png that its config names by now."""
    run = folder.replace("_", ":", 1)
    if run not in TABLES or results["kind"] != "fronts":
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
