"""How often the bounds of certificates miss, and how wide they are, where the truth is known.

python -m experiments.coverage [--repeats=2000] [--workdir=DIR]

Rows are drawn from a fixed population of 200,000 in which every number is known: JS divergences as
edits of Adult have them, and decisions of two groups with other rates. Writes DIR/coverage.json and
DIR/coverage.png; the file also has how often bounds cover numbers of a population that the rows are
not of. Exit status 1 if a bound misses more often than it says, beyond chance.
"""

import dataclasses
import logging
import pathlib
import sys
from collections.abc import Callable

import numpy as np
from absl import flags

from experiments import launch
from metanet.certificates.bounds import (
    difference_upper,
    hoeffding_bentkus_upper,
    mean_upper,
    share_upper,
    tolerance_upper,
)
from metanet.certificates.rates import gap
from metanet.core import UserError
from metanet.report import coverage as picture
from metanet.storage import write_json

_WORKDIR = flags.DEFINE_string("workdir", "runs/coverage", "Output folder.")
_REPEATS = flags.DEFINE_integer("repeats", 2000, "Samples of each size.")
ROWS = (100, 300, 1000, 3000, 10_000)
CONFIDENCES = (0.9, 0.95, 0.99)
POPULATION = 200_000
MOST = float(np.log(2))  # nats
SHIFTS = (1.2, 1.5)  # by how much a number is larger in the population that rows are not of
CHANCE = 3.0  # standard errors of a share that chance allows

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Truth:
    """A number of the population, and a bound of it from a sample of rows.

    Attributes:
      bound: (rows drawn [rows], delta) -> the upper bound.
    """

    name: str
    value: float
    bound: Callable[[np.ndarray, float], float]


def truths() -> list[Truth]:
    """All bounds that certificates have, on one population."""
    rng = np.random.default_rng(0)
    jsd = np.minimum(rng.gamma(0.3, 0.02, POPULATION), MOST)
    flips = rng.random(POPULATION) < 0.03
    worse, better = flips & (rng.random(POPULATION) < 0.6), flips & (rng.random(POPULATION) < 0.1)
    better &= ~worse
    y, group = rng.random(POPULATION) < 0.25, rng.random(POPULATION) < 0.33
    chance = np.where(y, np.where(group, 0.52, 0.6), np.where(group, 0.05, 0.1))
    decided = (rng.random(POPULATION) < chance).astype(int)
    y, group, names = y.astype(int), group.astype(int), (("no", "yes"), ("m", "f"))

    def gap_of(kind):
        def upper(rows, delta):
            return gap(kind, decided[rows], y[rows], group[rows], *names, delta).upper

        value = gap(kind, decided, y, group, *names, 0.5).estimate
        assert value is not None
        return Truth(kind.replace("_", " "), value, upper)

    return [
        Truth("JSD by betting", jsd.mean(), lambda r, d: mean_upper(jsd[r], MOST, d)),
        Truth("JSD by Hoeffding and Bentkus", jsd.mean(),
              lambda r, d: hoeffding_bentkus_upper(jsd[r], MOST, d)),
        Truth("disagreement", flips.mean(),
              lambda r, d: share_upper(int(flips[r].sum()), len(r), d)),
        Truth("loss of accuracy", worse.mean() - better.mean(),
              lambda r, d: difference_upper(int(worse[r].sum()), int(better[r].sum()), len(r), d)),
        Truth("tolerance, 95% of models", float(np.quantile(jsd, 0.95, method="inverted_cdf")),
              lambda r, d: tolerance_upper(jsd[r], 0.95, d)),
        *map(gap_of, ("equalised_odds", "equal_opportunity", "demographic_parity")),
    ]  # fmt: skip


def shifted() -> list[Truth]:
    """Numbers of a population with more of the rows that change most, and bounds from the first."""
    jsd = truths()[0]
    return [
        dataclasses.replace(jsd, name=f"JSD by betting, {factor:g} times as large elsewhere",
                            value=factor * jsd.value)
        for factor in SHIFTS
    ]  # fmt: skip


def measured(truth: Truth, rows: int, confidence: float, repeats: int) -> dict:
    """How often the bound covers the number, and its mean distance above it."""
    rng = np.random.default_rng(rows)
    bounds = np.array(
        [truth.bound(rng.integers(POPULATION, size=rows), 1 - confidence) for _ in range(repeats)]
    )
    covered = float((bounds >= truth.value).mean())
    error = np.sqrt(confidence * (1 - confidence) / repeats)
    return {
        "bound": truth.name, "value": float(truth.value), "rows": rows, "confidence": confidence,
        "covered": covered, "width": float((bounds - truth.value).mean()),
        "holds": bool(covered >= confidence - CHANCE * error),
    }  # fmt: skip


def main(argv: list[str]) -> None:
    launch.parse_flags(argv)
    if _REPEATS.value < 1:
        raise UserError(f"--repeats: found {_REPEATS.value}, expected at least 1")
    folder = launch.writable(pathlib.Path(_WORKDIR.value))
    found = []
    for truth in truths():
        for confidence in CONFIDENCES:
            found += [measured(truth, rows, confidence, _REPEATS.value) for rows in ROWS]
        least = min(
            one["covered"] - one["confidence"] for one in found if one["bound"] == truth.name
        )
        logger.info("coverage: %s: at least %+.3f of what it says", truth.name, least)
    void = [measured(one, rows, 0.95, _REPEATS.value) for one in shifted() for rows in ROWS]
    content = {"schema": 1, "kind": "coverage", "repeats": _REPEATS.value, "rows": found,
               "shifted": void}  # fmt: skip
    write_json(folder / "coverage.json", content | launch.about("experiments.coverage"))
    picture.draw(found, folder / "coverage.png")
    print(f"picture: {folder / 'coverage.png'}")
    failed = [one for one in found if not one["holds"]]
    if failed:
        raise SystemExit(f"missed too often: {failed[0]}")


if __name__ == "__main__":
    sys.exit(launch.status(main, sys.argv))
