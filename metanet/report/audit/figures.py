"""The figures of a report, as SVG elements; legible in black and white."""

import html
import io
import re
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from metanet.core import one_line

BLACK, GREY, LIGHT, ACCENT = "#000000", "#767676", "#d9d9d9", "#004488"
_LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # names may have a dollar
    "font.family": ["sans-serif"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_REFERS = re.compile(r'(\sid="|url\(#|href="#)')
LONGEST = 40  # characters of a name
WHEN = {"before": ("o", "white", BLACK), "after": ("o", ACCENT, ACCENT)}


def short(name: str) -> str:
    """A name that may stand in a figure: characters that print, and not too many."""
    line = one_line(name)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def svg(figure: Figure, name: str, description: str) -> str:
    """One SVG element that stands for itself: a role, a title, identifiers of its own."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_LOOK | {"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Figures share the page, and matplotlib numbers the parts of each from 1.
    text = re.sub(r"<[^>]+>", lambda tag: _REFERS.sub(rf"\1{name}-", tag.group()), text)
    head = f'<svg role="img" aria-labelledby="{name}-title" '
    title = f'<title id="{name}-title">{html.escape(description)}</title>'
    opening, rest = text[4:].split(">", 1)
    return f"{head}{opening.strip()}>{title}{rest}"


def front(alternatives: list[dict], label: str, level: float | None) -> Figure:
    """JSD (nats) over the requirement of all edits that could have been taken."""
    with matplotlib.rc_context(_LOOK):
        figure = Figure(figsize=(6.4, 3.0), layout="constrained")
        panel = figure.subplots()
        points = np.array([[one["requirement"], one["jsd"]] for one in alternatives])
        order = np.argsort(points[:, 0])
        panel.plot(*points[order].T, "-o", color=GREY, markersize=4, linewidth=1,
                   markerfacecolor="white", label="other edits")  # fmt: skip
        for one in alternatives:
            if one["this"]:
                panel.plot(one["requirement"], one["jsd"], "s", color=ACCENT, markersize=9,
                           label="this edit")  # fmt: skip
        if level is not None:
            panel.axvline(level, color=BLACK, linestyle=":", label="asked for")
        panel.set(xlabel=label, ylabel="JS divergence (nats)", ylim=(0, None))
        panel.legend(frameon=False)
    return figure


def layers(found: list[dict]) -> Figure:
    """Numbers of every array of the network: removed, changed, as they were."""
    with matplotlib.rc_context(_LOOK):
        figure = Figure(figsize=(6.4, 0.75 + 0.3 * len(found)), layout="constrained")
        panel = figure.subplots()
        names = [one["name"] for one in found]
        total = np.array([one["numbers"] for one in found])
        removed = np.array([one["removed"] for one in found])
        changed = np.array([one["changed"] for one in found])
        parts: tuple[tuple[str, np.ndarray, dict[str, Any]], ...] = (
            ("removed", removed, {"color": BLACK}),
            ("changed", changed, {"color": "white", "edgecolor": ACCENT, "hatch": "////"}),
            ("as before", total - removed - changed, {"color": LIGHT, "edgecolor": GREY}),
        )
        begin = np.zeros(len(found))
        for name, counts, look in parts:
            panel.barh(names, counts / total * 100, left=begin, label=name, height=0.6, **look)
            begin = begin + counts / total * 100
        panel.invert_yaxis()
        panel.set(xlabel="% of the numbers", xlim=(0, 100))
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def rates(groups: list[dict], kinds: dict[str, str]) -> Figure:
    """Rates of every group before and after, with their intervals.

    Args:
      groups: of one class and attribute, as `findings` has them.
      kinds: titles of the panels by the name of the rate.
    """
    with matplotlib.rc_context(_LOOK):
        names = [short(one["group"]) for one in groups]
        figure = Figure(figsize=(6.6, 1.0 + 0.42 * len(names)), layout="constrained")
        panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for panel, (kind, title) in zip(panels, kinds.items(), strict=True):
            for when, (marker, face, edge) in WHEN.items():
                for place, group in enumerate(groups):
                    own = group[when][kind]
                    if own["rate"] is None:
                        continue
                    at = place + (-0.14 if when == "before" else 0.14)
                    panel.plot([own["low"] * 100, own["high"] * 100], [at, at], "-", color=edge)
                    panel.plot(own["rate"] * 100, at, marker, markerfacecolor=face,
                               color=edge, markersize=5, label=when)  # fmt: skip
            panel.set_title(title, fontsize=9)
            panel.set(xlabel="%", xlim=(0, None))
            panel.grid(axis="x", alpha=0.3)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        handles, labels = panels[0].get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(unique.values(), unique.keys(), loc="outside upper center", ncols=2,
                      frameon=False)  # fmt: skip
    return figure


def calibration(found: dict[str, dict]) -> Figure:
    """The share of a class over its predicted probability, before and after.

    Args:
      found: by "before" and "after", as `outcomes.calibration` has it.
    """
    with matplotlib.rc_context(_LOOK):
        figure = Figure(figsize=(3.4, 3.0), layout="constrained")
        panel = figure.subplots()
        panel.plot([0, 1], [0, 1], ":", color=GREY, label="calibrated")
        for when, line in (("before", "--"), ("after", "-")):
            marker, face, edge = WHEN[when]
            bins = found[when]["bins"]
            panel.plot([one["predicted"] for one in bins], [one["observed"] for one in bins], line,
                       marker=marker, markerfacecolor=face, color=edge, markersize=5,
                       label=when)  # fmt: skip
        panel.set(xlabel="mean predicted probability", ylabel="share of rows",
                  xlim=(0, 1), ylim=(0, 1))  # fmt: skip
        panel.legend(frameon=False)
    return figure
