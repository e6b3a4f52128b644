"""Baselines that read data or train, against plain numpy, sklearn and loops over single models."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import apply, gathered

from metanet.data.moments import moments_of
from metanet.data.tabular import Table
from metanet.evaluation.program import map_models
from metanet.graphs.batch import to_template
from metanet.graphs.packing import pack, pack_probes
from metanet.graphs.padded import apply_padded
from metanet.methods import data_minimisation as dm
from metanet.methods import pruning, rankings
from metanet.methods import retrain as distil
from metanet.methods.brain_damage import brain_damage_fn
from metanet.methods.composition import selected_pruned_fn
from metanet.methods.lottery import lottery_ticket_fn
from metanet.methods.retrain import (
    RetrainConfig,
    fresh,
    jsd_loss,
    label_loss,
    retrain,
    retraining,
)
from metanet.mlp import network
from metanet.mlp.network import ACTIVATIONS, NORM_EPSILON, MLPParams
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec
from metanet.probes.rows import Points
from metanet.probes.store import probe_stack

SPECS = (MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"), MLPSpec((5, 8, 2)))
PER_STACK = 2
COUNT = len(SPECS) * PER_STACK
TILE = 8
CONFIG = RetrainConfig(steps=12, batch_size=16, learning_rate=0.02)
FROZEN = RetrainConfig(steps=1, batch_size=4, learning_rate=0.0)
KEYS = jax.random.split(jax.random.key(0), COUNT)
# Of what is trained after a choice: the choice's, and the training's.
CHOICE_KEYS, TRAIN_KEYS = jax.vmap(jax.random.split)(KEYS).T


def random_stack(spec, seed):
    rng = np.random.default_rng(seed)

    def normal(*shape, mean=0.0):
        return (mean + 0.7 * rng.normal(size=(PER_STACK, *shape))).astype(np.float32)

    normed = [spec.widths[layer] for layer in spec.hidden] if spec.norm == "layer" else []
    params = MLPParams(
        weights=tuple(normal(spec.widths[s], spec.widths[t]) for s, t in spec.blocks),
        biases=tuple(normal(width) for width in spec.widths[1:]),
        scales=tuple(normal(width, mean=1.0) for width in normed),
        shifts=tuple(normal(width) for width in normed),
    )
    return Stack(spec, params, np.full(PER_STACK, ACTIVATIONS.index("tanh"), np.int32))


@pytest.fixture(scope="module")
def stacks():
    return [random_stack(spec, seed) for seed, spec in enumerate(SPECS)]


@pytest.fixture(scope="module")
def models(stacks):
    return pack(stacks)


@pytest.fixture(scope="module")
def graph(models):
    sizes = (models.topologies.n_nodes, models.topologies.n_edges)
    budget = tuple(PER_STACK * int(size.sum()) for size in sizes)
    return gathered(models, np.arange(COUNT), np.zeros((COUNT, 1), np.float32), budget)


@pytest.fixture(scope="module")
def before(models, graph):
    return jax.jit(to_template, static_argnums=0)(models.template, graph)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(7)
    return Table(
        x=jnp.asarray(rng.normal(size=(60, 5)), jnp.float32),
        y=jnp.asarray(rng.integers(0, 2, 60), jnp.int32),
        group=jnp.zeros(60, jnp.int32),
        weight=jnp.ones(60),
        n_groups=1,
    )


@pytest.fixture(scope="module")
def run(graph):
    """run(method, context, *settings) -> for each setting the edits of all models."""

    def run(method, context, *settings, keys=KEYS):
        program = jax.jit(lambda context, setting: method(context, graph, keys)(setting))
        edits = [program(context, jnp.float32(setting)) for setting in settings]
        return [jax.tree.map(np.asarray, edit) for edit in edits]

    return run


def one_of(stacks, index):
    """(spec, parameters, activation) of model `index`."""
    stack, row = stacks[index // PER_STACK], index % PER_STACK
    return stack.spec, jax.tree.map(lambda leaf: leaf[row], stack.params), stack.activation[row]


def cut(matrix, spec, depth=2):
    """The blocks of `spec` out of a [sources, targets] matrix of their template."""
    return [
        np.asarray(matrix)[
            source * TILE :, (depth if target == spec.n_layers else target - 1) * TILE :
        ][: spec.widths[source], : spec.widths[target]]
        for source, target in spec.blocks
    ]


def cut_vectors(vector, spec, layers, depth=2):
    """The layers of `spec` out of [targets] of their template."""
    places = [(depth if layer == spec.n_layers else layer - 1) * TILE for layer in layers]
    return [
        np.asarray(vector)[place : place + spec.widths[layer]]
        for place, layer in zip(places, layers, strict=True)
    ]


def params_of(mlp, spec):
    """One model of a template as parameters."""
    normed = spec.hidden if spec.norm == "layer" else ()
    return MLPParams(
        weights=tuple(cut(mlp.weight, spec)),
        biases=tuple(cut_vectors(mlp.bias, spec, range(1, spec.n_layers + 1))),
        scales=tuple(cut_vectors(mlp.scale, spec, normed)),
        shifts=tuple(cut_vectors(mlp.shift, spec, normed)),
    )


def numpy_logits(spec, params, x):
    """Forward pass with tanh in float64, by the book."""
    outputs = [np.float64(x)]
    for layer in range(1, spec.n_layers + 1):
        z = np.float64(params.biases[layer - 1]) + 0 * outputs[0][:, :1]
        for (source, target), weight in zip(spec.blocks, params.weights, strict=True):
            if target == layer:
                z = z + outputs[source] @ np.float64(weight)
        if layer < spec.n_layers:
            if spec.norm == "layer":
                z = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + NORM_EPSILON)
                z = z * params.scales[layer - 1] + params.shifts[layer - 1]
            z = np.tanh(z)
        outputs.append(z)
    return outputs[-1]


def cross_entropy(spec, params, x, y):
    logits = numpy_logits(spec, params, x)
    highest = logits.max(1, keepdims=True)
    log_sum = np.log(np.exp(logits - highest).sum(1)) + highest[:, 0]
    return (log_sum - logits[np.arange(len(y)), y]).mean()


# Scores


def test_lamp_is_a_loop_over_layers_and_weights(models, stacks, before):
    """A layer is all that enters its neurons, skip connections too."""
    for index in range(COUNT):
        spec, params, _ = one_of(stacks, index)
        model = jax.tree.map(lambda leaf, i=index: leaf[i], before)
        score = jax.jit(pruning.lamp, static_argnums=0)
        found = cut(score(models.template, model, None, None), spec)
        for layer in range(1, spec.n_layers + 1):
            own = [n for n, (_, target) in enumerate(spec.blocks) if target == layer]
            squares = np.concatenate([params.weights[n].reshape(-1) ** 2.0 for n in own])
            scores = np.concatenate([found[n].reshape(-1) for n in own])
            for square, score in zip(squares, scores, strict=True):
                larger = sum(other for other in squares if other >= square)
                np.testing.assert_allclose(score, square / larger, rtol=1e-4)
            assert scores.max() == 1.0  # the last weight of a layer goes last of all


@pytest.mark.parametrize("index", [0, PER_STACK])
def test_gradient_and_snip_scores_are_those_of_finite_differences(
    index, models, stacks, before, table
):
    spec, params, _ = one_of(stacks, index)
    model = jax.tree.map(lambda leaf: leaf[index], before)
    weights = [np.float64(weight) for weight in params.weights]
    x, y = np.asarray(table.x), np.asarray(table.y)
    expected = [np.zeros_like(weight) for weight in weights]
    for block, weight in enumerate(weights):
        for place in np.ndindex(weight.shape):
            values = []
            for step in (1e-5, -1e-5):
                moved = [w.copy() for w in weights]
                moved[block][place] += step
                values.append(cross_entropy(spec, params.replace(weights=tuple(moved)), x, y))
            expected[block][place] = abs(values[0] - values[1]) / 2e-5
    found, sensitivity = (
        cut(jax.jit(score, static_argnums=0)(models.template, model, table, None), spec)
        for score in (pruning.gradient, pruning.snip)
    )
    assert np.concatenate([e.reshape(-1) for e in expected]).std() > 0.01
    for score, snip, slope, weight in zip(found, sensitivity, expected, weights, strict=True):
        np.testing.assert_allclose(score, slope, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(snip, slope * np.abs(weight), rtol=1e-3, atol=1e-5)


class Predictor:
    """What sklearn needs to know of a model."""

    def __init__(self, spec, params):
        self.spec, self.params = spec, params

    def fit(self, x, y):
        return self

    def predict(self, x):
        return numpy_logits(self.spec, self.params, x).argmax(1)

    def score(self, x, y):
        return (self.predict(x) == y).mean()


@pytest.mark.parametrize("index", [0, PER_STACK])
def test_permutation_importance_is_that_of_sklearn(index, models, stacks, before):
    inspection = pytest.importorskip("sklearn.inspection")
    spec, *_ = one_of(stacks, index)
    # Features of clearly different influence: the fourth has none.
    influence = np.float32([3.0, 0.2, 1.0, 0.0, 0.6])
    x = np.random.default_rng(0).normal(size=(150, 5)).astype(np.float32)
    model = jax.tree.map(lambda leaf: leaf[index], before)
    scaled = model.weight.at[:5].multiply(influence[:, None])
    model = model.replace(weight=scaled)
    predictor = Predictor(spec, params_of(model, spec))
    y = predictor.predict(x)
    y = np.where(np.random.default_rng(1).random(150) < 0.1, 1 - y, y).astype(np.int32)
    table = Table(x, y, 0 * y, np.ones(150, np.float32), 1)
    repeats = 100
    importance = jax.jit(
        lambda model, table, key: rankings.permutation_importance(
            models.template, model, table, key, repeats
        )
    )
    found = np.asarray(importance(model, jax.tree.map(jnp.asarray, table), jax.random.key(0)))
    expected = inspection.permutation_importance(
        predictor, x, y, scoring=Predictor.score, n_repeats=repeats, random_state=0
    )
    error = np.sqrt(2 / repeats) * expected.importances_std + 1e-6
    assert (np.abs(found - expected.importances_mean) < 5 * error).all()
    assert found.max() > 0.1
    apart = np.diff(np.sort(expected.importances_mean)) > 5 * error.max()
    assert apart.sum() >= 2
    order = np.argsort(expected.importances_mean)
    for low, high in zip(order[:-1][apart], order[1:][apart], strict=True):
        assert found[low] < found[high]


def test_features_without_influence_have_no_importance(models, before, table):
    """Exactly none, so that they are equal whatever the permutations are."""
    model = jax.tree.map(lambda leaf: leaf[0], before)
    model = model.replace(weight=model.weight.at[jnp.array([0, 3])].set(0.0))
    importance = functools.partial(rankings.permutation_importance, models.template, repeats=7)
    for seed in range(3):
        found = np.asarray(jax.jit(importance)(model, table, jax.random.key(seed)))
        np.testing.assert_array_equal(found[[0, 3]], 0.0)
        assert (np.abs(found[[1, 2, 4]]) > 1e-4).all()


def test_importances_of_a_population_are_those_of_its_models(models, before, table):
    found = map_models(
        rankings.importances(models.template), table, models, np.array([3, 0]), seed=0
    )
    assert found.shape == (2, 5)
    keys = map_models(lambda context, graph, keys: jax.random.key_data(keys), None, models,
                      np.array([3, 0]), seed=0)  # fmt: skip
    for row, index in enumerate((3, 0)):
        model = jax.tree.map(lambda leaf, index=index: leaf[index], before)
        key = jax.random.wrap_key_data(jnp.asarray(keys[row]))
        alone = rankings.permutation_importance(models.template, model, table, key)
        np.testing.assert_allclose(found[row], alone, atol=1e-6)
    testbed = types.SimpleNamespace(
        models=models, edit_table=table, online=False, experiment=types.SimpleNamespace(seed=0),
        population=types.SimpleNamespace(ids={"train": np.array([3, 0])}.__getitem__),
        cached=lambda key, make: make(),
    )  # fmt: skip
    np.testing.assert_allclose(dm.global_importance(testbed), found.mean(0), rtol=1e-6)


def test_a_ranked_mask_has_the_best_and_of_equals_the_first():
    rng = np.random.default_rng(0)
    for importance in (rng.normal(size=9), rng.integers(-1, 2, 9), np.zeros(9), -np.arange(9)):
        for count in range(10):
            order = sorted(range(9), key=lambda i, v=importance: (-v[i], i))
            expected = np.zeros(9)
            expected[order[:count]] = 1
            found = rankings.ranked_mask(jnp.float32(importance), jnp.float32(count))
            np.testing.assert_array_equal(found, expected)


# Feature selection


@pytest.mark.parametrize("ranking", ["global", "model"])
def test_feature_selection_keeps_exactly_the_counted_features(ranking, models, before, table, run):
    importance = jnp.float32([0.1, 0.5, -0.2, 0.4, 0.3])
    context = dm.Knowledge(importance, table, moments_of(table, 5))
    best = jnp.broadcast_to(importance, (COUNT, 5))
    if ranking == "model":
        importance_of = functools.partial(rankings.permutation_importance, models.template)
        best = jax.jit(jax.vmap(importance_of, (0, None, 0)))(before, table, KEYS)
        assert len(np.unique(np.argsort(best, axis=1), axis=0)) > 1
    counts = (0, 1, 3, 5)
    edits = run(dm.selection_fn(models.template, ranking), context, *counts)
    for count, edit in zip(counts, edits, strict=True):
        np.testing.assert_array_equal(edit.input_keep.sum(1), count)
        for index in range(COUNT):
            kept = np.asarray(rankings.ranked_mask(best[index], count))
            np.testing.assert_array_equal(edit.input_keep[index], kept)
            rows = np.ones((edit.keep.shape[1], 1))
            rows[:5, 0] = kept
            np.testing.assert_array_equal(edit.keep[index], before.edge[index] * rows)
        np.testing.assert_array_equal(edit.after.weight, before.weight * edit.keep)
        for name in ("bias", "scale", "shift"):
            np.testing.assert_array_equal(getattr(edit.after, name), getattr(before, name))


@pytest.mark.slow
def test_retrained_selection_begins_where_it_says_and_reads_no_dropped_feature(
    models, before, table, run
):
    importance = jnp.float32([0.1, 0.5, -0.2, 0.4, 0.3])

    def retrained(start, config):
        method = dm.selection_retrained_fn(models.template, selection, config, start)
        return run(method, (context, retraining(table, config)), 3)[0]

    context = dm.Knowledge(importance, table, moments_of(table, 5))
    selection = dm.selection_fn(models.template, "global")
    (plain,) = run(selection, context, 3)
    original = retrained("original", FROZEN)
    for name in ("weight", "bias", "scale", "shift"):
        found, expected = getattr(original.after, name), getattr(plain.after, name)
        np.testing.assert_array_equal(found, expected)
    start = retrained("fresh", FROZEN).after
    for index in range(COUNT):
        model = jax.tree.map(lambda leaf, index=index: leaf[index], before)
        expected = fresh(model, jax.random.split(TRAIN_KEYS[index])[0])
        np.testing.assert_allclose(
            start.weight[index], expected.weight * plain.keep[index], atol=1e-6
        )
        np.testing.assert_allclose(start.bias[index], expected.bias, atol=1e-6)
    for first in ("fresh", "original"):
        edit = retrained(first, CONFIG)
        np.testing.assert_array_equal(edit.keep, plain.keep)
        np.testing.assert_array_equal(edit.input_keep, [[0, 1, 0, 1, 1]] * COUNT)
        assert not edit.after.weight[edit.keep == 0].any()
        assert (edit.after.weight != plain.after.weight).any((1, 2)).all()
        logits = jax.vmap(lambda m, x: apply_padded(models.template, m, x), (0, None))
        x = table.x.at[:, jnp.array([0, 2])].add(9.0)
        np.testing.assert_array_equal(logits(edit.after, x), logits(edit.after, table.x))


def test_a_fresh_start_is_that_of_new_models(before, stacks):
    many = jax.jit(jax.vmap(fresh, (None, 0)))
    keys = jax.random.split(jax.random.key(1), 300)
    for index in (0, PER_STACK):
        spec, *_ = one_of(stacks, index)
        model = jax.tree.map(lambda leaf, index=index: leaf[index], before)
        drawn, model = jax.tree.map(np.asarray, (many(model, keys), model))
        assert not drawn.weight[:, ~model.edge].any() and not drawn.bias[:, ~model.node].any()
        first = [params_of(jax.tree.map(lambda leaf, i=i: leaf[i], drawn), spec) for i in (0, 1)]
        assert all((a != b).any() for a, b in zip(*[p.weights for p in first], strict=True))
        reference = jax.jit(jax.vmap(functools.partial(network.init, spec)))(keys)
        for block, (source, target) in enumerate(spec.blocks):
            values = np.stack([cut(weight, spec)[block] for weight in drawn.weight])
            expected = np.asarray(reference.weights[block])
            assert np.abs(values).max() == pytest.approx(np.abs(expected).max(), rel=0.05)
            assert values.std() == pytest.approx(expected.std(), rel=0.05), (source, target)
        for layer, expected in enumerate(reference.biases, 1):
            values = np.stack([cut_vectors(bias, spec, [layer])[0] for bias in drawn.bias])
            assert values.std() == pytest.approx(np.asarray(expected).std(), rel=0.1)
        for scale, shift in zip(drawn.scale, drawn.shift, strict=True):
            for part in cut_vectors(scale, spec, spec.hidden):
                np.testing.assert_array_equal(part, 1.0)
            np.testing.assert_array_equal(shift, 0.0)


# Retraining


@functools.partial(jax.jit, static_argnums=(0, 1))
def gradient_of(spec, loss, params, activation, x, target):
    return jax.grad(lambda params: loss(network.apply(spec, params, activation, x), target))(params)


def retrained_by_loop(spec, params, activation, keep, x, target, loss, config, key):
    """Adam with cosine decay, step by step, on the parameters of one model."""
    masks = MLPParams(
        weights=tuple(keep),
        **{
            name: tuple(np.ones_like(leaf) for leaf in getattr(params, name))
            for name in ("biases", "scales", "shifts")
        },
    )
    params = jax.tree.map(lambda p, m: np.float64(p) * m, params, masks)
    first = second = jax.tree.map(np.zeros_like, params)
    for step, step_key in enumerate(jax.random.split(key, config.steps)):
        rows = jax.random.randint(step_key, (config.batch_size,), 0, len(x))
        single = jax.tree.map(np.float32, params)
        slope = gradient_of(spec, loss, single, activation, x[rows], target[rows])
        slope = jax.tree.map(np.float64, slope)
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slope)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, slope)
        rate = config.learning_rate * 0.5 * (1 + np.cos(np.pi * step / config.steps))

        def update(p, m, v, mask, step=step, rate=rate):
            m, v = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
            return p - rate * mask * m / (np.sqrt(v) + 1e-8)

        params = jax.tree.map(update, params, first, second, masks)
    return params


@pytest.mark.slow
def test_distilled_pruning_is_a_loop_over_models_and_steps(models, stacks, before, table, run):
    one_shot = pruning.one_shot_fn(pruning.magnitude, models.template)
    method = pruning.trained_fn(one_shot, models.template, CONFIG)
    (plain,) = run(one_shot, table, 0.5)
    (edit,) = run(method, (table, retraining(table, CONFIG)), 0.5)
    np.testing.assert_array_equal(edit.keep, plain.keep)
    assert not edit.after.weight[edit.keep == 0].any()
    for name in ("bias", "scale", "shift"):
        changed = getattr(edit.after, name) != getattr(before, name)
        assert not changed[~np.asarray(before.node)].any()
    for index in range(COUNT):
        spec, params, activation = one_of(stacks, index)
        teacher = apply(spec, params, activation, table.x)
        expected = retrained_by_loop(
            spec, params, activation, cut(edit.keep[index], spec), table.x, teacher, jsd_loss,
            CONFIG, TRAIN_KEYS[index],
        )  # fmt: skip
        found = params_of(jax.tree.map(lambda leaf, i=index: leaf[i], edit.after), spec)
        moved = [np.abs(e - p).max() for e, p in zip(expected.biases, params.biases, strict=True)]
        assert min(moved) > 0.01
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4)


@pytest.mark.slow
def test_brain_damage_replaces_the_least_salient_weights_by_their_mean(
    models, stacks, before, table
):
    points = Points(table.x, jnp.zeros(60, jnp.int32), jnp.ones(60), 1)
    probes = [probe_stack(stack, points) for stack in stacks]
    probed = models.replace(probe=pack_probes(probes))
    sizes = (models.topologies.n_nodes, models.topologies.n_edges)
    budget = tuple(PER_STACK * int(size.sum()) for size in sizes)
    graph = gathered(probed, np.arange(COUNT), np.zeros((COUNT, 1), np.float32), budget)
    method = brain_damage_fn(models.template)
    edit = jax.jit(lambda fraction: method(None, graph, KEYS)(fraction))(0.4)
    for index in range(COUNT):
        spec, params, _ = one_of(stacks, index)
        stack, row = divmod(index, PER_STACK)
        keep = cut(edit.keep[index], spec)
        saliency = [leaf[row, :, :, 1] for leaf in probes[stack].edge]
        kept, dropped = (
            np.concatenate([s[k == one] for s, k in zip(saliency, keep, strict=True)])
            for one in (1, 0)
        )
        assert kept.min() >= dropped.max() - 1e-6
        assert len(kept) == round(0.4 * (len(kept) + len(dropped)))
        # The first hidden layer's values keep their means over the points.
        found = params_of(jax.tree.map(lambda leaf, i=index: leaf[i], edit.after), spec)
        first = spec.blocks.index((0, 1))
        ours, theirs = (
            np.asarray(table.x) @ p.weights[first] + p.biases[0] for p in (found, params)
        )
        np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=1e-5)
        assert np.abs(ours - theirs).max() > 0.1


def test_greedy_selection_is_a_loop_that_drops_the_cheapest_feature(models, stacks, before, table):
    for index in (0, PER_STACK):
        spec, params, _ = one_of(stacks, index)
        model = jax.tree.map(lambda leaf, i=index: leaf[i], before)
        importance = jax.jit(rankings.greedy_importance, static_argnames=("template", "rows"))
        found = importance(models.template, model, table, rows=30)
        x, left = np.asarray(table.x)[:30], list(range(5))
        logits = numpy_logits(spec, params, x)
        for number in range(5):
            costs = []
            for feature in left:
                kept = np.isin(np.arange(5), [f for f in left if f != feature])
                after = numpy_logits(spec, params, x * kept)
                costs.append(float(network.js_divergence(logits, after).mean()))
            worst = left.pop(int(np.argmin(costs)))
            assert found[worst] == number


@pytest.mark.parametrize("loss", [jsd_loss, label_loss])
def test_retraining_lowers_the_loss_and_keeps_the_mask(loss, models, before, table):
    template, config = models.template, RetrainConfig(150, 32, 0.01)
    masks = np.random.default_rng(0).random(before.edge.shape) < 0.6
    keep = jnp.asarray(masks, jnp.float32) * before.edge

    @jax.jit
    @jax.vmap
    def losses(model, keep, key):
        target = table.y if loss is label_loss else apply_padded(template, model, table.x)
        after = retrain(template, model, keep, table.x, target, loss, config, key)
        cut = model.replace(weight=model.weight * keep)
        return after, *(loss(apply_padded(template, m, table.x), target) for m in (cut, after))

    after, first, last = losses(before, keep, KEYS)
    assert (last < 0.8 * first).all()
    assert not after.weight[keep == 0].any()
    assert (np.asarray(after.weight)[np.asarray(keep) == 1] != 0).all()


@pytest.mark.parametrize("rate", [30.0, float("inf")], ids=["worse", "not a number"])
def test_a_model_that_training_makes_worse_stays_as_it_was(rate, models, before, table):
    template, config = models.template, RetrainConfig(5, 32)
    keep = before.edge.astype(jnp.float32).at[:, :, 0].set(0.0)

    @jax.jit
    @jax.vmap
    def trained(model, keep, key):
        teacher = apply_padded(template, model, table.x)
        more = {"learning_rate": jnp.float32(rate)}
        return retrain(template, model, keep, table.x, teacher, jsd_loss, config, key, **more)

    after = trained(before, keep, KEYS)
    np.testing.assert_array_equal(after.weight, before.weight * keep)
    for name in ("bias", "scale", "shift"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_losses_are_means_over_rows():
    rng = np.random.default_rng(0)
    logits, teacher = rng.normal(size=(2, 7, 3)).astype(np.float32)
    y = rng.integers(0, 3, 7)

    def softmax(z):
        return np.exp(z) / np.exp(z).sum(1, keepdims=True)

    p, q = softmax(np.float64(logits)), softmax(np.float64(teacher))
    m = (p + q) / 2
    divergence = 0.5 * (p * np.log(p / m) + q * np.log(q / m)).sum(1)
    np.testing.assert_allclose(distil.jsd_loss(logits, teacher), divergence.mean(), rtol=1e-5)
    expected = -np.log(p[np.arange(7), y]).mean()
    np.testing.assert_allclose(distil.label_loss(logits, y), expected, rtol=1e-5)


# Lottery tickets


def test_an_untrained_ticket_keeps_exactly_the_fraction_with_its_original_values(
    models, stacks, before, table, run
):
    fractions = (0.0, 0.1, 0.37, 1.0)
    ticket = lottery_ticket_fn(models.template, CONFIG, 3, trained=False)
    edits = run(ticket, retraining(table, CONFIG), *fractions)
    for fraction, edit in zip(fractions, edits, strict=True):
        for index in range(COUNT):
            spec = stacks[index // PER_STACK].spec
            expected = round(fraction * spec.n_weights)
            assert sum(mask.sum() for mask in cut(edit.keep[index], spec)) == expected
            assert edit.keep[index].sum() == expected
        assert set(np.unique(edit.keep)) <= {0.0, 1.0}
        np.testing.assert_array_equal(edit.after.weight, before.weight * edit.keep)
        for name in ("bias", "scale", "shift"):
            np.testing.assert_array_equal(getattr(edit.after, name), getattr(before, name))
        np.testing.assert_array_equal(edit.input_keep, np.ones((COUNT, 5)))
    for more, less in zip(edits[:0:-1], edits[-2::-1], strict=True):
        assert (less.keep <= more.keep).all()  # one path


@pytest.mark.slow
@pytest.mark.parametrize("target", ["outputs", "labels"])
def test_a_ticket_drops_the_least_trained_weights_round_by_round(
    target, models, stacks, before, table, run
):
    """At a fraction between two rounds those that the second would have dropped last are left."""
    rounds, kept, fraction = 3, 0.6, 0.3
    ticket = lottery_ticket_fn(models.template, CONFIG, rounds, kept, target, trained=False)
    (edit,) = run(ticket, retraining(table, CONFIG), fraction)
    for index in range(COUNT):
        spec, params, activation = one_of(stacks, index)
        keep = [np.ones_like(weight) for weight in params.weights]
        goal, loss = table.y, label_loss
        if target == "outputs":
            goal, loss = apply(spec, params, activation, table.x), jsd_loss
        keys = jax.random.split(KEYS[index], rounds)
        for number, key in enumerate(keys, 1):
            trained = params
            if target == "labels" or number > 1:  # the whole model has its own outputs already
                trained = retrained_by_loop(
                    spec, params, activation, keep, table.x, goal, loss, CONFIG, key
                )
            size = [np.abs(w) * k for w, k in zip(trained.weights, keep, strict=True)]
            flat = np.sort(np.concatenate([s.reshape(-1) for s in size]))[::-1]
            count = round(max(kept**number, fraction) * spec.n_weights)
            keep = [np.float32(s >= flat[count - 1]) for s in size]
        for found, expected in zip(cut(edit.keep[index], spec), keep, strict=True):
            np.testing.assert_array_equal(found, expected)
    (one_shot,) = run(pruning.one_shot_fn(pruning.magnitude, models.template), table, fraction)
    assert (edit.keep != one_shot.keep).any()


@pytest.mark.slow
def test_a_ticket_is_trained_from_the_original_weights(models, before, table, run):
    options, training = {"rounds": 2, "target": "labels"}, retraining(table, CONFIG)
    plain = lottery_ticket_fn(models.template, CONFIG, trained=False, **options)
    (ticket,) = run(plain, training, 0.4, keys=CHOICE_KEYS)
    whole = lottery_ticket_fn(models.template, CONFIG, **options)
    (trained,) = run(whole, (training, training), 0.4)
    np.testing.assert_array_equal(trained.keep, ticket.keep)
    for index in range(COUNT):
        model, keep = (jax.tree.map(lambda l, i=index: l[i], t) for t in (before, ticket.keep))
        expected = jax.jit(
            lambda model, keep, key: retrain(
                models.template, model, keep, table.x, table.y, label_loss, CONFIG, key
            )
        )(model, keep, TRAIN_KEYS[index])
        np.testing.assert_allclose(trained.after.weight[index], expected.weight, atol=1e-5)
        assert np.abs(expected.weight - model.weight * keep).max() > 0.01


@pytest.mark.slow
def test_selected_and_pruned_is_snip_on_the_retrained_student(models, before, table, run):
    counts, importance = np.array([2.0, 4.0]), jnp.array([0.3, 0.1, 0.5, 0.2, 0.4])
    known = dm.Knowledge(importance, table, moments_of(table, 5))
    context = known, retraining(table, CONFIG)
    selection = dm.selection_fn(models.template, "global")
    retrained = dm.selection_retrained_fn(models.template, selection, CONFIG, "fresh")

    def with_keys_of_students(context, graph, keys):  # the others are those of pruning
        return retrained(context, graph, jax.vmap(jax.random.split)(keys)[:, 0])

    (students,) = run(with_keys_of_students, context, 4.0)
    method = selected_pruned_fn(models.template, CONFIG, counts, None)
    (whole,) = run(method, context, jnp.array([4.0, 1.0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), whole, students)
    (pruned,) = run(method, context, jnp.array([4.0, 0.3]))
    (distilled,) = run(selected_pruned_fn(models.template, CONFIG, counts, CONFIG),
                    context, jnp.array([4.0, 0.3]))  # fmt: skip
    np.testing.assert_array_equal(distilled.keep, pruned.keep)
    for index in range(COUNT):
        one = jax.tree.map(lambda leaf, index=index: leaf[index], (students, pruned, distilled))
        student, after, trained = one
        score = np.asarray(pruning.snip(models.template, student.after, table, KEYS[0]))
        keep = np.asarray(after.keep)
        assert keep.sum() == round(0.3 * student.before.edge.sum())
        assert score[keep > 0].min() >= score[(keep == 0) & np.asarray(student.before.edge)].max()
        assert (keep <= np.asarray(student.keep)).all()
        np.testing.assert_allclose(after.after.weight, student.after.weight * keep)
        teacher = apply_padded(models.template, student.before, table.x)
        losses = [
            float(jsd_loss(apply_padded(models.template, model, table.x), teacher))
            for model in (trained.after, after.after)
        ]
        assert losses[0] < losses[1]
