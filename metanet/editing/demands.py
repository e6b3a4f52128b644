"""What an edit has to meet, and the lambda that meets it at the least divergence."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from metanet.core import UserError
from metanet.evaluation.sweep import Sweep

JSD = "jsd"
# Short names of requirements; any other is named by its function, as "demographic_parity".
SHORT = {"features": "inputs_kept", "weights": "weights_kept", "eod": "equalised_odds"}
GRID = 40  # lambdas per round, of one requirement
FEWEST = 6  # lambdas per round and requirement, of several
ROUNDS = 3
ROUNDING = 1e-6  # relative, of means in float32
FRACTIONS = ("inputs_kept", "weights_kept")  # of all, at most 1


@dataclasses.dataclass(frozen=True)
class Demand:
    """An upper limit.

    Attributes:
      name: "jsd" (nats), or the function of a requirement, as "inputs_kept".
      limit: of its value.
      text: as it was asked.
    """

    name: str
    limit: float
    text: str

    def met(self, value: float) -> bool:
        """Whether a value is within the limit, up to the rounding of float32; NaN never is."""
        return value <= self.limit * (1 + ROUNDING)


def parse_demand(text: str, n_features: int) -> Demand:
    """The demand of "NAME<=NUMBER".

    NAME is "jsd", one of SHORT, or the name of a requirement's function. A limit of features is a
    number of them, or a fraction below 1.

    Raises:
      UserError: it is something else.
    """
    name, sign, number = (part.strip() for part in text.partition("<="))
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not (sign and name.isidentifier() and math.isfinite(limit) and limit >= 0):
        raise UserError(f"--require: found {text!r}, expected NAME<=NUMBER, as features<=6")
    name = SHORT.get(name, name)
    if name == "inputs_kept" and limit >= 1:
        whole = limit == round(limit) and limit <= n_features
        expected = f"a whole number up to {n_features}, or a fraction below 1"
        if not whole:
            raise UserError(f"--require: found {text!r}, expected {expected}")
        limit = limit / n_features
    if name in FRACTIONS and limit > 1:
        raise UserError(f"--require: found {text!r}, expected a fraction up to 1")
    return Demand(name, limit, text.strip())


def check_demands(demands: Sequence[Demand], requirements: Sequence[str]) -> None:
    """Refuses demands that an editor of these requirements, function names, knows nothing of.

    Raises:
      UserError: there is none, one is unknown, or two are of the same quantity.
    """
    short = {long: name for name, long in SHORT.items()}
    known = ", ".join(f"{short.get(name, name)}<=NUMBER" for name in (*requirements, JSD))
    if not demands:
        raise UserError(f"--require: found nothing, expected some of {known}")
    names = [one.name for one in demands]
    for one in demands:
        if one.name not in (*requirements, JSD):
            raise UserError(f"--require: found {one.text}, but this editor knows {known}")
        if names.count(one.name) > 1:
            raise UserError(f"--require: found {one.text} beside another limit of {one.name}")


@dataclasses.dataclass(frozen=True)
class Choice:
    """The best lambda that was tried, and all that were.

    Attributes:
      lam: [requirements].
      tried: (requirements, jsd) of every lambda that was tried, [tried, requirements + 1].
    """

    lam: np.ndarray
    tried: np.ndarray


def choose(
    sweep: Callable[[np.ndarray], Sweep],
    lambda_range: Sequence[tuple[float, float]],
    requirements: Sequence[str],
    demands: Sequence[Demand],
) -> Choice:
    """The lambda that meets all demands at the least JSD, or with a limit of JSD alone at the least
    requirement; where none does, the one that misses by the least ratio.

    Log-spaced grids over `lambda_range`, each between the neighbours of the last one's best: the
    requirement need not fall evenly, nor JSD rise, with lambda.

    Args:
      sweep: lambdas [S, requirements] -> the Sweep of one model.
      requirements: names of their functions, in the order of `lambda_range`.
    """
    names, count = (*requirements, JSD), len(requirements)
    limits = np.full(len(names), np.inf)
    for one in demands:
        limits[names.index(one.name)] = one.limit
    only_jsd = not np.isfinite(limits[:-1]).any()
    size = GRID if count == 1 else FEWEST
    ends, seen = [(low, high) for low, high in lambda_range], []
    best: tuple | None = None
    for _ in range(ROUNDS):
        axes = [np.geomspace(low, high, size) for low, high in ends]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, count)
        points = _points(sweep(grid), count)  # [S, requirements + 1]
        seen.append(points)
        rank = _rank(points, limits, only_jsd)
        index = rank.index(min(rank))
        if best is None or rank[index] < best[0]:
            best = rank[index], grid[index]
        place = np.unravel_index(index, (size,) * count)
        ends = [
            (float(axis[max(at - 1, 0)]), float(axis[min(at + 1, size - 1)]))
            for axis, at in zip(axes, map(int, place), strict=True)
        ]
    assert best is not None
    return Choice(best[1], np.concatenate(seen))


def _points(sweep: Sweep, count: int) -> np.ndarray:
    """(requirements, jsd) of one model: [S, requirements + 1]; infinite without a result."""
    points = np.column_stack([sweep.requirement[:, 0].reshape(-1, count), sweep.jsd[:, 0]])
    return np.where(np.isnan(points), np.inf, points)


def _rank(points: np.ndarray, limits: np.ndarray, only_jsd: bool) -> list[tuple[float, float]]:
    """What is minimised: by how much the worst demand is missed, then JSD or the requirement."""
    asked = np.isfinite(limits)
    scale = np.where(limits[asked] > 0, limits[asked], 1.0)
    ratio = (points[:, asked] - limits[asked]) / scale  # [S, demands]
    missed = np.where(ratio <= ROUNDING, 0.0, ratio).max(1)
    then = points[:, :-1].sum(1) if only_jsd else points[:, -1]
    return list(zip(missed.tolist(), then.tolist(), strict=True))
