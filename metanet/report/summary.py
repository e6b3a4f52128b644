"""Editors beside all other methods, over runs of several tasks and datasets, as Markdown."""

from metanet.report.comparison import volumes

TASKS = ("dm", "fairness", "pruning")
OPTIMUM = "Per-model optimum"
LOSSES_SHOWN = 3


def _cell(method: dict, reference: tuple[float, float]) -> str:
    """Hypervolume, with its deviation over seeds, and seconds per model."""
    found, seconds = volumes(method, reference), method["seconds_per_model"]
    deviation = f" ± {found.std():.3f}" if len(found) > 1 else ""
    time = "" if seconds is None else f", {seconds:.2g} s"
    return f"{found.mean():.3f}{deviation}{time}"


def _rows(run: dict) -> dict[str, str]:
    """Cells by row: editors and what uses them, the per-model optimum, the best other method."""
    cells, others, reference = {}, {}, tuple(run["reference_point"])
    for name, method in run["methods"].items():
        if "GMN" in name:
            cells[name.replace("GMN - Prune & Edit", "GMN")] = _cell(method, reference)
        elif name == OPTIMUM:
            cells[name] = _cell(method, reference)
        else:
            others[name] = method
    if others:
        best = max(others, key=lambda name: volumes(others[name], reference).mean())
        cells["best other method"] = f"{_cell(others[best], reference)} ({best})"
    return cells


def hypervolumes(results: dict[str, dict]) -> list[str]:
    """A row per editor and budget, a column per run TASK_DATASET; studies are left out.

    The hypervolumes are those of mixtures, see `comparison.volumes`.
    """
    tables = {f"{task}_{run['dataset']}" for run in results.values() for task in TASKS}
    columns = {name: _rows(run) for name, run in results.items() if name in tables}
    rows = list(dict.fromkeys(row for cells in columns.values() for row in cells))
    last = [row for row in (OPTIMUM, "best other method") if row in rows]
    rows = [row for row in rows if row not in last] + last
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        found = [cells.get(row, "–") for cells in columns.values()]
        lines.append(f"| {row} | {' | '.join(found)} |")
    return lines


def losses(results: dict[str, dict]) -> list[str]:
    """Where no editor that takes as long or less is below a method: a row per run and method."""
    lines = [
        "| run | method | s/model | editors below at | not below at: requirement, its JSD, ours |",
        "|---|---|---|---|---|",
    ]
    for name, run in results.items():
        for method, found in run.get("by_budget", {}).items():
            worst = sorted(found["lost"], key=lambda p: p["jsd"] - p["editor_jsd"])
            said = [
                f"{p['requirement']:.3g}: {p['jsd']:.4f}, {p['editor_jsd']:.4f}"
                for p in worst[:LOSSES_SHOWN]
            ]
            more = len(worst) - len(said)
            said = "; ".join(said) + (f"; {more} smaller" if more > 0 else "")
            seconds = run["methods"][method]["seconds_per_model"]
            share = f"{found['below']} of {found['points']}"
            lines.append(f"| {name} | {method} | {seconds:.2g} | {share} | {said} |")
    return lines
