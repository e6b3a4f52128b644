"""Networks in NumPy's npz files: metanet's own, and those of PyTorch state dicts."""

import math
import os
import zipfile

import numpy as np

from metanet.core import atomic_path
from metanet.interop.guard import MAX_BYTES, reading
from metanet.interop.imported import Imported, refused
from metanet.interop.network import Network
from metanet.interop.state_dict import from_state_dict
from metanet.interop.stored import content_of, header_of, imported_of

MAX_ARRAYS = 100_000
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
            arrays = {name.removesuffix(".npy"): array for name, array in _members(archive)}
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


def _members(archive: zipfile.ZipFile):
    """(name, array) of every member; sizes are compared before anything is allocated."""
    members = archive.infolist()
    names = {member.filename for member in members}
    if len(members) > MAX_ARRAYS or len(names) < len(members):
        raise refused("file", f"{len(members)} arrays, {len(names)} names", "each name once")
    if sum(member.file_size for member in members) > MAX_BYTES:
        total = sum(member.file_size for member in members)
        raise refused("file", f"{total} bytes when unpacked", f"at most {MAX_BYTES}")
    for member in members:
        name = f"array {member.filename!r}"
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refused(name, f"compression {member.compress_type}", "none or deflate")
        if not member.filename.endswith(".npy"):
            raise refused(name, "another kind of file", "one that ends in .npy")
        with archive.open(member) as file:
            yield member.filename, _array(name, file, member.file_size)


def _array(name: str, file, size: int) -> np.ndarray:
    """The array in a file of `size` bytes, which is as long as its header says."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise refused(name, f"version {version} of npy", "1.0 or 2.0")
    if dtype.kind not in "fiuU":
        raise refused(name, f"dtype {dtype!s:.50}", "numbers")
    wanted = math.prod(shape) * dtype.itemsize
    if min(shape, default=1) < 0 or wanted != size - file.tell():
        found = f"{size - file.tell()} bytes"
        raise refused(name, found, f"{wanted} of {dtype} of shape {shape}")
    content = file.read()
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))


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
