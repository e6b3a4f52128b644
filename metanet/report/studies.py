"""What runs report besides fronts, in Markdown: levels asked for, other data, kinds, table 1."""

from metanet.report import timing
from metanet.report.comparison import volumes


def tables(name: str, run: dict) -> list[str]:
    """The tables of the run called `name`, each followed by an empty line; none for most runs."""
    if run["task"] == "timing":
        parts = [timing.beside_paper(run)]
    else:
        parts = [_targets(run), _shifted(run)]
    if name.startswith("transfer"):
        parts.append(_kinds(run))
    return [line for part in parts if part for line in (*part, "")]


def _targets(run: dict) -> list[str]:
    """A row per editor and level that it was asked for."""
    rows = [
        f"| {name} | {one['target']:g} | {_reached(one['family'])} | {_reached(one['model'])} |"
        for name, method in run["methods"].items()
        for one in method.get("targets", ())
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
    """Hypervolumes on the test data and on those of other people."""
    fronts = {
        name: {"test": method["front"]}
        | {shift: found["front"] for shift, found in method["shifted"].items()}
        for name, method in run["methods"].items()
        if "shifted" in method
    }
    return _volumes("Hypervolumes on test data, and on test data of other people:", fronts, run)


def _kinds(run: dict) -> list[str]:
    """Hypervolumes on the test models of each kind."""

    def of_kind(method, kind):
        points = [point["by_kind"][kind] for point in method["front"]]
        return [point for point in points if point["jsd"] is not None]

    fronts = {
        name: {"all": method["front"]}
        | {kind: of_kind(method, kind) for kind in method["front"][0]["by_kind"]}
        for name, method in run["methods"].items()
        if method["front"]
    }
    return _volumes("Hypervolumes on all test models, and on those of a kind:", fronts, run)


def _volumes(title: str, fronts: dict[str, dict[str, list]], run: dict) -> list[str]:
    """A row per method, a column per front."""
    if not fronts:
        return []
    reference, columns = tuple(run["reference_point"]), next(iter(fronts.values()))
    lines = [title, "", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, own in fronts.items():
        cells = [f"{volumes({'front': front}, reference)[0]:.3f}" for front in own.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
