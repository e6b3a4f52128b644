"""The Pareto fronts of one requirement: front.csv, pictures and a table for the terminal."""

import csv
import pathlib

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from metanet.core import atomic_path
from metanet.report.comparison import at_levels, points, volumes

matplotlib.use("Agg")

LEVELS = {
    "pruning": (0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
    "dm": (0.15, 0.3, 0.45, 0.6, 0.75, 0.9),
    "fairness": (0.03, 0.04, 0.05, 0.06, 0.08, 0.1),
}
REQUIREMENTS = {
    "pruning": "weights kept (fraction of all weights)",
    "dm": "input features kept (fraction of all features)",
    "fairness": "equalised odds difference (0 to 1)",
}
_JSD = "mean JS divergence to the original (nats)"
_LEAST = 1e-5  # nats, where logarithmic axes end
_MARKERS = "osD^vP*X<>"
_LINES = ("-", "--", ":", "-.")


def _setting(setting: dict):
    """One number as it is, otherwise all keys and values in a cell."""
    values = list(setting.values())
    if len(values) == 1 and not isinstance(values[0], list):
        return values[0]
    return " ".join(f"{key}={value}" for key, value in setting.items())


def write_csv(results: dict, path: pathlib.Path) -> None:
    """One row per method and selected setting on the test split; deviations are over models."""
    columns = ["requirement", "requirement_std", "jsd", "jsd_std", "jsd_label", "accuracy",
               "accuracy_original"]  # fmt: skip
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["method", *columns, "setting"])
        for name, method in results["methods"].items():
            for point in method["front"]:
                values = [point[column] for column in columns]
                rows.writerow([name, *values, _setting(point["setting"])])


def style(index: int, name: str) -> dict:
    """How a method is drawn: by marker and dashes too, not by colour alone; editors thicker."""
    return {
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _LINES[index % len(_LINES)],
        "color": f"C{index % 10}",
        "markersize": 4,
        "linewidth": 2.2 if name.startswith("GMN") else 1.1,
    }


def _drawn(results: dict) -> list[tuple[str, dict]]:
    """What pictures show: not editors for one lambda, which are points that others unite."""
    return [
        (name, method)
        for name, method in results["methods"].items()
        if len(method["front"]) > 1 or "seeds" not in method
    ]


def _figure(results: dict, panels: int):
    figure = Figure(figsize=(5.2 * panels + 0.6, 4.8), layout="constrained")
    figure.suptitle(
        f"{results['task']}, {results['dataset']}: {results['models_evaluated']} test models, "
        f"{results['samples_evaluated']} test samples; marks are settings chosen on validation"
    )
    axes = figure.subplots(1, panels, sharey=panels == 3)
    for one in axes:
        one.set_xlabel(REQUIREMENTS.get(results["task"], "requirement"))
        one.grid(alpha=0.3)
    return figure, axes


def _save(figure: Figure, axes, path: pathlib.Path) -> None:
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def plot(results: dict, path: pathlib.Path) -> None:
    """The fronts, and the edited models' accuracy beside them; thin grey lines are other seeds.

    HV: hypervolumes of mixtures, means over seeds.
    """
    figure, (front, accuracy) = _figure(results, 2)
    reference = tuple(results["reference_point"])
    for index, (name, method) in enumerate(_drawn(results)):
        look, xy = style(index, name), points(method["front"])
        for other in method.get("seeds", [])[1:]:
            front.plot(*points(other["front"]).T, color="grey", linewidth=0.7)
        volume = volumes(method, reference).mean()
        front.plot(*xy.T, label=f"{name} (HV {volume:.3f})", **look)
        accuracy.plot(xy[:, 0], [100 * p["accuracy"] for p in method["front"]], **look)
    original = [m["front"][0]["accuracy_original"] for m in results["methods"].values()
                if m["front"]]  # fmt: skip
    accuracy.axhline(100 * np.mean(original), color="black", linewidth=0.8)
    accuracy.annotate("unedited", (0.99, 100 * np.mean(original)), va="bottom", ha="right",
                      xycoords=("axes fraction", "data"))  # fmt: skip
    _draw_floor(results, front)
    _jsd_axis(front)
    accuracy.set_ylabel("mean accuracy of the edited models (%)")
    _save(figure, (front, accuracy), path)


def _jsd_axis(axes) -> None:
    """Logarithmic: fronts that lie close to 0 differ by factors."""
    axes.set_ylabel(_JSD)
    axes.set_yscale("log")
    axes.set_ylim(bottom=_LEAST)


def _draw_floor(results, axes):
    if "one_hot_floor" in results:
        axes.axhline(results["one_hot_floor"], color="black", linewidth=0.8, linestyle=(0, (8, 4)))
        axes.annotate("unedited labels, as one-hot", (0.99, results["one_hot_floor"]), ha="right",
                      va="top", xycoords=("axes fraction", "data"))  # fmt: skip


def plot_labels(results: dict, path: pathlib.Path) -> None:
    """Divergence between decisions, which no method pays a floor for, beside that of outputs."""
    figure, (label, output) = _figure(results, 2)
    for index, (name, method) in enumerate(_drawn(results)):
        look, xy = style(index, name), points(method["front"])
        label.plot(xy[:, 0], [p["jsd_label"] for p in method["front"]], label=name, **look)
        output.plot(*xy.T, **look)
    _draw_floor(results, output)
    label.set_ylabel("mean JS divergence between decisions (nats)")
    output.set_ylabel(_JSD)
    for axes in (label, output):
        axes.set_ylim(bottom=0)
    _save(figure, (label, output), path)


def plot_stages(results: dict, path: pathlib.Path) -> None:
    """The fronts on early, middle and last checkpoints of the models' training."""
    figure, panels = _figure(results, 3)
    for index, (name, method) in enumerate(_drawn(results)):
        for axes, stage in zip(panels, ("early", "middle", "last"), strict=True):
            front = [p["by_stage"][stage] for p in method["front"]]
            xy = points([p for p in front if p["jsd"] is not None])
            axes.plot(*xy.T, label=name, **style(index, name))
            axes.set_title(f"{stage} checkpoints")
    _jsd_axis(panels[0])  # which all share
    _save(figure, panels, path)


def _cell(values: np.ndarray) -> str:
    """The mean over seeds; a dash where a seed's front does not reach."""
    return "        -" if np.isnan(values).any() else f"{values.mean():>9.4f}"


def table(results: dict) -> str:
    """Hypervolume, JSD at some requirement levels and seconds per model."""
    methods, box = results["methods"], tuple(results["reference_point"])
    levels = np.array(LEVELS.get(results["task"], (0.1, 0.3, 0.5, 0.7)))
    width = max(map(len, methods)) + 2
    reference = "x".join(f"{value:g}" for value in box)
    head = "".join(f"{f'@{level:g}':>9}" for level in levels)
    lines = [
        f"test front of {results['task']} on {results['dataset']}: hypervolume of fronts and their "
        f"mixtures (box {reference}), JSD in nats at the requirement's level, seconds per model; "
        "means over editor seeds",
        f"{'method':<{width}}{'HV':>7}{head}{'s/model':>10}",
    ]
    for name, method in methods.items():
        cells = "".join(_cell(values) for values in at_levels(method, levels).T)
        seconds = method["seconds_per_model"]
        volume = volumes(method, box).mean()
        last = "         -" if seconds is None else f"{seconds:>10.5f}"
        lines.append(f"{name:<{width}}{volume:>7.3f}{cells}{last}")
    return "\n".join(lines)
