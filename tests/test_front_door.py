"""What `edit_stack` refuses: every argument that it would otherwise misread, by name."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_stack

from metanet.editor.api import edit_stack
from metanet.editor.inputs import scales_of
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.graphs.packing import pack
from metanet.mlp.network import MLPParams
from metanet.mlp.spec import MLPSpec
from metanet.probes.rows import Points, ProbeConfig

SPEC = MLPSpec((5, 8, 6, 2), ((0, 2),), "layer")
BATCH = MLPSpec((5, 8, 2), norm="batch")


def editor_of(probe=None, requirements=1):
    """An editor without parameters: what is refused is refused before they are read."""
    models = pack([random_stack(SPEC)])
    ranges = ((0.001, 0.5),) * requirements
    config = EditorConfig(4, 4, 4, layers=1, mask="edges", probe=probe)
    return TrainedEditor({}, scales_of(models, np.arange(3)), config, models.template, ranges)


def points_of(x, cells=1):
    rows = len(x)
    cell = jnp.arange(rows, dtype=jnp.int32) % cells
    return Points(jnp.asarray(x, jnp.float32), cell, jnp.ones(rows), cells)


def refused(message, editor, stack, lam=0.1, points=None):
    with pytest.raises(ValueError, match=message) as caught:
        edit_stack(editor, stack, lam, points)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "lam", [0, -0.1, float("nan"), float("inf"), "0.1", True, None, [0.1, "a"]]
)
def test_lambda_that_is_no_positive_number(lam):
    refused("lam: found .*, expected a positive number", editor_of(), random_stack(SPEC), lam)


@pytest.mark.parametrize(
    ("count", "lam"),
    [
        (1, (0.01, 0.02)),
        (2, 0.1),
        (2, (0.1, 0.0)),
        (3, []),
        (2, [[0.1, 0.1]]),
        (1, [0.1, 0.1, 0.1]),
    ],
)
def test_another_number_of_lambdas_than_requirements(count, lam):
    expected = "a positive number" if count == 1 else f"{count} positive numbers"
    refused(f"lam: found .* expected .*{expected}", editor_of(requirements=count),
            random_stack(SPEC), lam)  # fmt: skip


def with_leaves(name, change):
    stack = random_stack(SPEC)
    leaves = change(list(getattr(stack.params, name)))
    return dataclasses.replace(stack, params=stack.params.replace(**{name: tuple(leaves)}))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("weights", lambda w: [b.swapaxes(1, 2) for b in w],
         r"weights\[0\]: found shape \(3, 8, 5\), expected \(3, 5, 8\)"),
        ("weights", lambda w: [w[1], w[0], *w[2:]], r"weights\[0\]: found shape \(3, 5, 6\)"),
        ("weights", lambda w: w[:-1], "weights: found 3 arrays, expected 4"),
        ("weights", lambda w: [*w, w[0]], "weights: found 5 arrays, expected 4"),
        ("weights", lambda w: [None, *w[1:]], r"weights\[0\]: found shape NoneType"),
        ("weights", lambda w: [w[0].astype(np.int32), *w[1:]], r"weights\[0\]: found int32 values"),
        ("biases", lambda b: b[:-1], "biases: found 2 arrays, expected 3"),
        ("biases", lambda b: [b[0] * np.nan, *b[1:]], r"biases\[0\]: found NaN or infinity"),
        ("biases", lambda b: [b[0][:2], *b[1:]], r"biases\[0\]: found shape \(2, 8\)"),
        ("scales", lambda s: [], "scales: found 0 arrays, expected 2"),
        ("shifts", lambda s: [*s[:-1], s[-1] * np.inf], r"shifts\[1\]: found NaN or infinity"),
    ],
)  # fmt: skip
def test_arrays_that_are_not_of_the_spec(name, change, message):
    refused(message, editor_of(), with_leaves(name, change))


def test_batch_normalisation_that_is_not_folded():
    stack = random_stack(BATCH)
    ones = np.full((3, 8), 5.0, np.float32)
    params = stack.params.replace(scales=(ones,), shifts=(0 * ones,))
    refused("scales: found 1 arrays, expected 0 .* has to be folded", editor_of(),
            dataclasses.replace(stack, params=params))  # fmt: skip


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (np.array([0]), r"weights\[0\]: found shape \(3, 5, 8\), expected \(1, 5, 8\)"),
        (np.zeros(5, int), r"weights\[0\]: found shape \(3, 5, 8\), expected \(5, 5, 8\)"),
        (np.array([0, 1, 7]), "activation: found .*7.*, expected 0 to 5, the index of one of relu"),
        (np.array([0, -1, 2]), "activation: found"),
        (np.array(["relu"] * 3), "activation: found <U4 values, expected .* whole numbers"),
        (np.zeros((3, 1), int), r"activation: found shape \(3, 1\)"),
        (np.zeros(0, int), r"activation: found shape \(0,\)"),
        ("relu", "activation: found 'relu', expected"),
    ],
)
def test_activations_that_are_not_the_models(activation, message):
    refused(message, editor_of(), dataclasses.replace(random_stack(SPEC), activation=activation))


@pytest.mark.parametrize(
    "spec",
    [MLPSpec((6, 8, 2)), MLPSpec((5, 8, 3)), MLPSpec((5, 8, 8, 8, 2)), MLPSpec((5, 9, 2))],
    ids=["inputs", "outputs", "depth", "width"],
)
def test_models_that_do_not_fit_the_editor(spec):
    message = "stack.spec: found .* expected at most 5, 2 and 8, and 2 outputs"
    refused(message, editor_of(), random_stack(spec))


@pytest.mark.parametrize("value", [None, {}, MLPParams((), ())])
def test_what_is_no_stack(value):
    refused("stack: found .*, expected a Stack", editor_of(), value)


X = np.random.default_rng(0).normal(size=(12, 5))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (None, "points: found NoneType, expected Points of 5 features"),
        (X, "points: found ndarray, expected Points"),
        (points_of(X[:, :3]), r"points.x: found shape \(12, 3\), expected \[rows, 5\]"),
        (points_of(X[:0]), r"points.x: found shape \(0, 5\), expected .* at least one row"),
        (points_of(np.where(np.arange(12)[:, None] == 3, np.nan, X)), "points.x: found NaN"),
        (points_of(X, cells=4), "points: found 4 cells .*, expected 1: the editor reads no labels"),
        (points_of(X).replace(weight=jnp.ones(3)), r"points.weight: found shape \(3,\)"),
        (points_of(X).replace(cell=jnp.full(12, 2)), "points.cell: found 2 to 2, expected below 1"),
    ],
)
def test_probe_rows_that_the_editor_would_misread(points, message):
    refused(message, editor_of(ProbeConfig(points=12)), random_stack(SPEC), points=points)


def test_probe_rows_and_editors_that_do_not_go_together():
    stack = random_stack(SPEC)
    labelled = editor_of(ProbeConfig(points=12, labelled=True))
    refused("points: found 1 cells .*, expected those of labelled rows", labelled, stack,
            points=points_of(X))  # fmt: skip
    refused("points: found Points, expected None: the editor has no probe", editor_of(), stack,
            points=points_of(X))  # fmt: skip
