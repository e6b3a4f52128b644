"""Two requirements at once: what methods reach within a budget of divergence (paper figure 8)."""

import pathlib

import numpy as np
from matplotlib.figure import Figure

from metanet.core import atomic_path
from metanet.evaluation.pareto import pareto_mask
from metanet.report.front import style

BUDGETS = (0.002, 0.005, 0.01, 0.02)
LEVELS = tuple((x, y) for x in (0.3, 0.6, 1.0) for y in (0.1, 0.3, 1.0))


def _arrays(method: dict) -> tuple[np.ndarray, np.ndarray]:
    """requirements [points, 2], jsd [points]."""
    front = method["front"]
    values = np.array([[*point["requirement"], point["jsd"]] for point in front]).reshape(-1, 3)
    return values[:, :2], values[:, 2]


def plot(results: dict, path: pathlib.Path) -> None:
    """A panel per budget of JSD: the least of one requirement for so much of the other."""
    figure = Figure(figsize=(4.2 * len(BUDGETS), 4.8), layout="constrained")
    panels = figure.subplots(1, len(BUDGETS), sharey=True)
    names = results["requirements"]
    for axes, budget in zip(panels, BUDGETS, strict=True):
        for index, (name, method) in enumerate(results["methods"].items()):
            requirement, jsd = _arrays(method)
            within = requirement[jsd <= budget]
            within = within[pareto_mask(within)]
            within = within[np.argsort(within[:, 0])]
            axes.plot(*within.T, label=name, drawstyle="steps-post", **style(index, name))
        axes.set_title(f"JSD at most {budget:g} nats")
        axes.set_xlabel(f"{names[0]} (0 to 1)")
        axes.set_xlim(0, 1)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(f"{names[1]} (0 to 1)")
    panels[0].set_ylim(0, 1)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    figure.suptitle(
        f"{results['task']}, {results['dataset']}: {results['models_evaluated']} test models; what "
        "settings chosen on validation reach, lower left is better"
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def table(results: dict) -> str:
    """Hypervolume, and the least JSD within pairs of levels of the two requirements."""
    methods, names = results["methods"], results["requirements"]
    width = max(map(len, methods)) + 2
    head = "".join(f"{f'{x:g},{y:g}':>9}" for x, y in LEVELS)
    lines = [
        f"{results['task']} on {results['dataset']}: hypervolume, the least test JSD (nats) with "
        f"at most so much {names[0]} and {names[1]}, and seconds per model",
        f"{'method':<{width}}{'HV':>7}{head}{'s/model':>10}",
    ]
    for name, method in methods.items():
        requirement, jsd = _arrays(method)
        cells = ""
        for level in LEVELS:
            within = jsd[(requirement <= np.array(level) + 1e-9).all(1)]
            cells += f"{within.min():>9.4f}" if len(within) else f"{'-':>9}"
        seconds = method["seconds_per_model"]
        last = f"{'-':>10}" if seconds is None else f"{seconds:>10.5f}"
        volume = np.mean([one["hypervolume"] for one in method.get("seeds", [method])])
        lines.append(f"{name:<{width}}{volume:>7.3f}{cells}{last}")
    return "\n".join(lines)
