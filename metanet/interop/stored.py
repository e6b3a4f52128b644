"""Networks as a header for JSON and named arrays: the content of metanet's own files."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from metanet.interop.imported import MAX_LAYERS, MAX_WEIGHTS, Imported, Refused, refused, short
from metanet.interop.network import Network
from metanet.mlp.network import ACTIVATIONS, MLPParams, shapes_of
from metanet.mlp.spec import MLPSpec

FORMAT, VERSION = "metanet-network", 1
_NEEDED = {"widths", "skips", "norm", "activation"}
_KEYS = {"format", "version", "classes", "features", *_NEEDED}


def content_of(network: Network, names: Mapping[str, tuple[str, ...]]) -> tuple[str, dict]:
    """(header, arrays) of a network; `names` has its `classes` and `features`."""
    spec = network.spec
    header = {
        "format": FORMAT,
        "version": VERSION,
        "widths": spec.widths,
        "skips": spec.skips,
        "norm": spec.norm,
        "activation": network.activation,
        **names,
    }
    arrays = {
        f"{group}.{index}": np.ascontiguousarray(leaf, np.float32)
        for group in shapes_of(spec)
        for index, leaf in enumerate(getattr(network.params, group))
    }
    return json.dumps(header), arrays


def header_of(text: str, found: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Any]:
    """The header, once all it says is known to fit the arrays in the file.

    Args:
      text: JSON.
      found: dtype and shape of the arrays by their names.

    Raises:
      ValueError: it is no header, of another version, or the arrays are not its.
    """
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused("header", f"no JSON ({error})", "that of a network") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise refused("header", "another format", repr(FORMAT))
    if header.get("version") != VERSION:
        raise refused("header", f"version {header.get('version')!r:.20}", str(VERSION))
    if not _NEEDED <= set(header) <= _KEYS:
        raise refused("header", f"keys {sorted(header)}", f"{sorted(_KEYS)}")
    if header["activation"] not in ACTIVATIONS:
        raise refused("activation", repr(header["activation"]), f"one of {', '.join(ACTIVATIONS)}")
    spec = _spec(header)
    expected = {
        f"{group}.{index}": ("float32", shape)
        for group, shapes in shapes_of(spec).items()
        for index, shape in enumerate(shapes)
    }
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            one, other = (_described(each.get(name)) for each in (found, expected))
            raise refused(f"array {name!r}", one, other)
    return header


def _described(array: tuple[str, tuple[int, ...]] | None) -> str:
    return "none" if array is None else f"{array[0]} of shape {array[1]}"


def _spec(header: Mapping[str, Any]) -> MLPSpec:
    widths, skips = header["widths"], header["skips"]
    if not _integers(widths) or not 3 <= len(widths) <= MAX_LAYERS:
        raise refused("header", "widths of another kind", f"3 to {MAX_LAYERS} positive integers")
    pairs = isinstance(skips, list) and all(_integers(each) and len(each) == 2 for each in skips)
    if not pairs or len(skips) > MAX_WEIGHTS:
        raise refused("header", "skips of another kind", "pairs of layers")
    if not isinstance(header["norm"], str):
        raise refused("header", "norm of another kind", "a text")
    try:
        spec = MLPSpec(tuple(widths), tuple((each[0], each[1]) for each in skips), header["norm"])
    except ValueError as error:
        raise Refused(short(f"header: {error}")) from error
    if spec.n_weights > MAX_WEIGHTS:
        raise refused("header", f"{spec.n_weights} weights", f"at most {MAX_WEIGHTS}")
    for key, count in (("classes", widths[-1]), ("features", widths[0])):
        names = header.get(key, [])
        texts = isinstance(names, list) and all(isinstance(each, str) for each in names)
        if not texts or len(names) not in (0, count):
            raise refused("header", f"{key} of another kind", f"{count} texts, or none")
    return spec


def _integers(value) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def imported_of(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Imported:
    """The network of a checked header and its arrays; its `restore` gives the network itself.

    Raises:
      ValueError: a number is not finite.
    """
    spec = _spec(header)
    groups: dict[str, Any] = {
        group: tuple(arrays[f"{group}.{index}"] for index in range(len(shapes)))
        for group, shapes in shapes_of(spec).items()
    }
    try:
        network = Network(spec, MLPParams(**groups), header["activation"])
    except ValueError as error:
        raise Refused(short(str(error))) from error
    names = {key: tuple(header.get(key, ())) for key in ("classes", "features")}
    return Imported(network, lambda edited: edited, **names)
