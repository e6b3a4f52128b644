"""Three or more requirements: what each method's settings reach."""

import pathlib

import numpy as np
from matplotlib.figure import Figure

from metanet.report.front import drawn, save_fronts
from metanet.report.style import COLOURS, DASHES, FONT, MARKERS, WIDTH, legend, styles


def _values(front: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """requirement [points, requirements], JSD [points]."""
    return (np.array([p["requirement"] for p in front]), np.array([p["jsd"] for p in front]))


def figure(results: dict, everything: bool = False) -> Figure:
    """A panel per requirement: its value against JSD as its own lambda grows, others held.

    Lines are of the first method with a lambda for each requirement. They hold the other lambdas
    together at their lowest, ..., highest values, as far as these vectors were chosen on
    validation. Marks are all points of the methods.
    """
    labels, methods = results["requirement_labels"], drawn(results, everything)
    picture = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    panels = picture.subplots(1, len(labels), sharey=True)
    looks = styles(results["methods"])
    swept = next((m for m in methods.values() if _has_vectors(m["front"])), None)
    for index, (axes, label) in enumerate(zip(panels, labels, strict=True)):
        for name, method in methods.items():
            requirement, jsd = _values(method["front"])
            mark = {"color": "0.6", "marker": "."} if len(methods) == 1 else looks[name]
            axes.plot(requirement[:, index], jsd, **mark | {"linestyle": "", "markersize": 3.5},
                      label=f"{name}, all settings chosen on validation")  # fmt: skip
        if swept is not None:
            _lines(axes, swept["front"], index)
        axes.set_xlabel(label.replace(" (", "\n("))
        axes.locator_params(axis="x", nbins=6)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("mean JS divergence to the original (nats)")
    panels[0].set_ylim(bottom=0)
    legend(picture, *panels[0].get_legend_handles_labels())
    picture.suptitle(
        f"{results['task']}, {results['dataset']}: {results['models_evaluated']} test models; "
        "lines vary the lambda of the panel's requirement", fontsize=FONT + 1
    )  # fmt: skip
    return picture


def _has_vectors(front: list[dict]) -> bool:
    """Whether every setting has a lambda for each requirement."""
    return bool(front) and all(
        np.shape(p["setting"].get("lambda")) == np.shape(p["requirement"]) for p in front
    )


def _lines(axes, front: list[dict], index: int) -> None:
    """Lines along the lambda of requirement number `index`, one per level of all the others."""
    requirement, jsd = _values(front)
    weight = np.array([point["setting"]["lambda"] for point in front])
    # Each lambda's place in its grid: [points, requirements].
    rank = np.stack([np.unique(column, return_inverse=True)[1] for column in weight.T], axis=1)
    others = np.delete(rank, index, axis=1)
    steps = int(rank.max()) + 1
    for level in range(steps):
        line = np.flatnonzero((others == level).all(1))
        line = line[np.argsort(rank[line, index])]
        axes.plot(requirement[line, index], jsd[line], markersize=4.5,
                  label=f"other lambdas at step {level + 1} of {steps}",
                  color=COLOURS[level % len(COLOURS)], marker=MARKERS[level % len(MARKERS)],
                  linestyle=DASHES[level % len(DASHES)])  # fmt: skip


def plot(results: dict, folder: pathlib.Path) -> None:
    """front.png of the main methods and front_all.png of all."""
    save_fronts(results, figure, folder)


def table(results: dict) -> str:
    """One row per chosen setting of each method, by rising JSD; hypervolumes are of points."""
    labels = results["requirement_labels"]
    numbers = range(1, len(labels) + 1)
    lines = [
        f"{results['task']} on {results['dataset']}: test means over models; lambda (l) and value "
        "(r) of every requirement",
        *(f"r{number}: {label}" for number, label in zip(numbers, labels, strict=True)),
        "".join(f"{f'l{n}':>10}" for n in numbers)
        + "".join(f"{f'r{n}':>10}" for n in numbers)
        + f"{'JSD (nats)':>12}{'accuracy':>10}",
    ]
    for name, method in results["methods"].items():
        lines.append(f"{name}: hypervolume of points {method['hypervolume']:.3f}")
        vectors = _has_vectors(method["front"])
        for point in sorted(method["front"], key=lambda p: p["jsd"]):
            weight = point["setting"]["lambda"] if vectors else ["-"] * len(labels)
            row = "".join(f"{one:>10}" if one == "-" else f"{one:>10.4f}" for one in weight)
            row += "".join(f"{value:>10.4f}" for value in point["requirement"])
            lines.append(row + f"{point['jsd']:>12.4f}{point['accuracy']:>10.3f}")
    return "\n".join(lines)
