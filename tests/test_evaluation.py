"""Fronts, pruning baselines and the sweep, against plain numpy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import apply, fresh_stack, gathered, init_editor
from scipy.spatial import ConvexHull
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from metanet.certificates.outcomes import calibration
from metanet.data.tabular import Table
from metanet.editor.api import edit_stack
from metanet.editor.edit_fns import composed_fn, editor_fn
from metanet.editor.edits import Edit
from metanet.editor.inputs import scales_of
from metanet.editor.model import Editor, EditorConfig, TrainedEditor
from metanet.evaluation.pareto import hypervolume, interpolate, mixed_hypervolume, pareto_mask
from metanet.evaluation.program import Program, evaluate
from metanet.evaluation.sweep import COSTS, Sweep
from metanet.graphs.batch import gather, to_template
from metanet.graphs.packing import pack
from metanet.methods import pruning
from metanet.mlp import network
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec
from metanet.objectives.base import resolve
from metanet.objectives.pruning import weights_kept

SPECS = (MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"), MLPSpec((5, 8, 2)))
PER_STACK = 5
TILE = 8
FRACTIONS = (0.0, 0.1, 0.33, 0.5, 0.9, 1.0)
SETTINGS = np.array([0.2, 0.6, 1.0])


def dominates(p, q):
    return (p <= q).all() and (p < q).any()


@pytest.mark.parametrize("seed", range(20))
def test_pareto_mask_agrees_with_brute_force(seed):
    # Few different coordinates, so that ties and duplicates are frequent.
    points = np.random.default_rng(seed).integers(0, 6, (1 + seed, 2)).astype(float)
    expected = [
        not any(dominates(other, point) for other in points)
        and not any((earlier == point).all() for earlier in points[:index])
        for index, point in enumerate(points)
    ]
    np.testing.assert_array_equal(pareto_mask(points), expected)


@pytest.mark.parametrize("seed", range(20))
def test_hypervolume_agrees_with_counting_the_cells_of_a_grid(seed):
    # Coordinates are whole numbers, some at or beyond the reference.
    reference = (7, 5)
    points = np.random.default_rng(seed).integers(0, 9, (seed, 2)).astype(float)
    cells = [(x, y) for x in range(reference[0]) for y in range(reference[1])]
    dominated = [any(p[0] <= x and p[1] <= y for p in points) for x, y in cells]
    np.testing.assert_allclose(hypervolume(points, reference), np.mean(dominated), atol=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_three_objectives_agree_with_brute_force(seed):
    reference = (4, 5, 3)
    points = np.random.default_rng(seed).integers(0, 6, (2 * seed, 3)).astype(float)
    cells = np.stack(np.meshgrid(*map(np.arange, reference), indexing="ij"), -1).reshape(-1, 3)
    dominated = [any((p <= cell).all() for p in points) for cell in cells]
    np.testing.assert_allclose(hypervolume(points, reference), np.mean(dominated), atol=1e-12)
    front = {tuple(p) for p in points if not any(dominates(q, p) for q in points)}
    found = points[pareto_mask(points)]
    assert len(found) == len(front) and {tuple(p) for p in found} == front


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_hypervolume_of_mixtures_is_that_of_many_mixtures(seed):
    reference = (0.9, 0.3)
    points = np.random.default_rng(seed).uniform(0, 1, (8, 2)) * np.array([1.0, 0.4])
    share = np.linspace(0, 1, 150)[:, None]
    # Points outside of the box, too: their mixtures with others may lie in it.
    pairs = itertools.combinations_with_replacement(points, 2)
    mixtures = [share * p + (1 - share) * q for p, q in pairs]
    expected = hypervolume(np.concatenate(mixtures), reference)
    np.testing.assert_allclose(mixed_hypervolume(points, reference), expected, atol=2e-3)
    assert mixed_hypervolume(points, reference) >= hypervolume(points, reference)
    assert mixed_hypervolume(np.zeros((0, 2)), reference) == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_the_hypervolume_of_mixtures_is_the_area_of_a_convex_hull(seed):
    """Of many points near a curve, so that the hull has many corners."""
    rng = np.random.default_rng(seed)
    x = rng.random(40)
    points = np.stack([x, (1 - np.sqrt(x)) ** 2 + 0.02 * rng.random(40)], 1)
    (left, low) = points.min(0)
    corners = [[left, 1.0], [1.0, low], [1.0, 1.0]]
    hull = ConvexHull(np.concatenate([points, corners]))
    assert len(hull.vertices) > 7
    np.testing.assert_allclose(mixed_hypervolume(points, (1.0, 1.0)), hull.volume, rtol=1e-9)
    scaled = mixed_hypervolume(points * [2.0, 0.1], (2.0, 0.1))
    np.testing.assert_allclose(scaled, hull.volume, rtol=1e-9)


def test_mixtures_of_a_point_outside_the_box_count_where_they_lie_in_it():
    points = np.array([[0.2, 1.5], [0.8, 0.1]])
    enters = 0.2 + 0.6 * 0.5 / 1.4  # where the line between them has height 1
    expected = 0.9 * (0.8 - enters) / 2 + 0.9 * 0.2
    np.testing.assert_allclose(mixed_hypervolume(points, (1.0, 1.0)), expected, rtol=1e-12)


def test_hypervolume_of_the_ideal_point_is_one_and_of_no_point_zero():
    assert hypervolume(np.zeros((1, 2)), (1.0, 0.1)) == 1.0
    assert hypervolume(np.zeros((0, 2)), (1.0, 0.1)) == 0.0
    assert hypervolume(np.array([[1.0, 0.0], [0.0, 0.1], [2.0, -1.0]]), (1.0, 0.1)) == 0.0


def test_interpolation_is_linear_between_points_and_nan_outside_them():
    points = np.array([[0.8, 1.0], [0.2, 4.0], [0.4, 2.0]])
    levels = np.array([0.1, 0.2, 0.3, 0.6, 0.8, 0.81])
    np.testing.assert_allclose(interpolate(points, levels), [np.nan, 4, 3, 1.5, 1, np.nan])


def random_stack(spec, seed):
    params = fresh_stack(spec, PER_STACK, seed).params
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda p: p + 0.5 * rng.normal(size=p.shape).astype(np.float32), params)
    # Blocks of different scale, so that a threshold per model is not one per block.
    weights = tuple(3 ** (i % 2) * weight for i, weight in enumerate(params.weights))
    params = params.replace(weights=weights)
    activation = np.arange(PER_STACK) % len(network.ACTIVATIONS)
    return Stack(spec, params, activation.astype(np.int32))


@pytest.fixture(scope="module")
def stacks():
    return [random_stack(spec, seed) for seed, spec in enumerate(SPECS)]


@pytest.fixture(scope="module")
def models(stacks):
    return pack(stacks)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(7)
    return Table(
        x=rng.normal(size=(40, 5)).astype(np.float32),
        y=rng.integers(0, 2, 40).astype(np.int32),
        group=np.zeros(40, np.int32),
        weight=np.ones(40, np.float32),
        n_groups=1,
    )


def blocks_of(stacks, index):
    """The weights of model `index`, one [n_source, n_target] array per block."""
    stack = stacks[index // PER_STACK]
    return [weight[index % PER_STACK] for weight in stack.params.weights]


def cut(matrix, spec, depth=2):
    """The blocks of `spec` out of a [sources, targets] matrix of their template."""
    starts = [
        (source * TILE, (depth if target == spec.n_layers else target - 1) * TILE)
        for source, target in spec.blocks
    ]
    sizes = [(spec.widths[source], spec.widths[target]) for source, target in spec.blocks]
    return [
        np.asarray(matrix)[row : row + rows, column : column + columns]
        for (row, column), (rows, columns) in zip(starts, sizes, strict=True)
    ]


def best_by(scores, fraction):
    """0/1 masks, per block, of the highest scores over all blocks."""
    flat = np.concatenate([score.reshape(-1) for score in scores])
    mask = np.zeros(flat.size)
    mask[np.argsort(-flat, kind="stable")[: round(fraction * flat.size)]] = 1
    parts = np.split(mask, np.cumsum([score.size for score in scores])[:-1])
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]


def magnitude(blocks):
    return [np.abs(block) for block in blocks]


def layer_magnitude(blocks):
    return [np.abs(block) / np.sqrt(np.mean(np.float64(block) ** 2)) for block in blocks]


SCORES = {
    "Random": pruning.random,
    "Magnitude": pruning.magnitude,
    "Magnitude (layer-normalised)": pruning.layer_magnitude,
    "Grad Importance": pruning.gradient,
    "SNIP": pruning.snip,
}
ORACLES = {"Magnitude": magnitude, "Magnitude (layer-normalised)": layer_magnitude}


@pytest.fixture(scope="module")
def prune(models, table):
    """prune(name, fraction, seed=0) -> the edits of all models, by the baseline `name`."""

    @functools.partial(jax.jit, static_argnums=0)
    def program(name, keys, fraction):
        graph = gather(models, jnp.arange(2 * PER_STACK), jnp.zeros((2 * PER_STACK, 1)), (50, 50))
        return pruning.one_shot_fn(SCORES[name], models.template)(table, graph, keys)(fraction)

    def prune(name, fraction, seed=0):
        keys = jax.random.split(jax.random.key(seed), 2 * PER_STACK)
        return program(name, keys, jnp.float32(fraction))

    return prune


@pytest.mark.parametrize("name", SCORES)
def test_a_baseline_keeps_exactly_the_fraction_and_changes_nothing_else(name, prune, stacks):
    for fraction in FRACTIONS:
        edit = prune(name, fraction)
        for index in range(2 * PER_STACK):
            spec = stacks[index // PER_STACK].spec
            masks = cut(edit.keep[index], spec)
            kept = sum(mask.sum() for mask in masks)
            assert kept == round(fraction * spec.n_weights) == edit.keep[index].sum()
            weights = cut(edit.after.weight[index], spec)
            for mask, weight, original in zip(
                masks, weights, blocks_of(stacks, index), strict=True
            ):
                np.testing.assert_array_equal(weight, mask * original)
        for leaf in ("bias", "scale", "shift", "activation", "norm"):
            np.testing.assert_array_equal(getattr(edit.after, leaf), getattr(edit.before, leaf))
        np.testing.assert_array_equal(edit.input_keep, np.ones((2 * PER_STACK, 5)))


@pytest.mark.parametrize("name", ORACLES)
def test_magnitude_baselines_keep_the_weights_that_a_loop_over_blocks_keeps(name, prune, stacks):
    for fraction in (0.1, 0.5, 0.9):
        edit = prune(name, fraction)
        for index in range(2 * PER_STACK):
            expected = best_by(ORACLES[name](blocks_of(stacks, index)), fraction)
            found = cut(edit.keep[index], stacks[index // PER_STACK].spec)
            for mask, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(mask, other)


def test_the_two_magnitudes_differ(prune):
    first, second = (prune(name, 0.5).keep for name in ORACLES)
    assert (first != second).any(axis=(1, 2)).all()


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75])
def test_the_fraction_is_kept_exactly_where_scores_are_equal(fraction, models, prune):
    before = jax.tree.map(lambda leaf: leaf[0], prune("Magnitude", 1.0).before)
    # A model that was pruned already: three weights in five are zero.
    zero = jnp.arange(before.weight.size).reshape(before.weight.shape) % 5 < 3
    score = jnp.where(zero, 0.0, jnp.abs(before.weight))
    keep = jax.jit(pruning.keep_best)(before, score, jnp.float32(fraction))
    assert keep.sum() == round(fraction * int(before.edge.sum()))
    assert not keep[~before.edge].any()


def test_random_pruning_differs_by_model_and_repeats_for_the_same_seed(prune):
    keep = np.asarray(prune("Random", 0.5).keep)
    np.testing.assert_array_equal(prune("Random", 0.5).keep, keep)
    assert (prune("Random", 0.5, seed=1).keep != keep).any(axis=(1, 2)).all()
    for stack in (keep[:PER_STACK], keep[PER_STACK:]):
        assert len(np.unique(stack, axis=0)) == PER_STACK


@pytest.fixture(scope="module")
def sweep(models, table):
    """sweep(name, ids, ...) -> the sweep of a baseline over three fractions."""

    @functools.cache
    def sweep(name, ids, batch_size=16, seed=0):
        method = pruning.one_shot_fn(SCORES[name], models.template)
        context = jax.tree.map(jnp.asarray, table)
        return evaluate(
            method, context, models, np.array(ids), SETTINGS, table, weights_kept, seed, batch_size
        )

    return sweep


def probabilities(stacks, table, index, weights):
    """[rows, classes] of model `index` with other weights."""
    stack = stacks[index // PER_STACK]
    params = jax.tree.map(lambda leaf: leaf[index % PER_STACK], stack.params)
    activation = stack.activation[index % PER_STACK]
    params = params.replace(weights=tuple(weights))
    return softmax(np.float64(apply(stack.spec, params, activation, table.x)), axis=1)


@pytest.mark.slow
def test_a_method_is_compiled_once_for_all_its_sets_of_models(models, table, sweep):
    method = pruning.one_shot_fn(SCORES["Magnitude"], models.template)
    context, traced = jax.tree.map(jnp.asarray, table), []

    def counted(*arguments):
        traced.append(True)
        return method(*arguments)

    sets = [np.array([7, 2, 9, 0]), np.array([3, 8])]
    program = Program(counted, context, models, sets, len(SETTINGS), 0)
    for ids, settings in ((sets[1], SETTINGS[1:]), (sets[0], SETTINGS)):
        found = program.sweep(ids, settings, table, weights_kept)
        expected = sweep("Magnitude", tuple(ids))
        np.testing.assert_allclose(found.jsd, expected.jsd[-len(settings) :], atol=1e-6)
        np.testing.assert_array_equal(found.requirement, expected.requirement[-len(settings) :])
    assert len(traced) == 1
    with pytest.raises(ValueError, match="expected one of the sets"):
        program.sweep(sets[0], np.ones(4), table, weights_kept)


def test_a_sweep_is_what_one_model_after_another_gives_in_the_order_of_ids(sweep, stacks, table):
    ids = (7, 2, 9, 0)
    found = sweep("Magnitude", ids)
    assert found.jsd.shape == (3, len(ids))
    for column, index in enumerate(ids):
        blocks = blocks_of(stacks, index)
        original = probabilities(stacks, table, index, blocks)
        for row, fraction in enumerate(SETTINGS[:2]):
            masks = best_by(magnitude(blocks), fraction)
            pruned = [mask * block for mask, block in zip(masks, blocks, strict=True)]
            edited = probabilities(stacks, table, index, pruned)
            divergence = jensenshannon(original, edited, axis=1) ** 2
            expected = {
                "requirement": sum(mask.sum() for mask in masks) / sum(m.size for m in masks),
                "jsd": divergence.mean(),
                "jsd_label": np.log(2) * np.mean(edited.argmax(1) != original.argmax(1)),
                "accuracy": np.mean(edited.argmax(1) == table.y),
                "accuracy_original": np.mean(original.argmax(1) == table.y),
                "calibration": np.mean(
                    [calibration(edited, table.y, code)["error"] for code in (0, 1)]
                ),
            }
            for name, value in expected.items():
                measured = getattr(found, name)[row, column]
                np.testing.assert_allclose(measured, value, rtol=1e-3, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("batch_size", [3, 4])
def test_a_sweep_does_not_depend_on_the_batch_size_or_on_padding(batch_size, sweep):
    ids = (7, 2, 9, 0)
    expected, found = sweep("Random", ids), sweep("Random", ids, batch_size)
    for name in vars(expected):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6)


@pytest.mark.slow
def test_a_models_random_draws_depend_on_its_number_and_the_seed_alone(models, table):
    def method(context, graph, keys):
        before = to_template(models.template, graph)
        drawn = jax.vmap(jax.random.uniform)(keys)
        after = before.replace(bias=drawn[:, None] + 0 * before.bias)
        return lambda setting: Edit(before, after, before.weight, jnp.ones((len(keys), 5)))

    def draws(ids, seed, batch_size):
        found = evaluate(
            method, None, models, np.array(ids), np.ones(1), table,
            lambda view: view.after.bias[0], seed, batch_size,
        )  # fmt: skip
        return found.requirement[0]

    first = draws((7, 2, 9, 0), 0, 4)
    assert len(np.unique(first)) == 4
    np.testing.assert_array_equal(draws((0, 7, 1, 2, 3), 0, 2)[[1, 3, 0]], first[[0, 1, 3]])
    assert not np.isin(draws((7, 2, 9, 0), 1, 4), first).any()


def test_an_unpruned_model_is_the_original(sweep):
    found = sweep("Random", (7, 2, 9, 0))
    np.testing.assert_array_equal(found.requirement[-1], 1.0)
    np.testing.assert_allclose(found.jsd[-1], 0.0, atol=1e-6)
    np.testing.assert_array_equal(found.jsd_label[-1], 0.0)
    np.testing.assert_array_equal(found.accuracy[-1], found.accuracy_original[-1])
    assert (found.jsd[:-1] > 1e-4).all()


def a_sweep(requirement, jsd, **others):
    """Fields that are not given are those of an unedited model."""
    zeros = np.zeros_like(jsd)
    given = {"jsd_label": zeros, "accuracy": zeros + 0.8, "accuracy_original": zeros + 0.8,
             "constant": zeros, "calibration": zeros} | others  # fmt: skip
    return Sweep(requirement, jsd, **given)


@pytest.mark.parametrize("cost", COSTS)
def test_the_selected_settings_are_the_pareto_front_of_a_cost_by_rising_requirement(cost):
    rng = np.random.default_rng(2)
    names = ("requirement", "jsd", "jsd_label", "accuracy")
    found = a_sweep(**{name: rng.random((40, 3)) for name in names})
    value = 1 - found.accuracy if cost == "error" else getattr(found, cost)
    points = np.stack([found.requirement.mean(1), value.mean(1)], axis=1)
    np.testing.assert_allclose(found.points(cost), points)
    front = [i for i in range(40) if not any(dominates(other, points[i]) for other in points)]
    assert 1 < len(front) < 40
    assert found.selected(cost).tolist() == sorted(front, key=lambda i: points[i, 0])


def test_a_model_that_a_method_cannot_edit_stays_as_it_is():
    requirement = np.tile([[0.1], [0.2], [0.3], [0.4]], (1, 20))
    jsd = np.tile([[0.03], [0.02], [0.01], [0.0]], (1, 20))
    requirement[0, :3] = jsd[0, :3] = np.nan
    requirement[3] = jsd[3] = np.nan
    found = a_sweep(requirement, jsd, accuracy=jsd)
    assert found.infeasible.tolist() == [3, 0, 0, 20]
    unedited = a_sweep(np.full((1, 20), 0.5), np.zeros((1, 20)))
    filled = found.filled(unedited)
    assert filled.requirement[0].tolist() == 3 * [0.5] + 17 * [0.1]
    assert filled.jsd[0].tolist() == 3 * [0.0] + 17 * [0.03]
    assert filled.accuracy[0, :3].tolist() == 3 * [0.8]
    np.testing.assert_array_equal(filled.jsd[1:], jsd[1:])  # the last has no result at all
    assert filled.selected().tolist() == [0, 1, 2]  # requirement .16, JSD .0255 of the first
    np.testing.assert_allclose(filled.points()[0], [0.16, 0.0255])
    # A setting that edits too few of the models is none, unless all are such.
    few = found.filled(unedited, 0.1)
    assert np.isnan(few.jsd[[0, 3]]).all() and np.isnan(few.requirement[0]).all()
    assert few.selected().tolist() == [1, 2] and found.filled(unedited, 0.15).jsd[0, 0] == 0
    alone = found.take(np.array([0, 3]))
    np.testing.assert_array_equal(alone.filled(unedited, 0.1).jsd, filled.jsd[[0, 3]])
    several = a_sweep(np.stack([requirement] * 2, -1), jsd)
    both = a_sweep(np.full((1, 20, 2), 0.5), np.zeros((1, 20)))
    assert several.filled(both).requirement[0, :4].tolist() == 3 * [[0.5, 0.5]] + [[0.1, 0.1]]


def an_editor(models, requirements=1, seed=2):
    config = EditorConfig(node_width=8, edge_width=4, message_width=4, layers=1, mask_bias=1e-6)
    scales = scales_of(models, np.arange(2 * PER_STACK))
    graph = gathered(models, np.arange(1), np.zeros((1, requirements), np.float32), (10, 10))
    params = init_editor(Editor(config, models.template), jax.random.key(0), graph, scales)
    rng = np.random.default_rng(seed)
    # Random heads: a fresh editor keeps nearly all weights.
    params = jax.tree.map(lambda p: np.float32(np.asarray(p) + rng.normal(size=p.shape)), params)
    ranges = ((0.001, 0.5),) * requirements
    return TrainedEditor(params, scales, config, models.template, ranges)


@pytest.mark.slow
def test_a_preference_vector_is_evaluated_with_a_value_for_each_requirement(stacks, models, table):
    editor = an_editor(models, requirements=2)
    vectors = np.array([[1e-3, 1.0], [1.0, 1e-3], [1e-3, 1e-3]])
    both = resolve(
        ("metanet.objectives.pruning.weights_kept",
         "metanet.objectives.fairness.demographic_parity")
    )  # fmt: skip
    ids = np.arange(PER_STACK)
    found = evaluate(editor_fn, editor, models, ids, vectors, table, both, 0)
    assert found.requirement.shape == (3, PER_STACK, 2)
    assert found.points().shape == (3, 3)
    for row, vector in enumerate(vectors):
        _, masks = edit_stack(editor, stacks[0], vector)
        kept = sum(np.asarray(mask).sum((1, 2)) for mask in masks) / stacks[0].spec.n_weights
        np.testing.assert_allclose(found.requirement[row, :, 0], kept, atol=1e-6)
    np.testing.assert_array_equal(found.requirement[..., 1], 0.0)  # one group
    assert len(np.unique(found.jsd[:, 0])) == 3


@pytest.mark.slow
def test_composed_editors_edit_one_after_another_and_keep_what_both_keep(stacks, models, table):
    first, second = (an_editor(models, seed=seed) for seed in (0, 1))
    stack, ids = stacks[0], np.arange(PER_STACK)
    lambdas = np.array([[1e-2, 1e-1], [1e-1, 1e-2]])
    found = evaluate(composed_fn, (first, second), models, ids, lambdas, table, weights_kept, 0)
    predict = jax.jit(jax.vmap(functools.partial(network.apply, stack.spec), (0, 0, None)))
    x = table.x
    for row, (one, two) in enumerate(lambdas):
        between, removed = edit_stack(first, stack, one)
        edited, masks = edit_stack(second, between, two)
        both = [np.asarray(a) * np.asarray(b) for a, b in zip(removed, masks, strict=True)]
        kept = sum(mask.sum((1, 2)) for mask in both) / stack.spec.n_weights
        np.testing.assert_allclose(found.requirement[row], kept, atol=1e-6)
        weights = tuple(w * mask for w, mask in zip(edited.params.weights, both, strict=True))
        p, q = (
            np.asarray(jax.nn.softmax(predict(params, stack.activation, x)))
            for params in (stack.params, edited.params.replace(weights=weights))
        )
        divergence = (jensenshannon(p, q, axis=2) ** 2).mean(1)
        np.testing.assert_allclose(found.jsd[row], divergence, rtol=1e-3)
    assert (found.requirement[0] != found.requirement[1]).any()


def test_evaluating_an_editor_at_a_lambda_is_editing_a_stack_at_that_lambda(stacks, models, table):
    editor = an_editor(models)
    stack, lambdas = stacks[0], np.array([1e-3, 1.0])
    ids = np.arange(PER_STACK)
    found = evaluate(editor_fn, editor, models, ids, lambdas, table, weights_kept, 0)
    predict = jax.jit(jax.vmap(functools.partial(network.apply, stack.spec), (0, 0, None)))
    x = table.x
    for row, preference in enumerate(lambdas):
        edited, masks = edit_stack(editor, stack, preference)
        kept = sum(np.asarray(mask).sum((1, 2)) for mask in masks) / stack.spec.n_weights
        np.testing.assert_allclose(found.requirement[row], kept, atol=1e-6)
        p, q = (
            np.asarray(jax.nn.softmax(predict(params, stack.activation, x)))
            for params in (stack.params, edited.params)
        )
        divergence = (jensenshannon(p, q, axis=2) ** 2).mean(1)
        np.testing.assert_allclose(found.jsd[row], divergence, rtol=1e-3)
        np.testing.assert_allclose(found.accuracy[row], (q.argmax(2) == table.y).mean(1))
    assert 0 < found.requirement.mean() < 1
    assert (found.requirement[0] != found.requirement[1]).any()
