"""Tables of searches: of one, as its command prints it, and of all that are kept."""

import pathlib

from metanet.core import UserError
from metanet.storage import atomic_path, read_json, write_json

SCHEMA = 1


def table(search: dict) -> str:
    """The trials of a search from the best on, and the lines that its values are in a config."""
    trials, paths = _ranked(search["trials"]), list(search["space"])
    head = ["trial", "hypervolume", "seconds", *paths]
    rows = [head] + [
        [str(one["number"]), f"{one['hypervolume']:.4f}", f"{one['seconds']:.0f}"]
        + [_shown(one["values"][path]) for path in paths]
        for one in trials
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{search['study']}: {search['method']}, {search['dataset']}, validation models"]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
              for row in rows]  # fmt: skip
    lines += [f"trial {one['number']} has no result: {one['failed']}"
              for one in trials if "failed" in one]  # fmt: skip
    return "\n".join([*lines, "", *search["lines"]])


def keep(search: dict, folder: pathlib.Path) -> pathlib.Path:
    """Writes a search into `folder`, and README.md of all that are in it; the search's file.

    Raises:
      UserError: a file in `folder` is none of a search.
    """
    path = folder / f"{search['study']}.json"
    write_json(path, search)
    write(folder)
    return path


def write(folder: pathlib.Path) -> None:
    """README.md in `folder`: a table of the searches in it.

    Raises:
      UserError: a file in `folder` is none of a search.
    """
    lines = [
        "# Searches",
        "",
        "Written by `experiments.search` from the files beside it; [docs/search.md]"
        "(../../docs/search.md) says how a search works. Hypervolumes are of the first editor seed "
        "on validation models and `select` data: of the config's own values, which are always "
        "tried first, and of the best trial, which is the largest of so many and so an "
        "overestimate. None is of test models.",
        "",
        "| method | task, dataset | study | trials | own | best | chosen values |",
        "|---|---|---|---|---|---|---|",
        *(_row(search) for search in read_all(folder)),
    ]
    with atomic_path(folder / "README.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def read_all(folder: pathlib.Path) -> list[dict]:
    """The searches in `folder`, by task, dataset and method.

    Raises:
      UserError: a file in `folder` is none of a search.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        search = read_json(path)
        schema = search.get("schema") if isinstance(search, dict) else None
        if schema != SCHEMA or search.get("kind") != "search":
            raise UserError(f"{path}: found schema {schema}, expected a search of schema {SCHEMA}")
        found.append(search)
    return sorted(found, key=lambda one: (one["task"], one["dataset"], one["method"]))


def best(search: dict) -> dict:
    """The trial of the largest hypervolume."""
    return next(one for one in search["trials"] if one["number"] == search["best"])


def _row(search: dict) -> str:
    chosen, trials = best(search), search["trials"]
    values = ", ".join(f"`{path}` {_shown(value)}" for path, value in chosen["values"].items())
    failed = sum("failed" in one for one in trials)
    counted = f"{len(trials)}, {failed} without a result" if failed else str(len(trials))
    return (
        f"| {search['method']} | {search['task']}, {search['dataset']} "
        f"| [{search['study']}]({search['study']}.json) | {counted} "
        f"| {trials[0]['hypervolume']:.4f} | {chosen['hypervolume']:.4f} | {values} |"
    )


def _ranked(trials: list[dict]) -> list[dict]:
    return sorted(trials, key=lambda one: -one["hypervolume"])


def _shown(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
