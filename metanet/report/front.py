"""The Pareto fronts of a results.json: front.csv, front.png and a table for the terminal."""

import csv
import pathlib

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from metanet.core import atomic_path
from metanet.evaluation.pareto import interpolate

matplotlib.use("Agg")

LEVELS = (0.1, 0.3, 0.5, 0.7)
REQUIREMENT_LABELS = {
    "pruning": "weights kept (fraction of all weights)",
    "dm": "input features kept (fraction of all features)",
    "fairness": "equalised odds difference (0 to 1)",
}
_MARKERS = "osD^vP*X<>"
_LINES = ("-", "--", ":", "-.")


def _points(method: dict) -> np.ndarray:
    return np.array([[p["requirement"], p["jsd"]] for p in method["front"]]).reshape(-1, 2)


def _setting(setting: dict):
    """One number as it is, otherwise all keys and values in a cell."""
    if len(setting) == 1:
        return next(iter(setting.values()))
    return " ".join(f"{key}={value}" for key, value in setting.items())


def write_csv(results: dict, path: pathlib.Path) -> None:
    """One row per method and selected setting on the test split; deviations are over models."""
    columns = ["requirement", "requirement_std", "jsd", "jsd_std", "accuracy", "accuracy_original"]
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["method", *columns, "setting"])
        for name, method in results["methods"].items():
            for point in method["front"]:
                values = [point[column] for column in columns]
                rows.writerow([name, *values, _setting(point["setting"])])


def plot(results: dict, path: pathlib.Path) -> None:
    """The fronts, and the edited models' accuracy, against the requirement; legible in grey."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    front, accuracy = figure.subplots(1, 2)
    for index, (name, method) in enumerate(results["methods"].items()):
        style = {
            "marker": _MARKERS[index % len(_MARKERS)],
            "linestyle": _LINES[index % len(_LINES)],
            "markersize": 4,
            "linewidth": 2.0 if name.startswith("GMN") else 1.2,
        }
        points = _points(method)
        values = [100 * p["accuracy"] for p in method["front"]]
        front.plot(*points.T, label=f"{name} (HV {method['hypervolume']:.3f})", **style)
        accuracy.plot(points[:, 0], values, **style)
    original = 100 * np.mean(
        [m["front"][0]["accuracy_original"] for m in results["methods"].values() if m["front"]]
    )
    accuracy.axhline(original, color="black", linewidth=0.8)
    accuracy.annotate("unedited", (0.99, original), xycoords=("axes fraction", "data"),
                      ha="right", va="bottom")  # fmt: skip
    label = REQUIREMENT_LABELS.get(results["task"], "requirement")
    for axes in (front, accuracy):
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    front.set_ylabel("mean JS divergence to the original model (nats)")
    accuracy.set_ylabel("mean accuracy of the edited models (%)")
    front.set_ylim(bottom=0)
    front.legend(fontsize="small")
    figure.suptitle(
        f"{results['task']}, {results['dataset']}: {results['models_evaluated']} test models, "
        f"{results['samples_evaluated']} test samples"
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def table(results: dict) -> str:
    """Hypervolume, JSD at some requirement levels and seconds per model of every method."""
    width = max(map(len, results["methods"])) + 2
    reference = "x".join(f"{value:g}" for value in results["reference_point"])
    head = "".join(f"{f'@{level}':>9}" for level in LEVELS)
    lines = [
        f"test front of {results['task']} on {results['dataset']}: hypervolume (box {reference}), "
        "JSD in nats at the requirement's level, seconds per model",
        f"{'method':<{width}}{'HV':>7}{head}{'s/model':>10}",
    ]
    for name, method in results["methods"].items():
        levels = interpolate(_points(method), np.array(LEVELS))
        cells = "".join("        -" if np.isnan(v) else f"{v:>9.4f}" for v in levels)
        seconds = method["seconds_per_model"]
        last = "         -" if seconds is None else f"{seconds:>10.5f}"
        lines.append(f"{name:<{width}}{method['hypervolume']:>7.3f}{cells}{last}")
    return "\n".join(lines)
