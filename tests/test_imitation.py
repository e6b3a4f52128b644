"""Editors that guess the features they drop, and masks that imitate backward elimination."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import exact_budget, gathered, random_stack

from metanet.core import SettingError, Stopped, UserError
from metanet.data.moments import completion, moments_of
from metanet.data.tabular import Table
from metanet.editor.api import edit_stack
from metanet.editor.apply import as_edit, edit_graph
from metanet.editor.imputation import DAMPING, imputed
from metanet.editor.inputs import scales_of
from metanet.editor.model import Editor, EditorConfig, TrainedEditor
from metanet.graphs.batch import edge_matrix, edge_values, node_values, node_vector, to_template
from metanet.graphs.elimination import eliminated
from metanet.graphs.packing import pack
from metanet.graphs.padded import apply_padded
from metanet.methods.budget import _with_best
from metanet.mlp.network import apply, js_divergence
from metanet.mlp.spec import MLPSpec
from metanet.objectives.base import resolve
from metanet.training import loop
from metanet.training.config import TrainingConfig
from metanet.training.imitation import Removal, check_imitation, imitation_loss, removal_of

N_IN = 5
SPECS = (MLPSpec((N_IN, 6, 9, 2), skips=((0, 2),), norm="layer"), MLPSpec((N_IN, 8, 2)))
COUNT = 3  # of each
KEPT = "metanet.objectives.data_minimisation.inputs_kept"
CONFIG = EditorConfig(
    node_width=8, edge_width=4, message_width=4, layers=1, mask="inputs", imputation=True, gamma=0.5
)
QUICK = TrainingConfig(steps=200, batch_size=4, points=16, warmup=5, learning_rate=0.02)


@pytest.fixture(scope="module")
def stacks():
    return [random_stack(spec, COUNT, seed, size=0.8) for seed, spec in enumerate(SPECS)]


@pytest.fixture(scope="module")
def models(stacks):
    return pack(stacks)


@pytest.fixture(scope="module")
def table():
    """Five columns, the last two of which say much of the first two."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(120, N_IN)).astype(np.float32)
    x[:, 3:] = 0.9 * x[:, :2] + 0.4 * x[:, 3:] + 0.3
    zeros = np.zeros(120, np.int32)
    return Table(x, zeros, zeros, np.ones(120, np.float32), 1)


@pytest.fixture(scope="module")
def graph(models):
    ids = np.arange(2 * COUNT)
    return gathered(models, ids, np.zeros((len(ids), 1), np.float32), exact_budget(models, ids))


@pytest.fixture(scope="module")
def editor(models, table, graph):
    """A fresh one, whose masks are decided by random last layers."""
    moments = moments_of(table, N_IN)
    scales = scales_of(models, np.arange(2 * COUNT))
    scales = scales.replace(input_mean=moments.mean, input_covariance=moments.covariance)
    init = jax.jit(Editor(CONFIG, models.template).init)
    params = init(jax.random.key(1), graph, scales)["params"]
    shape = params["input_keep"]["kernel"].shape
    kernel = 4 * jax.random.normal(jax.random.key(2), shape)
    params = params | {"input_keep": {"kernel": kernel, "bias": jnp.full(1, -3.0)}}
    return TrainedEditor(params, scales, CONFIG, models.template)


@pytest.fixture(scope="module")
def edits(editor, graph):
    """With imputation and without."""
    plain = editor.replace(config=dataclasses.replace(CONFIG, imputation=False))
    edit = jax.jit(lambda one: as_edit(one, graph, *edit_graph(one, graph)))
    return edit(editor), edit(plain)


def test_matrices_and_vectors_return_to_the_graph(models, graph):
    template = models.template
    weight, bias = graph.edges["weight"], graph.nodes["bias"]
    matrix = edge_matrix(template, graph, weight)
    np.testing.assert_array_equal(edge_values(template, graph, matrix), weight)
    vector = node_vector(template, graph, bias)
    np.testing.assert_array_equal(node_values(template, graph, vector), bias)


def test_an_edit_with_imputation_is_the_edit_without_and_the_guesses(editor, edits, table):
    edit, plain = edits
    assert 0 < edit.input_keep.sum() < edit.input_keep.size  # some are dropped, some kept
    np.testing.assert_array_equal(edit.input_keep, plain.input_keep)
    moments = moments_of(table, N_IN)
    for row, kept in enumerate(np.asarray(edit.input_keep)):
        before, after, other = (
            jax.tree.map(lambda leaf: leaf[row], tree)  # noqa: B023
            for tree in (edit.before, edit.after, plain.after)
        )
        guessed = imputed(editor.template, before, moments, jnp.asarray(kept), DAMPING)
        masked = jnp.zeros_like(before.weight).at[:N_IN].set(kept[:, None] * before.weight[:N_IN])
        more = (guessed.weight - masked).at[N_IN:].set(0.0)
        np.testing.assert_allclose(after.weight - other.weight, more, atol=1e-5)
        np.testing.assert_allclose(after.bias - other.bias, guessed.bias - before.bias, atol=1e-5)
        assert not np.asarray(after.weight)[:N_IN][kept == 0].any()  # dropped ones are not read


@pytest.mark.slow
def test_edited_stacks_are_those_of_the_graph(editor, edits, stacks, table):
    edit, _ = edits
    for index, stack in enumerate(stacks):
        found, _ = edit_stack(editor, stack, 1.0)
        for row in range(COUNT):
            model = jax.tree.map(lambda leaf: leaf[index * COUNT + row], edit.after)  # noqa: B023
            expected = apply_padded(editor.template, model, jnp.asarray(table.x))
            params = jax.tree.map(lambda leaf: leaf[row], found.params)  # noqa: B023
            logits = apply(stack.spec, params, stack.activation[row], table.x)
            np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_an_editor_without_moments_is_refused(editor, graph):
    bare = editor.replace(scales=editor.scales.replace(input_mean=None))
    with pytest.raises(ValueError, match="found no moments of inputs"):
        jax.eval_shape(lambda: edit_graph(bare, graph))


def test_imputation_is_for_masks_of_inputs():
    with pytest.raises(SettingError, match=r"editor.imputation.*editor.mask"):
        EditorConfig(mask="edges", imputation=True)


@pytest.mark.parametrize("feature", range(N_IN))
def test_a_mask_between_0_and_1_has_the_gradient_of_finite_differences(feature, table):
    moments, keep = moments_of(table, N_IN), jnp.array([1.0, 0.4, 0.0, 1.0, 0.7])
    x = jnp.asarray(table.x)

    def error(value):
        matrix, offset = completion(moments, keep.at[feature].set(value), DAMPING)
        return ((x @ matrix + offset[None] - x) ** 2).mean()

    at = jnp.clip(keep[feature], 0.05, 0.95)
    slope = (error(at + 0.01) - error(at - 0.01)) / 0.02
    np.testing.assert_allclose(jax.grad(error)(at), slope, rtol=0.05, atol=1e-3)
    assert error(0.0) >= error(1.0) - 1e-6 and np.isfinite(jax.grad(error)(0.0))


def test_elimination_takes_the_cheapest_feature_in_every_turn(models, graph, table):
    """Against a loop over sets of features and unpadded completions."""
    moments, x = moments_of(table, N_IN), jnp.asarray(table.x)
    before = jax.tree.map(lambda leaf: leaf[0], to_template(models.template, graph))
    found = jax.jit(eliminated, static_argnums=0)(models.template, before, x, moments, 0.1)
    logits = apply_padded(models.template, before, x)

    @jax.jit
    def cost(keep):
        matrix, offset = completion(moments, keep, 0.1)
        seen = x @ matrix + offset[None]
        return js_divergence(logits, apply_padded(models.template, before, seen)).mean()

    kept, costs = set(range(N_IN)), []
    for turn in range(N_IN):
        masks = {one: np.isin(np.arange(N_IN), list(kept - {one})) for one in kept}
        every = {one: float(cost(jnp.float32(mask))) for one, mask in masks.items()}
        cheapest = min(every, key=every.get)
        assert found.turn[cheapest] == turn
        costs.append(every[cheapest])
        kept.remove(cheapest)
    np.testing.assert_allclose(found.cost, costs, rtol=1e-4, atol=1e-7)


def test_what_a_population_s_models_lose_turn_by_turn(models, graph, table):
    ids = np.array([4, 0, 3])
    found = removal_of(models, ids, table, resolve(KEPT))
    moments, x = moments_of(table, N_IN), jnp.asarray(table.x)
    every = to_template(models.template, graph)
    one = jax.jit(eliminated, static_argnums=0)
    for row in ids:
        model = jax.tree.map(lambda leaf: leaf[row], every)  # noqa: B023
        expected = one(models.template, model, x, moments, DAMPING)
        np.testing.assert_array_equal(found.turn[row], expected.turn)
        np.testing.assert_allclose(found.cost[row, 1:], expected.cost, rtol=1e-4, atol=1e-7)
        assert found.cost[row, 0] == 0
        np.testing.assert_allclose(found.requirement[row], np.linspace(1, 0, N_IN + 1), atol=1e-6)
    assert not found.turn[[1, 2, 5]].any()


def test_a_removal_stops_between_batches(models, table):
    def between():
        raise Stopped("stopped")

    with pytest.raises(Stopped):
        removal_of(models, np.array([0]), table, resolve(KEPT), between)


def test_a_budget_of_features_is_met_with_the_guesses_for_the_others(editor, graph, table):
    bare = editor.replace(config=dataclasses.replace(CONFIG, imputation=False))
    best = jax.jit(lambda one: _with_best(one, graph, 2.0, True))
    edit, plain = best(editor), best(bare)
    assert (edit.input_keep.sum(1) == 2).all()
    moments = moments_of(table, N_IN)
    for row, kept in enumerate(edit.input_keep):
        before, after, other = (
            jax.tree.map(lambda leaf: leaf[row], tree)  # noqa: B023
            for tree in (edit.before, edit.after, plain.after)
        )
        guessed = imputed(editor.template, before, moments, kept, DAMPING)
        more = guessed.weight[:N_IN] - kept[:, None] * before.weight[:N_IN]
        np.testing.assert_allclose((after.weight - other.weight)[:N_IN], more, atol=1e-5)
        np.testing.assert_allclose(after.bias - other.bias, guessed.bias - before.bias, atol=1e-5)


def test_a_requirement_of_ones_own_is_that_of_the_masked_model(models, graph, table):
    """One that reads masks, weights and outputs."""

    def own(view):
        first = jnp.abs(view.after.weight[0]).sum() * (1 - view.input_keep[0])
        return first + view.keep.sum() / view.before.edge.sum() + view.logits_after.mean() ** 2

    found = removal_of(models, np.array([0]), table, own)
    before = jax.tree.map(lambda leaf: leaf[0], to_template(models.template, graph))
    for turn in range(N_IN + 1):
        keep = jnp.float32(found.turn[0] >= turn)
        after = imputed(models.template, before, moments_of(table, N_IN), keep, DAMPING)
        edge = np.array(before.edge, float)
        edge[:N_IN] *= np.asarray(keep)[:, None]
        logits = apply_padded(models.template, after, jnp.asarray(table.x))
        expected = edge.sum() / before.edge.sum() + logits.mean() ** 2
        np.testing.assert_allclose(found.requirement[0, turn], expected, rtol=1e-4)


def test_imitation_is_least_at_the_best_set_along_the_path():
    cost, required = jnp.array([[0.0, 0.01, 0.05, 0.5]]), jnp.array([[1.0, 2 / 3, 1 / 3, 0.0]])
    removal = Removal(jnp.array([[2.0, 0.0, 1.0]]), cost, required)
    best = {0.02: (1, 1, 1), 0.06: (1, 0, 1), 0.3: (1, 0, 0), 3.0: (0, 0, 0)}
    for weight, expected in best.items():
        losses = {
            keep: float(
                imitation_loss(6 * jnp.float32([keep]) - 3, removal, jnp.array([weight]))[0]
            )
            for keep in itertools.product((0, 1), repeat=3)
        }
        assert min(losses, key=losses.get) == expected, weight
        np.testing.assert_allclose(min(losses.values()), np.log1p(np.exp(-3.0)), rtol=1e-5)


@pytest.mark.long
@pytest.mark.slow
def test_an_editor_learns_the_masks_that_it_imitates(models, table, tmp_path):
    ids = np.arange(2 * COUNT)
    removal = removal_of(models, ids, table, resolve(KEPT))
    wanted = 0.05
    turns = np.argmin(removal.cost + wanted * removal.requirement, axis=1)
    expected = removal.turn >= turns[:, None]
    agree = {}
    for weight in (0.0, 10.0):
        config = dataclasses.replace(QUICK, imitation=weight, lambda_range=(wanted, wanted))
        folder = tmp_path / str(weight)
        trained = loop.train_editor(folder, CONFIG, config, KEPT, models, ids, table, 0, {})
        graph = gathered(models, ids, np.full((len(ids), 1), np.log10(wanted), np.float32),
                         exact_budget(models, ids))  # fmt: skip
        edit = jax.jit(lambda one, graph: as_edit(one, graph, *edit_graph(one, graph)))
        agree[weight] = float((edit(trained, graph).input_keep == expected).mean())
    assert agree[10.0] >= 0.9
    assert agree[10.0] > agree[0.0]


@pytest.mark.parametrize(
    ("requirement", "editor", "training"),
    [
        (KEPT, EditorConfig(mask="edges"), {}),
        ((KEPT, "metanet.objectives.pruning.weights_kept"), CONFIG, {}),
        (KEPT, CONFIG, {"scalarisation": "epo"}),
    ],
)
def test_only_masks_of_inputs_imitate(requirement, editor, training):
    config = TrainingConfig(imitation=0.1, **training)
    with pytest.raises(UserError, match=r"editors.GMN.imitation: found 0.1, expected 0, or mask"):
        check_imitation(requirement, editor, config, "editors.GMN")
    check_imitation(requirement, editor, dataclasses.replace(config, imitation=0.0), "editors.GMN")


def test_models_of_other_datasets_are_not_imitated(models, table, tmp_path):
    ids, config = np.arange(2 * COUNT), dataclasses.replace(QUICK, imitation=0.1)
    with pytest.raises(UserError, match=r"editor.imitation: found 0.1, expected 0 with models of"):
        loop.train_editor(
            tmp_path, CONFIG, config, KEPT, models, ids, table, 0, {}, others=[(ids, table)]
        )
