"""Stored results of schema 1 as schema 2, with their pictures and README.md.

python -m experiments.convert RESULTS_DIR

RESULTS_DIR has a folder with a results.json per run. Numbers stay as they are; hypervolumes of
mixtures are computed from the stored fronts. Files of schema 2 are not touched, so the command can
be repeated; it draws all pictures and writes README.md anew. `published_in` is the commit that last
changed the file: schema 1 did not record the commit of the code.
"""

import pathlib
import re
import subprocess
import sys

from experiments import launch
from metanet.core import UserError, read_json, write_json
from metanet.objectives.base import labels_of
from metanet.report import overview
from metanet.report.comparison import by_budget, compare, volumes
from metanet.report.stored import SCHEMA

_PATHS = {
    "inputs_kept": "metanet.objectives.data_minimisation.inputs_kept",
    "equalised_odds": "metanet.objectives.fairness.equalised_odds",
    "weights_kept": "metanet.objectives.pruning.weights_kept",
}
_REQUIREMENTS = {"dm": ["inputs_kept"], "fairness": ["equalised_odds"], "pruning": ["weights_kept"]}
_LEVELS = {
    "dm": (0.15, 0.3, 0.45, 0.6, 0.75, 0.9),
    "fairness": (0.03, 0.04, 0.05, 0.06, 0.08, 0.1),
    "pruning": (0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
}
# Mean equalised odds difference of a classifier with equal rates, from the smallest cells of the
# test rows: 363 women above 50,000 in Adult, 158 clients outside of the age group in Bank.
_FLOORS = {("fairness", "adult"): 0.023, ("fairness", "bank"): 0.034}
# Of the main figure, by study, else by task.
_MAIN = {
    "dm": ("GMN", "GMN + probe", "FS", "FS (GMN)", "FS & Retrain"),
    "fairness": ("GMN", "GMN + probe", "ThresholdOpt", "CalEqOdds", "RejectOption", "FairCls"),
    "pruning": ("GMN - Prune & Edit", "GMN - Prune", "Magnitude", "Grad Importance", "SNIP",
                "Lottery Ticket"),
    "compose": ("GMN - Joint", "GMN - Features, then weights", "GMN - Weights, then features",
                "FS & Retrain, then SNIP", "FS & Retrain, then SNIP & Distil"),
    "epo": ("GMN - LS", "GMN - EPO", "GMN - LS, 5 editors", "GMN - EPO, 5 editors"),
    "points": ("16 points", "64 points", "256 points", "1024 points", "4096 points"),
    "sample_efficiency": ("GMN, 5% of the models", "GMN, 100% of the models", "Magnitude",
                          "Grad Importance", "SNIP", "Lottery Ticket"),
    "transfer": ("GMN", "GMN, both datasets", "GMN, trained on bank", "GMN, held out specs unseen",
                 "GMN, wide specs unseen", "GMN, deep specs unseen"),
}  # fmt: skip
_RENAMED = {"Per-model optimum": "Per-model optimisation"}
_EDITED = ("FS (GMN)",)  # methods without "seeds" in schema 1, though of the first editor
_LOADED = 30.0  # seconds; a phase that trains takes longer, one that loads what is stored does not
_MEASURED = "bytes_summed"  # a key that results of scaling alone have
_KINDS = "transfer"  # the study that reports subsets of the test models


def converted(name: str, old: dict, published_in: str | None) -> dict:
    """The results of the run `name` in schema 2.

    Its kind is told from its keys: times have no reference point.

    Args:
      old: of schema 1, or of scaling, which had none.
    """
    origin = {"commit": None, "dirty": None, "published_in": published_in}
    about = {key: old[key] for key in ("command", "device", "versions")} | origin
    if _MEASURED in old:
        measured = {key: old[key] for key in ("population", "editor", "bytes_summed")}
        return {"schema": SCHEMA, "kind": "scaling", "task": "scaling"} | measured | about
    methods = _ordered({_renamed(method): entry for method, entry in old["methods"].items()})
    new = {"schema": SCHEMA, "kind": "fronts", "task": old["task"], "dataset": old["dataset"]}
    new |= {"seed": old["seed"]} if "seed" in old else {}
    if "reference_point" not in old:
        return new | {"kind": "timing", "methods": methods} | about
    study = name.rpartition("_")[0]
    paths = [_PATHS[one] for one in old.get("requirements") or _REQUIREMENTS[old["task"]]]
    box, floor = old["reference_point"], _FLOORS.get((old["task"], old["dataset"]))
    entries = {
        method: _entry(method, entry, box, study == _KINDS) for method, entry in methods.items()
    }
    main = [one for one in _MAIN.get(study, _MAIN.get(old["task"], ())) if one in entries]
    new |= {
        "requirements": paths,
        "requirement_labels": list(labels_of(tuple(paths))),
        "reference_point": box,
        "report_levels": [one for one in _LEVELS.get(old["task"], ()) if one >= (floor or 0)],
        "main_methods": main if len(main) > 1 else [],
        "methods": entries,
        "models_evaluated": old["models_evaluated"],
        "samples_evaluated": old["samples_evaluated"],
    }
    if "one_hot_floor" in old:
        new["constant_models"] = old["degenerate_models"]
        new["one_hot_floor"] = old["one_hot_floor"]
    if floor is not None:
        new["level_floor"] = floor
    if len(paths) == 1:
        new["comparison"] = compare(entries, floor or 0.0)
        new["by_budget"] = by_budget(entries, floor or 0.0)
    return new | {"wall_seconds": _seconds(old)} | about


def _seconds(old: dict) -> dict[str, float | None]:
    """Seconds of the phases that did their work; None of those that loaded what was stored.

    An overlay of runs, which has no seed, has sums over phases of both kinds.
    """
    overlaid = "seed" not in old
    return {
        phase: None if overlaid or (phase != "evaluation" and value < _LOADED) else value
        for phase, value in old["wall_seconds"].items()
    }


def _renamed(method: str) -> str:
    """`method`, perhaps of a task ("TASK: METHOD"), by its present name."""
    task, colon, name = method.rpartition(": ")
    return f"{task}{colon}{_RENAMED.get(name, name)}"


def _ordered(methods: dict) -> dict:
    """`methods` in their order, but by number where names differ in numbers only (5%, 10%, 25%)."""
    numbers = re.compile(r"\d+")
    groups: dict[str, list[str]] = {}
    for name in methods:
        groups.setdefault(numbers.sub("#", name), []).append(name)
    for names in groups.values():
        names.sort(key=lambda name: [int(one) for one in numbers.findall(name)], reverse=True)
    return {name: methods[name] for name in (groups[numbers.sub("#", n)].pop() for n in methods)}


def _entry(name: str, old: dict, box: list[float], subsets: bool) -> dict:
    """A method's entry; `subsets`: the run reported those of the test models."""
    new = _with_volume(old, box) | {"front": [_point(one, subsets) for one in old["front"]]}
    if "seeds" in old:
        new["seeds"] = [_with_volume(one, box) for one in old["seeds"]]
    elif name in _EDITED:
        front = [{key: point[key] for key in ("requirement", "jsd")} for point in old["front"]]
        volume = {key: new[key] for key in ("hypervolume", "mixture_hypervolume")}
        new["seeds"] = [volume | {"front": front}]
    if "shifted" in old:
        new["shifted"] = {
            shift: _with_volume(one, box) | {"front": [_point(p, subsets) for p in one["front"]]}
            for shift, one in old["shifted"].items()
        }
    if "targets" in old:
        del new["targets"]
        new["levels"] = [
            {"level": one["target"]} | {key: one[key] for key in ("family", "model")}
            for one in old["targets"]
        ]
    return new


def _with_volume(old: dict, box: list[float]) -> dict:
    """`old` with the hypervolume of mixtures, of one requirement, beside that of points."""
    mixed = float(volumes({"front": old["front"]}, tuple(box))[0]) if len(box) == 2 else None
    new = {}
    for key, value in old.items():
        new[key] = value
        if key == "hypervolume":
            new["mixture_hypervolume"] = mixed
    return new


def _point(old: dict, subsets: bool) -> dict:
    """A point, with its subsets of models by their present name or without them."""
    new = {key: value for key, value in old.items() if key != "by_kind"}
    if subsets:
        setting = new.pop("setting")
        new |= {"by_subset": old["by_kind"], "setting": setting}
    return new


def published_in(path: pathlib.Path) -> str | None:
    """The commit that last changed the file; None outside of a checkout."""
    command = ["git", "-C", str(path.parent), "log", "-1", "--format=%H", "--", path.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def convert(folder: pathlib.Path) -> int:
    """Converts the results.json files below `folder`, all or none; returns how many.

    Raises:
      UserError: there is no such file, or one is neither of schema 1 nor of schema 2.
    """
    paths = sorted(folder.glob("*/results.json"))
    if not paths:
        raise UserError(f"{folder}: found no */results.json, expected a folder of runs")
    found = {}
    for path in paths:
        old = read_json(path)
        if isinstance(old, dict) and old.get("schema") == SCHEMA:
            continue
        try:
            if old.get("schema", 1 if _MEASURED in old else None) != 1:
                raise ValueError(f"schema {old.get('schema')}")
            found[path] = converted(path.parent.name, old, published_in(path))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            cause = f"no {error}" if isinstance(error, KeyError) else error
            raise UserError(f"{path}: found {cause}, expected results of schema 1 or 2") from error
    for path, new in found.items():
        write_json(path, new)
    return len(found)


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
