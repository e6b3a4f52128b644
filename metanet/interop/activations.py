"""Activations as numbers: their values tell which one a model applies, however it is written."""

import math

import numpy as np
from scipy import special

# Dense where activations bend; far out where they are clipped, if they are.
GRID = np.concatenate(
    [np.linspace(-8, 8, 1601), np.geomspace(10, 1e4, 13), -np.geomspace(10, 1e4, 13)]
)
_TOLERANCE = 1e-6  # constants in files are float32


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) of x [...]."""
    return special.expit(x)


def activate(name: str, x: np.ndarray) -> np.ndarray:
    """The activation called `name`, one of network.ACTIVATIONS, of x [...], in x's dtype."""
    match name:
        case "relu":
            return np.maximum(x, 0)
        case "leaky_relu":
            return np.where(x > 0, x, 0.01 * x)
        case "gelu":
            return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        case "gelu_erf":
            return 0.5 * x * (1 + special.erf(x * 0.5**0.5))
        case "silu":
            return x * sigmoid(x)
        case "tanh":
            return np.tanh(x)
    raise ValueError(f"activation: found {name!r}, expected the name of one")


def is_same(values: np.ndarray, others: np.ndarray) -> bool:
    """Whether two functions with these values at GRID are the same."""
    near = np.abs(values - others) <= _TOLERANCE * (1 + np.abs(GRID))
    return bool(near.all())
