"""Networks from plain numpy arrays."""

from collections.abc import Sequence

import numpy as np

from metanet.interop.folding import Arrays, cast, imported
from metanet.interop.imported import Imported, refused
from metanet.interop.parts import Parameter
from metanet.interop.sequence import Dense, Normalisation, logits_of

_FLOATS = ("float16", "bfloat16", "float32", "float64")


def floats(name: str, value) -> np.ndarray:
    """`value` as an array of numbers of a floating dtype.

    Raises:
      ValueError: it has another dtype or no numbers; names it.
    """
    array = np.asarray(value)
    if array.dtype.name not in _FLOATS:
        raise refused(name, f"dtype {array.dtype}", f"one of {', '.join(_FLOATS)}")
    if not array.size:
        raise refused(name, f"shape {array.shape}", "positive dimensions")
    return array


def from_arrays(
    weights: Sequence[np.ndarray],
    biases: Sequence[np.ndarray],
    activation: str,
    *,
    skips: Sequence[tuple[int, int]] = (),
    scales: Sequence[np.ndarray] = (),
    shifts: Sequence[np.ndarray] = (),
    means: Sequence[np.ndarray] = (),
    variances: Sequence[np.ndarray] = (),
    epsilon: float = 1e-5,
) -> Imported:
    """A network from arrays of any floating dtype.

    Args:
      weights: one [n_source, n_target] per block, ordered by target, then source, as in
        `MLPSpec.blocks`.
      biases: one [n_l] per layer 1 to L.
      activation: of all hidden layers, one of network.ACTIVATIONS.
      skips: (source, target) of skip connections.
      scales, shifts: of a normalisation before the activation, one [n_l] per hidden layer.
      means, variances: running statistics that make it a batch normalisation; a layer
        normalisation otherwise.
      epsilon: of the normalisation.

    Returns:
      Its `restore` gives the arguments from `weights` on that are arrays, as a dict of lists in the
      dtypes that came in.

    Raises:
      ValueError: the arrays do not fit together; names the array.
    """
    given = {"weights": weights, "biases": biases, "scales": scales, "shifts": shifts}
    given |= {"means": means, "variances": variances}
    raw = {name: [floats(f"{name}[{i}]", a) for i, a in enumerate(v)] for name, v in given.items()}
    found = {
        name: [Parameter(f"{name}[{i}]", a.astype(np.float64)) for i, a in enumerate(arrays)]
        for name, arrays in raw.items()
    }
    layers = len(biases)
    consecutive = [(layer, layer + 1) for layer in range(layers)]
    pairs = sorted({*consecutive, *((source, target) for source, target in skips)},
                   key=lambda pair: (pair[1], pair[0]))  # fmt: skip
    if layers < 2 or len(weights) != len(pairs):
        raise refused("weights", f"{len(weights)} for {layers} biases and {len(skips)} skips",
                      f"{max(layers, 2) + len(skips)}")  # fmt: skip
    for source, target in pairs:
        if not 0 <= source < target <= layers:
            raise refused("skips", f"{(source, target)}", f"layers among 0 to {layers}")
    hidden = layers - 1 if len(scales) + len(means) else 0
    for name in ("scales", "shifts", *(("means", "variances") if len(means) else ())):
        if len(given[name]) != hidden:
            raise refused(name, f"{len(given[name])} arrays", f"{hidden}, one per hidden layer")
    blocks = {
        pair: Dense(
            weight.key, weight, found["biases"][pair[1] - 1] if pair[0] == pair[1] - 1 else None
        )
        for pair, weight in zip(pairs, found["weights"], strict=True)
    }
    norms = [
        Normalisation(
            f"scales[{i}]",
            found["scales"][i],
            found["shifts"][i],
            epsilon,
            found["means"][i].value if len(means) else None,
            found["variances"][i].value if len(means) else None,
        )
        for i in range(hidden)
    ]

    def write(arrays: Arrays) -> dict[str, list[np.ndarray]]:
        return {
            name: [
                cast(key, arrays.get(key, array), array.dtype)
                for i, array in enumerate(group)
                for key in [f"{name}[{i}]"]
            ]
            for name, group in raw.items()
        }

    return imported(logits_of(blocks, activation, norms), write)
