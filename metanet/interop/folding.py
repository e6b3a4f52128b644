"""The network of a model's parts with batch norms folded, and the parts of an edited one."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from metanet.interop.chain import Chain, bias_place, chain_of
from metanet.interop.imported import Imported, refused
from metanet.interop.network import Network
from metanet.interop.parts import Norm, Parameter, Sum
from metanet.mlp.network import MLPParams

Arrays = dict[str, np.ndarray]


def imported(logits: Sum, write: Callable[[Arrays], Any], **names: tuple[str, ...]) -> Imported:
    """The network whose logits are `logits`.

    One logit z becomes two, 0 and z, and on the way back z is the difference of the two.

    Args:
      write: makes a model like the one that was read from its parameters: float64 arrays in the
        orientation of `Parameter.value`, by their keys; absent ones only
        where they are not neutral.
      names: `classes` and `features` of the result.

    Raises:
      ValueError: no network computes this; names the layer.
    """
    chain = chain_of(logits)
    network = _folded(chain)

    def restore(edited: Network):
        if edited.spec != network.spec or edited.activation != network.activation:
            raise ValueError(
                f"network: found {edited.spec} with {edited.activation}, expected "
                f"{network.spec} with {network.activation}, as it was read"
            )
        return write(_unfolded(chain, network, edited))

    return Imported(network, restore, **names)


def cast(key: str, value: np.ndarray, dtype) -> np.ndarray:
    """A parameter in its model's dtype.

    Raises:
      ValueError: a number does not fit it; names the parameter.
    """
    with np.errstate(over="ignore"):
        result = value.astype(dtype)
    if not np.isfinite(result.astype(np.float64)).all():
        raise refused(key, f"a number that is not finite in {np.dtype(dtype)}", "smaller numbers")
    return result


def _gain(norm: Norm | None) -> np.ndarray:
    """[n], or [1] of ones without a normalisation."""
    return np.ones(1) if norm is None else norm.gain


def _offset(norm: Norm | None) -> np.ndarray:
    return np.zeros(1) if norm is None else norm.offset


def _gains(chain: Chain, source: int, target: int) -> np.ndarray:
    """What folding multiplies a weight with; it broadcasts with it."""
    left, right = _gain(chain.outputs[source].after), _gain(chain.sums[target - 1].norm)
    return left[:, None] * right[None]


def _carried(chain: Chain, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the offsets of its sources' outputs add to the sum of each layer: [n_l]."""
    sums = [np.zeros(total.width) for total in chain.sums]
    for (source, target, _), weight in zip(chain.weights(), weights, strict=True):
        norm = chain.outputs[source].after
        if norm is not None:
            sums[target - 1] += norm.offset @ weight
    return sums


def _folded(chain: Chain) -> Network:
    """The network of the chain, in float32."""
    raw = [weight.value for _, _, weight in chain.weights()]
    weights = [weight.value * _gains(chain, s, t) for s, t, weight in chain.weights()]
    biases = [
        sum((bias.value for bias in total.biases), carried) * _gain(total.norm)
        + _offset(total.norm)
        for total, carried in zip(chain.sums, _carried(chain, raw), strict=True)
    ]
    spec = chain.spec
    if spec.widths[-1] == 1:
        spec = dataclasses.replace(spec, widths=(*spec.widths[:-1], 2))
        weights[-1] = np.concatenate([0 * weights[-1], weights[-1]], 1)
        biases[-1] = np.concatenate([0 * biases[-1], biases[-1]])
    scales = [norm.scale.value for norm in chain.layer_norms if norm.scale is not None]
    shifts = [norm.shift.value for norm in chain.layer_norms if norm.shift is not None]
    names = [total.name for total in chain.sums]
    blocks = [names[target - 1] for _, target, _ in chain.weights()]
    params = MLPParams(
        weights=tuple(map(_float32, blocks, weights)),
        biases=tuple(map(_float32, names, biases)),
        scales=tuple(map(_float32, names, scales)),
        shifts=tuple(map(_float32, names, shifts)),
    )
    return Network(spec, params, chain.outputs[1].activation)


def _float32(name: str, value: np.ndarray) -> Any:
    return np.ascontiguousarray(cast(name, value, np.float32))


def _unfolded(chain: Chain, before: Network, after: Network) -> Arrays:
    """The parameters of a model that computes `after`; where it equals `before` they keep bits."""
    (old_weights, old_biases), (new_weights, new_biases) = (
        _leaves(chain, network.params) for network in (before, after)
    )
    parameters: list[tuple[Parameter, np.ndarray]] = []
    raw: list[np.ndarray] = []
    touched = [np.zeros(total.width, bool) for total in chain.sums]  # by an edit: [n_l] per layer
    for (source, target, weight), old, new in zip(
        chain.weights(), old_weights, new_weights, strict=True
    ):
        edited = new / _gains(chain, source, target)
        raw.append(np.where(new == old, weight.value, edited))
        parameters.append((weight, raw[-1]))
        if chain.outputs[source].after is not None:
            touched[target - 1] |= (new != old).any(0)
    carried = _carried(chain, raw)
    for layer, total in enumerate(chain.sums):
        old, new = old_biases[layer], new_biases[layer]
        place, gain = bias_place(total), _gain(total.norm)
        others = sum((b.value for b in total.biases if b is not place), carried[layer])
        if place in total.biases:
            edited = (new - _offset(total.norm)) / gain - others
        else:  # a shift, which the offset contains
            edited = new - gain * others - (_offset(total.norm) - place.value)
        same = (new == old) & ~touched[layer]
        parameters.append((place, np.where(same, place.value, edited)))
    for index, norm in enumerate(chain.layer_norms):
        for parameter, name in ((norm.scale, "scales"), (norm.shift, "shifts")):
            old, new = (
                np.asarray(getattr(network.params, name)[index], np.float64)
                for network in (before, after)
            )
            if parameter is not None:
                parameters.append((parameter, np.where(new == old, parameter.value, new)))
    return {
        parameter.key: value
        for parameter, value in parameters
        if not (parameter.absent and np.array_equal(value, parameter.value))
    }


def _leaves(chain: Chain, params: MLPParams) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights and biases in float64; of two logits of a model that has one, their difference."""
    weights, biases = (
        [np.asarray(leaf, np.float64) for leaf in leaves]
        for leaves in (params.weights, params.biases)
    )
    if chain.spec.widths[-1] == 1:
        weights[-1] = weights[-1][:, 1:] - weights[-1][:, :1]
        biases[-1] = biases[-1][1:] - biases[-1][:1]
    return weights, biases
