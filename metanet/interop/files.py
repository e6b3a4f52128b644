"""Networks in files of any known format, which their extensions tell."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from metanet.core import UserError
from metanet.interop import npz_file, pytorch_file, safetensors_file
from metanet.interop.imported import Imported, short
from metanet.interop.network import Network
from metanet.interop.onnx_graph import read_onnx
from metanet.interop.onnx_write import to_onnx
from metanet.interop.state_dict import to_state_dict
from metanet.storage import atomic_path

EXTENSIONS = (".safetensors", ".onnx", ".pt", ".pth", ".npz")


def read(path: str | os.PathLike, activation: str | None = None) -> Imported:
    """The network in a file.

    Args:
      path: ends in one of EXTENSIONS.
      activation: one of network.ACTIVATIONS; needed for a PyTorch state dict (.pt, .pth, or arrays
        with its names in .safetensors and .npz), which does not tell it; that of others is
        compared with it.

    Raises:
      UserError: the format's package is not installed, or the file is no network; one line that
        names the file, what was found and what was expected.
    """
    match _extension(path):
        case ".onnx":
            found = read_onnx(path)
        case ".safetensors":
            found = safetensors_file.read_safetensors(path, activation)
        case ".npz":
            found = npz_file.read_npz(path, activation)
        case _:
            found = pytorch_file.read_torch(path, activation)
    if activation not in (None, found.network.activation):
        raise UserError(
            f"{path}: found activation {found.network.activation}, expected {short(activation)}"
        )
    return found


def write(model: Imported | Network, path: str | os.PathLike) -> None:
    """Writes a network to a file, atomically.

    An edited network goes back as what it was read from, `dataclasses.replace(read,
    network=edited)`, if that is of the file's format: an ONNX graph, a state dict, and for .pt and
    .pth a PyTorch module, whose state dict is written. All else is written anew: .safetensors and
    .npz hold metanet's header and arrays, .onnx a graph from "x" to "logits", .pt and .pth the
    state dict of `state_dict.to_state_dict`.

    Args:
      path: ends in one of EXTENSIONS.

    Raises:
      UserError: the format is unknown or its package is not installed.
      ValueError: the network does not fit the model that it came from.
    """
    extension = _extension(path)
    network, source, names = model, None, {}  # type: Any, Any, dict[str, tuple[str, ...]]
    if isinstance(model, Imported):
        network, source = model.network, model.restore(model.network)
        names = {"classes": model.classes, "features": model.features}
    if extension in (".pt", ".pth") and hasattr(source, "state_dict"):
        source = source.state_dict()
    state = _arrays(source)
    match extension:
        case ".onnx":
            graph = source if hasattr(source, "SerializeToString") else to_onnx(network)
            with atomic_path(path) as temporary:
                temporary.write_bytes(graph.SerializeToString())
        case ".safetensors" if state:
            safetensors_file.write_arrays(state, path, {})
        case ".safetensors":
            safetensors_file.write_safetensors(network, path, **names)
        case ".npz" if state:
            npz_file.write_arrays(state, path)
        case ".npz":
            npz_file.write_npz(network, path, **names)
        case _:
            pytorch_file.write_arrays(state or to_state_dict(network), path)


def _extension(path: str | os.PathLike) -> str:
    found = pathlib.Path(path).suffix.lower()
    if found not in EXTENSIONS:
        raise UserError(f"{path}: found extension {found!r}, expected {', '.join(EXTENSIONS)}")
    return found


def _arrays(source: Any) -> dict[str, np.ndarray]:
    """The arrays of a state dict, {} of anything else."""
    if not isinstance(source, Mapping):
        return {}
    if all(hasattr(each, "detach") for each in source.values()):
        return pytorch_file.arrays_of(source)
    return dict(source) if all(isinstance(v, np.ndarray) for v in source.values()) else {}
