"""Refinement: gradient descent on a model's own objective, after an edit and from scratch."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import gathered

from metanet.core import UserError
from metanet.data.tabular import Table
from metanet.editor.edits import Edit
from metanet.editor.relax import hard_decisions
from metanet.graphs.packing import pack
from metanet.graphs.padded import apply_padded
from metanet.methods.per_model import RefineConfig, refine, sample_of
from metanet.methods.refine import refined_fn, unedited_fn
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
        params = jax.jit(jax.vmap(functools.partial(network.init, spec)))(keys)
        params = jax.tree.map(lambda leaf: 3 * np.asarray(leaf), params)
        return Stack(spec, params, np.full(2, 4, np.int32))

    return pack([stack(spec, seed) for seed, spec in enumerate(SPECS)])


@pytest.fixture(scope="module")
def graph(models):
    sizes = (models.topologies.n_nodes, models.topologies.n_edges)
    budget = tuple(2 * int(size.sum()) for size in sizes)
    return gathered(models, np.arange(COUNT), np.zeros((COUNT, 1), np.float32), budget)


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
    keys = jax.random.split(jax.random.key(3), (3, 2))
    return sample_of(table, jnp.arange(200, dtype=jnp.int32), keys, CONFIG)


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


@functools.cache
def program_of(method, template, requirement, config):
    whole = refined_fn(method, template, requirement, config)
    return jax.jit(lambda setting, sample, graph: whole((None, sample), graph, KEYS)(setting))


def run(method, template, requirement, config, graph, sample, setting):
    program = program_of(method, template, requirement, config)
    sample = sample_of(sample.table, sample.pool, sample.keys, config)
    return program(jnp.float32(setting), sample, graph)


def plain_edits(method, graph, keys=KEYS):
    return jax.jit(lambda graph: method(None, graph, keys)(0.0))(graph)


@functools.partial(jax.jit, static_argnums=(0, 3))
def losses(template, edit, sample, requirement):
    """(jsd, requirement) of every model, on all rows, by hard masks and decisions."""

    def one(edit):
        view = view_of(template, edit, sample.table, hard_decisions)
        return mean_jsd(view), requirement(view)

    return jax.vmap(one)(edit)


def test_no_steps_are_the_plain_edit(models, graph, sample, halved):
    template, config = models.template, dataclasses.replace(CONFIG, steps=0)
    plain = plain_edits(halved, graph)
    found = run(halved, template, weights_kept, config, graph, sample, 0.1)
    jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_descent_lowers_divergence_and_keeps_masks(models, graph, sample, halved):
    template = models.template
    plain = plain_edits(halved, graph)
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
    plain = plain_edits(halved, graph)
    found = run(halved, template, weights_kept, config, graph, sample, 0.1)

    def loss(weight, edit):
        after = edit.after.replace(weight=weight)
        logits = [apply_padded(template, m, sample.table.x) for m in (edit.before, after)]
        return network.js_divergence(*logits).mean()

    gradient = jax.jit(jax.vmap(jax.grad(loss)))(plain.after.weight, plain) * plain.keep
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


@pytest.mark.slow
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
    edits = plain_edits(halved, graph)
    both = run(halved, template, weights_kept, CONFIG, graph, sample, 0.1)
    one = jax.tree.map(lambda leaf: leaf[2], edits)
    alone = jax.jit(refine, static_argnums=(0, 4, 5))(
        template, one, jnp.float32(0.1), sample, weights_kept, CONFIG
    )
    np.testing.assert_allclose(alone.after.weight, both.after.weight[2], atol=1e-4)


@pytest.mark.parametrize(("path", "kept"), [(0.0, 0.0), (0.5, 1.0)])
def test_on_a_path_a_feature_comes_back_that_gradients_at_0_keep_away(path, kept):
    """The model reads its rare feature m x as silu(10 m x) - 7 m x: down from 0, but up at 1."""
    spec = MLPSpec((1, 2, 2))
    weights = np.float32([[[10.0, 1.0]]]), np.float32([[[0.0, 1.0], [0.0, -7.0]]])
    biases = np.float32([[0.0, 10.0]]), np.float32([[0.0, 70.0]])  # silu(10 + m x) is 10 + m x
    silu = np.full(1, network.ACTIVATIONS.index("silu"), np.int32)
    models = pack([Stack(spec, network.MLPParams(weights, biases, (), ()), silu)])
    x = jnp.asarray([[1.0]] * 20 + [[0.0]] * 80)
    ints = jnp.zeros(100, jnp.int32)
    table, keys = (
        Table(x, ints, ints, jnp.ones(100), 1),
        jax.random.split(jax.random.key(0), (1, 2)),
    )
    sample = sample_of(table, jnp.arange(100), keys, RefineConfig(steps=150, learning_rate=1e-5))
    budget = (int(models.topologies.n_nodes[0]), int(models.topologies.n_edges[0]))
    graph = gathered(models, np.arange(1), np.zeros((1, 1), np.float32), budget)
    whole = plain_edits(unedited_fn(models.template), graph, KEYS[:1])
    edit = jax.tree.map(lambda leaf: np.asarray(leaf[0]), whole)
    others = (np.arange(len(edit.keep)) > 0).astype(np.float32)[:, None]
    after = edit.after.replace(weight=edit.after.weight * others)
    dropped = Edit(edit.before, after, edit.keep * others, np.zeros_like(edit.input_keep))
    costs = [float(losses(models.template, jax.tree.map(lambda leaf: leaf[None], one), sample,
                          inputs_kept)[0][0]) for one in (edit, dropped)]  # fmt: skip
    assert costs[1] - costs[0] > 0.01  # what keeping saves; lambda is a tenth of it
    config = RefineConfig(steps=150, points=100, learning_rate=1e-5, mask="inputs", mask_path=path)
    program = jax.jit(lambda edit: refine(models.template, edit, 1e-3, sample, inputs_kept, config))
    assert program(dropped).input_keep[0] == kept


@pytest.mark.slow
def test_the_best_of_several_starts_is_kept(models, graph, sample):
    template, start = models.template, unedited_fn(models.template)
    config = dataclasses.replace(FREE, mask="inputs", steps=40, mask_learning_rate=0.3)

    def objective(edit):
        jsd, share = losses(template, edit, sample, inputs_kept)
        return np.asarray(jsd + 0.05 * share)  # [models]

    alone = [
        run(start, template, inputs_kept, config, graph,
            dataclasses.replace(sample, keys=sample.keys[number][None]), 0.05)
        for number in range(3)
    ]  # fmt: skip
    values = np.stack([objective(edit) for edit in alone])
    assert len(set(values.argmin(0))) > 1  # not the same start for every model
    same = dataclasses.replace(config, starts=3, start_noise=0.0)
    found = run(start, template, inputs_kept, same, graph, sample, 0.05)
    for model, number in enumerate(values.argmin(0)):
        best, mine = (
            jax.tree.map(lambda leaf, m=model: leaf[m], edit) for edit in (alone[number], found)
        )
        np.testing.assert_array_equal(mine.input_keep, best.input_keep)
        np.testing.assert_allclose(mine.after.weight, best.after.weight, atol=1e-4)
    other = dataclasses.replace(config, starts=3, start_noise=6.0)
    found = objective(run(start, template, inputs_kept, other, graph, sample, 0.05))
    assert (found <= values[0] + 1e-6).all()  # the first start is the edit itself
    assert (found < values[0] - 1e-6).any()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("steps", -1, "0 or more"),
        ("mask", "some", "one of none"),
        ("starts", 0, "at least 1"),
        ("mask_path", 1.5, "a fraction from 0 to 1"),
        ("mask_limit", 3.0, "more than mask_bias, 3.0"),
    ],
)
def test_bad_settings_are_refused(key, value, said):
    with pytest.raises(UserError, match=f"{key}: found {value}, expected {said}"):
        RefineConfig(**({"steps": 1} | {key: value}))
