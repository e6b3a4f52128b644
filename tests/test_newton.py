"""Gauss-Newton steps on random networks in their template."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same, in_template, random_stack, random_table

from metanet.core import SettingError
from metanet.editor.edits import Edit
from metanet.editor.newton import NewtonConfig, _solved, newton
from metanet.graphs.linearised import linearise
from metanet.graphs.packing import pack
from metanet.graphs.padded import apply_padded
from metanet.methods.newton import _required, sample_rows
from metanet.methods.obs import best_change, parameters_of, quadratic
from metanet.mlp.network import js_divergence
from metanet.mlp.spec import MLPSpec
from metanet.objectives.fairness import equalised_odds

SPECS = (MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"), MLPSpec((5, 8, 3)))


@pytest.fixture(scope="module", params=SPECS, ids=["two classes", "three"])
def case(request):
    """(template, the edits of three models that keep about 60% of their weights, rows)."""
    packed = pack([random_stack(request.param, activation="tanh")])
    before = in_template(packed)
    keep = np.random.default_rng(2).random(before.weight.shape) < 0.6
    keep = (keep & before.edge).astype(np.float32)
    after = before.replace(weight=before.weight * keep)
    edit = Edit(before, after, keep, np.ones((3, 5), np.float32))
    return packed.template, *jax.tree.map(jnp.asarray, (edit, random_table(60, n_groups=2)))


def divergences(template, edit, batch):
    x = batch.x

    def one(before, after):
        outputs = (apply_padded(template, model, x) for model in (before, after))
        return js_divergence(*outputs).mean()

    return jax.vmap(one)(edit.before, edit.after)


def stepped(case, **config):
    template, edit, batch = case
    return jax.jit(jax.vmap(lambda one: newton(template, one, batch, NewtonConfig(**config))))(edit)


@pytest.mark.slow
def test_every_step_lowers_the_divergence_and_leaves_what_is_removed(case):
    template, edit, batch = case
    before = divergences(template, edit, batch)
    one, three = stepped(case, steps=1), stepped(case, steps=3)
    first, third = (divergences(template, found, batch) for found in (one, three))
    assert (first < before).all() and (third < 0.7 * first).all()
    gone = np.asarray(edit.keep) == 0
    assert not np.asarray(three.after.weight)[gone].any()
    for name in ("bias", "scale", "shift"):
        change = np.asarray(getattr(three.after, name) - getattr(edit.after, name))
        assert not change[~np.asarray(edit.after.node)].any(), name
    for name in ("keep", "input_keep"):
        np.testing.assert_array_equal(getattr(three, name), getattr(edit, name))


def test_a_model_that_nothing_was_removed_from_stays(case):
    template, edit, batch = case
    whole = edit.replace(after=edit.before, keep=edit.before.edge.astype(jnp.float32))
    found = stepped((template, whole, batch))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found.after, whole.after)


@pytest.mark.slow
def test_many_conjugate_gradients_find_what_a_direct_solver_does(case):
    template, edit, batch = case
    edit = jax.tree.map(lambda leaf: leaf[0], edit)
    # A point near the original, with all parameters free.
    moved = edit.before.replace(weight=edit.before.weight * 1.05)
    node = moved.node.astype(jnp.float32)
    free = {"weight": moved.edge.astype(jnp.float32), "bias": node, "scale": node, "shift": node}
    x = batch.x
    teacher, share = apply_padded(template, edit.before, x), jnp.full(len(x), 1 / len(x))
    config = NewtonConfig(products=400, damping=0.1)
    slope = jax.tree.map(jnp.zeros_like, free)
    found = jax.jit(
        lambda: _solved(linearise(template, moved, x), teacher, share, slope, free, config)
    )()
    parameters = parameters_of(edit.before, int(edit.before.edge.sum()))
    vector = parameters_of(moved, len(parameters.index)).vector()
    loss = quadratic(template, parameters, vector, x, 0.1)
    expected = best_change(loss, vector, jnp.ones_like(vector), len(x))
    expected = parameters.with_vector(expected)
    scale = float(jnp.abs(expected.weight).max())
    assert scale > 1e-4
    for name, leaf in found.items():
        np.testing.assert_allclose(leaf, getattr(expected, name), atol=0.02 * scale, err_msg=name)


def test_a_step_that_does_not_help_is_shortened_not_taken(case):
    """With next to no damping and many products the first step overshoots."""
    template, edit, batch = case
    before = divergences(template, edit, batch)
    found = stepped(case, steps=4, products=60, damping=1e-9)
    assert (divergences(template, found, batch) <= before).all()


@pytest.mark.slow
def test_a_requirement_is_met_at_less_divergence_than_along_its_gradient(case):
    """Both from the unedited model, which has no divergence: J + 3 * (gap of mean logits)."""
    template, edit, batch = case
    whole = jax.tree.map(lambda leaf: leaf[0], edit.replace(after=edit.before))
    sign = 2.0 * batch.group - 1.0

    def gap(logits):
        return jnp.abs((sign * (logits[:, 1] - logits[:, 0])).mean())

    config = NewtonConfig(steps=4, products=8)
    found = jax.jit(
        lambda: newton(template, whole, batch, config, lambda after, logits: 0.1 * gap(logits))
    )()

    def cost(model):
        logits = apply_padded(template, model, batch.x)
        teacher = apply_padded(template, whole.before, batch.x)
        return js_divergence(teacher, logits).mean(), gap(logits)

    reached, target = cost(found.after), gap(apply_padded(template, whole.before, batch.x))
    assert reached[1] < 0.8 * target
    slope = jax.grad(lambda model: cost(model)[1], allow_int=True)(whole.before)
    for length in np.geomspace(1e-3, 3, 60):
        moved = {
            name: getattr(whole.before, name) - length * getattr(slope, name)
            for name in ("weight", "bias")
        }
        divergence, other = cost(whole.before.replace(**moved))
        if other <= reached[1]:
            assert divergence > reached[0]
            return
    raise AssertionError("the gradient alone never gets there")


def test_what_a_requirement_adds_is_lambda_times_its_value(case):
    template, edit, batch = case
    one = jax.tree.map(lambda leaf: leaf[0], edit)
    logits = apply_padded(template, one.after, batch.x)

    def required(weight, requirement):
        config = NewtonConfig(requirement=True)
        return _required(template, one, batch, weight, requirement, config)(one.after, logits)

    value = required(jnp.float32(1), equalised_odds)
    assert 0 < value < 1
    np.testing.assert_allclose(required(jnp.float32(0.2), equalised_odds), 0.2 * value, rtol=1e-6)
    both = required(jnp.float32([0.2, 3.0]), lambda view: jnp.stack([equalised_odds(view), 0.5]))
    np.testing.assert_allclose(both, 0.2 * value + 1.5, rtol=1e-6)


def test_rows_from_moments_have_those_of_the_table_and_nothing_else_of_it():
    table = random_table(500, n_groups=2)
    table = table.replace(x=table.x @ np.float32(np.eye(5) + 0.5 * np.eye(5, k=1)) + 1)
    config = NewtonConfig(points=20_000, moments=True)
    found = sample_rows(table, config, 0)
    np.testing.assert_allclose(found.x.mean(0), table.x.mean(0), atol=0.05)
    np.testing.assert_allclose(np.cov(found.x.T), np.cov(np.asarray(table.x).T), atol=0.1)
    assert not found.y.any() and not found.group.any() and found.n_groups == 1
    double = table.replace(x=np.concatenate([table.x, table.x, table.x.sum(1, keepdims=True)], 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of columns that depend on one another
        x = np.asarray(sample_rows(double, config, 0).x)
    np.testing.assert_allclose(x[:, :5], x[:, 5:10], atol=1e-2)
    same, other = (sample_rows(table, config, seed) for seed in (0, 1))
    assert_same(same, found)
    assert (other.x != found.x).any()


def test_settings_of_steps_that_make_no_sense_are_refused():
    for key, value in {"steps": 0, "products": 0, "points": 0, "damping": 0.0,
                       "decision_temperature": 0.0}.items():  # fmt: skip
        with pytest.raises(SettingError, match=f"config key {key}: found {value}"):
            NewtonConfig(**{"requirement": True, key: value})
    with pytest.raises(SettingError, match=r"decision_temperature: found 0.3"):
        NewtonConfig(decision_temperature=0.3)
    for key in ("balanced", "requirement"):
        with pytest.raises(SettingError, match=rf"moments: found True, expected False with {key}"):
            NewtonConfig(moments=True, **{key: True})
