"""Whether a network computes what the model computes that it was read from."""

from collections.abc import Callable

import numpy as np
from scipy import special

from metanet.interop.activations import activate, sigmoid
from metanet.interop.imported import refused
from metanet.interop.network import Network
from metanet.mlp.network import NORM_EPSILON

ROWS = 64
TOLERANCE = 1e-5  # relative to 1 plus the largest output


def logits(network: Network, x: np.ndarray) -> np.ndarray:
    """Logits [rows, classes] of x [rows, features], in float64."""
    spec, params = network.spec, network.params
    outputs = [np.asarray(x, np.float64)]
    for layer in range(1, spec.n_layers + 1):
        z = np.asarray(params.biases[layer - 1], np.float64)[None]
        for (source, target), weight in zip(spec.blocks, params.weights, strict=True):
            if target == layer:
                z = z + outputs[source] @ np.asarray(weight, np.float64)
        if layer < spec.n_layers:
            if spec.norm == "layer":
                z = z - z.mean(-1, keepdims=True)
                z = z / np.sqrt((z**2).mean(-1, keepdims=True) + NORM_EPSILON)
                z = z * params.scales[layer - 1][None] + params.shifts[layer - 1][None]
            z = activate(network.activation, z)
        outputs.append(z)
    return outputs[-1]


def rows_for(network: Network) -> np.ndarray:
    """Rows [ROWS, features] on which models are compared: standard normal, float32."""
    rows = np.random.default_rng(0).normal(size=(ROWS, network.spec.widths[0]))
    return rows.astype(np.float32)


def gap(network: Network, model: Callable[[np.ndarray], np.ndarray], head: str = "none") -> float:
    """How far a network is from the model that it was read from, on `rows_for` it.

    Args:
      model: maps float32 rows [rows, features] to its outputs: [rows, classes], or [rows, 1] where
        it has one logit.
      head: what the model applies to its logits: "none", "softmax", "log_softmax" or "sigmoid".

    Returns:
      The largest difference of outputs, relative to 1 plus the largest; infinite where their shapes
      differ or one is not finite.
    """
    rows = rows_for(network)
    theirs, ours = np.asarray(model(rows), np.float64), logits(network, rows)
    if theirs.shape == (ROWS, 1) and ours.shape[1] == 2:
        ours = ours[:, 1:] - ours[:, :1]
    match head:
        case "softmax":
            ours = special.softmax(ours, -1)
        case "log_softmax":
            ours = special.log_softmax(ours, -1)
        case "sigmoid":
            ours = sigmoid(ours)
    if theirs.shape != ours.shape or not np.isfinite(theirs).all():
        return np.inf
    return float(np.abs(ours - theirs).max() / (1 + np.abs(ours).max()))


def verify(network: Network, model: Callable[[np.ndarray], np.ndarray], head: str = "none") -> None:
    """Compares a network with its model, see `gap`.

    Raises:
      ValueError: they differ by more than TOLERANCE.
    """
    found = gap(network, model, head)
    if not found <= TOLERANCE:
        expected = f"at most {TOLERANCE}: does it do what its layers do not show?"
        raise refused("model", f"outputs that are {found:.2g} from the network's", expected)
