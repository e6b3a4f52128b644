"""Costs at levels of the requirement, with bootstrap intervals over models and seeds (numpy).

Models of one experiment are checkpoints of one training run and alike, so whole experiments are
drawn (cluster bootstrap); seeds of an editor are drawn too. Methods that are compared see the same
draws of models, which makes the comparison paired.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from metanet.evaluation.pareto import mixed_hypervolume

LEAST = 1e-6  # of a cost that has a logarithm; divergences in float32 are noise below
DECIMALS = 6  # of requirements: those of one number of features are equal
NEAR = 5e-3  # how far requirements of one fraction are apart, by whole numbers of weights
LINE, CURVE = 0, 1  # places of the two readings between two settings, see `at_levels`


@dataclasses.dataclass(frozen=True)
class Front:
    """The selected settings of one method and seed, with their values for each of M models.

    Attributes:
      requirement, cost: [S, M] float.
    """

    requirement: np.ndarray
    cost: np.ndarray


def draws(cluster: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Weights of models in bootstrap draws of whole clusters: [1 + count, M] float, rows sum to 1.

    Args:
      cluster: [M], the experiment that a model is of.

    Returns:
      first the sample itself, then `count` draws of as many clusters as there are.
    """
    _, member = np.unique(cluster, return_inverse=True)  # [M]
    size = member.max() + 1
    rng = np.random.default_rng(seed)
    times = rng.multinomial(size, np.full(size, 1 / size), size=count)[:, member]  # [count, M]
    weight = np.concatenate([np.ones((1, len(member))), times])
    return weight / weight.sum(1, keepdims=True)


def at_levels(
    fronts: Sequence[Front],
    ends: Front,
    weight: np.ndarray,
    levels: np.ndarray,
    seed: int = 0,
    each: bool = False,
    tried: np.ndarray | None = None,
) -> np.ndarray:
    """The mean cost of a method at levels of the requirement, in every draw: [draws, levels, 2].

    The last axis has two readings between neighbouring settings: linear, which is what choosing one
    of them by chance costs on average (an upper bound of what a setting between them costs), and
    linear in the logarithm of the cost, an estimate that is never higher. Left of the first
    setting and right of the last, both are mixtures with the ends; and neither is above a mixture
    of the ends alone, which needs no method. Below all settings and ends there is the cost of the
    least, which does not comply.

    Args:
      fronts: of the method's seeds; every draw but the first draws as many of them, too.
      ends: two settings that every method has: constant outputs, and no edit.
      weight: [draws, M], see `draws`.
      levels: [levels].
      seed: of the draws of seeds.
      each: every model is at the level on average, between its own settings; else the mean of the
        models is, for which a method may spend more on some of them.
      tried: [T], requirements of all settings that were tried, where they are known: between two
        settings of the front with another between them, which was not chosen, there is no better
        one to hope for, and both readings are linear.
    """
    tried = np.array([]) if tried is None else tried
    readings = np.stack([_readings(front, ends, weight, levels, each, tried) for front in fronts])
    chosen = np.random.default_rng(seed).integers(len(fronts), size=(len(fronts), len(weight)))
    chosen[:, 0] = np.arange(len(fronts))
    return readings[chosen, np.arange(len(weight))].mean(0)


def _readings(
    front: Front,
    ends: Front,
    weight: np.ndarray,
    levels: np.ndarray,
    each: bool,
    tried: np.ndarray,
) -> np.ndarray:
    """`at_levels` of one seed."""
    if each:
        models = np.eye(weight.shape[1])
        lines = [weight @ line for line in _lines(front, ends, models, levels, tried)]
    else:
        lines = _lines(front, ends, weight, levels, tried)
    *straight, mixture, curve = lines
    below = levels < (weight @ ends.requirement.T).min(1, keepdims=True)
    # Of means, so that no model has the better line by what it cost on the models themselves.
    line = np.minimum.reduce([*straight, np.where(below, np.inf, mixture)])  # [draws, levels]
    return np.stack([line, np.minimum(curve, line)], -1)


def _lines(
    front: Front, ends: Front, weight: np.ndarray, levels: np.ndarray, tried: np.ndarray
) -> list[np.ndarray]:
    """Through the settings and ends, the settings and ends beyond, the ends; and the curve.

    Each is [draws, levels]; the curve is that between settings, the second line beyond.
    """
    x, y = _sorted(np.round(weight @ front.requirement.T, DECIMALS), weight @ front.cost.T)
    y = _means(x, y)  # [draws, S]
    levels = np.round(levels, DECIMALS)
    end_x = np.round(weight @ ends.requirement.T, DECIMALS)  # [draws, 2]
    end_y = weight @ ends.cost.T
    # An end beyond the settings always counts, one among them where that is lower: unedited
    # models may comply with a level that some settings do not. Without it, its place is taken by
    # the first setting, once more.
    beyond = (end_x < x[:, :1]) | (end_x > x[:, -1:])
    outer_x, outer_y = np.where(beyond, end_x, x[:, :1]), np.where(beyond, end_y, y[:, :1])
    all_ends, outer = [
        _interpolated(*_sorted(np.append(x, more_x, 1), np.append(y, more_y, 1)), levels)
        for more_x, more_y in ((end_x, end_y), (outer_x, outer_y))
    ]
    mixture = _interpolated(*_sorted(end_x, end_y), levels)
    curve = np.exp(_interpolated(x, np.log(np.maximum(y, LEAST)), levels))
    inside = (levels >= x[:, :1]) & (levels <= x[:, -1:])
    return [all_ends, outer, mixture, np.where(inside & _open(x, y, levels, tried), curve, outer)]


def _means(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """y [draws, S] with the mean of all points of a draw at the same x: none of them is chosen."""
    same = x[:, :, None] == x[:, None]
    return (same * y[:, None]).sum(-1) / same.sum(-1)


def _open(x: np.ndarray, y: np.ndarray, levels: np.ndarray, tried: np.ndarray) -> np.ndarray:
    """Whether the settings around a level may have a better one between them: [draws, levels].

    Not with one of them at no cost, of which no logarithm says anything, nor where one between them
    was tried and not chosen.
    """
    x0, x1, y0, y1 = _around(x, y, levels)
    between = (tried > x0[..., None] + NEAR) & (tried < x1[..., None] - NEAR)
    return (np.minimum(y0, y1) > LEAST) & ~between.any(-1)


def _sorted(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every draw's points [draws, S] by rising x."""
    order = np.argsort(x, axis=1, kind="stable")
    return np.take_along_axis(x, order, 1), np.take_along_axis(y, order, 1)


def _interpolated(x: np.ndarray, y: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """`np.interp` of every draw's points [draws, S], sorted by x: [draws, levels]."""
    x0, x1, y0, y1 = _around(x, y, levels)
    wide = np.where(x1 > x0, x1 - x0, 1.0)
    share = np.where(x1 > x0, (levels - x0) / wide, levels >= x1).clip(0, 1)
    return y0 + share * (y1 - y0)


def _around(x: np.ndarray, y: np.ndarray, levels: np.ndarray) -> list[np.ndarray]:
    """x before and after every level, and y there, of points sorted by x: [draws, levels] each."""
    x, y = np.append(x[:, :1], x, 1), np.append(y[:, :1], y, 1)  # one point is a line, too
    after = (x[:, :, None] <= levels).sum(1).clip(1, x.shape[1] - 1)  # [draws, levels]
    return [np.take_along_axis(values, after - back, 1) for values in (x, y) for back in (1, 0)]


def interval(values: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """(low, high), percentiles of the draws [draws, ...] without the first: each [...]."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values[1:], [tail, 1 - tail], axis=0)
    return low, high


def ratio(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ratio, low, high) of our cost over theirs at every level: each [levels].

    The ratio is of the two curves. The interval leaves room for what lies between settings: its
    upper end takes the line for us and the curve for them, its lower end the other way round.

    Args:
      ours, theirs: [draws, levels, 2], from the same draws of models, see `at_levels`.
    """
    ours, theirs = np.maximum(ours, LEAST), np.maximum(theirs, LEAST)
    estimate = ours[0, :, CURVE] / theirs[0, :, CURVE]
    low, _ = interval(ours[..., CURVE] / theirs[..., LINE])
    _, high = interval(ours[..., LINE] / theirs[..., CURVE])
    return estimate, low, high


def volume_interval(
    fronts: Sequence[Front],
    ends: Front,
    weight: np.ndarray,
    reference: tuple[float, float],
    seed: int = 0,
) -> tuple[float, float, float]:
    """(mean over seeds, low, high) of the hypervolume of mixtures, see `pareto`."""
    means = [np.stack([weight @ np.concatenate([getattr(front, key), getattr(ends, key)]).T
                       for key in ("requirement", "cost")], -1) for front in fronts]  # fmt: skip
    each = np.array([[mixed_hypervolume(points, reference) for points in one] for one in means])
    chosen = np.random.default_rng(seed).integers(len(fronts), size=each.shape)
    chosen[:, 0] = np.arange(len(fronts))
    drawn = np.take_along_axis(each, chosen, 0).mean(0)  # [draws]
    low, high = interval(drawn)
    return float(drawn[0]), float(low), float(high)
