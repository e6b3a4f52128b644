"""Scores that post-processing methods read, their outcomes, and divergences of decisions (numpy).

A method is a function `method(fit, test, setting) -> Outcome`: it reads the scores, labels and
groups of `fit` and decides on the samples of `test`, whose `y` it never reads. Everything is binary
classification; divergences are in nats. All methods know each sample's group. One-hot outputs pay a
floor of divergence even where they agree with the original's labels.
"""

import dataclasses

import numpy as np

BINS = 10  # equally wide ones of [0, 1], of calibration errors


class Infeasible(Exception):
    """The method has no result for this model and setting; the message says why. Count it."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """A model's scores of n samples, and the samples' labels and groups.

    Attributes:
      probability: [n] float64 in [0, 1], P(y = 1).
      y: [n] int, 0 or 1.
      group: [n] int from 0.
      weight: [n], the factor of a sample in means over the data; only Group shift and error
        parity may be fitted on samples of unequal weight.
    """

    probability: np.ndarray
    y: np.ndarray
    group: np.ndarray
    weight: np.ndarray | float = 1.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A method's outputs and decisions on m samples.

    Attributes:
      outputs: a mixture: pairs of a weight [m] (they sum to 1) and a distribution over the classes
        [m, 2].
      labels: [m, 2], the distribution of the decision: one-hot if the method is deterministic,
        exact (never sampled) if it randomises.
    """

    outputs: tuple[tuple[np.ndarray, np.ndarray], ...]
    labels: np.ndarray


def both_classes(positive: np.ndarray) -> np.ndarray:
    """[..., 2] from P(y = 1), or from a decision, [...]."""
    positive = np.asarray(positive, np.float64)
    return np.stack([1 - positive, positive], axis=-1)


def decided(positive: np.ndarray) -> Outcome:
    """A method whose output is its decision, P(label = 1) [m]: one-hot, drawn where it is random.

    A user sees a decision, never its distribution, so that the outputs are a mixture of both.
    """
    labels = both_classes(positive)
    parts = [(labels[:, c], np.broadcast_to(np.eye(2)[c], labels.shape)) for c in (0, 1)]
    return Outcome(tuple(parts), labels)


def binary_jsd(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in nats, [...], of distributions [..., 2]; 0 log 0 is 0."""
    log_p, log_q, log_m = (np.log(np.maximum(x, 1e-300)) for x in (p, q, (p + q) / 2))
    return np.maximum(0.5 * (p * (log_p - log_m) + q * (log_q - log_m)).sum(-1), 0.0)


def jsd_out(outcome: Outcome, probability: np.ndarray) -> float:
    """Mean JSD (nats) of a method's output, part by part, to the original's `probability` [m]."""
    return float(
        sum((w * binary_jsd(part, both_classes(probability))).mean() for w, part in outcome.outputs)
    )


def jsd_label(labels: np.ndarray, probability: np.ndarray) -> float:
    """Mean JSD (nats) of decisions to the original's, `probability` [m] > 1/2: ln 2 if they differ.

    Expected over decisions that are drawn from `labels` [m, 2], as `jsd_out` is over outputs.
    """
    return float(np.log(2) * (labels * both_classes(probability <= 0.5)).sum(-1).mean())


def calibration_error(outcome: Outcome, y: np.ndarray) -> float:
    """Expected calibration error of a method's outputs, part by part: of P(y = 1), y [m] 0 or 1.

    The mean over BINS, weighted by rows, of the distance between the mean output and the share of
    y = 1 (Naeini, Cooper and Hauskrecht 2015). A decision counts as an output of 0 or 1.
    """
    gaps = np.zeros(BINS)
    for weight, part in outcome.outputs:
        place = np.minimum((part[:, 1] * BINS).astype(int), BINS - 1)
        np.add.at(gaps, place, weight * (part[:, 1] - y))
    return float(np.abs(gaps).sum() / len(y))


def one_hot_jsd(probability: np.ndarray) -> float:
    """Mean JSD (nats) of the decision, as a one-hot distribution, to `probability` [...]."""
    return float(binary_jsd(both_classes(probability > 0.5), both_classes(probability)).mean())


def eod(labels: np.ndarray, y: np.ndarray, group: np.ndarray) -> float:
    """Equalised odds difference of the label distributions `labels` [m, 2] (paper eq. 9).

    The largest difference of two groups in expected true or false positive rate. A group without
    samples of a class is left out there (fairlearn gives it the rate 0); a class with fewer than
    two groups left contributes 0. So the value is in [0, 1], never NaN.

    Args:
      y, group: [m] int.
    """
    cells = [[labels[(y == c) & (group == g), 1] for g in np.unique(group)] for c in (0, 1)]
    rates = [[cell.mean() for cell in row if len(cell)] or [0.0] for row in cells]
    return float(max(max(row) - min(row) for row in rates))


def known_groups(fit: Scores, test: Scores) -> np.ndarray:
    """The groups of `fit`, sorted: [groups] int.

    Raises:
      Infeasible: no method can work with these scores.
    """
    p = np.concatenate([fit.probability, test.probability])
    if not (np.isfinite(p).all() and (np.abs(p - 0.5) <= 0.5).all()):
        raise Infeasible("a probability is not a number in [0, 1]")
    if np.unique(fit.probability > 0.5).size < 2:
        raise Infeasible("the model predicts one class only")
    for g in np.union1d(fit.group, test.group):
        if np.unique(fit.y[fit.group == g]).size < 2:
            raise Infeasible(f"the data to fit on lacks a class in group {g}")
    return np.unique(fit.group)


def two_groups(fit: Scores, test: Scores) -> tuple[int, int]:
    """(privileged, other): the group with more positive labels per sample in `fit`, and the other.

    Raises:
      Infeasible: see `known_groups`; or there are more groups or fewer.
    """
    groups = known_groups(fit, test)
    if len(groups) != 2:
        raise Infeasible(f"the method is for two groups, not {len(groups)}")
    other, privileged = sorted(groups.tolist(), key=lambda g: fit.y[fit.group == g].mean())
    return privileged, other


def count_above(values: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """The number of `values` [n] above each threshold: [...] int from [...]."""
    return len(values) - np.searchsorted(np.sort(values), threshold, side="right")
