"""Networks from Flax modules, of linen and of nnx."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from metanet.interop import parts
from metanet.interop.arrays import floats
from metanet.interop.folding import Arrays, cast, imported
from metanet.interop.imported import Imported, framework, refused
from metanet.interop.parts import Parameter
from metanet.interop.sequence import Dense, Normalisation, blocks_of, logits_of
from metanet.interop.verify import TOLERANCE, gap, rows_for
from metanet.mlp.network import ACTIVATIONS

_ROLES = ("kernel", "bias", "scale", "mean", "var")


@dataclasses.dataclass(frozen=True)
class _Layer:
    """A layer as its module shows it: path, class, arrays by role, and epsilon if it has one."""

    path: tuple[Any, ...]
    kind: str
    arrays: Mapping[str, np.ndarray]
    epsilon: float

    @property
    def name(self) -> str:
        return "/".join(map(str, self.path))


def from_flax(
    module,
    variables: Mapping[str, Any] | None = None,
    *,
    skips: Mapping[tuple[int, int], str] | None = None,
    **arguments,
) -> Imported:
    """The network that a Flax module computes.

    A module's functions cannot be read, so that activation and place of batch normalisations are
    tried, and the network is taken whose logits are the module's on random rows. Layers are
    Dense (linen) or Linear (nnx), BatchNorm and LayerNorm, in the order of their calls (linen) or
    of their definition (nnx).

    Args:
      module: maps [rows, features] to logits [rows, classes], or [rows, 1] of two classes.
      variables: of a linen module: "params" and, with batch normalisation, "batch_stats".
      skips: path, with slashes, of the layer that is the skip connection (source, target).
      arguments: of the module's call in inference, such as train=False.

    Returns:
      Its `restore` gives variables, or a module of nnx, like these.

    Raises:
      ValueError: no network that the layers make has the module's logits; names a layer, where one
        is the reason.
    """
    linen, nnx = framework("flax.linen"), framework("flax.nnx")
    if isinstance(module, linen.Module):
        layers = _linen_layers(linen, module, variables, arguments)

        def outputs(rows: np.ndarray) -> np.ndarray:
            return module.apply(variables, rows, **arguments)

        def write(arrays: Arrays):
            return _written(variables, arrays)

    elif isinstance(module, nnx.Module):
        still = nnx.clone(module)
        still.eval()
        layers = list(_nnx_layers(nnx, (), module))

        def outputs(rows: np.ndarray) -> np.ndarray:
            return still(rows, **arguments)

        def write(arrays: Arrays):
            return _changed(nnx, module, arrays)

    else:
        raise refused("module", type(module).__name__, "a module of flax.linen or flax.nnx")
    found = list(_candidates(layers, skips or {}, write))
    theirs = np.asarray(outputs(rows_for(found[0].network)))
    gaps = [gap(each.network, lambda rows: theirs) for each in found]
    if not min(gaps) <= TOLERANCE:
        raise refused(
            "module",
            f"logits that differ by {min(gaps):.2g} from all networks of its layers",
            f"at most {TOLERANCE}: linear layers in order with one of {', '.join(ACTIVATIONS)}",
        )
    return found[gaps.index(min(gaps))]


def _candidates(layers: list[_Layer], skips, write) -> Iterator[Imported]:
    """The networks that the layers may make."""
    first = layers[0] if layers and "mean" in layers[0].arrays else None
    dense, norms = {}, []
    for layer in layers[1:] if first else layers:
        if "kernel" in layer.arrays:
            kernel, bias = _parameter(layer, "kernel"), _parameter(layer, "bias")
            assert kernel is not None
            dense[layer.name] = Dense(layer.name, kernel, bias)
        else:
            norms.append(_normalisation(layer))
    blocks = blocks_of(dense, skips)
    scaler = None
    if first:
        scaled = _normalisation(first)(parts.Features())
        assert isinstance(scaled, parts.Features)
        scaler = scaled.after
    batch = bool(norms) and all(norm.mean is not None for norm in norms)
    for activation in ACTIVATIONS:
        for after in (False, True) if batch else (False,):
            yield imported(logits_of(blocks, activation, norms, after=after, scaler=scaler), write)


def _parameter(layer: _Layer, role: str) -> Parameter | None:
    if role not in layer.arrays:
        return None
    return Parameter(f"{layer.name}/{role}", layer.arrays[role].astype(np.float64))


def _normalisation(layer: _Layer) -> Normalisation:
    statistics = [
        layer.arrays[role].astype(np.float64) if role in layer.arrays else None
        for role in ("mean", "var")
    ]
    scale, shift = _parameter(layer, "scale"), _parameter(layer, "bias")
    return Normalisation(layer.name, scale, shift, layer.epsilon, *statistics)


def _linen_layers(linen, module, variables, arguments) -> list[_Layer]:
    """The layers that a call of the module calls, in this order."""
    if not isinstance(variables, Mapping) or "params" not in variables:
        raise refused("variables", type(variables).__name__, 'a dict with "params"')
    arrays = {_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}
    calls: dict[tuple[str, ...], Any] = {}
    known = (linen.Dense, linen.BatchNorm, linen.LayerNorm)

    def note(call, args, kwargs, context):
        if context.method_name == "__call__":
            path = context.module.path
            if isinstance(context.module, known) and path in calls:
                raise refused("/".join(path), "a layer that is called twice", "no tied weights")
            if isinstance(context.module, known):
                calls[path] = context.module
        return call(*args, **kwargs)

    widths = {leaf.shape[0] for path, leaf in arrays.items() if path[-1] == "kernel"}
    reason = "no kernel"
    for width in sorted(widths):  # the input's is not known
        calls.clear()
        try:
            with linen.intercept_methods(note):
                jax.eval_shape(
                    lambda rows: module.apply(variables, rows, **arguments),
                    jax.ShapeDtypeStruct((2, width), np.float32),
                )
            break
        except Exception as error:  # of the module's own code
            reason = repr(error)
    else:
        raise refused("module", f"one that cannot be called ({reason})", "[rows, features]")
    layers = []
    for path, layer in calls.items():
        own = {
            role: floats("/".join([*path, role]), arrays[collection, *path, role])
            for collection in ("params", "batch_stats")
            for role in _ROLES
            if (collection, *path, role) in arrays
        }
        layers.append(_Layer(path, type(layer).__name__, own, getattr(layer, "epsilon", 0.0)))
    unused = {path[1:-1] for path in arrays} - set(calls)
    if unused:
        expected = "Dense, BatchNorm and LayerNorm"
        raise refused("/".join(min(unused)), "a layer of another class, or unused", expected)
    return layers


def _path(path) -> tuple[str, ...]:
    return tuple(str(getattr(key, "key", getattr(key, "name", key))) for key in path)


def _written(variables, arrays: Arrays):
    """Variables like these with other parameters."""

    def replaced(path, leaf):
        collection, *names = _path(path)
        key = "/".join(names)
        if collection != "params" or key not in arrays:
            return leaf
        value = cast(key, arrays[key], leaf.dtype)
        return value if isinstance(leaf, np.ndarray) else jax.numpy.asarray(value)

    return jax.tree_util.tree_map_with_path(replaced, variables)


def _nnx_layers(nnx, path: tuple[Any, ...], value) -> Iterator[_Layer]:
    """The layers in a module of nnx, in the order in which they are defined."""
    if isinstance(value, nnx.Linear | nnx.BatchNorm | nnx.LayerNorm):
        own = {
            role: floats("/".join(map(str, [*path, role])), np.asarray(getattr(value, role)[...]))
            for role in _ROLES
            if getattr(value, role, None) is not None
        }
        yield _Layer(path, type(value).__name__, own, getattr(value, "epsilon", 0.0))
    elif isinstance(value, list | tuple | getattr(nnx, "List", list)):
        for index, each in enumerate(value):
            yield from _nnx_layers(nnx, (*path, index), each)
    elif isinstance(value, nnx.Module):
        for name, each in vars(value).items():
            yield from _nnx_layers(nnx, (*path, name), each)
    elif isinstance(value, nnx.Variable):
        expected = "Linear, BatchNorm and LayerNorm"
        raise refused("/".join(map(str, path)), "a variable of another layer", expected)


def _changed(nnx, module, arrays: Arrays):
    """A module like this one with other parameters."""
    result = nnx.clone(module)
    for key, value in arrays.items():
        *path, role = key.split("/")
        layer = result
        for name in path:
            layer = layer[int(name)] if re.fullmatch(r"\d+", name) else getattr(layer, name)
        variable = getattr(layer, role)
        variable[...] = jax.numpy.asarray(cast(key, value, variable[...].dtype))
    return result
