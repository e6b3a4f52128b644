"""What a network decides before and after an edit: rates, errors and flips of every group."""

from collections.abc import Iterator, Sequence

import numpy as np

from metanet.certificates.bounds import share_interval
from metanet.certificates.judged import Judged
from metanet.certificates.rates import Cell, decided_codes
from metanet.certificates.sample import Sample
from metanet.evaluation.scores import BINS

SMALL = 0.02  # of all rows: New York's rules (6 RCNY 5-301) let smaller categories be left out
FEW = 30  # rows of a cell, below which its rate says next to nothing
TRUE, FALSE = "true_positive_rate", "false_positive_rate"


def share(members: np.ndarray, chosen: np.ndarray, delta: float) -> dict:
    """How many of the members are chosen, with the interval of Clopper and Pearson (1934).

    Args:
      members, chosen: [rows] bool.

    Returns:
      rows, count, rate (None without rows), low and high.
    """
    rows, count = int(members.sum()), int((members & chosen).sum())
    low, high = share_interval(count, rows, delta)
    rate = count / rows if rows else None
    return {"rows": rows, "count": count, "rate": rate, "low": low, "high": high}


def outcomes(judged: Judged, sample: Sample, delta: float) -> list[dict]:
    """For every class and group: rates before and after, flips, calibration and impact ratio.

    Every interval misses with probability `delta` at most, each on its own.

    Returns:
      Of every (class, group) a dict: class, group, rows, small (fewer than SMALL of all rows),
      before, after (selection_rate; with labels accuracy, true_positive_rate, false_positive_rate
      and label_rate beside predicted, the mean probability; impact_ratio: the selection rate over
      the largest one of a group, None where that is 0), flipped_to and flipped_from the class.
    """
    found = []
    for code in decided_codes(sample.classes):
        groups = [
            {"class": sample.classes[code], **group}
            for group in _groups(sample, judged.both, code, delta)
        ]  # fmt: skip
        for when in judged.both:
            rates = [group[when]["selection_rate"]["rate"] for group in groups]
            largest = max((rate for rate in rates if rate is not None), default=0.0)
            for group, rate in zip(groups, rates, strict=True):
                known = rate is not None and largest > 0
                group[when]["impact_ratio"] = rate / largest if known else None
        found += groups
    return found


def _groups(sample: Sample, both: dict, code: int, delta: float) -> Iterator[dict]:
    before, after = (decided == code for _, decided in both.values())
    for number, name in enumerate(sample.groups):
        inside = sample.group == number
        rows = int(inside.sum())
        yield {
            "group": name,
            "rows": rows,
            "small": rows < SMALL * len(inside),
            **{
                when: _rates(sample, inside, probabilities, decided, code, delta)
                for when, (probabilities, decided) in both.items()
            },
            "flipped_to": int((inside & ~before & after).sum()),
            "flipped_from": int((inside & before & ~after).sum()),
        }


def _rates(
    sample: Sample,
    inside: np.ndarray,
    probabilities: np.ndarray,
    decided: np.ndarray,
    code: int,
    delta: float,
) -> dict:
    chosen = decided == code
    mean = float(probabilities[inside, code].mean()) if inside.any() else None
    found = {"selection_rate": share(inside, chosen, delta), "predicted": mean}
    if sample.y is not None:
        labelled = sample.y == code
        found |= {
            "accuracy": share(inside, decided == sample.y, delta),
            TRUE: share(inside & labelled, chosen, delta),
            FALSE: share(inside & ~labelled, chosen, delta),
            "label_rate": share(inside, labelled, delta),
        }
    return found


def calibration(probabilities: np.ndarray, y: np.ndarray, code: int) -> dict:
    """How far predicted probabilities of a class are from its share of the rows.

    Returns:
      bins: of BINS equally wide ones that have rows: rows, predicted (mean), observed (share).
      error: the mean distance of both, weighted by rows (expected calibration error, Naeini et al.
      2015).
    """
    own, labelled = probabilities[:, code], y == code
    places = np.minimum((own * BINS).astype(int), BINS - 1)
    bins = [
        {
            "rows": int((places == place).sum()),
            "predicted": float(own[places == place].mean()),
            "observed": float(labelled[places == place].mean()),
        }
        for place in np.unique(places)
    ]
    error = sum(one["rows"] * abs(one["predicted"] - one["observed"]) for one in bins) / len(y)
    return {"bins": bins, "error": error}


def unknown(parts: dict[str, list[dict]], cells: Sequence[Cell]) -> list[str]:
    """What the rows cannot tell, in words.

    Args:
      parts: `outcomes` by the attribute that makes the groups.
      cells: behind the bound that is certified.
    """
    said = [
        f"Cell {cell.name} of the bound: {cell.rows or 'no'} rows." for cell in cells
        if cell.rows < FEW
    ]  # fmt: skip
    for name, groups in parts.items():
        for one in groups:
            of = f"{one['group']} ({name})"
            rates = one["after"]
            if not one["rows"]:
                said.append(f"{of}: no rows; nothing can be said about this group.")
                continue
            if one["small"]:
                said.append(f"{of}: {one['rows']} rows, fewer than {SMALL:.0%} of all.")
            if one["rows"] < FEW:
                said.append(f"{of}: {one['rows']} rows; its rates are next to unknown.")
            for key, label in ((TRUE, "is"), (FALSE, "is not")):
                rows = rates[key]["rows"] if key in rates else FEW
                word = f"{of}: {rows or 'no'} rows whose label {label} {one['class']}"
                if not rows:
                    said.append(f"{word}; its {key.replace('_', ' ')} is unknown.")
                elif rows < FEW:
                    said.append(f"{word}; its {key.replace('_', ' ')} is next to unknown.")
    return said
