"""The picture of experiments.coverage."""

import pathlib

from matplotlib.figure import Figure

from metanet.report import style


def draw(rows: list[dict], path: pathlib.Path) -> None:
    """Share of samples whose bound covers the number, and its distance above it, by sample size.

    Args:
      rows: of the simulation: bound, rows, confidence, covered, width.
    """
    names = list(dict.fromkeys(one["bound"] for one in rows))
    confidences = sorted({one["confidence"] for one in rows})
    figure = Figure(figsize=(style.WIDTH, 5.6), layout="constrained")
    axes = figure.subplots(2, len(confidences), sharex=True, sharey="row", squeeze=False)
    looks = style.styles({name: {} for name in names})
    for column, confidence in enumerate(confidences):
        for name in names:
            own = [one for one in rows if (one["bound"], one["confidence"]) == (name, confidence)]
            sizes = [one["rows"] for one in own]
            look = looks[name] | {"label": name}
            axes[0][column].plot(sizes, [one["covered"] for one in own], **look)
            axes[1][column].plot(sizes, [one["width"] for one in own], **look)
        axes[0][column].axhline(confidence, color="black", linestyle=":")
        axes[0][column].set(title=f"confidence {confidence:g}", xscale="log", ylim=(0.85, 1.005))
        axes[1][column].set(xscale="log", yscale="log", xlabel="rows")
    axes[0][0].set_ylabel("share that covers")
    axes[1][0].set_ylabel("mean distance above the number")
    style.legend(figure, *axes[0][0].get_legend_handles_labels())
    style.save(figure, path)
