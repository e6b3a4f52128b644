"""Lambdas for a level: the requirement at most that, at the least JS divergence (nats)."""

from collections.abc import Callable

import numpy as np

from metanet.evaluation.sweep import Sweep


def best(points: np.ndarray, target: float) -> np.ndarray:
    """The setting of least divergence among those that meet the target, per model or family.

    Args:
      points: (requirement, jsd) of S settings, [S, ..., 2]; a setting with a number that is not
        finite has no result.

    Returns:
      [...] int; where no setting meets the target, that of the least requirement.
    """
    known = np.isfinite(points).all(-1)  # [S, ...]
    requirement, jsd = np.moveaxis(np.where(known[..., None], points, np.inf), -1, 0)  # [S, ...]
    meets = known & (requirement <= target)
    least = np.where(meets, jsd, np.inf).argmin(0)
    return np.where(meets.any(0), least, requirement.argmin(0))


def solve(
    sweep: Callable[[np.ndarray], Sweep],
    lambda_range: tuple[float, float],
    target: float,
    count: int = 16,
    rounds: int = 3,
) -> float:
    """The lambda of the least mean JSD at which the mean requirement is at most `target`.

    A log-spaced grid over `lambda_range`, then grids between the neighbours of the best lambda: the
    requirement need not fall evenly, nor JSD rise, with lambda.

    Args:
      sweep: lambdas [count] -> the Sweep of an editor on models that are not reported on.
      count: of a grid's lambdas;  rounds: of grids.
    """
    low, high = lambda_range
    for _ in range(rounds):
        grid = np.geomspace(low, high, count)
        index = int(best(sweep(grid).points(), target))
        low, high = grid[max(index - 1, 0)], grid[min(index + 1, count - 1)]
    return float(grid[index])
