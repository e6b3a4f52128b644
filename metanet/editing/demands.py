"""What edits have to meet, and the lambdas that meet it at the least divergence."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

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


def settings_of(count: int) -> int:
    """The most lambdas of one round, of so many requirements."""
    return GRID if count == 1 else FEWEST**count


def missed(demands: Sequence[Demand], after: Mapping[str, float]) -> str:
    """The demands that values, by name, do not meet, and by how much; "" if all are met."""
    unmet = [one for one in demands if not one.met(after[one.name])]
    return ", ".join(f"{one.text} ({after[one.name]:.4g} against {one.limit:.4g})" for one in unmet)


@dataclasses.dataclass(frozen=True)
class Choice:
    """The best lambda that was tried, and all that were; of M models with an axis [M] before.

    Attributes:
      lam: [requirements], or [M, requirements].
      tried: (requirements, jsd) of every lambda that was tried, [tried, requirements + 1], or
        [M, tried, requirements + 1].
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
    found = choose_each(lambda lams: sweep(lams[:, 0]), lambda_range, requirements, demands, 1)
    return Choice(found.lam[0], found.tried[0])


def choose_each(
    sweep: Callable[[np.ndarray], Sweep],
    lambda_range: Sequence[tuple[float, float]],
    requirements: Sequence[str],
    demands: Sequence[Demand],
    models: int,
) -> Choice:
    """`choose` for M models at once.

    Args:
      sweep: lambdas of every model [S, M, requirements] -> the Sweep of all.
    """
    names, count = (*requirements, JSD), len(requirements)
    limits = np.full(len(names), np.inf)
    for one in demands:
        limits[names.index(one.name)] = one.limit
    only_jsd = not np.isfinite(limits[:-1]).any()
    size = GRID if count == 1 else FEWEST
    # The axis of each requirement that every place of a grid is at: [requirements, S].
    places = np.indices((size,) * count).reshape(count, -1)
    each = np.arange(models)
    ends = [(np.full(models, low), np.full(models, high)) for low, high in lambda_range]
    lam, tried = np.zeros((models, count)), []
    best = np.full((2, models), np.inf)  # the rank of `lam`
    for number in range(ROUNDS):
        axes = [np.geomspace(low, high, size) for low, high in ends]  # [size, M] each
        grid = np.stack([axis[at] for axis, at in zip(axes, places, strict=True)], -1)
        points = _points(sweep(grid), count)  # [S, M, requirements + 1]
        tried.append(points)
        rank = _rank(points, limits, only_jsd)  # [2, S, M]
        index = np.lexsort(rank[::-1], axis=0)[0]  # [M], the first of the best
        found = rank[:, index, each]
        # The first round always finds something, if only a rank of infinity.
        better = (found[0] < best[0]) | ((found[0] == best[0]) & (found[1] < best[1]))
        better |= number == 0
        best = np.where(better, found, best)
        lam = np.where(better[:, None], grid[index, each], lam)
        ends = [
            (
                axis[np.maximum(at[index] - 1, 0), each],
                axis[np.minimum(at[index] + 1, size - 1), each],
            )
            for axis, at in zip(axes, places, strict=True)
        ]
    return Choice(lam, np.concatenate(tried).swapaxes(0, 1))


def _points(sweep: Sweep, count: int) -> np.ndarray:
    """(requirements, jsd) of every model: [S, M, requirements + 1]; infinite without a result."""
    shape = (*sweep.jsd.shape, count)
    points = np.concatenate([sweep.requirement.reshape(shape), sweep.jsd[..., None]], -1)
    return np.where(np.isnan(points), np.inf, points)


def _rank(points: np.ndarray, limits: np.ndarray, only_jsd: bool) -> np.ndarray:
    """What is minimised, one after the other: by how much the worst demand is missed, then JSD or
    the requirement; [2, S, M]."""
    asked = np.isfinite(limits)
    scale = np.where(limits[asked] > 0, limits[asked], 1.0)
    ratio = (points[..., asked] - limits[asked]) / scale  # [S, M, demands]
    missed_by = np.where(ratio <= ROUNDING, 0.0, ratio).max(-1)
    then = points[..., :-1].sum(-1) if only_jsd else points[..., -1]
    return np.stack([missed_by, then])
