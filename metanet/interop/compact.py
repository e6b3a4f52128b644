"""A smaller dense network with the same outputs, once many weights are 0."""

import dataclasses

import jax
import numpy as np

from metanet.interop.activations import activate
from metanet.interop.network import Network
from metanet.mlp.network import NORM_EPSILON, MLPParams
from metanet.mlp.spec import MLPSpec

_Weights = dict[tuple[int, int], np.ndarray]  # by block


@dataclasses.dataclass(frozen=True)
class Report:
    """What compaction saves.

    Attributes:
      parameters: (before, after) numbers of weights, biases, scales and shifts.
      bytes: (before, after) of these as dense float32 arrays.
      features, neurons, blocks: numbers of input features, hidden neurons and blocks of skip
        connections that were removed.
    """

    parameters: tuple[int, int]
    bytes: tuple[int, int]
    features: int
    neurons: int
    blocks: int


@dataclasses.dataclass(frozen=True)
class Compact:
    """A network without the parts that have no effect.

    Attributes:
      network: the smaller one; its outputs of x[:, features] are those of the original of x.
      features: indices of the original's inputs that are left, ascending int64 [n].
      neurons: the same for every hidden layer.
      report: what it saves.
    """

    network: Network
    features: np.ndarray
    neurons: tuple[np.ndarray, ...]
    report: Report


def compact(network: Network) -> Compact:
    """Removes what outputs do not depend on; outputs stay equal but for rounding.

    Removed are input features and neurons without outgoing weights; neurons of constant value,
    which goes into the biases of their targets; skip connections whose block is 0. A layer always
    keeps one feature or neuron, without weights where none has an effect, and the number of layers
    stays.

    A layer norm takes its mean and variance over all neurons of a layer, read or not. So a layer
    with one either stays whole or, where all its values are constant or none is read, shrinks to
    one neuron. In it, only a neuron of scale 0 is constant by itself: its outgoing weights become
    0. Nothing smaller does the same for k unread neurons without incoming weights: where the mean m
    is large, their differences from it add about -k m, and their squares k m^2, and by the
    Cauchy-Schwarz inequality that takes k neurons. Unread ones that read others could be replaced,
    at best, by dense ones, about as many as their inputs; they stay.

    Rounding: a layer norm of 2 or 3 neurons may amplify that of the biases 300 times, to 1e-5.
    """
    weights = {
        block: np.array(weight, np.float32)
        for block, weight in zip(network.spec.blocks, network.params.weights, strict=True)
    }
    # Forwards, so that a neuron that only reads constant ones is found to be constant. What is
    # removed backwards was read by nobody, so it makes no other neuron constant.
    biases = _fold_constants(network, weights)
    kept = _cut_unread(network.spec, weights)
    smaller = _part(network, weights, biases, kept)
    sizes = [
        sum(np.size(leaf) for leaf in jax.tree.leaves(one.params)) for one in (network, smaller)
    ]
    report = Report(
        parameters=(sizes[0], sizes[1]),
        bytes=(4 * sizes[0], 4 * sizes[1]),
        features=network.spec.widths[0] - len(kept[0]),
        neurons=sum(network.spec.widths[1:-1]) - sum(map(len, kept[1:-1])),
        blocks=len(network.spec.skips) - len(smaller.spec.skips),
    )
    return Compact(smaller, kept[0], tuple(kept[1:-1]), report)


def _fold_constants(network: Network, weights: _Weights) -> list[np.ndarray]:
    """Cuts the outgoing weights of constant neurons; the biases [n_l] that make up for it."""
    biases = [np.array(bias, np.float64) for bias in network.params.biases]
    for layer in network.spec.hidden:
        constant, value = _constants(network, weights, biases[layer - 1], layer)
        for (source, target), weight in weights.items():
            if source == layer:
                biases[target - 1] += value[constant] @ weight[constant].astype(np.float64)
                weight[constant] = 0
    return biases


def _constants(
    network: Network, weights: _Weights, bias: np.ndarray, layer: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which neurons of a hidden layer are constant, and the values that these have: [n_l] each."""
    incoming = np.concatenate([w for (_, target), w in weights.items() if target == layer])
    if network.spec.norm != "layer":
        return np.all(incoming == 0, axis=0), activate(network.activation, bias)
    scale, shift = (
        np.asarray(leaves[layer - 1], np.float64)
        for leaves in (network.params.scales, network.params.shifts)
    )
    # Alike in all neurons, whatever the inputs add is subtracted with the mean.
    constant = np.logical_or(scale == 0, np.all(incoming == incoming[:, :1]))
    centred = bias - bias.mean()
    normalised = centred / np.sqrt((centred**2).mean() + NORM_EPSILON)
    return constant, activate(network.activation, normalised * scale + shift)


def _cut_unread(spec: MLPSpec, weights: _Weights) -> list[np.ndarray]:
    """Cuts the incoming weights of neurons that go; the indices of those that stay, by layer."""
    kept = [np.arange(spec.widths[-1])]
    for layer in reversed(range(spec.n_layers)):
        read = np.any([w.any(1) for (source, _), w in weights.items() if source == layer], axis=0)
        if spec.norm == "layer" and layer > 0 and read.any():
            read[:] = True
        for (_, target), weight in weights.items():
            if target == layer:
                weight[:, ~read] = 0
        kept.append(np.flatnonzero(read) if read.any() else np.zeros(1, np.int64))
    return kept[::-1]


def _part(
    network: Network, weights: _Weights, biases: list[np.ndarray], kept: list[np.ndarray]
) -> Network:
    """The part of a network that has the neurons `kept`, by layer."""
    spec, params = network.spec, network.params
    smaller = MLPSpec(
        widths=tuple(map(len, kept)),
        skips=tuple(skip for skip in spec.skips if weights[skip].any()),
        norm=spec.norm,
    )
    leaves = MLPParams(
        weights=tuple(weights[s, t][np.ix_(kept[s], kept[t])] for s, t in smaller.blocks),
        biases=_rows(biases, kept[1:]),
        scales=_rows(params.scales, kept[1:]),
        shifts=_rows(params.shifts, kept[1:]),
    )
    return Network(smaller, leaves, network.activation)


def _rows(leaves, kept: list[np.ndarray]) -> tuple:
    """The entries `kept` of each of [n_l]; there may be fewer leaves than layers, or none."""
    return tuple(
        np.asarray(leaf, np.float32)[rows] for leaf, rows in zip(leaves, kept, strict=False)
    )
