"""Optimal Brain Surgeon against dense matrices in float64, and derivatives by jax."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_template, random_stack, random_table

from metanet.editor.edits import whole_edit
from metanet.evaluation.program import map_models
from metanet.graphs.batch import to_template
from metanet.graphs.packing import pack
from metanet.graphs.padded import apply_padded
from metanet.methods import obs
from metanet.mlp.network import js_divergence
from metanet.mlp.spec import MLPSpec

SPECS = (MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"), MLPSpec((5, 8, 3, 2)))
COUNT, ROWS, DAMPING = 2 * len(SPECS), 60, 1e-2
SIZE = max(spec.n_weights for spec in SPECS)
TABLE = jax.tree.map(jnp.asarray, random_table(ROWS))
ROUNDS, KEPT = 3, 0.6


@pytest.fixture(scope="module")
def packed():
    return pack([random_stack(spec, 2, seed, activation="tanh") for seed, spec in enumerate(SPECS)])


@pytest.fixture(scope="module")
def models(packed):
    return in_template(packed)


@pytest.fixture(scope="module")
def edits(packed):
    """edits(fraction) -> of all models."""
    edit_fn = obs.obs_fn(packed.template, SIZE, ROWS, DAMPING, ROUNDS, KEPT)

    def edited(context, graph, keys):
        table, fraction = context
        return edit_fn(table, graph, keys)(fraction)

    return lambda fraction: map_models(
        edited, (TABLE, jnp.float32(fraction)), packed, np.arange(COUNT), 0, COUNT
    )


def one(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


# Compiled as a whole: operation by operation each is dozens of programs.
quadratic, outputs = (jax.jit(one, static_argnums=0) for one in (obs.quadratic, apply_padded))
parameters_of = jax.jit(obs.parameters_of, static_argnums=1)


@pytest.fixture(scope="module", params=[0, 3])
def near(request, packed, models):
    """(parameters, a point [parameters] away from the original, its quadratic) of one model."""
    parameters = parameters_of(one(models, request.param), SIZE)
    vector = parameters.vector()
    exists = np.concatenate([parameters.exists, *[parameters.model.node] * 3])
    noise = 0.2 * np.random.default_rng(0).normal(size=len(vector)) * exists
    vector = np.asarray(vector) + np.float32(noise)
    return parameters, vector, quadratic(packed.template, parameters, vector, TABLE.x, DAMPING)


def hessian(loss):
    """Dense, in float64; the damping alone for parameters that do not exist."""
    slopes = np.float64(loss.slopes)
    return slopes @ slopes.T / ROWS + float(loss.damping) * np.eye(len(slopes))


def test_parameters_there_and_back(models):
    for index in range(COUNT):
        model = one(models, index)
        parameters = parameters_of(model, SIZE)
        assert parameters.exists.sum() == model.edge.sum()
        jax.tree.map(
            np.testing.assert_array_equal, parameters.with_vector(parameters.vector()), model
        )
        np.testing.assert_array_equal(parameters.matrix(parameters.exists), model.edge)


def test_the_loss_has_the_gradient_of_the_divergence_and_the_fisher_information(near, packed):
    """By jax, through the whole model; the information of logits is diag(p) - p p'."""
    parameters, vector, loss = near

    def logits(vector):
        return apply_padded(packed.template, parameters.with_vector(vector), TABLE.x)

    original = outputs(packed.template, parameters.model, TABLE.x)
    gradient = jax.jit(jax.grad(lambda v: js_divergence(original, logits(v)).mean()))(vector)
    assert np.abs(gradient).max() > 1e-3
    np.testing.assert_allclose(loss.slopes @ loss.rest / ROWS, gradient, rtol=1e-3, atol=1e-6)
    jacobian = np.float64(jax.jit(jax.jacrev(logits))(vector))  # [rows, C, parameters]
    p = np.float64(jax.nn.softmax(jax.jit(logits)(vector)))
    information = sum(
        j.T @ (np.diag(q) - np.outer(q, q)) @ j for j, q in zip(jacobian, p, strict=True)
    )
    expected = information / (4 * ROWS)
    damping = float(loss.damping)
    np.testing.assert_allclose(
        hessian(loss) - damping * np.eye(len(expected)), expected, rtol=1e-3, atol=1e-6
    )
    diagonal = np.diag(expected)
    np.testing.assert_allclose(damping, DAMPING * diagonal[diagonal > 0].mean(), rtol=1e-4)


def test_changes_and_saliencies_are_those_of_dense_matrices(near):
    """The saliency of a weight is the loss of removing it and solving anew for all others."""
    parameters, vector, loss = near
    h, slope = hessian(loss), np.float64(loss.slopes @ loss.rest) / ROWS
    w = np.float64(vector)
    rng = np.random.default_rng(1)
    keep = np.asarray(parameters.exists) * (rng.random(SIZE) < 0.6)
    free = np.pad(keep, (0, len(w) - SIZE), constant_values=1.0)

    def solved(removed):
        """The best change with some parameters at 0, and its loss."""
        gone = np.where(removed, -w, 0.0)
        left = ~removed
        change = gone.copy()
        change[left] = np.linalg.solve(
            h[np.ix_(left, left)], -slope[left] - h[np.ix_(left, removed)] @ gone[removed]
        )
        return change, change @ h @ change / 2 + slope @ change

    removed = free == 0
    expected, least = solved(removed)
    found = jax.jit(obs.best_change, static_argnums=3)(loss, vector, jnp.float32(free), ROWS)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)
    scores = jax.jit(obs.saliency, static_argnums=3)(loss, vector, jnp.float32(free), ROWS)
    assert (np.asarray(scores)[removed] == -1).all()
    for weight in np.flatnonzero(keep)[::5]:
        more = removed.copy()
        more[weight] = True
        np.testing.assert_allclose(scores[weight], solved(more)[1] - least, rtol=5e-3, atol=1e-7)


@pytest.mark.slow
def test_a_round_removes_the_weights_of_least_saliency(packed, models, edits):
    """Above the end of the first round all weights go at once, from the original model."""
    fraction = 0.8
    edit = edits(fraction)
    for index in range(COUNT):
        parameters = parameters_of(one(models, index), SIZE)
        vector = parameters.vector()
        loss = quadratic(packed.template, parameters, vector, TABLE.x, DAMPING)
        assert np.abs(loss.rest).max() < 1e-5  # the original has its own outputs
        inverse = np.linalg.inv(hessian(loss))
        scores = np.float64(vector) ** 2 / (2 * np.diag(inverse))
        weights = np.flatnonzero(parameters.exists)
        count = round(fraction * len(weights))
        keep = np.zeros(SIZE)
        keep[weights[np.argsort(-scores[weights])[:count]]] = 1
        np.testing.assert_array_equal(parameters.matrix(jnp.asarray(keep)), edit.keep[index])


@pytest.mark.slow
def test_later_rounds_lower_the_divergence(packed, models, edits):
    """Exactly the fraction is kept, along one path; the others make up for what is removed."""
    fractions = (1.0, 0.5, 0.3, 0.15)
    found = [edits(fraction) for fraction in fractions]
    for fraction, edit in zip(fractions, found, strict=True):
        for index in range(COUNT):
            before, after = one(models, index), one(edit.after, index)
            keep = edit.keep[index]
            assert keep.sum() == round(fraction * before.edge.sum())
            assert not np.asarray(after.weight)[keep == 0].any()
            cut = before.replace(weight=before.weight * keep)
            logits = [outputs(packed.template, model, TABLE.x) for model in (before, cut, after)]
            lost, left = (js_divergence(logits[0], other).mean() for other in logits[1:])
            assert left < (0.8 if fraction < 0.5 else 0.2) * lost or fraction == 1
    # Of one model's the norm, of the other's there is none to change.
    assert (np.abs(found[1].after.scale - models.scale).max((1,)) > 1e-4).tolist() == [
        True, True, False, False
    ]  # fmt: skip
    for name in ("weight", "bias", "scale", "shift"):
        same = getattr(found[0].after, name), getattr(models, name)
        np.testing.assert_allclose(*same, atol=2e-5)
    for more, fewer in itertools.pairwise(found):
        assert (fewer.keep <= more.keep).all()


def test_of_two_edits_every_model_gets_the_cheaper_one(packed, models):
    """Also where the other one is not a number."""
    table = TABLE

    def edit_fn(fails):
        def edit(table, graph, keys):
            before = to_template(packed.template, graph)

            def edit_at(setting):
                large = before.edge.sum((1, 2)) > SPECS[1].n_weights  # [G]
                shift = jnp.where(large == fails, setting, 1e-3)[:, None]
                after = before.replace(bias=before.bias + jnp.tile(shift, before.bias.shape[-1:]))
                return whole_edit(packed.template, before, after)

            return edit_at

        return edit

    both = obs.cheaper_fn(packed.template, edit_fn(False), edit_fn(True), ROWS)

    def edited(context, graph, keys):
        return both(context[0], graph, keys)(context[1])

    for setting in (3.0, jnp.nan):
        context = table, jnp.float32(setting)
        edit = map_models(edited, context, packed, np.arange(COUNT), 0, COUNT)
        np.testing.assert_allclose(np.asarray(edit.after.bias - models.bias), 1e-3, rtol=1e-3)
