"""Checks of what an editor is given from outside: models, lambda, probe rows."""

from typing import Any

import jax
import numpy as np

from metanet.editor.model import EditorConfig
from metanet.graphs.topology import Template
from metanet.mlp.network import ACTIVATIONS, MLPParams, shapes_of
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec
from metanet.probes.rows import Points


def expect(ok: bool, name: str, found, expected: str) -> None:
    """Raises ValueError about the argument called `name` unless `ok`."""
    if not ok:
        raise ValueError(f"{name}: found {found}, expected {expected}")


def _shape(value) -> Any:
    """The shape of an array, or the type of anything else."""
    return tuple(value.shape) if hasattr(value, "shape") else type(value).__name__


def _array(name: str, value, kind: type, expected: str) -> np.ndarray:
    """An array of numbers of one kind, on the host."""
    ok = isinstance(value, (np.ndarray, jax.Array, np.generic, int, float, list, tuple))
    # The text of a good array would take a millisecond.
    if not ok or isinstance(value, bool):
        expect(False, name, repr(value), expected)
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.asarray(None)
    if not np.issubdtype(array.dtype, kind):
        expect(False, name, f"{array.dtype} values", expected)
    return array


def check_lambda(lam, models: int, requirements: int) -> np.ndarray:
    """Lambda of every model: [models, requirements] float64.

    Args:
      lam: of all models, [] or [requirements]; or of each, [models, requirements].

    Raises:
      ValueError: it has another shape, or a number that is not positive and finite.
    """
    expected = "a positive number" if requirements == 1 else f"{requirements} positive numbers"
    values = _array("lam", lam, np.number, expected).astype(np.float64)
    whole = (models, requirements)
    if values.ndim < 2:
        values = np.atleast_1d(values)
        expect(values.size == requirements, "lam", f"{values.size} numbers", expected)
    else:
        expect(values.shape == whole, "lam", f"shape {values.shape}", f"{whole}, or {expected}")
    ok = bool(np.isfinite(values).all() and (values > 0).all())
    expect(ok, "lam", np.asarray(lam).tolist(), expected)
    return np.broadcast_to(values, whole)


def check_stack(stack: Stack, template: Template) -> None:
    """Refuses models that an editor for `template` would misread.

    Raises:
      ValueError: the spec does not fit the template, or an array is not of the spec's shape.
    """
    expect(isinstance(stack, Stack), "stack", type(stack).__name__, "a Stack")
    spec = stack.spec
    expect(isinstance(spec, MLPSpec), "stack.spec", type(spec).__name__, "an MLPSpec")
    hidden = spec.widths[1:-1]
    found = f"{spec.widths[0]} inputs, {len(hidden)} hidden layers, a width of {max(hidden)} and "
    found += f"{spec.widths[-1]} outputs"
    most = f"at most {template.n_in}, {template.depth} and {template.width}, and {template.n_out}"
    fits = spec.widths[0] <= template.n_in and len(hidden) <= template.depth
    fits &= max(hidden) <= template.width and spec.widths[-1] == template.n_out
    expect(fits, "stack.spec", found, f"{most} outputs, as in the editor's training")
    activation = _array("stack.activation", stack.activation, np.integer, "[M] whole numbers")
    count, last = activation.size, len(ACTIVATIONS) - 1
    shape = activation.shape
    expect(len(shape) == 1 and count > 0, "stack.activation", f"shape {shape}", "[M], M > 0")
    known = f"0 to {last}, the index of one of {', '.join(ACTIVATIONS)}"
    inside = activation.min() >= 0 and activation.max() <= last
    expect(bool(inside), "stack.activation", activation.tolist(), known)
    params = stack.params
    expect(isinstance(params, MLPParams), "stack.params", type(params).__name__, "MLPParams")
    for name, shapes in shapes_of(spec).items():
        leaves = getattr(params, name)
        key, kind = f"stack.params.{name}", type(leaves).__name__
        expect(isinstance(leaves, (tuple, list)), key, kind, "a tuple of arrays")
        expected = f"{len(shapes)} for {spec}"
        if name in ("scales", "shifts") and spec.norm == "batch":
            expected += ": batch normalisation has to be folded, see metanet.mlp.network.fold"
        expect(len(leaves) == len(shapes), key, f"{len(leaves)} arrays", expected)
        for index, (leaf, shape) in enumerate(zip(leaves, shapes, strict=True)):
            whole, place = (count, *shape), f"{key}[{index}]"
            expect(_shape(leaf) == whole, place, f"shape {_shape(leaf)}", f"{whole}")
            values = _array(place, leaf, np.floating, "floating-point numbers")
            expect(bool(np.isfinite(values).all()), place, "NaN or infinity", "finite numbers")


def check_points(points: Points | None, config: EditorConfig, n_in: int) -> None:
    """Refuses probe rows that an editor of this config would misread.

    Raises:
      ValueError: there are none, they have another number of features, hold NaN, or have cells of
        (label, group) where the editor has none, or the other way round.
    """
    if config.probe is None:
        expect(points is None, "points", type(points).__name__, "None: the editor has no probe")
        return
    ready = f"Points of {n_in} features, see metanet.probes.rows.points_of"
    expect(isinstance(points, Points), "points", type(points).__name__, ready)
    assert points is not None
    shape = _shape(points.x)
    ok = len(shape) == 2 and shape[0] > 0 and shape[1] == n_in
    expect(ok, "points.x", f"shape {shape}", f"[rows, {n_in}], at least one row")
    for name in ("cell", "weight"):
        size = _shape(getattr(points, name))
        expect(size == shape[:1], f"points.{name}", f"shape {size}", f"{shape[:1]}, as rows of x")
    for name in ("x", "weight"):
        values = _array(f"points.{name}", getattr(points, name), np.floating, "floats")
        whole = bool(np.isfinite(values).all())
        expect(whole, f"points.{name}", "NaN or infinity", "finite numbers")
    cells = f"{points.n_cells} cells of (label, group)"
    if config.probe.labelled:
        expect(points.n_cells > 1, "points", cells, "those of labelled rows")
    else:
        expect(points.n_cells == 1, "points", cells, "1: the editor reads no labels")
    cell = _array("points.cell", points.cell, np.integer, "whole numbers")
    inside = cell.min() >= 0 and cell.max() < points.n_cells
    expect(bool(inside), "points.cell", f"{cell.min()} to {cell.max()}", f"below {points.n_cells}")
