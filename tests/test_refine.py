"""Refinement: gradient descent on a model's own objective, after an edit and from scratch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metanet.core import UserError
from metanet.data.tabular import Table
from metanet.editor.edits import Edit
from metanet.editor.relax import hard_decisions
from metanet.graphs.batch import gather
from metanet.graphs.packing import pack
from metanet.graphs.padded import apply_padded
from metanet.methods.refine import RefineConfig, Sample, refine, refined_fn, unedited_fn
from metanet.mlp import network
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec
from metanet.objectives.base import view_of
from metanet.objectives.data_minimisation import inputs_kept
from metanet.objectives.fairness import equalised_odds
from metanet.objectives.preservation import mean_jsd
from metanet.objectives.pruning import weights_kept

SPECS = (MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"), MLPSpec((5, 8, 2)))
COUNT = 4
KEYS = jax.random.split(jax.random.key(0), COUNT)
CONFIG = RefineConfig(steps=60, points=32, learning_rate=0.01)
FREE = dataclasses.replace(CONFIG, steps=150, ramp=0.3)


@pytest.fixture(scope="module")
def models():
    def stack(spec, seed):
        keys = jax.random.split(jax.random.key(seed), 2)
        params = jax.vmap(lambda key: network.init(spec, key))(keys)
        params = jax.tree.map(lambda leaf: 3 * np.asarray(leaf), params)
        return Stack(spec, params, np.full(2, 4, np.int32))

    return pack([stack(spec, seed) for seed, spec in enumerate(SPECS)])


@pytest.fixture(scope="module")
def graph(models):
    sizes = (models.topologies.n_nodes, models.topologies.n_edges)
    budget = tuple(2 * int(size.sum()) for size in sizes)
    return gather(models, jnp.arange(COUNT), jnp.zeros((COUNT, 1)), budget)


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(7)
    table = Table(
        x=jnp.asarray(rng.normal(size=(200, 5)), jnp.float32),
        y=jnp.asarray(rng.integers(0, 2, 200), jnp.int32),
        group=jnp.asarray(rng.integers(0, 2, 200), jnp.int32),
        weight=jnp.ones(200),
        n_groups=2,
    )
    return Sample(table, jnp.arange(200, dtype=jnp.int32), jax.random.key(3))


@pytest.fixture(scope="module")
def halved(models, graph):
    """A method that drops every second weight, whatever the setting."""

    def method(context, graph, keys):
        whole = unedited_fn(models.template)(context, graph, keys)(0.0)
        alternate = (jnp.arange(whole.keep.shape[-1]) % 2)[None, None]
        keep = whole.keep * alternate
        after = whole.after.replace(weight=whole.after.weight * keep)
        return lambda setting: Edit(whole.before, after, keep, whole.input_keep)

    return method


def run(method, template, requirement, config, graph, sample, setting):
    whole = refined_fn(method, template, requirement, config)
    program = jax.jit(lambda s, sample: whole((None, sample), graph, KEYS)(s))
    return program(jnp.float32(setting), sample)


def losses(template, edit, sample, requirement):
    """(jsd, requirement) of every model, on all rows, by hard masks and decisions."""

    def one(edit):
        view = view_of(template, edit, sample.table, hard_decisions)
        return mean_jsd(view), requirement(view)

    return jax.vmap(one)(edit)


def test_no_steps_are_the_plain_edit(models, graph, sample, halved):
    template, config = models.template, dataclasses.replace(CONFIG, steps=0)
    plain = halved(None, graph, KEYS)(0.0)
    found = run(halved, template, weights_kept, config, graph, sample, 0.1)
    jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_descent_lowers_divergence_and_keeps_masks(models, graph, sample, halved):
    template = models.template
    plain = halved(None, graph, KEYS)(0.0)
    found = run(halved, template, weights_kept, CONFIG, graph, sample, 0.1)
    np.testing.assert_array_equal(found.keep, plain.keep)
    assert not np.asarray(found.after.weight)[np.asarray(plain.keep) == 0].any()
    before, after = (losses(template, e, sample, weights_kept)[0] for e in (plain, found))
    assert (after < 0.7 * before).all()
    absent = ~np.asarray(found.before.node)
    for name in ("bias", "scale", "shift"):
        ours, theirs = getattr(found.after, name), getattr(found.before, name)
        np.testing.assert_array_equal(np.asarray(ours)[absent], np.asarray(theirs)[absent])


def test_one_step_is_adam_on_the_objective(models, graph, sample, halved):
    """Adam's first step is the sign of the gradient, here of all rows' loss, times the rate."""
    template = models.template
    config = RefineConfig(steps=1, points=4000, learning_rate=0.01)
    plain = halved(None, graph, KEYS)(0.0)
    found = run(halved, template, weights_kept, config, graph, sample, 0.1)

    def loss(weight, edit):
        after = edit.after.replace(weight=weight)
        logits = [apply_padded(template, m, sample.table.x) for m in (edit.before, after)]
        return network.js_divergence(*logits).mean()

    gradient = jax.vmap(jax.grad(loss))(plain.after.weight, plain) * plain.keep
    moved = np.asarray(found.after.weight - plain.after.weight)
    clear = np.abs(gradient) > np.quantile(np.abs(gradient)[np.asarray(plain.keep) == 1], 0.5)
    np.testing.assert_allclose(moved[clear], -0.01 * np.sign(gradient[clear]), rtol=1e-2)


@pytest.mark.parametrize(
    ("requirement", "mask"), [(weights_kept, "edges"), (inputs_kept, "inputs")]
)
def test_masks_are_found_from_scratch(requirement, mask, models, graph, sample):
    template, config = models.template, dataclasses.replace(FREE, mask=mask)
    start = unedited_fn(template)
    kept, cost = [], []
    for setting in (0.01, 0.3):
        edit = run(start, template, requirement, config, graph, sample, setting)
        jsd, share = losses(template, edit, sample, requirement)
        kept.append(np.asarray(share))
        cost.append(np.asarray(jsd))
        assert set(np.unique(edit.keep)) <= {0.0, 1.0}
        assert not np.asarray(edit.after.weight)[np.asarray(edit.keep) == 0].any()
    assert (kept[1] <= kept[0]).all() and kept[1].mean() < kept[0].mean() - 0.1
    assert cost[1].mean() > cost[0].mean()


def test_descent_levels_groups_where_lambda_asks_for_it(models, graph, sample):
    template = models.template
    config = dataclasses.replace(CONFIG, steps=150, points=200)
    start = unedited_fn(template)
    gaps, cost = [], []
    for setting in (0.0, 1.0):
        edit = run(start, template, equalised_odds, config, graph, sample, setting)
        jsd, gap = losses(template, edit, sample, equalised_odds)
        gaps.append(float(gap.mean()))
        cost.append(float(jsd.mean()))
    assert gaps[1] < 0.6 * gaps[0] and cost[1] > cost[0]


def test_a_models_refinement_does_not_depend_on_the_others(models, graph, sample, halved):
    template = models.template
    edits = halved(None, graph, KEYS)(0.0)
    both = run(halved, template, weights_kept, CONFIG, graph, sample, 0.1)
    one = jax.tree.map(lambda leaf: leaf[2], edits)
    alone = refine(template, one, jnp.float32(0.1), sample, weights_kept, CONFIG)
    np.testing.assert_allclose(alone.after.weight, both.after.weight[2], atol=1e-4)


@pytest.mark.parametrize(
    ("key", "value", "said"), [("steps", -1, "0 or more"), ("mask", "some", "one of none")]
)
def test_bad_settings_are_refused(key, value, said):
    with pytest.raises(UserError, match=f"{key}: found {value}, expected {said}"):
        RefineConfig(**({"steps": 1} | {key: value}))
