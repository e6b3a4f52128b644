"""Networks in NumPy's npz files: metanet's own, and those of PyTorch state dicts."""

import os
import zipfile

import numpy as np

from metanet.interop.guard import reading
from metanet.interop.imported import Imported, refused
from metanet.interop.network import Network
from metanet.interop.npz_arrays import read_arrays
from metanet.interop.state_dict import from_state_dict
from metanet.interop.stored import content_of, header_of, imported_of
from metanet.storage import atomic_path

_HEADER = "header"


def read_npz(path: str | os.PathLike, activation: str | None = None, **options) -> Imported:
    """The network in an npz file, whose arrays are never objects.

    Args:
      activation: of a plain PyTorch state dict, which does not tell it; None for metanet's files.
      options: of `state_dict.from_state_dict`, for a plain state dict.

    Returns:
      Of a state dict, `restore` gives a dict of arrays; of metanet's own file, the network.

    Raises:
      UserError: the file is no network; names it.
    """
    with reading(path, "an npz file of a network") as file:
        with zipfile.ZipFile(file) as archive:
            arrays = read_arrays(archive)
        if _HEADER in arrays:
            text = arrays.pop(_HEADER)
            if text.dtype.kind != "U" or text.ndim:
                raise refused(_HEADER, f"{text.dtype} of shape {text.shape}", "one text")
            found = {name: (each.dtype.name, each.shape) for name, each in arrays.items()}
            return imported_of(header_of(str(text), found), arrays)
        if activation is None:
            what = "a state dict, which does not tell its activation"
            raise refused("file", what, "the argument activation")
        return from_state_dict(arrays, activation, **options)


def write_npz(
    network: Network,
    path: str | os.PathLike,
    *,
    classes: tuple[str, ...] = (),
    features: tuple[str, ...] = (),
) -> None:
    """Writes metanet's own file: float32 arrays, and a text that says all else.

    Args:
      classes, features: names, one per logit and input, or ().
    """
    header, arrays = content_of(network, {"classes": classes, "features": features})
    write_arrays(arrays | {_HEADER: np.array(header)}, path)


def write_arrays(arrays: dict[str, np.ndarray], path: str | os.PathLike) -> None:
    """Writes named arrays as an npz file, atomically.

    Raises:
      ValueError: the format has no such dtype (bfloat16).
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "fiuU":
            raise refused(name, f"dtype {array.dtype}", "one that npz files have")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
