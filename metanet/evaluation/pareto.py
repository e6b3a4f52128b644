"""Pareto fronts of objectives that are all to be small (numpy)."""

import numpy as np


def pareto_mask(points: np.ndarray) -> np.ndarray:
    """Whether each of the points [N, objectives] is on the front, dominated by no other: [N] bool.

    Of equal points the first is. A point with a NaN is not: nothing is known of it.
    """
    known = ~np.isnan(points).any(-1)  # [N]
    order = np.arange(len(points))
    no_worse = (points[:, None] <= points[None]).all(-1)  # [N, N]: first than second
    better = (points[:, None] < points[None]).any(-1) | (order[:, None] < order[None])
    return known & ~np.asarray((no_worse & better).any(0))


def hypervolume(points: np.ndarray, reference: tuple[float, ...]) -> float:
    """The fraction of the box from 0 to `reference` that the points [N, objectives] dominate.

    A point with a NaN dominates nothing; one below 0, as a divergence may be by rounding, counts as
    if it were at 0. So the value is in [0, 1].
    """
    inside = np.maximum(points[(points < np.asarray(reference)).all(1)], 0.0)  # [inside, ...]
    if not len(inside):
        return 0.0
    front = inside[pareto_mask(inside)]
    front = front[np.argsort(front[:, -1])]
    if len(reference) == 1:
        return float(1 - front[0, 0] / reference[0])
    # Slabs between successive values of the last objective, each with all points below it. The
    # front is sorted by it, so that the points below are the first ones.
    heights = np.diff(np.append(front[:, -1], reference[-1])) / reference[-1]
    areas = [hypervolume(front[: i + 1, :-1], reference[:-1]) for i in range(len(front))]
    return float(heights @ areas)


def mixed_hypervolume(points: np.ndarray, reference: tuple[float, float]) -> float:
    """`hypervolume` of the points [N, 2] and all their mixtures: the area over their convex hull.

    With a fraction of the models edited at one setting and the rest at another, the means lie on
    the line between. So points outside of the box count where their mixtures lie in it; points
    below 0 count as if they were at 0, and those that are not finite do not.
    """
    points = np.maximum(points[np.isfinite(points).all(1)], 0.0) / np.asarray(reference)
    front = points[pareto_mask(points)]
    # The lower convex hull, from left to right: points leave it that lie on or above the line from
    # the one before them to the new one.
    hull: list[np.ndarray] = []
    for point in front[np.argsort(front[:, 0])]:
        while len(hull) > 1 and np.linalg.det([hull[-1] - hull[-2], point - hull[-2]]) <= 0:
            hull.pop()
        hull.append(point)
    if not hull or hull[0][0] >= 1:
        return 0.0
    x, y = np.array([*hull, [max(1.0, hull[-1][0]), hull[-1][1]]]).T
    # Breaks of the area within the unit square: vertices, and where the hull, which falls, has
    # height 1; np.interp wants rising heights.
    enters = np.interp(-1.0, -y, x)
    breaks = np.append(x[x < 1.0], [enters, 1.0])
    breaks = np.unique(np.clip(breaks, max(x[0], 0.0), 1.0))
    return float(np.trapezoid(np.clip(1.0 - np.interp(breaks, x, y), 0.0, None), breaks))


def above_mixtures(points: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Whether each of the points [N, 2] lies above a mixture of another one and an end: [N] bool.

    Such a setting is worse than the other, used for a share of the models.

    Args:
      ends: [E, 2], what may be mixed with every point.
    """
    x, y = points.T
    found = np.zeros(len(points), bool)
    for end_x, end_y in ends:
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (end_x - x[:, None]) / (end_x - x[None])  # [N, N]: of the second, at the first
            line = share * y[None] + (1 - share) * end_y
        # NaN, where the second is at the end, is never below.
        found |= ((share > 0) & (share < 1) & (line < y[:, None])).any(1)
    return found


def interpolate(points: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The second objective at `levels` [L] of the first, linear between the points [N, 2]: [L].

    Of points at one level the least second objective counts, and points that are not finite do not.
    NaN outside the points.
    """
    points = points[np.isfinite(points).all(1)]
    if not len(points):
        return np.full(len(levels), np.nan)
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    x, first = np.unique(points[:, 0], return_index=True)
    y = points[first, 1]
    return np.interp(levels, x, y, left=np.nan, right=np.nan)
