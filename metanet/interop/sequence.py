"""Models that are known as lists of layers, not by their operations."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from metanet.interop.imported import refused
from metanet.interop.parts import (
    Features,
    Norm,
    Parameter,
    Sum,
    Value,
    add,
    batch_norm,
    layer_norm,
    linear,
)
from metanet.mlp.network import ACTIVATIONS


@dataclasses.dataclass(frozen=True, eq=False)
class Dense:
    """A linear layer: one dense block, with or without a bias."""

    name: str
    weight: Parameter
    bias: Parameter | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Normalisation:
    """A batch normalisation, which has a mean and a variance [n], or else a layer normalisation."""

    name: str
    scale: Parameter | None
    shift: Parameter | None
    epsilon: float
    mean: np.ndarray | None = None
    variance: np.ndarray | None = None

    def __call__(self, value: Value) -> Value:
        if self.mean is None or self.variance is None:
            return layer_norm(self.name, value, self.epsilon, self.scale, self.shift)
        scale = None if self.scale is None else self.scale.value
        return batch_norm(
            self.name, value, self.mean, self.variance, self.epsilon, scale, self.shift
        )


def blocks_of(
    dense: Mapping[str, Dense], skips: Mapping[tuple[int, int], str]
) -> dict[tuple[int, int], Dense]:
    """Linear layers, which have names, by (source, target).

    Args:
      skips: names of the skip connections; all other layers follow one another.

    Raises:
      ValueError: a skip has no layer, or is none.
    """
    for pair, name in skips.items():
        if name not in dense:
            known = ", ".join(dense) or "none"
            raise refused(f"skips{pair}", repr(name), f"the name of a linear layer: {known}")
    main = [layer for name, layer in dense.items() if name not in skips.values()]
    if len(main) < 2:
        raise refused("model", f"{len(main)} linear layers that are no skips", "at least 2")
    for source, target in skips:
        if not 0 <= source < target - 1 < len(main):
            raise refused("skips", f"{(source, target)}", f"layers among 0 to {len(main)}")
    blocks = {(layer, layer + 1): each for layer, each in enumerate(main)}
    return blocks | {pair: dense[name] for pair, name in skips.items()}


def logits_of(
    blocks: Mapping[tuple[int, int], Dense],
    activation: str,
    norms: Sequence[Normalisation] = (),
    *,
    after: bool = False,
    scaler: Norm | None = None,
) -> Sum:
    """The logits of a model.

    Args:
      blocks: its linear layers by (source, target), numbers of layers as in `MLPSpec`.
      norms: one per hidden layer, or () without.
      after: whether they follow the activation; before it otherwise.
      scaler: an affine map of the inputs.

    Raises:
      ValueError: no network is like this; names the layer.
    """
    if activation not in ACTIVATIONS:
        raise refused("activation", repr(activation), f"one of {', '.join(ACTIVATIONS)}")
    last = max(target for _, target in blocks)
    if norms and len(norms) != last - 1:
        expected = f"{last - 1}, one per hidden layer, or none"
        raise refused("model", f"{len(norms)} normalisations", expected)
    outputs: list[Features] = [Features(after=scaler)]
    for layer in range(1, last + 1):
        parts = [
            linear(dense.name, outputs[source], dense.weight, dense.bias)
            for (source, target), dense in sorted(blocks.items())
            if target == layer
        ]
        value: Value = parts[0]
        for part in parts[1:]:
            value = add(part.name, value, part)
        assert isinstance(value, Sum)
        if layer == last:
            return value
        if norms and not after:
            value = norms[layer - 1](value)
        assert isinstance(value, Sum)
        output: Value = Features(value, activation)
        if norms and after:
            output = norms[layer - 1](output)
        assert isinstance(output, Features)
        outputs.append(output)
    raise AssertionError
