"""One trained MLP as arrays: what every framework's importer returns."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from metanet.mlp.network import ACTIVATIONS, MLPParams, shapes_of
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec


@dataclasses.dataclass(frozen=True)
class Network:
    """One trained classifier for inference.

    Attributes:
      spec: its shape; a batch normalisation is folded into weights and biases, and remembered here.
      params: numpy float32 leaves of one model, see `MLPParams`; scales and shifts are those of
        layer norms, with `network.NORM_EPSILON`, and () without.
      activation: of all hidden layers, one of network.ACTIVATIONS.
    """

    spec: MLPSpec
    params: MLPParams
    activation: str

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"activation: found {self.activation!r}, expected one of {known}")
        for name, shapes in shapes_of(self.spec).items():
            leaves = getattr(self.params, name)
            if len(leaves) != len(shapes):
                raise ValueError(f"{name}: found {len(leaves)} arrays, expected {len(shapes)}")
            for index, (leaf, shape) in enumerate(zip(leaves, shapes, strict=True)):
                found = np.shape(leaf)
                if found != shape:
                    raise ValueError(f"{name}[{index}]: found shape {found}, expected {shape}")
                if not np.isfinite(leaf).all():
                    raise ValueError(
                        f"{name}[{index}]: found a number that is not finite, expected finite ones"
                    )


def stack_of(network: Network) -> Stack:
    """The network as a stack of one model."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32)[None], network.params)
    activation = np.array([ACTIVATIONS.index(network.activation)], np.int32)
    return Stack(network.spec, params, activation)


def stack_networks(networks: Sequence[Network]) -> Stack:
    """Networks of one spec as a stack, in their order."""
    params = jax.tree.map(lambda *leaves: np.stack(leaves), *(one.params for one in networks))
    indices = [ACTIVATIONS.index(one.activation) for one in networks]
    return Stack(networks[0].spec, params, np.array(indices, np.int32))


def network_of(stack: Stack, index: int = 0) -> Network:
    """One model of a stack."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf[index]), stack.params)
    return Network(stack.spec, params, ACTIVATIONS[int(stack.activation[index])])
