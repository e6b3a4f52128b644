"""The Pareto fronts of one requirement: front.csv and pictures."""

import csv
import pathlib
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from metanet.evaluation.pareto import pareto_mask
from metanet.report.caveats import CONSTANT
from metanet.report.comparison import points
from metanet.report.levels import calibrated
from metanet.report.style import FONT, WIDTH, legend, save, styles
from metanet.storage import atomic_path

MAIN_CURVES = 6
STAGES = ("early", "middle", "last")
_JSD = "mean JS divergence to the original (nats)"
_COSTS = {"jsd_label": "mean JS divergence between decisions (nats)",
          "error": "wrong decisions (%)",
          "calibration": "calibration error of outputs (%)"}  # fmt: skip
_LEAST = 1e-5  # nats, where logarithmic axes end


def _setting(setting: dict):
    """One number as it is, otherwise all keys and values in a cell."""
    values = list(setting.values())
    if len(values) == 1 and not isinstance(values[0], list):
        return values[0]
    return " ".join(f"{key}={value}" for key, value in setting.items())


def write_csv(results: dict, path: pathlib.Path) -> None:
    """One row per method and selected setting on the test split.

    *_std is over test models, (jsd_low, jsd_high) the 95% interval of the mean JSD; empty where a
    run stores no values of single models, as `constant`, the share of constant edited models, and
    `calibration`, the mean of their expected calibration errors.
    """
    columns = ["requirement", "requirement_std", "jsd", "jsd_std", "jsd_low", "jsd_high",
               "jsd_label", "accuracy", "accuracy_original", "constant", "calibration"]  # fmt: skip
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["method", *columns, "setting"])
        for name, method in results["methods"].items():
            for point in method["front"]:
                values = [point.get(column, "") for column in columns]
                rows.writerow([name, *values, _setting(point["setting"])])


def drawn(results: dict, everything: bool) -> dict[str, dict]:
    """The methods in a picture: all, or the main ones, else the first six.

    Editors for one lambda are left out: they are points that others unite.
    """
    methods = {
        name: method
        for name, method in results["methods"].items()
        if len(method["front"]) > 1 or ("seeds" not in method and method["front"])
    }
    if everything:
        return methods
    main = [name for name in results["main_methods"] if name in methods] or list(methods)
    return {name: methods[name] for name in methods if name in main[:MAIN_CURVES]}


def figure(results: dict, everything: bool = False) -> Figure:
    """The fronts, and the edited models' accuracy beside them.

    Args:
      results: the content of results.json, of one requirement.
      everything: all methods, not only the main ones; looks are the same in both.
    """
    picture, (front, accuracy) = _panels(results, 2, intervals=not everything)
    looks = styles(results["methods"])
    for name, method in drawn(results, everything).items():
        for other in method.get("seeds", [])[1:]:
            thin = looks[name] | {"marker": "", "linewidth": 0.8, "alpha": 0.5}
            _draw(front, points(other["front"]), thin)
        xy, apart = points(method["front"]), _constant(method["front"])
        _draw(front, xy, looks[name], name, apart=apart)
        if not everything:  # of so many they would hide the curves
            _draw_intervals(front, method["front"], looks[name]["color"])
        percent = _values(method["front"], "accuracy") * (1, 100)
        _draw(accuracy, percent, looks[name], joined=pareto_mask(xy), apart=apart)
    original = [m["front"][0]["accuracy_original"] for m in results["methods"].values()
                if m["front"]]  # fmt: skip
    accuracy.margins(y=0.08)
    if original:
        _horizontal(accuracy, 100 * float(np.mean(original)), "unedited", "-")
    _draw_floors(results, front, (front, accuracy))
    _explain_hollow(front, [m["front"] for m in drawn(results, everything).values()])
    _logarithmic(front)
    front.set_ylabel(_JSD)
    accuracy.set_ylabel("mean accuracy of the edited models (%)")
    legend(picture, *front.get_legend_handles_labels())
    return picture


def figure_of_costs(results: dict) -> Figure:
    """A panel for every further cost, each with the settings that were chosen by it.

    And one for calibration errors, with those that were chosen by divergence of outputs.
    """
    others = [*results["costs"][1:], *["calibration"] * calibrated(results)]
    picture, panels = _panels(results, len(others), shared=False)
    looks = styles(results["methods"])
    for axes, cost in zip(panels, others, strict=True):
        for name, method in drawn(results, everything=True).items():
            front = method["fronts"].get(cost, method["front"])
            xy = np.reshape([[p["requirement"], _cost(p, cost)] for p in front], (-1, 2))
            joined = pareto_mask(points(front)) if cost == "calibration" else None
            _draw(axes, xy, looks[name], name, joined=joined, apart=_constant(front))
        if results.get("ends"):
            unedited = results["ends"][1]
            axes.plot(unedited["requirement"], _cost(unedited, cost), "kx", label="unedited models")
        axes.set_ylabel(_COSTS[cost])
        axes.margins(y=0.08)
    methods = drawn(results, everything=True).values()
    fronts = [
        front for method in methods for front in (method["front"], *method["fronts"].values())
    ]
    _explain_hollow(panels[0], fronts)
    _draw_floors(results, None, panels)
    legend(picture, *panels[0].get_legend_handles_labels())
    return picture


def stages_of(results: dict) -> list[str]:
    """The stages of training that models were evaluated from; of networks from files, the last."""
    fronts = [point["by_stage"] for one in results["methods"].values() for point in one["front"]]
    return [stage for stage in STAGES if any(one[stage]["jsd"] is not None for one in fronts)]


def figure_of_stages(results: dict) -> Figure:
    """The main methods' fronts on the checkpoints of each stage of the models' training."""
    stages = stages_of(results)
    picture, panels = _panels(results, len(stages))
    looks = styles(results["methods"])
    for name, method in drawn(results, everything=False).items():
        for axes, stage in zip(panels, stages, strict=True):
            front = [point["by_stage"][stage] for point in method["front"]]
            xy = points([point for point in front if point["jsd"] is not None])
            _draw(axes, xy, looks[name], name)
            axes.set_title(f"{stage} checkpoints", fontsize=FONT)
    for axes in panels:
        _draw_floors(results, None, (axes,), named=False)
    _logarithmic(panels[0])  # which all share
    panels[0].set_ylabel(_JSD)
    legend(picture, *panels[0].get_legend_handles_labels())
    return picture


def plot(results: dict, folder: pathlib.Path) -> None:
    """front.png, front_all.png, and stages.png and costs.png where there are more than one."""
    save_fronts(results, figure, folder)
    if len(stages_of(results)) > 1:
        save(figure_of_stages(results), folder / "stages.png")
    if len(results["costs"]) > 1:
        save(figure_of_costs(results), folder / "costs.png")


def save_fronts(results: dict, draw: Callable[..., Figure], folder: pathlib.Path) -> None:
    """front.png of the main methods and front_all.png of all.

    Args:
      draw: a function (results, everything) -> Figure.
    """
    save(draw(results, False), folder / "front.png")
    save(draw(results, True), folder / "front_all.png")


def _panels(results: dict, count: int, intervals: bool = False, shared: bool = True):
    """A figure and its axes, with the requirement's label below each.

    shared: three panels have one scale of costs.
    """
    picture = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    marks = "marks are settings chosen on validation; lines join those that no other dominates"
    if intervals and results.get("ends"):  # with which values of single models are stored
        marks += ", bands are 95% intervals of the mean"
    picture.suptitle(
        f"{results['task']}, {results['dataset']}: {results['models_evaluated']} test models, "
        f"{results['samples_evaluated']} test samples\n{marks}",
        fontsize=FONT + 1,
    )
    panels = picture.subplots(1, count, sharex=True, sharey=shared and count == 3, squeeze=False)[0]
    (label,) = results["requirement_labels"]
    wrapped = label.replace(" (", "\n(") if count == 3 else label
    for axes in panels:
        axes.set_xlabel(wrapped)
        axes.locator_params(axis="x", nbins=18 // count)
        axes.grid(alpha=0.3)
    return picture, panels


def _values(front: list[dict], key: str) -> np.ndarray:
    """(requirement, `key`) of a front: [points, 2]."""
    return np.array([[p["requirement"], p[key]] for p in front]).reshape(-1, 2)


def _cost(point: dict, cost: str) -> float:
    """A cost of a point in the unit of its axis."""
    if cost == "calibration":
        return 100 * point[cost]
    return 100 * (1 - point["accuracy"]) if cost == "error" else point[cost]


def _constant(front: list[dict]) -> np.ndarray:
    """At which settings most edited models decide for one class: [points] bool."""
    return np.array([point.get("constant", 0.0) >= CONSTANT for point in front], bool)


def _explain_hollow(axes, fronts: list[list[dict]]) -> None:
    """Names hollow marks in the legend of `axes`, where there are any."""
    if any(_constant(front).any() for front in fronts):
        axes.plot([], [], "o", color="0.4", markerfacecolor="white", markersize=4.5,
                  label="hollow: most models constant")  # fmt: skip


def _draw_intervals(axes, front: list[dict], colour) -> None:
    """The 95% intervals of a front's JSD, where they are stored: bands along lines, else bars."""
    rows = np.array([[p["requirement"], max(p["jsd_low"], _LEAST), max(p["jsd_high"], _LEAST)]
                     for p in front if "jsd_low" in p])  # fmt: skip
    if not len(rows):
        return
    joined = pareto_mask(points(front))
    band = joined if joined.sum() > 1 else np.zeros_like(joined)
    along = rows[band]
    axes.fill_between(*along[np.argsort(along[:, 0])].T, color=colour, alpha=0.18, linewidth=0)
    axes.vlines(*rows[~band].T, color=colour, linewidth=1.0, alpha=0.6, zorder=1)


def _draw(
    axes, xy: np.ndarray, look: dict, label: str | None = None, joined=None, apart=None
) -> None:
    """Marks at xy [points, 2], and a line through those `joined` [points] bool.

    By default those that no other dominates: on the test models settings need not be in order.
    Marks of the points that are `apart` [points] bool are hollow.
    """
    joined = pareto_mask(xy) if joined is None else joined
    line = xy[joined]
    line = line[np.argsort(line[:, 0], kind="stable")]
    axes.plot(*line.T, label=label, **look)
    axes.plot(*xy[~joined].T, **look | {"linestyle": ""})
    if apart is not None and apart.any():
        hollow = {"linestyle": "", "markerfacecolor": "white", "zorder": 3}
        axes.plot(*xy[apart].T, **look | hollow)


def _horizontal(axes, level: float, text: str, dashes) -> None:
    axes.axhline(level, color="black", linewidth=0.8, linestyle=dashes)
    axes.annotate(text, (0.99, level), xytext=(0, 2), textcoords="offset points", ha="right",
                  va="bottom", xycoords=("axes fraction", "data"), fontsize=FONT - 1)  # fmt: skip


def _draw_floors(results: dict, jsd_axes, requirement_axes, named: bool = True) -> None:
    """The JSD of unedited one-hot labels, and the requirement below which values are noise."""
    if "one_hot_floor" in results and jsd_axes is not None:
        text = "unedited labels, one-hot"
        _horizontal(jsd_axes, results["one_hot_floor"], text, (0, (8, 4)))
    if results.get("level_floor"):
        for axes in requirement_axes:
            axes.axvspan(0, results["level_floor"], color="black", alpha=0.08, linewidth=0)
            if named:
                axes.annotate("noise", (results["level_floor"] / 2, 0.01), ha="center",
                              va="bottom", xycoords=("data", "axes fraction"),
                              fontsize=FONT - 1)  # fmt: skip


def _logarithmic(axes) -> None:
    """Logarithmic JSD: fronts that lie close to 0 differ by factors."""
    axes.set_yscale("log", nonpositive="mask")  # clipped, a line to 0 falls at its other end
    axes.set_ylim(_LEAST, 1.5 * axes.get_ylim()[1])
