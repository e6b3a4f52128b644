"""The printed tables of fronts of one requirement: costs at some levels of it."""

import numpy as np

from metanet.evaluation.pareto import mixed_hypervolume
from metanet.report.bounds import LOWER, marked, volume_marks
from metanet.report.comparison import points, volumes

SAME = 1e-5  # relative, of costs that differ by rounding alone
LOPSIDED = 1.5  # half of an interval over its shorter side, from which both ends are printed

# What a cost is called, and the unit of tables.
COSTS = {
    "jsd": ("JSD of outputs, 10^-3 nats", 1e3),
    "jsd_label": ("JSD of decisions, 10^-3 nats", 1e3),
    "error": ("wrong decisions, %", 1e2),
}


def table(results: dict) -> str:
    """Hypervolume, number of points, costs at levels and seconds: a table for every cost."""
    first, *others = results["costs"]
    lines = _head(results) + _rows(results, first, True)
    for cost in others:
        lines += ["", *_rows(results, cost, False)]
    if others and calibrated(results):
        lines += ["", *_calibration(results)]
    return "\n".join(lines)


def calibrated(results: dict) -> bool:
    """Whether calibration errors were measured at every setting, and at both ends."""
    fronts = [one["front"] for one in results["methods"].values()] + [results["ends"]]
    return bool(results["ends"]) and all(
        "calibration" in point for front in fronts for point in front
    )


def _calibration(results: dict) -> list[str]:
    """Calibration errors at levels, on the line through a method's settings and both ends."""
    levels, ends = results["report_levels"], results["ends"]
    width = max(map(len, results["methods"])) + 2
    lines = [
        f"@x: calibration error of outputs, %, at {results['requirement_labels'][0]} x of "
        "the mean, on the line through a method's first seed's settings, chosen by the first cost, "
        f"and both ends; unedited models {100 * ends[1]['calibration']:.2f}",
        f"{'method':<{width}}" + "".join(f"{f'@{level:.3g}':>8}" for level in levels),
    ]
    for name, method in results["methods"].items():
        if method["front"]:
            points = sorted((p["requirement"], p["calibration"]) for p in (*method["front"], *ends))
            found = np.interp(levels, *np.array(points).T)
            lines.append(f"{name:<{width}}" + "".join(f"{100 * one:>8.2f}" for one in found))
    return lines


def _head(results: dict) -> list[str]:
    box = "x".join(f"{value:g}" for value in results["reference_point"])
    marks = volume_marks(results["methods"]).values()
    intervals = " ± half of the 95% interval, (low to high) where lopsided"
    intervals *= bool(results.get("ends"))
    return [
        f"{results['task']} on {results['dataset']}, test models; means over models and editor "
        f"seeds{intervals}",
        f"HV: hypervolume of mixtures in the box {box}{_volume_of_ends(results)}",
        *[LOWER] * (">" in marks),
    ]


def _rows(results: dict, cost: str, first: bool) -> list[str]:
    methods, (text, unit) = results["methods"], COSTS[cost]
    found = {name: m["at_levels"][cost] for name, m in methods.items()
             if cost in m.get("at_levels", {})}  # fmt: skip
    marks = volume_marks(methods)
    width = max(map(len, methods)) + 2
    cells = {name: [_cell(one, unit) for one in row] for name, row in found.items()}
    alone = _of_ends(results, cost)
    for name, row in found.items():
        for place, (one, least) in enumerate(zip(row, alone, strict=True)):
            if one is not None and one["cost"] >= least * (1 - SAME) > 0:
                cells[name][place] = "=" + cells[name][place]
    head = [f"@{level:.3g}" for level in results["report_levels"]]
    room = 2 + max(map(len, [*head, *(cell for row in cells.values() for cell in row)]))
    bounded = any(one["coarse"] for row in found.values() for one in row if one)
    lines = [
        f"@x: {text}, at {results['requirement_labels'][0]} x of {results['levels_of']}; settings "
        "chosen by it",
        *["<: an upper bound, between settings far apart"] * bounded,
        *["=: no less than a mixture of the two ends costs, without any method"]
        * any(cell.startswith("=") for row in cells.values() for cell in row),
        f"{'method':<{width}}{'HV' * first:>13}{'points':>8}"
        f"{''.join(f'{one:>{room}}' for one in head)}{'s/model':>12}",
    ]
    for name, method in methods.items():
        row = "".join(f"{one:>{room}}" for one in cells.get(name, ["-"] * len(head)))
        seconds = method["seconds_per_model"]
        last = f"{'-':>12}" if seconds is None else f"{seconds:>12.5f}"
        front = method["front"] if first else method["fronts"][cost]
        volume = _volume(method, marks[name]) if first else ""
        lines.append(f"{name:<{width}}{volume:>13}{len(front):>8}{row}{last}")
    return lines


def _volume_of_ends(results: dict) -> str:
    """That of a mixture of the two ends, which every method has."""
    if not results.get("ends"):
        return ""
    found = mixed_hypervolume(points(results["ends"]), tuple(results["reference_point"]))
    return f"; {found:.3f} of the two ends, without any method"


def _of_ends(results: dict, cost: str) -> np.ndarray:
    """What a mixture of the two ends costs at every level, infinite where there are no ends."""
    levels, ends = np.array(results["report_levels"]), results.get("ends")
    if not ends:
        return np.full(len(levels), np.inf)
    costs = [1 - end["accuracy"] if cost == "error" else end[cost] for end in ends]
    return np.interp(levels, [end["requirement"] for end in ends], costs)


def _volume(method: dict, mark: str) -> str:
    return marked(mark, volumes(method).mean()) + spread(method.get("mixture_interval"), 1, ".3f")


def _cell(found: dict | None, unit: float) -> str:
    if found is None:
        return "-"
    value = max(unit * found["cost"], 0.0)  # not -0.00, of rounding
    if found["low"] is None:
        return "<" * found["coarse"] + f"{value:.3g}"
    low, high = unit * found["low"], unit * found["high"]
    half = (high - low) / 2
    digits = ".1f" if half >= 0.95 else ".2f" if half >= 0.0095 else ".3f"
    if half > value or not half / LOPSIDED <= value - low <= half * (2 - 1 / LOPSIDED):
        interval = f" ({low:{digits}} to {high:{digits}})"
    else:
        interval = spread((found["low"], found["high"]), unit, digits)
    return "<" * found["coarse"] + f"{value:{digits}}{interval}"


def spread(interval: tuple[float, float] | None, unit: float, digits: str) -> str:
    """± half of an interval; nothing where there is none."""
    if interval is None:
        return ""
    low, high = interval
    return f"±{unit * (high - low) / 2:{digits}}"
