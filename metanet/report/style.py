"""The look of a method: one colour, marker and dash pattern in all figures of a run."""

import colorsys
import pathlib
from collections.abc import Iterable

from matplotlib.figure import Figure

from metanet.storage import atomic_path

# Okabe and Ito's colours except for black and yellow; then each the farthest in CIELAB from those
# before it, also as protanopes and deuteranopes see it (simulated as by Machado et al. 2009). All
# are at least 20 apart; for those readers the first twelve at least 17, the rest by marker.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#3300FF", "#990033",
    "#BB9955", "#990077", "#773300", "#5555DD", "#7799FF", "#FF5577", "#5500BB", "#773355",
    "#DD00BB", "#DD0033", "#DD9999", "#770099", "#557733", "#005577", "#BB33FF", "#FF77DD",
    "#995555",
)  # fmt: skip
MARKERS = "osD^vPX*<>p"  # 11, so that 44 methods pass before marker and dashes repeat together
DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
WIDTH = 10.0  # inches; at a README's width, letters are then of its size
FONT = 10
_GOLDEN = 0.618034


def colour(place: int) -> str | tuple[float, float, float]:
    """The colour of the method at `place`; beyond the list, hues by the golden ratio."""
    if place < len(COLOURS):
        return COLOURS[place]
    return colorsys.hls_to_rgb(place * _GOLDEN % 1, 0.3 + 0.3 * (place * _GOLDEN**2 % 1), 0.9)


def styles(methods: dict[str, dict]) -> dict[str, dict]:
    """Keyword arguments of `Axes.plot` by method, from its place among all methods of the run.

    No two share a colour. Methods that use editors (those with seeds) are thicker.
    """
    return {
        name: {
            "color": colour(place),
            "marker": MARKERS[place % len(MARKERS)],
            "linestyle": DASHES[place % len(DASHES)],
            "markersize": 4.5,
            "linewidth": 2.0 if "seeds" in method else 1.2,
        }
        for place, (name, method) in enumerate(methods.items())
    }


def legend(figure: Figure, handles, labels: Iterable[str]) -> None:
    """A legend below the panels, in as many columns as fit; the figure grows by its rows."""
    labels = list(labels)
    if not labels:
        return
    columns = max(1, min(4, 124 // (max(map(len, labels)) + 7)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=FONT - 0.5)
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + 0.21 * rows)


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a PNG, atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
