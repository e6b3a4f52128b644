"""Networks in the units of an editor's table: inputs standardised, or the table's own numbers."""

import dataclasses

import numpy as np

from metanet.interop.network import Network


def reading_standardised(network: Network, mean: np.ndarray, std: np.ndarray) -> Network:
    """The network that computes on (x - mean) / std what `network` computes on x.

    Args:
      mean, std: [features].
    """
    return _rescaled(network, np.asarray(std, np.float64), np.asarray(mean, np.float64))


def reading_numbers(network: Network, mean: np.ndarray, std: np.ndarray) -> Network:
    """The inverse of `reading_standardised`: on x what `network` computes on (x - mean) / std."""
    mean, std = (np.asarray(one, np.float64) for one in (mean, std))
    return _rescaled(network, 1.0 / std, -mean / std)


def _rescaled(network: Network, gain: np.ndarray, offset: np.ndarray) -> Network:
    """The network on gain * x + offset: [features] both, for all blocks that leave the inputs."""
    spec, params = network.spec, network.params
    weights: list = list(params.weights)
    biases: list = list(params.biases)
    for index, (source, target) in enumerate(spec.blocks):
        if source == 0:
            weight = np.asarray(weights[index], np.float64)
            weights[index] = (gain[:, None] * weight).astype(np.float32)
            moved = np.asarray(biases[target - 1], np.float64) + offset @ weight
            biases[target - 1] = moved.astype(np.float32)
    params = params.replace(weights=tuple(weights), biases=tuple(biases))
    return dataclasses.replace(network, params=params)
