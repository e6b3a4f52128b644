"""report.html: the content of report.json for a person to read, print and sign."""

import pathlib
from typing import Any

import jinja2

from metanet.report.audit import figures

NAMES = {
    "inputs_kept": "share of features read",
    "weights_kept": "share of weights kept",
    "equalised_odds": "equalised odds difference",
    "equal_opportunity": "equal opportunity difference",
    "demographic_parity": "demographic parity difference",
    "jsd": "mean JS divergence (nats)",
    "disagreement": "share of decisions that change",
    "accuracy_loss": "loss of accuracy",
}
MEANINGS = {
    "inputs_kept": "Features with a weight that is not 0, as a share of all; counted.",
    "weights_kept": "Weights that are not 0, as a share of all; counted.",
    "equalised_odds": "The largest difference between two groups' true or false positive rates.",
    "equal_opportunity": "The largest difference between two groups' true positive rates.",
    "demographic_parity": "The largest difference between two groups' selection rates.",
    "jsd": "How far probabilities are from the original's: 0 is equal, 0.693 the most.",
    "disagreement": "Rows for which the two networks decide differently.",
    "accuracy_loss": "Accuracy of the original minus that of the edited network.",
}
RATES = {
    "selection_rate": "selection rate",
    "true_positive_rate": "true positive rate",
    "false_positive_rate": "false positive rate",
}
NEIGHBOURS = 2  # alternatives on each side of the edit that the table has


def number(value: float | None) -> str:
    """A number with four digits, or what stands for none."""
    return "unknown" if value is None else f"{value:.4g}"


def percent(value: float | None) -> str:
    """A share in percent, or what stands for none."""
    return "unknown" if value is None else f"{100 * value:.1f}%"


def interval(rate: dict) -> str:
    """A rate with its interval, in percent."""
    if rate["rate"] is None:
        return "unknown"
    return f"{100 * rate['rate']:.1f} ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})"


def sentence(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def render(report: dict[str, Any], digest: str) -> str:
    """The page.

    Args:
      report: content of report.json, see its schema.
      digest: the SHA-256 of report.json.
    """
    places = jinja2.FileSystemLoader(pathlib.Path(__file__).parent)
    environment = jinja2.Environment(
        loader=places, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "number": number,
        "percent": percent,
        "interval": interval,
        "sentence": sentence,
    }
    found = report["findings"]
    return environment.get_template("page.html.j2").render(
        report=report,
        found=found,
        digest=digest,
        names=NAMES,
        meanings=MEANINGS,
        rates=RATES,
        bound={one["name"]: one for one in found["bounds"]},
        near=_near(report["alternatives"]),
        parts=_by_class(found["groups"]),
        pictures=_pictures(report),
    )


def _near(alternatives: list[dict]) -> list[dict]:
    (this,) = (place for place, one in enumerate(alternatives) if one["this"])
    return alternatives[max(this - NEIGHBOURS, 0) : this + NEIGHBOURS + 1]


def _by_class(groups: dict[str, list[dict]]) -> list[dict]:
    """Groups of one attribute and one class: one table each."""
    return [
        {"attribute": name, "class": kind, "groups": [one for one in own if one["class"] == kind]}
        for name, own in groups.items()
        for kind in dict.fromkeys(one["class"] for one in own)
    ]


def _pictures(report: dict) -> dict[str, Any]:
    found = report["findings"]
    asked, measured = report["asked"], report["measured"]
    level = asked["level"] if asked["requirement"] == measured else None
    label = NAMES.get(measured, measured)
    made: dict[str, Any] = {
        "front": figures.svg(
            figures.front(report["alternatives"], label, level), "front",
            f"JS divergence over {label} of every edit that was tried; a table follows.",
        ),
        "layers": figures.svg(
            figures.layers(found["layers"]), "layers",
            "Weights of every layer that were removed or changed; a table follows.",
        ),
        "rates": [
            figures.svg(
                figures.rates(part["groups"], _known(part["groups"])), f"rates{place}",
                f"Rates of every group of {part['attribute']} before and after the edit; a table "
                "follows.",
            )
            for place, part in enumerate(_by_class(found["groups"]))
        ],
        "calibration": {},
    }  # fmt: skip
    overall = found["overall"]
    if "before" in overall:
        for place, kind in enumerate(overall["before"]["calibration"]):
            both = {when: overall[when]["calibration"][kind] for when in ("before", "after")}
            made["calibration"][kind] = figures.svg(
                figures.calibration(both), f"calibration{place}",
                f"Share of rows of class {kind} over its predicted probability. Mean distance "
                f"{both['before']['error']:.4f} before, {both['after']['error']:.4f} after.",
            )  # fmt: skip
    return made


def _known(groups: list[dict]) -> dict[str, str]:
    return {kind: title for kind, title in RATES.items() if kind in groups[0]["after"]}
