"""The arrays of an npz file, whose sizes are compared before anything is allocated.

`numpy.load` unpacks whatever an archive holds and believes the shapes in it: a file of a megabyte
may ask for all memory there is.
"""

import math
import zipfile

import numpy as np

from metanet.interop.guard import MAX_BYTES
from metanet.interop.imported import refused

MAX_ARRAYS = 100_000


def read_arrays(archive: zipfile.ZipFile, most: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """The arrays of numbers and texts in an archive by their names, never objects.

    Args:
      most: bytes of all of them, unpacked.

    Raises:
      ValueError: it holds something else, or more; or what zipfile raises for a damaged one.
    """
    members = archive.infolist()
    names = {member.filename for member in members}
    if len(members) > MAX_ARRAYS or len(names) < len(members):
        raise refused("file", f"{len(members)} arrays, {len(names)} names", "each name once")
    total = sum(member.file_size for member in members)
    if total > most:
        raise refused("file", f"{total} bytes when unpacked", f"at most {most}")
    return {member.filename.removesuffix(".npy"): _member(archive, member) for member in members}


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    name = f"array {member.filename!r}"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refused(name, f"compression {member.compress_type}", "none or deflate")
    if not member.filename.endswith(".npy"):
        raise refused(name, "another kind of file", "one that ends in .npy")
    with archive.open(member) as file:
        return _array(name, file, member.file_size)


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
