"""Confidence bounds of means and shares, which hold for any number of rows and any distribution."""

import numpy as np
from scipy import optimize, stats

TRUNCATION = 0.75  # of bets, of the largest that cannot lose all
_DEEPEST = 1e-12  # of bisection


def share_interval(count: int, rows: int, delta: float) -> tuple[float, float]:
    """A two-sided interval of a share by Clopper and Pearson (1934); (0, 1) without rows.

    Args:
      count: of the `rows` independent rows, those that have the property.
      delta: the probability that the interval misses, at most; half of it on each side.
    """
    if rows == 0:
        return 0.0, 1.0
    low = stats.beta.ppf(delta / 2, count, rows - count + 1) if count else 0.0
    high = stats.beta.ppf(1 - delta / 2, count + 1, rows - count) if count < rows else 1.0
    return float(low), float(high)


def share_upper(count: int, rows: int, delta: float) -> float:
    """The upper bound alone, which the share exceeds with probability `delta` at most."""
    return share_interval(count, rows, 2 * delta)[1]


def difference_upper(more: int, less: int, rows: int, delta: float) -> float:
    """An upper bound of one share minus another of the same rows: half of `delta` for each.

    Of accuracy: of the rows that become wrong, and of those that become right.
    """
    return share_upper(more, rows, delta / 2) - share_interval(less, rows, delta)[0]


def mean_upper(values: np.ndarray, most: float, delta: float, seed: int = 0) -> float:
    """An upper bound of the mean of independent values, which it exceeds with probability `delta`.

    By betting (Waudby-Smith and Ramdas 2024, their predictable plug-in with truncation): the
    capital of who bets against a mean would be 1 / delta or more with that probability at most.
    Where values vary little it is far below the bounds of Hoeffding and Bentkus.

    Args:
      values: [rows], each in [0, most].
      seed: of the order in which they are bet on.
    """
    bets_on = 1.0 - np.random.default_rng(seed).permutation(np.asarray(values, float)) / most
    rows = np.arange(1, len(bets_on) + 1)
    # Estimates before a row is seen, with one prior observation: mean 1/2, variance 1/4.
    mean = (0.5 + np.cumsum(bets_on)) / (rows + 1)
    variance = (0.25 + np.cumsum((bets_on - mean) ** 2)) / (rows + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    bets = np.sqrt(2 * np.log(1 / delta) / (len(bets_on) * before))

    def capital(m: float) -> float:  # the logarithm of the largest, against a mean below m
        stakes = np.minimum(bets, TRUNCATION / m)
        return float(np.log1p(stakes * (bets_on - m)).cumsum().max())

    low, high = 0.0, 1.0  # capital(low) is enough: that mean is refuted
    while high - low > _DEEPEST:
        middle = (low + high) / 2
        low, high = (middle, high) if capital(middle) >= np.log(1 / delta) else (low, middle)
    return most * (1.0 - low)


def tolerance_upper(values: np.ndarray, share: float, delta: float) -> float:
    """An upper tolerance bound (Wilks 1941): `share` of all values are at most it, but with
    probability `delta`; infinity where there are too few values to tell.

    Args:
      values: [n] independent draws, of any distribution.
    """
    ordered = np.sort(np.asarray(values, float))
    # The k-th smallest is below the quantile if k values or more are: of a binomial number.
    places = np.arange(1, len(ordered) + 1)
    enough = places[stats.binom.sf(places - 1, len(ordered), share) <= delta]
    return float(ordered[enough[0] - 1]) if len(enough) else np.inf


def hoeffding_bentkus_upper(values: np.ndarray, most: float, delta: float) -> float:
    """`mean_upper` by the inequalities of Hoeffding and Bentkus (Bates et al. 2021), to compare."""
    rows, mean = len(values), float(np.mean(values)) / most

    def chance(m: float) -> float:
        near = min(mean, m)
        first = -rows * (stats.entropy([near, 1 - near], [m, 1 - m]))
        second = 1 + stats.binom.logcdf(np.ceil(rows * mean), rows, m)
        return min(first, second) - np.log(delta)

    if mean >= 1 or chance(1 - 1e-12) > 0:
        return most
    return most * optimize.brentq(chance, max(mean, 1e-12), 1 - 1e-12)
