"""report.html: the content of report.json for a person to read, print and sign."""

import decimal
import math
import pathlib
import shlex
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
    "equal_opportunity": "The largest difference between two groups' true positive rates, for the "
    "last class.",
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


def number(value: float | None) -> str:
    """A number with four digits, or what stands for none."""
    return "unknown" if value is None else f"{value:.4g}"


def above(value: float) -> str:
    """An upper bound with four digits, rounded up."""
    exact = decimal.Decimal(value)
    digits = 3 - exact.adjusted() if exact else 4
    return f"{exact.quantize(decimal.Decimal(1).scaleb(-digits), decimal.ROUND_CEILING):f}"


def percent(value: float | None) -> str:
    """A share in percent, or what stands for none."""
    return "unknown" if value is None else f"{100 * value:.1f}%"


def exact_percent(value: float) -> str:
    """A share in percent with all of its digits."""
    return f"{100 * decimal.Decimal(repr(value)):f}".rstrip("0").rstrip(".") + "%"


def interval(rate: dict) -> str:
    """A rate with its interval, in percent: the ends rounded outwards."""
    if rate["rate"] is None:
        return "unknown"
    low, high = math.floor(1000 * rate["low"]) / 10, math.ceil(1000 * rate["high"]) / 10
    return f"{100 * rate['rate']:.1f} ({low:.1f} to {high:.1f})"


def command(report: dict) -> str:
    """The command that checks the report; files of one name are in two folders."""
    files = report["files"]
    original, edited = files["original"]["file"], files["edited"]["file"]
    original = f"before/{original}" if original == edited else original
    flags = {"model": edited, "original": original, "data": files["data"]["file"]}
    words = ["python", "-m", "experiments.verify", "report.json"]
    return shlex.join([*words, *(f"--{name}={value}" for name, value in flags.items())])


def sentence(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def render(report: dict[str, Any], digest: str) -> str:
    """The page.

    Args:
      report: content of report.json, see its schema.
      digest: the SHA-256 of report.json.

    Raises:
      KeyError, jinja2.UndefinedError: it is none.
    """
    places = jinja2.FileSystemLoader(pathlib.Path(__file__).parent)
    environment = jinja2.Environment(
        loader=places, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "number": number,
        "above": above,
        "exact_percent": exact_percent,
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
        command=command(report),
        taken=next(place for place, one in enumerate(report["alternatives"], 1) if one["this"]),
        parts=_by_class(found["groups"]),
        pictures=_pictures(report),
    )


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
            f"JS divergence over {label} of all edits that were ordered; a table follows.",
        ),
        "layers": figures.svg(
            figures.layers(found["layers"]), "layers",
            "Weights and biases of every layer that were removed or changed; a table follows.",
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
