"""Networks in PyTorch's files of state dicts."""

import dataclasses
import io
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from metanet.interop.guard import reading
from metanet.interop.imported import Imported, framework, refused
from metanet.interop.network import Network
from metanet.interop.pytorch_pickle import check_pickle
from metanet.interop.state_dict import from_state_dict
from metanet.storage import atomic_path

MAX_PICKLE = 2**22  # bytes: names and shapes
MAX_PARTS = 100_000


def read_torch(path: str | os.PathLike, activation: str | None = None, **options) -> Imported:
    """The network in a file of `torch.save(module.state_dict(), path)`.

    The file is read with `torch.load(weights_only=True)`, once its pickle is known to make tensors
    alone, whose numbers are in the file.

    Args:
      activation: which the file does not tell.
      options: of `state_dict.from_state_dict`.

    Returns:
      Its `restore` gives a state dict of tensors.

    Raises:
      UserError: PyTorch is not installed, or the file is no network; names it.
    """
    torch = framework("torch")
    with reading(path, "a file of a PyTorch state dict") as file:
        content = _checked(file)
        if activation is None:
            found = "a state dict, which does not tell its activation"
            raise refused("file", found, "the argument activation")
        state = torch.load(content, map_location="cpu", weights_only=True)
        read = from_state_dict(arrays_of(state), activation, **options)

    def restore(network: Network) -> dict[str, Any]:
        return {key: _tensor(torch, value) for key, value in read.restore(network).items()}

    return dataclasses.replace(read, restore=restore)


def _checked(path: pathlib.Path) -> io.BytesIO:
    """A copy of the file with what torch.load needs, once its pickle is known to be harmless.

    A copy, because two readers of zips may find other parts in one file.
    """
    if not zipfile.is_zipfile(path):
        raise refused("file", "no zip", "a file of torch.save, as of version 1.6")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = {member.filename for member in members}
        if len(members) > MAX_PARTS or len(names) < len(members):
            raise refused("file", f"{len(members)} parts, {len(names)} names", "each name once")
        for member in members:
            stored = member.compress_type == zipfile.ZIP_STORED
            if not stored or member.file_size != member.compress_size:
                raise refused(f"part {member.filename!r}", "compression", "none")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise refused("file", "parts that overlap", "as many bytes as they have")
        pickles = [each for each in members if each.filename.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE:
            raise refused("file", f"{len(pickles)} pickles", f"one of at most {MAX_PICKLE} bytes")
        folder = pickles[0].filename.removesuffix("data.pkl")
        parts = {
            member.filename.removeprefix(folder): archive.read(member)
            for member in members
            if member.filename.removeprefix(folder).startswith(("data", "version", "byteorder"))
        }
    sizes = {
        name.removeprefix("data/"): len(part)
        for name, part in parts.items()
        if name.startswith("data/")
    }
    check_pickle(parts["data.pkl"], sizes)
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as archive:
        for name, part in parts.items():
            archive.writestr(f"archive/{name}", part)
    copy.seek(0)
    return copy


def arrays_of(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Tensors as arrays of their own dtypes."""
    torch = framework("torch")

    def array(tensor) -> np.ndarray:
        plain = tensor.detach().cpu().contiguous()
        if plain.dtype is torch.bfloat16:
            return plain.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return plain.numpy()

    return {key: array(value) for key, value in state.items()}


def _tensor(torch, array: np.ndarray):
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(np.array(array).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(array, order="C"))


def write_arrays(state: Mapping[str, np.ndarray], path: str | os.PathLike) -> None:
    """Writes arrays as a state dict of tensors with `torch.save`, atomically."""
    torch = framework("torch")
    tensors = {key: _tensor(torch, value) for key, value in state.items()}
    with atomic_path(path) as temporary:
        torch.save(tensors, temporary)
