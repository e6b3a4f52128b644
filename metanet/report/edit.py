"""The picture of one edit: the front of what was tried, with the edit marked."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from metanet.evaluation.pareto import pareto_mask
from metanet.report.style import FONT, WIDTH, save


def front(
    tried: np.ndarray,
    chosen: Sequence[float],
    limits: Sequence[float | None],
    labels: Sequence[str],
    path: pathlib.Path,
) -> None:
    """Draws JSD (nats) over every requirement: all that was tried, its front, the chosen edit.

    Args:
      tried: (requirements, jsd), [tried, requirements + 1].
      chosen: the same of the edit.
      limits: what was demanded of each of them, None where nothing was.
      labels: of the requirements' axes.
    """
    count = len(labels)
    figure = Figure(figsize=(WIDTH / 2 * min(count, 2) + 1, 3.6), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    finite = tried[np.isfinite(tried).all(1)]
    for index, (panel, label) in enumerate(zip(panels, labels, strict=True)):
        pair = finite[:, [index, -1]]
        panel.plot(*pair.T, ".", color="#999999", markersize=4, label="tried")
        best = pair[pareto_mask(pair)]
        best = best[np.argsort(best[:, 0])]
        panel.plot(*best.T, "-", color="#0072B2", linewidth=1.5, label="front")
        panel.plot(
            chosen[index], chosen[-1], "*", color="#D55E00", markersize=14, label="this edit"
        )
        for limit, line in ((limits[index], panel.axvline), (limits[-1], panel.axhline)):
            if limit is not None:
                line(limit, color="black", linestyle=":", linewidth=1, label="demanded")
        panel.set_xlabel(label, fontsize=FONT)
        panel.set_ylabel("JS divergence to the original (nats)", fontsize=FONT)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    handles, names = panels[0].get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    panels[0].legend(unique.values(), unique.keys(), fontsize=FONT - 1)
    save(figure, path)
