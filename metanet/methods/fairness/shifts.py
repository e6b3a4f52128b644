"""Shifts of a model's logits, and what they cost."""

import numpy as np
from scipy.special import entr, expit, logit


def shifted(probability: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """P(y = 1) [...] with `shift` added to the logit; exactly the model's own where it is 0."""
    moved = expit(logit(np.clip(probability, 1e-12, 1 - 1e-12)) + shift)
    return np.where(shift == 0, probability, moved)


def shift_jsd(probability: np.ndarray, weight: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """The sum over samples of weight x JSD (nats) of outputs, at each of `shifts`: [shifts].

    Args:
      probability, weight: [n].
    """
    p = probability[:, None]
    q = shifted(p, shifts)  # [n, shifts]
    # In terms of entropies, with a third of the logarithms of `binary_jsd`.
    jsd = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    return weight @ np.where(shifts == 0, 0, np.maximum(jsd, 0))


def _entropy(p: np.ndarray) -> np.ndarray:
    return entr(p) + entr(1 - p)
