"""ExactOBS against loops in float64 that solve every least squares problem from scratch."""

import functools
import heapq

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_template, random_stack, random_table

from metanet.evaluation.program import map_models
from metanet.graphs.linearised import fisher_root, linearise
from metanet.graphs.packing import pack
from metanet.graphs.padded import apply_padded, source_values
from metanet.methods import exact_obs
from metanet.methods.pruning import target_layers
from metanet.mlp.network import js_divergence
from metanet.mlp.spec import MLPSpec

SPECS = (MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"), MLPSpec((5, 8, 3, 2)))
COUNT, ROWS, DAMPING = 2 * len(SPECS), 60, 1e-3
TABLE = jax.tree.map(jnp.asarray, random_table(ROWS))
FRACTIONS = (0.4, 0.5, 1.0)

# Compiled as a whole: operation by operation each is dozens of programs.
removal_order = jax.jit(exact_obs.removal_order, static_argnums=(0, 3, 4))
linearised, values_of, outputs = (
    jax.jit(one, static_argnums=0) for one in (linearise, source_values, apply_padded)
)


@pytest.fixture(scope="module")
def packed():
    return pack([random_stack(spec, 2, seed, activation="tanh") for seed, spec in enumerate(SPECS)])


@pytest.fixture(scope="module")
def models(packed):
    return in_template(packed)


@pytest.fixture(scope="module")
def edits(packed):
    """edits(fraction, sequential=True) -> of all models, at one of FRACTIONS."""

    @functools.cache
    def at_all(sequential):  # leaves [models, fractions, ...]
        edit_fn = exact_obs.exact_obs_fn(packed.template, ROWS, DAMPING, sequential=sequential)

        def edited(table, graph, keys):
            found = jax.lax.map(edit_fn(table, graph, keys), jnp.array(FRACTIONS))
            return jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), found)

        return map_models(edited, TABLE, packed, np.arange(COUNT), 0, COUNT)

    def run(fraction, sequential=True):
        place = FRACTIONS.index(fraction)
        return jax.tree.map(lambda leaf: leaf[:, place], at_all(sequential))

    return run


def one(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def damped_hessian(read):
    """2 X'X / rows, with a column of ones, damped: in float64."""
    x = np.column_stack([np.float64(read), np.ones(len(read))])
    h = 2 * x.T @ x / len(x)
    return x, h + DAMPING * np.diag(h).mean() * np.eye(len(h))


def best_without(h, weights, removed):
    """The weights that minimise half of change' h change with some of them 0, and that minimum."""
    left = np.setdiff1d(np.arange(len(weights)), removed)
    change = -weights
    change[left] = np.linalg.solve(
        h[np.ix_(left, left)], h[np.ix_(left, removed)] @ weights[removed]
    )
    return weights + change, change @ h @ change / 2


def layers(template, model):
    """(sources that a layer reads, its neurons' targets) of every layer of one model."""
    for sources, target in target_layers(template):
        edge = np.asarray(model.edge)[:sources, target]
        if edge.any():
            yield np.flatnonzero(edge.any(1)), target.start + np.flatnonzero(edge.any(0))


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("output_aware", [True, False])
def test_weights_are_removed_as_by_solving_for_every_candidate(index, output_aware, packed, models):
    """Of each neuron one by one, of all neurons from a heap of their next removals."""
    template, model = packed.template, one(models, index)
    found = removal_order(template, model, TABLE.x, DAMPING, output_aware)
    values = np.asarray(values_of(template, model, TABLE.x))
    fisher = np.asarray((np.asarray(linearised(template, model, TABLE.x).bias) ** 2).sum(1).mean(0))
    queues = {}
    for sources, neurons in layers(template, model):
        _, h = damped_hessian(values[:, sources])
        for neuron in neurons:
            weights = np.append(model.weight[sources, neuron], model.bias[neuron]).astype(float)
            removed, total, removals = [], 0.0, []
            while len(removed) < len(sources):
                left = np.setdiff1d(np.arange(len(sources)), removed)
                costs = [best_without(h, weights, np.array([*removed, p]))[1] for p in left]
                best = int(np.argmin(costs))
                factor = fisher[neuron] if output_aware else 1.0
                removals.append(((costs[best] - total) * factor, sources[left[best]]))
                removed.append(left[best])
                total = costs[best]
            queues[neuron] = removals
    heap = [(removals[0][0], neuron, 0) for neuron, removals in queues.items()]
    heapq.heapify(heap)
    expected = []
    while heap:
        _, neuron, step = heapq.heappop(heap)
        expected.append((queues[neuron][step][1], neuron))
        if step + 1 < len(queues[neuron]):
            heapq.heappush(heap, (queues[neuron][step + 1][0], neuron, step + 1))
    places = np.array([found[source, neuron] for source, neuron in expected])
    assert len(expected) == model.edge.sum()
    assert np.asarray(found)[~np.asarray(model.edge)].min() >= len(expected)
    np.testing.assert_array_equal(places, np.arange(len(expected)))


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("sequential", [True, False])
def test_kept_weights_are_those_of_least_squares(index, sequential, packed, models, edits):
    template, model = packed.template, one(models, index)
    edit = one(edits(0.4, sequential=sequential), index)
    keep = np.asarray(edit.keep)
    assert keep.sum() == round(0.4 * model.edge.sum())
    assert not np.asarray(edit.after.weight)[keep == 0].any()
    whole = np.asarray(values_of(template, model, TABLE.x))
    pruned = np.asarray(values_of(template, edit.after, TABLE.x)) if sequential else whole
    for sources, neurons in layers(template, model):
        x, h = damped_hessian(pruned[:, sources])
        damping = (h - 2 * x.T @ x / len(x))[0, 0]
        for neuron in neurons:
            goal = whole[:, sources] @ np.float64(model.weight[sources, neuron])
            first = np.append(model.weight[sources, neuron], 0.0).astype(float)
            free = np.append(keep[sources, neuron] > 0, True)
            # min 2 |X w - goal|^2 / (2 rows) + damping |w - first|^2 / 2, as one least squares.
            a = np.vstack([x[:, free] * np.sqrt(2 / len(x)), np.sqrt(damping) * np.eye(free.sum())])
            b = np.append(goal * np.sqrt(2 / len(x)), np.sqrt(damping) * first[free])
            expected = np.linalg.lstsq(a, b)[0]
            after = np.append(
                edit.after.weight[sources, neuron], edit.after.bias[neuron] - model.bias[neuron]
            )
            np.testing.assert_allclose(after[free], expected, rtol=2e-3, atol=2e-4)


def test_all_removals_of_one_neuron_add_up_to_the_loss_of_least_squares(packed, models):
    """The costs before the highest is taken: a property of exact updates of the inverse."""
    rng = np.random.default_rng(0)
    read = rng.normal(size=(ROWS, 6)) @ rng.normal(size=(6, 6))
    _, h = damped_hessian(read)
    weights = rng.normal(size=7)
    inverse = jnp.asarray(np.linalg.inv(h), jnp.float32)
    cost, when = jax.jit(exact_obs.removal)(jnp.float32(weights[:6]), jnp.ones(6, bool), inverse)
    order = np.argsort(when)
    losses = [best_without(h, weights, order[: n + 1])[1] for n in range(6)]
    highest = np.maximum.accumulate(np.diff([0.0, *losses]))
    np.testing.assert_allclose(np.asarray(cost)[order], highest, rtol=1e-3)


def test_nothing_changes_when_every_weight_is_kept(models, edits):
    for sequential in (True, False):
        after = edits(1.0, sequential=sequential).after
        np.testing.assert_allclose(after.weight, models.weight, atol=2e-5)
        np.testing.assert_allclose(after.bias, models.bias, atol=2e-5)


def test_compensation_lowers_the_divergence_and_sequential_the_error(packed, models, edits):
    template = packed.template
    plain, sequential = edits(0.5, sequential=False), edits(0.5)
    np.testing.assert_array_equal(plain.keep, sequential.keep)

    def divergence(before, after):
        logits = [outputs(template, model, TABLE.x) for model in (before, after)]
        return js_divergence(*logits).mean()

    lower = []
    for index in range(COUNT):
        before, keep = one(models, index), plain.keep[index]
        cut = before.replace(weight=before.weight * keep)
        edited = [one(edit.after, index) for edit in (plain, sequential)]
        lower.append([float(divergence(before, after)) for after in (cut, *edited)])
    cut, alone, in_turn = np.array(lower).T
    assert (alone < cut).all() and (in_turn < cut).all()
    assert in_turn.mean() < alone.mean()


def test_information_of_the_output_is_that_of_small_changes(packed, models):
    """An eighth of the squares of derivatives is the JS divergence, to second order."""
    for index in (0, 3):
        model = one(models, index)
        rows = linearised(packed.template, model, TABLE.x)
        np.testing.assert_allclose(rows.logits, outputs(packed.template, model, TABLE.x), atol=1e-5)
        for name in ("bias", "scale", "shift"):
            slopes = getattr(rows, name)  # [rows, C - 1, targets]
            direction = np.random.default_rng(0).normal(size=slopes.shape[-1]) * model.node
            moved = getattr(model, name) + np.float32(0.01 * direction)
            logits = outputs(packed.template, model.replace(**{name: moved}), TABLE.x)
            found = js_divergence(rows.logits, logits).mean()
            expected = ((slopes @ direction * 0.01) ** 2).sum(-1).mean() / 8
            np.testing.assert_allclose(found, expected, rtol=0.1, atol=1e-9)
            assert name == "bias" or (expected > 0) == (index == 0)  # the one with a layer norm


def test_the_root_of_the_fisher_information():
    rng = np.random.default_rng(0)
    for p in (rng.dirichlet(np.ones(4)), np.array([0.2, 0.8]), np.array([0.0, 1.0, 0.0])):
        root = np.asarray(jax.jit(fisher_root)(p.astype(np.float32)))
        assert root.shape == (len(p) - 1, len(p))
        np.testing.assert_allclose(root.T @ root, np.diag(p) - np.outer(p, p), atol=1e-6)
