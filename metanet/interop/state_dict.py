"""Networks from the arrays of a PyTorch state dict."""

from collections.abc import Mapping

import numpy as np

from metanet.interop.arrays import floats
from metanet.interop.folding import Arrays, cast, imported
from metanet.interop.imported import Imported, refused
from metanet.interop.parts import Parameter
from metanet.interop.sequence import Dense, Normalisation, logits_of

_STATISTICS = ("running_mean", "running_var")
_ROLES = ("weight", "bias", *_STATISTICS, "num_batches_tracked")


def from_state_dict(
    state: Mapping[str, np.ndarray],
    activation: str,
    *,
    norm: str = "none",
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
      norm: "none", "batch" or "layer", which is compared with what is there.
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
    dense: dict[str, Dense] = {}
    norms: list[Normalisation] = []
    for name in dict.fromkeys(key.rpartition(".")[0] for key in raw):
        layer = _layer({role: raw.get(f"{name}.{role}") for role in _ROLES}, name, epsilon)
        if isinstance(layer, Dense):
            dense[name] = layer
        else:
            norms.append(layer)
    kinds = {"layer" if each.mean is None else "batch" for each in norms} or {"none"}
    if kinds != {norm}:
        raise refused("norm", repr(norm), f"{' and '.join(sorted(kinds))}, as the arrays are")

    def write(arrays: Arrays) -> dict[str, np.ndarray]:
        restored = {key: np.array(value) for key, value in state.items()}
        for key, value in arrays.items():
            dtype = raw[key].dtype if key in raw else next(iter(raw.values())).dtype
            restored[key] = cast(key, value.T, dtype)
        return restored

    return imported(logits_of(_blocks(dense, skips or {}), activation, norms), write)


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


def _blocks(
    dense: Mapping[str, Dense], skips: Mapping[tuple[int, int], str]
) -> dict[tuple[int, int], Dense]:
    """The linear layers by (source, target): those that are no skips follow one another."""
    for pair, name in skips.items():
        if name not in dense:
            known = ", ".join(dense) or "none"
            raise refused(f"skips{pair}", repr(name), f"the name of a linear layer: {known}")
    main = [layer for name, layer in dense.items() if name not in skips.values()]
    if len(main) < 2:
        raise refused("state", f"{len(main)} linear layers that are no skips", "at least 2")
    for source, target in skips:
        if not 0 <= source < target - 1 < len(main):
            raise refused("skips", f"{(source, target)}", f"layers among 0 to {len(main)}")
    blocks = {(layer, layer + 1): each for layer, each in enumerate(main)}
    return blocks | {pair: dense[name] for pair, name in skips.items()}
