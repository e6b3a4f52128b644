"""Editors beside all other methods, over runs of several tasks and datasets, as Markdown."""

import numpy as np

from metanet.report.bounds import marked, volume_marks
from metanet.report.caveats import caveat
from metanet.report.comparison import volumes

TASKS = ("dm", "fairness", "pruning")
OPTIMISATION = "Per-model optimisation"
LOSSES_SHOWN = 3


def _cell(method: dict, mark: str, reference: tuple[float, float]) -> str:
    """Hypervolume of mixtures, its standard deviation over seeds, points, seconds per model."""
    found, seconds = volumes(method, reference), method["seconds_per_model"]
    spread = f" ± {np.std(found, ddof=1):.3f}" if len(found) > 1 else ""
    time = "" if seconds is None else f", {seconds:.2g} s"
    return f"{marked(mark, found.mean())}{spread}, {len(method['front'])} points{time}"


def _cells(run: dict) -> dict[str, str]:
    """Cells by row: editors, what uses them, and per-model optimisation where it is comparable."""
    reference = tuple(run["reference_point"])
    methods = run["methods"]
    editors = {name for name, method in methods.items() if "seeds" in method}
    marks = volume_marks({n: m["front"] for n, m in methods.items()}, editors, reference)
    return {
        name.replace("GMN - Prune & Edit", "GMN"): _cell(method, marks[name], reference)
        for name, method in methods.items()
        if name in editors or (name == OPTIMISATION and not caveat(run, name))
    }


def _tables(results: dict[str, dict]) -> dict[str, dict]:
    """The runs that make the paper's tables and figures, TASK_DATASET, without studies."""
    names = {f"{task}_{run['dataset']}" for run in results.values() for task in TASKS}
    return {name: run for name, run in results.items() if name in names}


def hypervolumes(results: dict[str, dict]) -> list[str]:
    """A row per editor and budget, a column per run TASK_DATASET; studies are left out.

    Methods with grids of their own are left out: their hypervolumes depend on where these begin.
    """
    columns = {name: _cells(run) for name, run in _tables(results).items()}
    rows = list(dict.fromkeys(row for cells in columns.values() for row in cells))
    rows.sort(key=OPTIMISATION.__eq__)  # last, the others as they are
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        found = [cells.get(row, "–") for cells in columns.values()]
        lines.append(f"| {row} | {' | '.join(found)} |")
    return lines


def losses(results: dict[str, dict]) -> list[str]:
    """Every method against the slowest editor that takes no longer: a row per run and method.

    Of runs TASK_DATASET. Methods with a caveat, and those that are faster than all editors, are
    left out.
    """
    lines = [
        "| run | method | s/model | editor | lower JSD at | not at: requirement, its JSD, ours |",
        "|---|---|---|---|---|---|",
    ]
    for name, run in _tables(results).items():
        for method, found in run.get("by_budget", {}).items():
            if caveat(run, method) or not found["points"]:
                continue
            worst = sorted(found["lost"], key=lambda p: p["jsd"] - p["editor_jsd"])
            lost = [
                f"{p['requirement']:.3g}: {p['jsd']:.2g}, {p['editor_jsd']:.2g}"
                for p in worst[:LOSSES_SHOWN]
            ]
            more = len(worst) - len(lost)
            shown = "; ".join(lost) + (f"; {more} smaller" if more > 0 else "")
            seconds = run["methods"][method]["seconds_per_model"]
            share = f"{found['below']} of {found['points']}"
            cells = (name, method, f"{seconds:.2g}", found["editor"], share, shown)
            lines.append(f"| {' | '.join(cells)} |")
    return lines
