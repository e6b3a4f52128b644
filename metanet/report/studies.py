"""What runs report besides fronts, in Markdown: levels, shifted data, subsets, table 1."""

from metanet.evaluation.pareto import mixed_hypervolume
from metanet.report import timing
from metanet.report.bounds import marked, volume_marks
from metanet.report.comparison import points


def tables(run: dict) -> list[str]:
    """The tables of a run, each followed by an empty line; none for most runs."""
    if run["kind"] == "timing":
        parts = [timing.beside_paper(run)]
    elif run["kind"] == "fronts" and len(run["requirements"]) == 1:
        parts = [_levels(run), _shifted(run), _subsets(run)]
    else:
        parts = []
    return [line for part in parts if part for line in (*part, "")]


def _levels(run: dict) -> list[str]:
    """A row per editor and level that it was asked for."""
    rows = [
        f"| {name} | {one['level']:g} | {_reached(one['family'])} | {_reached(one['model'])} |"
        for name, method in run["methods"].items()
        for one in method.get("levels", ())
    ]
    if not rows:
        return []
    return [
        "Levels asked for: requirement reached, JSD, share of models that meet the level, with one "
        "lambda for all, found on validation models, or with a lambda for each, found on the "
        "`select` data; on test models and data.",
        "",
        "| editor | asked for | one lambda | a lambda each |",
        "|---|---|---|---|",
        *rows,
    ]


def _reached(found: dict) -> str:
    return f"{found['requirement']:.3f}, {found['jsd']:.4f}, {found['meet']:.0%}"


def _shifted(run: dict) -> list[str]:
    """Hypervolumes on the test data and on shifted ones."""
    rows = {
        name: {"test": method} | method["shifted"]
        for name, method in run["methods"].items()
        if "shifted" in method
    }
    return _volumes("on test data, and on test data with a covariate shift", rows)


def _subsets(run: dict) -> list[str]:
    """Hypervolumes on the subsets of the test models."""

    def of_subset(front, subset):
        points = [point["by_subset"][subset] for point in front]
        return [point for point in points if point["jsd"] is not None]

    def part(method, subset):
        front = of_subset(method["front"], subset)
        both = points(front + of_subset(run.get("ends", []), subset))
        volume = mixed_hypervolume(both, tuple(run["reference_point"]))
        return {"front": front, "mixture_hypervolume": volume}

    rows = {
        name: {"all": method}
        | {subset: part(method, subset) for subset in method["front"][0]["by_subset"]}
        for name, method in run["methods"].items()
        if method["front"] and "by_subset" in method["front"][0]
    }
    return _volumes("on all test models, and on subsets of them", rows)


def _volumes(title: str, rows: dict[str, dict[str, dict]]) -> list[str]:
    """A row per method, a column per front; of the first editor seed."""
    if not rows:
        return []
    columns = list(next(iter(rows.values())))
    marks = {
        column: volume_marks({name: parts[column] for name, parts in rows.items()})
        for column in columns
    }
    lines = [f"Hypervolumes of mixtures {title} (first editor seed):", "",
             f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]  # fmt: skip
    for name, parts in rows.items():
        cells = [marked(marks[column][name], parts[column]["mixture_hypervolume"])
                 for column in columns]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
