"""Networks in safetensors files: metanet's own, and those of PyTorch state dicts."""

import os
import pathlib
import re
import struct
from collections.abc import Mapping

import numpy as np

from metanet.interop.guard import reading
from metanet.interop.imported import Imported, framework, refused
from metanet.interop.network import Network
from metanet.interop.state_dict import from_state_dict
from metanet.interop.stored import content_of, header_of, imported_of
from metanet.storage import atomic_path

MAX_HEADER = 2**22  # bytes
_KEY = "metanet"  # of the file's metadata
_TYPES = {"F32": "float32", "F64": "float64", "F16": "float16", "BF16": "bfloat16", "I64": "int64"}


def read_safetensors(path: str | os.PathLike, activation: str | None = None, **options) -> Imported:
    """The network in a safetensors file.

    Args:
      activation: of a plain PyTorch state dict, which does not tell it; None for metanet's files.
        A file has no order, so that layers are in the order of their names, numbers as numbers.
      options: of `state_dict.from_state_dict`, for a plain state dict.

    Returns:
      Of a state dict, `restore` gives a dict of arrays; of metanet's own file, the network.

    Raises:
      UserError: safetensors is not installed, or the file is no network; names it.
    """
    library = framework("safetensors")
    with reading(path, "a safetensors file of a network") as file:
        _check_header(file)
        with library.safe_open(file, framework="np") as archive:
            text = (archive.metadata() or {}).get(_KEY)
            slices = {name: archive.get_slice(name) for name in archive.keys()}
            found = {
                name: (_dtype(name, each.get_dtype()), tuple(each.get_shape()))
                for name, each in slices.items()
            }
            header = None if text is None else header_of(text, found)
            arrays = {name: archive.get_tensor(name) for name in sorted(found, key=_natural)}
        if header is not None:
            return imported_of(header, arrays)
        if activation is None:
            what = "a state dict, which does not tell its activation"
            raise refused("file", what, "the argument activation")
        return from_state_dict(arrays, activation, **options)


def _check_header(path: pathlib.Path) -> None:
    """The header's length is given before it; it is short."""
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) < 8 or struct.unpack("<Q", start)[0] > MAX_HEADER:
        raise refused("file", "a header too long, or none", f"one of at most {MAX_HEADER} bytes")


def _dtype(name: str, code: str) -> str:
    if code not in _TYPES:
        raise refused(f"array {name!r}", f"data type {code}", f"one of {', '.join(_TYPES)}")
    return _TYPES[code]


def _natural(name: str) -> list[tuple[int, str]]:
    """The place of a name among others, numbers in it as numbers."""
    pieces = re.split(r"(\d+)", name)
    return [(int(piece[:18]), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def write_safetensors(
    network: Network,
    path: str | os.PathLike,
    *,
    classes: tuple[str, ...] = (),
    features: tuple[str, ...] = (),
) -> None:
    """Writes metanet's own file: float32 arrays, and a header with all else in its metadata.

    Args:
      classes, features: names, one per logit and input, or ().

    Raises:
      UserError: safetensors is not installed.
    """
    header, arrays = content_of(network, {"classes": classes, "features": features})
    write_arrays(arrays, path, {_KEY: header})


def write_arrays(
    arrays: Mapping[str, np.ndarray], path: str | os.PathLike, metadata: dict[str, str]
) -> None:
    """Writes named arrays as a safetensors file, atomically."""
    numpy = framework("safetensors.numpy")
    plain = {name: np.array(array, order="C") for name, array in arrays.items()}
    with atomic_path(path) as temporary:
        numpy.save_file(plain, temporary, metadata=metadata)
