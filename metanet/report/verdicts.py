"""Verdicts on claims, and what decides them."""

import numpy as np

HOLDS, PARTLY, FAILS = "holds", "holds partly", "does not hold"
NOISE = "inside the noise"
ORDER = (HOLDS, PARTLY, NOISE, FAILS)  # from best to worst
CHANCE = 8  # levels, of which one may be lost by chance
ABSENT, OPEN = "not run", "not judged"


class NotRunError(Exception):
    """A run has no front of a method that a claim is about; the message is its name."""


class OpenError(Exception):
    """What a run stores does not decide a claim; the message says why."""


def entry(results: dict, name: str) -> dict:
    """The entry of the method `name`, which has points.

    Raises:
      NotRunError: it has none.
    """
    found = results["methods"].get(name)
    if not found or not found["front"]:
        raise NotRunError(name)
    return found


def compared(
    results: dict,
    editor: str,
    other: str,
    cost: str = "jsd",
    between: tuple[float, float] = (0, np.inf),
) -> list[dict]:
    """What `comparison.compare` found at the levels that count, each with its `level`.

    Raises:
      NotRunError: one of the methods has no front.
      OpenError: the run stores no comparison, or no level counts.
    """
    entry(results, editor), entry(results, other)
    found = results.get("comparison", {}).get(cost, {}).get(editor, {}).get(other)
    if found is None:
        raise OpenError("no values of single models are stored")
    rows = [one | {"level": level}
            for level, one in zip(results["report_levels"], found, strict=True)
            if one["verdict"] is not None and between[0] < level < between[1]]  # fmt: skip
    if not rows:
        raise OpenError("no level above the floor")
    return rows


def share_verdict(wins: int, ties: int, losses: int) -> str:
    """Holds if there are only wins; partly with at least half wins, more than losses; noise where
    ties are most, with no more losses than wins, or one in CHANCE; else it does not hold."""
    total = wins + ties + losses
    if wins == total:
        return HOLDS
    if 2 * wins >= total and wins > losses:
        return PARTLY
    few = losses <= max(wins, total // CHANCE)
    return NOISE if few and ties > losses and ties >= wins else FAILS
