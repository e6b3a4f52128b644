"""Networks from the arrays of a PyTorch state dict."""

from collections.abc import Mapping

import numpy as np

from metanet.interop.arrays import floats
from metanet.interop.folding import Arrays, cast, imported
from metanet.interop.imported import MAX_WEIGHTS, Imported, refused
from metanet.interop.network import Network
from metanet.interop.parts import Parameter
from metanet.interop.sequence import Dense, Normalisation, blocks_of, logits_of

_STATISTICS = ("running_mean", "running_var")
_ROLES = ("weight", "bias", *_STATISTICS, "num_batches_tracked")


def from_state_dict(
    state: Mapping[str, np.ndarray],
    activation: str,
    *,
    norm: str | None = None,
    skips: Mapping[tuple[int, int], str] | None = None,
    epsilon: float = 1e-5,
) -> Imported:
    """A network from the arrays of a PyTorch module, by their names and order.

    Linear layers have a `NAME.weight` [n_out, n_in] and may have a `NAME.bias`; they are taken as
    layers in the order in which they stand in the dict. Normalisations are one-dimensional, and
    belong before the activations, in order.

    Args:
      state: arrays of any floating dtype.
      activation: of all hidden layers, one of network.ACTIVATIONS; nothing in the dict tells it.
      norm: "none", "batch" or "layer", with which the arrays are compared; None is as they are.
      skips: NAME of the linear layer that is the skip connection (source, target).
      epsilon: of the normalisation.

    Returns:
      Its `restore` gives a dict like `state`; a missing bias is added where an edit needs one.

    Raises:
      ValueError: the arrays do not fit together; names the array.
    """
    raw: dict[str, np.ndarray] = {}
    for key, value in state.items():
        role = key.rpartition(".")[2]
        if role not in _ROLES:
            raise refused(key, "an array of another name", f"NAME.{' or NAME.'.join(_ROLES)}")
        if role != "num_batches_tracked":
            raw[key] = floats(key, value)
    if (count := sum(array.size for array in raw.values())) > MAX_WEIGHTS:
        raise refused("state", f"{count} numbers", f"at most {MAX_WEIGHTS}")
    dense: dict[str, Dense] = {}
    norms: list[Normalisation] = []
    for name in dict.fromkeys(key.rpartition(".")[0] for key in raw):
        layer = _layer({role: raw.get(f"{name}.{role}") for role in _ROLES}, name, epsilon)
        if isinstance(layer, Dense):
            dense[name] = layer
        else:
            norms.append(layer)
    kinds = {"layer" if each.mean is None else "batch" for each in norms} or {"none"}
    if len(kinds) > 1 or norm not in (None, *kinds):
        raise refused("norm", repr(norm), f"{' and '.join(sorted(kinds))}, as the arrays are")

    def write(arrays: Arrays) -> dict[str, np.ndarray]:
        restored = {key: np.array(value) for key, value in state.items()}
        for key, value in arrays.items():
            dtype = raw[key].dtype if key in raw else next(iter(raw.values())).dtype
            restored[key] = cast(key, value.T, dtype)
        return restored

    return imported(logits_of(blocks_of(dense, skips or {}), activation, norms), write)


def to_state_dict(network: Network) -> dict[str, np.ndarray]:
    """A network as the state dict of a PyTorch module.

    Returns:
      `layers.N.weight` [n_out, n_in] and `layers.N.bias` of the layers, `norms.N.weight` and
      `norms.N.bias` of layer norms, and `skips.N.weight` in the order of `MLPSpec.skips`; N from 0.
    """
    spec, params = network.spec, network.params
    weights = dict(zip(spec.blocks, params.weights, strict=True))
    state = {}
    for layer, bias in enumerate(params.biases):
        state[f"layers.{layer}.weight"] = np.asarray(weights[layer, layer + 1]).T
        state[f"layers.{layer}.bias"] = np.asarray(bias)
    for layer, (scale, shift) in enumerate(zip(params.scales, params.shifts, strict=True)):
        state |= {
            f"norms.{layer}.weight": np.asarray(scale),
            f"norms.{layer}.bias": np.asarray(shift),
        }
    for index, pair in enumerate(spec.skips):
        state[f"skips.{index}.weight"] = np.asarray(weights[pair]).T
    return {key: np.ascontiguousarray(value) for key, value in state.items()}


def _layer(
    arrays: Mapping[str, np.ndarray | None], name: str, epsilon: float
) -> Dense | Normalisation:
    """The layer with these arrays, None where it has none, by their roles."""
    weight, bias, mean, variance = (arrays[role] for role in ("weight", "bias", *_STATISTICS))
    if weight is not None and weight.ndim == 2:
        return Dense(name, _parameter(f"{name}.weight", weight),
                     _parameter(f"{name}.bias", bias, np.zeros(len(weight))))  # fmt: skip
    if (mean is None) != (variance is None) or (weight is None and mean is None):
        raise refused(name, "a part of a layer", "its weight, or a running mean and variance")
    first = mean if weight is None else weight
    assert first is not None
    return Normalisation(
        name,
        _parameter(f"{name}.weight", weight, np.ones(first.shape)),
        _parameter(f"{name}.bias", bias, np.zeros(first.shape)),
        epsilon,
        None if mean is None else mean.astype(np.float64),
        None if variance is None else variance.astype(np.float64),
    )


def _parameter(key: str, value: np.ndarray | None, neutral: np.ndarray | None = None) -> Parameter:
    if value is None:
        assert neutral is not None
        return Parameter(key, neutral, absent=True)
    return Parameter(key, value.astype(np.float64).T)
