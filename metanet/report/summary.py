"""Editors beside all other methods, over runs of several tasks and datasets, as Markdown."""

from metanet.report.bounds import marked, volume_marks
from metanet.report.caveats import caveat, elsewhere
from metanet.report.comparison import LOSS, WIN, by_budget, tally, volumes
from metanet.report.levels import spread

TASKS = ("dm", "fairness", "pruning")


def _cells(run: dict, seconds: dict[str, float], mark: str) -> dict[str, str]:
    """By method the hypervolume of mixtures, half of its interval, points, seconds per model."""
    marks, others = volume_marks(run["methods"]), elsewhere(run) if mark else {}
    cells = {}
    for name, method in run["methods"].items():
        time = f", {mark}{seconds[name]:.2g} s" if name in seconds and name not in others else ""
        volume = marked(marks[name], volumes(method).mean())
        volume += spread(method.get("mixture_interval"), 1, ".3f")
        count = len(method["front"])
        cells[name] = f"{volume}, {count} point{'s' * (count != 1)}{time}"
    return cells


def tables(results: dict[str, dict]) -> dict[str, dict]:
    """The runs that make the paper's tables and figures, TASK_DATASET, without studies."""
    fronts = {name: run for name, run in results.items() if run["kind"] == "fronts"}
    names = {f"{task}_{run['dataset']}" for run in fronts.values() for task in TASKS}
    return {name: run for name, run in fronts.items() if name in names}


def hypervolumes(results: dict[str, dict]) -> list[str]:
    """A row per method, a column per run TASK_DATASET; studies are left out."""
    columns = {name: _cells(run, *_seconds(name, run, results))
               for name, run in tables(results).items()}  # fmt: skip
    rows = list(dict.fromkeys(row for cells in columns.values() for row in cells))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        found = [cells.get(row, "–") for cells in columns.values()]
        lines.append(f"| {row} | {' | '.join(found)} |")
    return lines


def against_budget(results: dict[str, dict]) -> list[str]:
    """Every method against the slowest editor that takes no longer: a row per run, cost, method.

    Of runs TASK_DATASET. Seconds are those of a model in a warm batch of the run timing_DATASET,
    where all methods were timed one after the other; "~" marks a run without one, whose methods
    were timed in passing. Those that were on another device than the run's name it; they are
    compared with editors on the same device or, where there are none, with the slowest of all.
    Methods that are faster than all editors are in the table without one.
    """
    if not any("comparison" in run for run in tables(results).values()):
        return ["No run has values of single models to compare methods by."]
    lines = [
        "| run | cost | method | s/model | editor | wins | ties | losses | lost at: ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, run in tables(results).items():
        seconds, mark = _seconds(name, run, results)
        for cost, editors in run.get("comparison", {}).items():
            for method, (editor, device) in _budgets(run, seconds, mark).items():
                if caveat(run, method):
                    continue
                took = f"{mark}{seconds[method]:.2g}{device}"
                cells = [name, cost, method, took, editor or "none as fast"]
                if editor is None or method not in editors[editor]:
                    lines.append(f"| {' | '.join([*cells, '–', '–', '–', ''])} |")
                    continue
                found = editors[editor][method]
                counts = map(str, tally(found))
                lost = [
                    f"{level:.3g}: {one['ratio']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
                    for level, one in zip(run["report_levels"], found, strict=True)
                    if one["verdict"] == LOSS
                ]
                lines.append(f"| {' | '.join([*cells, *counts, '; '.join(lost)])} |")
    return lines


def _budgets(run: dict, seconds: dict[str, float], mark: str) -> dict[str, tuple[str | None, str]]:
    """By method the editor that it is compared with, and " on" its device if not the run's own."""
    others, found = elsewhere(run) if mark else {}, {}
    editors = [one for one in seconds if "seeds" in run["methods"][one]]
    slowest = max(editors, key=seconds.__getitem__, default=None)
    for device in dict.fromkeys(others.get(one) for one in seconds):
        alike = {one: value for one, value in seconds.items() if others.get(one) == device}
        some = any(one in alike for one in editors)
        for method, editor in by_budget(run["methods"], alike).items():
            found[method] = editor if some else slowest, f" on {device}" * bool(device)
    return {one: found[one] for one in seconds if one in found}


def _seconds(name: str, run: dict, results: dict[str, dict]) -> tuple[dict[str, float], str]:
    """By method of a run, the seconds of one edit; and "~" where they were measured in passing."""
    task, _, dataset = name.partition("_")
    timed = results.get(f"timing_{dataset}", {"methods": {}})["methods"]
    names = [method for method, entry in run["methods"].items() if entry["front"]]
    if names and all(f"{task}: {method}" in timed for method in names):
        return {one: timed[f"{task}: {one}"]["per_model_of_batch"] for one in names}, ""
    return {one: run["methods"][one]["seconds_per_model"] for one in names}, "~"


def repeats(results: dict[str, dict]) -> list[str]:
    """A row per run with another seed: hypervolumes and verdicts beside those of the first one.

    Runs repeat_DATASET-TASK. A verdict is that of an editor at a level against a method that is
    none.
    """
    lines = ["| run | method | hypervolume | with another seed |", "|---|---|---|---|"]
    counts = []
    for name, again in results.items():
        dataset, _, task = name.removeprefix("repeat_").partition("-")
        first = results.get(f"{task}_{dataset}")
        if not name.startswith("repeat_") or first is None:
            continue
        for method in [one for one in first["methods"] if one in again["methods"]]:
            both = [run["methods"][method] for run in (first, again)]
            cells = [f"{volumes(one).mean():.3f}{spread(one.get('mixture_interval'), 1, '.3f')}"
                     for one in both]  # fmt: skip
            lines.append(f"| {name} | {method} | {' | '.join(cells)} |")
        counts.append(_verdicts(name, first, again))
    return [*lines, "", *counts] if counts else []


def _verdicts(name: str, first: dict, again: dict) -> str:
    """How many verdicts of two runs are the same, and how many opposite."""
    later = again.get("comparison", {}).get("jsd", {})
    pairs = [
        (one["verdict"], other["verdict"])
        for editor, others in first.get("comparison", {}).get("jsd", {}).items()
        for method, found in others.items()
        if "seeds" not in first["methods"][method]
        for one, other in zip(found, later.get(editor, {}).get(method, []), strict=False)
        if one["verdict"] and other["verdict"]
    ]
    same = sum(one == other for one, other in pairs)
    opposite = sum({WIN, LOSS} == {one, other} for one, other in pairs)
    return (f"{name}: of {len(pairs)} verdicts of editors at levels {same} are the same and "
            f"{opposite} opposite (a win and a loss).")  # fmt: skip


def core_hours(results: dict[str, dict]) -> list[str]:
    """Hours of every phase and method on the run's devices: a column per run TASK_DATASET.

    Of runs that have stored them; of one that another device took part in, what its own evaluated.
    A population that several runs share is in the column of each.
    """
    runs = {name: run for name, run in tables(results).items()
            if all("wall_seconds" in method for method in run["methods"].values())}  # fmt: skip
    columns: dict[str, dict[str, float]] = {}
    for name, run in runs.items():
        others = elsewhere(run)
        # Of training it is not stored which device it was on.
        phases = {k: v for k, v in run["wall_seconds"].items()
                  if k != "evaluation" and v and not others}  # fmt: skip
        parts = {f"train {k}" if k != "population" else k: v for k, v in phases.items()}
        parts |= {f"evaluate {k}": m["wall_seconds"] for k, m in run["methods"].items()
                  if k not in others}  # fmt: skip
        devices = int(run["device"].split()[0])
        hours = {part: value * devices / 3600 for part, value in parts.items()}
        columns[name] = ({} if others else {"**all**": sum(hours.values())}) | hours
    if not columns:
        return []
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = [f"{column[row]:.3f}" if row in column else "–" for column in columns.values()]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines
