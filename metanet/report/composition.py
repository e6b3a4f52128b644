"""Two requirements at once: what methods reach within a budget of divergence (paper figure 8)."""

import pathlib

import numpy as np
from matplotlib.figure import Figure

from metanet.evaluation.pareto import pareto_mask
from metanet.report.bounds import LOWER, marked, volume_marks
from metanet.report.front import drawn, save_fronts
from metanet.report.style import FONT, WIDTH, legend, styles

# Shares of the reference point: budgets of JSD, and pairs of levels of the requirements.
BUDGETS = (0.02, 0.05, 0.1, 0.2)
LEVELS = tuple((x, y) for x in (0.3, 0.6, 1.0) for y in (0.1, 0.3, 1.0))


def _arrays(method: dict) -> tuple[np.ndarray, np.ndarray]:
    """requirements [points, 2], jsd [points]."""
    front = method["front"]
    values = np.array([[*point["requirement"], point["jsd"]] for point in front]).reshape(-1, 3)
    return values[:, :2], values[:, 2]


def figure(results: dict, everything: bool = False) -> Figure:
    """A panel per budget of JSD: the least of one requirement for so much of the other."""
    picture = Figure(figsize=(WIDTH, 7.8), layout="constrained")
    panels = picture.subplots(2, 2, sharex=True, sharey=True)
    looks = styles(results["methods"])
    *edges, most = results["reference_point"]
    methods = drawn(results, everything)
    for axes, share in zip(panels.flat, BUDGETS, strict=True):
        for name, method in methods.items():
            requirement, jsd = _arrays(method)
            within = requirement[jsd <= share * most]
            within = within[pareto_mask(within)]
            within = within[np.argsort(within[:, 0])]
            axes.plot(*within.T, label=name, drawstyle="steps-post", **looks[name])
        axes.set_title(f"JSD at most {share * most:g} nats", fontsize=FONT)
        axes.set_xlim(0, 1.02 * edges[0])
        axes.set_ylim(0, 1.02 * edges[1])
        axes.grid(alpha=0.3)
    first, second = results["requirement_labels"]
    for axes in panels[-1]:
        axes.set_xlabel(first)
    for axes in panels[:, 0]:
        axes.set_ylabel(second)
    legend(picture, *panels[0, 0].get_legend_handles_labels())
    picture.suptitle(
        f"{results['task']}, {results['dataset']}: {results['models_evaluated']} test models; "
        "marks are settings chosen on validation, lower left is better", fontsize=FONT + 1
    )  # fmt: skip
    return picture


def plot(results: dict, folder: pathlib.Path) -> None:
    """front.png of the main methods and front_all.png of all."""
    save_fronts(results, figure, folder)


def table(results: dict) -> str:
    """Hypervolume of points, and the least JSD within pairs of levels of the two requirements."""
    methods, labels = results["methods"], results["requirement_labels"]
    *box, most = results["reference_point"]
    levels = [(x * box[0], y * box[1]) for x, y in LEVELS]
    marks = volume_marks(methods)
    width = max(map(len, methods)) + 2
    head = "".join(f"{f'{x:g},{y:g}':>9}" for x, y in levels)
    lines = [
        f"{results['task']} on {results['dataset']}, test models; means over editor seeds",
        f"HV: hypervolume of points in the box {'x'.join(f'{v:g}' for v in (*box, most))}",
        *[LOWER] * (">" in marks.values()),
        "x,y: the least JSD (nats) of the points with at most",
        f"  x {labels[0]} and y {labels[1]}",
        f"{'method':<{width}}{'HV':>7}{'points':>8}{head}{'s/model':>10}",
    ]
    for name, method in methods.items():
        requirement, jsd = _arrays(method)
        cells = ""
        for level in levels:
            within = jsd[(requirement <= np.array(level) + 1e-9).all(1)]
            cells += f"{within.min():>9.4f}" if len(within) else f"{'-':>9}"
        seconds = method["seconds_per_model"]
        last = f"{'-':>10}" if seconds is None else f"{seconds:>10.5f}"
        volume = float(np.mean([one["hypervolume"] for one in method.get("seeds", [method])]))
        shown = marked(marks[name], volume)
        lines.append(f"{name:<{width}}{shown:>7}{len(jsd):>8}{cells}{last}")
    return "\n".join(lines)
