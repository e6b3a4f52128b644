"""Several requirements in one editor: what each preference vector reaches."""

import pathlib

import numpy as np
from matplotlib.figure import Figure

from metanet.core import atomic_path

_MARKERS, _LINES = "osD^vP*X", ("-", "--", ":", "-.")


def _arrays(method: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """lambda [points, requirements], requirement [points, requirements], JSD [points]."""
    front = method["front"]
    return tuple(
        np.array([pick(point) for point in front])
        for pick in (
            lambda p: p["setting"]["lambda"],
            lambda p: p["requirement"],
            lambda p: p["jsd"],
        )
    )


def plot(results: dict, path: pathlib.Path) -> None:
    """A panel per requirement: its value against JSD as its own lambda grows, others held.

    Lines hold the other lambdas together at their lowest, ..., highest values, as far as these
    preference vectors were chosen on validation.
    """
    names = results["requirements"]
    figure = Figure(figsize=(4.6 * len(names), 4.6), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True)
    weight, requirement, jsd = _arrays(next(iter(results["methods"].values())))
    rank = np.stack([np.unique(column, return_inverse=True)[1] for column in weight.T], axis=1)
    for index, (axes, name) in enumerate(zip(panels, names, strict=True)):
        others = np.delete(rank, index, axis=1)
        axes.plot(requirement[:, index], jsd, ".", color="0.75", markersize=3)
        for level in range(rank.max() + 1):
            line = np.flatnonzero((others == level).all(1))
            line = line[np.argsort(rank[line, index])]
            axes.plot(requirement[line, index], jsd[line], label=f"others at step {level + 1}",
                      marker=_MARKERS[level], linestyle=_LINES[level % len(_LINES)],
                      markersize=4, color=str(0.15 * level))  # fmt: skip
        axes.set_xlabel(f"{name} (0 to 1)")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("mean JS divergence to the original model (nats)")
    panels[0].set_ylim(bottom=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small")
    figure.suptitle(
        f"joint, {results['dataset']}: one editor, {results['models_evaluated']} test models; dots "
        "are all preference vectors chosen on validation"
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def table(results: dict) -> str:
    """One row per chosen preference vector of each method, by rising JSD."""
    names = results["requirements"]
    lines = [
        f"joint requirements on {results['dataset']}: test means over models; lambda and value of "
        "every requirement",
        "".join(f"{f'l({n[:12]})':>16}" for n in names)
        + "".join(f"{n[:15]:>16}" for n in names)
        + f"{'JSD (nats)':>12}{'accuracy':>10}",
    ]
    for name, method in results["methods"].items():
        lines.append(f"{name}: hypervolume {method['hypervolume']:.3f}")
        for point in sorted(method["front"], key=lambda p: p["jsd"]):
            cells = [*point["setting"]["lambda"], *point["requirement"]]
            row = "".join(f"{value:>16.4f}" for value in cells)
            lines.append(row + f"{point['jsd']:>12.4f}{point['accuracy']:>10.3f}")
    return "\n".join(lines)
