"""Pareto fronts of two objectives, both to be small (numpy)."""

import numpy as np


def pareto_mask(points: np.ndarray) -> np.ndarray:
    """Which of the points [N, 2] no other point dominates: [N] bool; of equal points, the first."""
    best = np.inf
    keep = np.zeros(len(points), bool)
    for index in np.lexsort((np.arange(len(points)), points[:, 1], points[:, 0])):
        if points[index, 1] < best:
            best, keep[index] = points[index, 1], True
    return keep


def hypervolume(points: np.ndarray, reference: tuple[float, float]) -> float:
    """The fraction of the box from (0, 0) to `reference` that the points [N, 2] dominate."""
    inside = points[(points < np.asarray(reference)).all(1)]
    front = inside[pareto_mask(inside)]
    front = front[np.argsort(front[:, 0])]
    right = np.append(front[1:, 0], reference[0])
    area = ((right - front[:, 0]) * (reference[1] - front[:, 1])).sum()
    return float(area / (reference[0] * reference[1]))


def interpolate(points: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The second objective at `levels` of the first, linear between points; NaN outside them."""
    if not len(points):
        return np.full(len(levels), np.nan)
    order = np.argsort(points[:, 0])
    x, y = points[order].T
    return np.interp(levels, x, y, left=np.nan, right=np.nan)
