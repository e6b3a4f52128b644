"""Networks with their weights in compressed sparse rows (CSR), in memory and in files."""

import os
import zipfile
import zlib

import numpy as np
from scipy.sparse import csr_array

from metanet.core import UserError
from metanet.interop.imported import MAX_LAYERS, MAX_WEIGHTS
from metanet.interop.network import Network
from metanet.interop.npz_arrays import read_arrays
from metanet.mlp.network import MLPParams, shapes_of
from metanet.mlp.spec import MLPSpec
from metanet.storage import atomic_path

# What numpy and zipfile raise for one or another damaged file.
_DAMAGED = (ValueError, LookupError, TypeError, EOFError, RuntimeError, MemoryError, OverflowError,
            zipfile.BadZipFile, zlib.error)  # fmt: skip
_CSR = ("data", "indices", "indptr")
_VECTORS = ("biases", "scales", "shifts")


def sparse(network: Network) -> dict[str, np.ndarray]:
    """A network as arrays that hold its nonzero weights alone.

    Returns:
      "widths" int64 [L + 1], "skips" int64 [n, 2], "norm" and "activation", strings;
      for block k of `spec.blocks`, [n_source, n_target], in CSR: "data_k" float32 [nonzero],
      "indices_k" int32 [nonzero], "indptr_k" int32 [n_source + 1];
      for number i of biases, scales and shifts, each as it is in `MLPParams`: "biases_i" and so on.
    """
    spec, params = network.spec, network.params
    arrays = {
        "widths": np.array(spec.widths, np.int64),
        "skips": np.array(spec.skips, np.int64).reshape(-1, 2),
        "norm": np.array(spec.norm),
        "activation": np.array(network.activation),
    }
    for k, weight in enumerate(params.weights):
        rows = csr_array(np.asarray(weight, np.float32))
        arrays[f"data_{k}"] = rows.data
        arrays |= {f"{part}_{k}": getattr(rows, part).astype(np.int32) for part in _CSR[1:]}
    for name in _VECTORS:
        for i, leaf in enumerate(getattr(params, name)):
            arrays[f"{name}_{i}"] = np.asarray(leaf, np.float32)
    return arrays


def dense(arrays: dict[str, np.ndarray]) -> Network:
    """The network of which `arrays` are `sparse`, equal to the bit, but that -0 has become 0.

    Raises:
      ValueError: they are not those of a network: which array, what was found, what was expected.
    """
    spec = _spec(arrays)
    shapes = shapes_of(spec)
    names = {"widths", "skips", "norm", "activation"}
    names |= {f"{name}_{i}" for name in _VECTORS for i in range(len(shapes[name]))}
    names |= {f"{part}_{k}" for part in _CSR for k in range(len(spec.blocks))}
    if names != arrays.keys():
        wrong = min(names ^ arrays.keys())
        found, expected = ("no array", "one") if wrong in names else ("an array", "none")
        raise ValueError(f"{wrong}: found {found} of this name, expected {expected}")
    # Vectors first: they are as long as the widths say, so that these claim no more memory.
    leaves: dict[str, tuple] = {
        name: tuple(
            _checked(arrays, f"{name}_{i}", np.float32, shape)
            for i, shape in enumerate(shapes[name])
        )
        for name in _VECTORS
    }
    leaves["weights"] = tuple(_block(arrays, k, shape) for k, shape in enumerate(shapes["weights"]))
    activation = str(_checked(arrays, "activation", np.str_, ()))
    return Network(spec, MLPParams(**leaves), activation)


def write_sparse(path: str | os.PathLike, network: Network) -> None:
    """Writes the arrays of `sparse` as one compressed .npz, atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **sparse(network))  # type: ignore[arg-type]


def read_sparse(path: str | os.PathLike) -> Network:
    """What `write_sparse` has written.

    Raises:
      UserError: there is no such file, or it is damaged.
    """
    expected = "a network as written by write_sparse"
    try:
        with zipfile.ZipFile(path) as archive:
            return dense(read_arrays(archive))
    except OSError as error:
        raise UserError(f"{path}: found {error.strerror or error}, expected {expected}") from error
    except _DAMAGED as error:
        raise UserError(f"{path}: found a damaged file ({error}), expected {expected}") from error


def _spec(arrays: dict[str, np.ndarray]) -> MLPSpec:
    widths = _checked(arrays, "widths", np.int64, None)
    skips = _checked(arrays, "skips", np.int64, None)
    if widths.ndim != 1 or skips.shape[1:] != (2,):
        raise ValueError(
            f"widths, skips: found shapes {widths.shape}, {skips.shape}, expected [L + 1], [n, 2]"
        )
    if len(widths) > MAX_LAYERS:
        raise ValueError(f"widths: found {len(widths)} layers, expected at most {MAX_LAYERS}")
    pairs = tuple((source, target) for source, target in skips.tolist())
    spec = MLPSpec(tuple(widths.tolist()), pairs, str(_checked(arrays, "norm", np.str_, ())))
    if spec.n_weights > MAX_WEIGHTS:
        raise ValueError(f"widths: found {spec.n_weights} weights, expected at most {MAX_WEIGHTS}")
    return spec


def _block(arrays: dict[str, np.ndarray], k: int, shape: tuple[int, ...]) -> np.ndarray:
    """The weights [n_source, n_target] of block k."""
    indptr = _checked(arrays, f"indptr_{k}", np.int32, (shape[0] + 1,))
    indices = _checked(arrays, f"indices_{k}", np.int32, (int(indptr[-1]),))
    data = _checked(arrays, f"data_{k}", np.float32, (int(indptr[-1]),))
    try:
        rows = csr_array((data, indices, indptr), shape)
        rows.check_format(full_check=True)
    except ValueError as error:
        raise ValueError(f"indices_{k}, indptr_{k}: found no compressed rows: {error}") from error
    if not rows.has_canonical_format:
        raise ValueError(f"indices_{k}: found a row that does not ascend")
    return rows.toarray()


def _checked(
    arrays: dict[str, np.ndarray], name: str, dtype: type, shape: tuple[int, ...] | None
) -> np.ndarray:
    """The array called `name`, of this dtype and shape; of any shape with None."""
    if name not in arrays:
        raise ValueError(f"{name}: found no array of this name")
    array = arrays[name]
    if not np.issubdtype(array.dtype, dtype):
        raise ValueError(f"{name}: found {array.dtype}, expected {np.dtype(dtype).name}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name}: found shape {array.shape}, expected {shape}")
    return array
