"""Fairness methods that edit networks without an editor, against numpy and what they promise."""

import functools
import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import exact_budget, random_stack

from metanet.core import SettingError
from metanet.data.tabular import Table
from metanet.evaluation.scores import eod
from metanet.graphs.batch import gather, to_template
from metanet.graphs.packing import pack
from metanet.graphs.padded import apply_padded, source_values
from metanet.methods.fairness import intra, merged_head, perturbation
from metanet.methods.fairness.adversarial import (
    AdversarialConfig,
    Data,
    adversarial_fn,
    fine_tuned,
)
from metanet.methods.fairness.critics import group_entropy, new_critic, predicted_bias
from metanet.methods.fairness.layerwise import SearchConfig, layerwise_fn, searched
from metanet.methods.fairness.merged_head import group_head, merged_head_fn
from metanet.methods.fairness.objective import measured, outputs_of
from metanet.methods.fairness.perturbation import drawn, perturbed_fn
from metanet.methods.fairness.settings import EQUALISED_ODDS, two_classes
from metanet.mlp.network import js_divergence
from metanet.mlp.spec import MLPSpec
from metanet.objectives.fairness import equalised_odds
from metanet.pipeline import ExperimentConfig, RecipeConfig
from metanet.pipeline.recipes import check_recipes_on_data
from metanet.training.inputs import sampling_pool

SPECS = (MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"), MLPSpec((5, 8, 2)))
COUNT = 2 * len(SPECS)
ROWS = 240
KEYS = jax.random.split(jax.random.key(0), COUNT)
TARGETS = ("error", "decisions", "outputs")
values_of, outputs, head_of = (
    jax.jit(f, static_argnums=0) for f in (source_values, apply_padded, group_head)
)
draw_of = jax.jit(drawn, static_argnums=3)


@functools.partial(jax.jit, static_argnums=0)
def outputs_of_all(template, models, x):
    return jax.vmap(lambda model: apply_padded(template, model, x))(models)


SEARCHED = ("error", "outputs")  # "decisions" is an error too, and a search a program


def a_table(groups=2, seed=3):
    """Labels and features depend on the group, so that models that know x are unfair."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, ROWS)
    x = rng.normal(size=(ROWS, 5))
    x[:, 0] += 0.8 * group
    y = x[:, 0] + x[:, 1] + rng.normal(size=ROWS) > 0.5
    arrays = x.astype(np.float32), y.astype(np.int32), group.astype(np.int32)
    return jax.tree.map(jnp.asarray, Table(*arrays, np.ones(ROWS, np.float32), groups))


@pytest.fixture(scope="module")
def models():
    stacks = [random_stack(spec, 2, seed, size=0.9, activation="tanh")
              for seed, spec in enumerate(SPECS)]  # fmt: skip
    return pack(stacks)


@pytest.fixture(scope="module")
def graph(models):
    budget = exact_budget(models, np.arange(COUNT))
    return jax.jit(gather, static_argnums=3)(
        models, jnp.arange(COUNT), jnp.zeros((COUNT, 1)), budget
    )


@pytest.fixture(scope="module")
def before(models, graph):
    return jax.jit(to_template, static_argnums=0)(models.template, graph)


@pytest.fixture(scope="module")
def run(graph):
    """run(method, context, *settings) -> for each setting the edits of all models."""

    def run(method, context, *settings):
        program = jax.jit(lambda context, setting: method(context, graph, KEYS)(setting))
        return [program(context, jnp.float32(setting)) for setting in settings]

    return run


def one_of(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def logits_of(template, models, x):
    """[G, rows, 2] float64."""
    return np.asarray(outputs_of_all(template, models, x), np.float64)


def plain_cost(target, logits, edited, table):
    """The cost of one edit, in numpy."""
    if target == "outputs":
        return float(js_divergence(logits, edited).mean())
    right = np.asarray(table.y) if target == "error" else logits.argmax(-1)
    return float((edited.argmax(-1) != right).mean())


def plain_eod(logits, table):
    return eod(np.eye(2)[logits.argmax(-1)], np.asarray(table.y), np.asarray(table.group))


def assert_only_the_output_layer_changed(template, before, after):
    first = int(outputs_of(template)[0])
    np.testing.assert_array_equal(before.weight[..., :first], after.weight[..., :first])
    for name in ("bias", "scale", "shift"):
        old, new = getattr(before, name), getattr(after, name)
        np.testing.assert_array_equal(old[..., :first], new[..., :first])


# The objective.


@pytest.mark.parametrize("target", TARGETS)
def test_what_an_edit_costs_is_computed_by_hand(target, models, before):
    template, table = models.template, a_table()
    logits = logits_of(template, before, table.x)
    old, new = one_of(before, 0), one_of(before, 1)
    arguments = old, new, jnp.float32(logits[0]), jnp.float32(logits[1]), table, equalised_odds
    cost, requirement = jax.jit(measured, static_argnums=(5, 6))(*arguments, target)
    assert cost == pytest.approx(plain_cost(target, logits[0], logits[1], table), abs=1e-6)
    assert requirement == pytest.approx(plain_eod(logits[1], table), abs=1e-6)


# The merged head.


@pytest.mark.parametrize("groups", [2, 3])
def test_the_group_head_is_ridge_regression_on_what_feeds_the_outputs(groups, models, before):
    template, table = models.template, a_table(groups)
    for index, spec in ((0, SPECS[0]), (3, SPECS[1])):
        model = one_of(before, index)
        sources = values_of(template, model, table.x)
        head = head_of(template, model, sources, table, 1e-2)
        used = np.flatnonzero(np.asarray(model.edge[:, outputs_of(template)[0]]))
        assert len(used) == spec.widths[-2]
        assert not np.delete(np.asarray(head.weight), used, 0).any()
        x = np.asarray(sources, np.float64)[:, used]
        x = x - x.mean(0)
        gram = x.T @ x / ROWS
        member = np.eye(groups)[np.asarray(table.group)][:, 1:]
        ridge = 1e-2 * np.trace(gram) / len(used) * np.eye(len(used))
        plain = np.linalg.solve(gram + ridge, x.T @ member / ROWS)
        predicted = x @ plain
        expected = predicted / predicted.std(0)
        found = np.asarray(sources @ head.weight + head.bias[None])
        np.testing.assert_allclose(found[:, 0], 1, atol=1e-6)
        np.testing.assert_allclose(found[:, 1:], expected, atol=2e-3)


@pytest.mark.parametrize("target", SEARCHED)
def test_the_merged_head_is_the_best_of_a_grid_and_better(target, models, before, run):
    template, table = models.template, a_table()
    bounds, grid = (0.02, 0.1, 1.0), np.linspace(-3, 3, 13)
    method = merged_head_fn(template, equalised_odds, target, 1e-3, 3.0, 13, 5, 2)
    logits = logits_of(template, before, table.x)
    for bound, edit in zip(bounds, run(method, table, *bounds), strict=True):
        assert_only_the_output_layer_changed(template, before, edit.after)
        edited = logits_of(template, edit.after, table.x)
        for index in range(COUNT):
            model = one_of(before, index)
            sources = values_of(template, model, table.x)
            head = head_of(template, model, sources, table, 1e-3)
            added = np.asarray(sources @ head.weight + head.bias[None])
            margins = edited[index] @ [-1, 1] - logits[index] @ [-1, 1]
            offset, *_ = np.linalg.lstsq(added, margins)
            np.testing.assert_allclose(added @ offset, margins, atol=1e-3)
            points = []
            for pair in itertools.product(grid, grid):
                moved = logits[index] + (added @ pair)[:, None] * [-0.5, 0.5]
                cost = plain_cost(target, logits[index], moved, table)
                points.append((cost, plain_eod(moved, table)))
            least = min((cost for cost, gap in points if gap <= bound), default=None)
            found = plain_cost(target, logits[index], edited[index], table)
            gap = plain_eod(edited[index], table)
            if least is None:
                assert gap <= min(gap for _, gap in points) + 1e-6
            else:
                assert gap <= bound + 0.02 and found <= least + 1e-4
        if bound == 1.0 and target != "error":
            np.testing.assert_allclose(edited, logits, atol=1e-5)


def test_the_merged_head_has_a_number_for_every_group(models, before, run):
    template, table = models.template, a_table(3)
    method = merged_head_fn(template, equalised_odds, "outputs", 1e-3, 3.0, 9, 3, 1)
    (edit,) = run(method, table, 0.1)
    old, new = (logits_of(template, m, table.x) for m in (before, edit.after))
    better = [plain_eod(b, table) < plain_eod(a, table) for a, b in zip(old, new, strict=True)]
    assert np.mean(better) > 0.5


def data_of(classes=2, groups=2):
    return types.SimpleNamespace(n_classes=classes, edit=types.SimpleNamespace(n_groups=groups))


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (data_of(classes=3), {}, "dataset: found 3 classes, expected two"),
        (data_of(groups=1), {}, "group: found one group"),
        (data_of(groups=5), {}, "count: found 25, expected an odd number from 3 to 7"),
        (data_of(), {"fine": 4}, "fine: found 4, expected an odd number"),
    ],
)
def test_what_the_merged_head_cannot_do_is_one_line(data, options, said):
    with pytest.raises(SettingError, match=said):
        merged_head.merged_head.check_data(data, "recipes.one", options)


def test_methods_of_two_classes_refuse_others_before_anything_is_trained():
    paths = ("postprocessed.postprocessed", "merged_head.merged_head", "perturbation.perturbed",
             "layerwise.layerwise", "adversarial.adversarial")  # fmt: skip
    options = {"method": "metanet.methods.fairness.group_shift.group_shift"}
    for path in paths:
        given = options if path == paths[0] else {}
        recipes = {"one": RecipeConfig(f"metanet.methods.fairness.{path}", options=given)}
        experiment = ExperimentConfig(requirement=EQUALISED_ODDS, recipes=recipes)
        check_recipes_on_data(experiment, data_of())
        with pytest.raises(SettingError, match="dataset: found 3 classes, expected two"):
            check_recipes_on_data(experiment, data_of(classes=3))


def test_deviations_are_checked_before_anything_is_trained():
    for deviations in ((), (0.1, -1.0)):
        with pytest.raises(SettingError, match=r"recipes.one.deviations: found"):
            perturbation.perturbed.check(None, (), "recipes.one", {"deviations": deviations})


# Random perturbation.


def test_draws_are_factors_around_one_that_take_their_deviations_in_turns(before):
    model, key = one_of(before, 0), KEYS[0]
    deviations = (0.1, 0.5)
    assert (draw_of(model, key, jnp.int32(0), deviations).weight == model.weight).all()
    exists = np.asarray(model.edge)
    for index in (1, 2, 3):
        factors = np.asarray(
            draw_of(model, key, jnp.int32(index), deviations).weight / model.weight
        )
        found = factors[exists] - 1
        expected = deviations[(index - 1) % 2]
        assert found.std() == pytest.approx(expected, rel=0.3)
        again = draw_of(model, key, jnp.int32(index), deviations)
        assert (np.asarray(again.weight)[~exists] == 0).all()


@pytest.mark.parametrize("target", SEARCHED)
def test_the_perturbation_taken_is_the_best_of_all_draws_and_thresholds(
    target, models, before, run, monkeypatch
):
    monkeypatch.setattr(intra, "FINE", 13)
    monkeypatch.setattr(perturbation, "COARSE", 13)
    template, table, draws, deviations = models.template, a_table(), 6, (0.3,)
    weights = (0.01, 0.3)
    method = perturbed_fn(template, equalised_odds, target, draws, deviations)
    logits = logits_of(template, before, table.x)
    for weight, edit in zip(weights, run(method, table, *weights), strict=True):
        edited = logits_of(template, edit.after, table.x)
        for index in range(COUNT):
            values = []
            for draw in range(draws + 1):
                one = draw_of(one_of(before, index), KEYS[index], jnp.int32(draw), deviations)
                moved = np.asarray(outputs(template, one, table.x), np.float64)
                for shift in np.linspace(-intra.LIMIT, intra.LIMIT, 13):
                    shifted = moved + shift * np.array([-0.5, 0.5])
                    cost = plain_cost(target, logits[index], shifted, table)
                    values.append(cost + weight * plain_eod(shifted, table))
            found = plain_cost(target, logits[index], edited[index], table)
            found += weight * plain_eod(edited[index], table)
            assert found == pytest.approx(min(values), abs=1e-5)


# Layer-wise search.


def objective(template, before, after, table, weight, target="outputs"):
    """The objective of every model, with its best threshold on the coarse grid: [G]."""
    old, new = (logits_of(template, m, table.x) for m in (before, after))
    shifts = np.linspace(-intra.LIMIT, intra.LIMIT, intra.COARSE)[:, None, None] * [-0.5, 0.5]
    return np.array([
        min(plain_cost(target, a, b + s, table) + weight * plain_eod(b + s, table) for s in shifts)
        for a, b in zip(old, new, strict=True)
    ])  # fmt: skip


def test_a_search_changes_one_layer_for_the_better(models, before):
    template, table, weight = models.template, a_table(), 0.2
    config = SearchConfig(generations=4, children=6, deviation=0.3, rows=ROWS)
    program = jax.jit(
        lambda model, layer: searched(
            template, model, layer, table, equalised_odds, "outputs", jnp.float32(weight), config,
            KEYS[0],
        )
    )  # fmt: skip
    model = one_of(before, 0)
    old = jax.tree.map(lambda leaf: leaf[None], model)
    start = objective(template, old, old, table, weight)
    width = 8
    gains = []
    for layer in (1, 2, 3):
        after = program(model, jnp.int32(layer))
        moved = np.flatnonzero((np.asarray(after.weight) != np.asarray(model.weight)).any(0))
        assert set(moved // width) <= {layer - 1}
        assert (np.asarray(after.weight)[~np.asarray(model.edge)] == 0).all()
        new = objective(template, old, jax.tree.map(lambda leaf: leaf[None], after), table, weight)
        assert new[0] <= start[0] + 1e-6
        gains.append(start[0] - new[0])
    assert max(gains) > 1e-3


def test_the_layer_taken_is_no_worse_than_a_threshold_alone(models, before, run):
    template, table = models.template, a_table()
    config = SearchConfig(generations=2, children=4, rows=64)
    method = layerwise_fn(template, equalised_odds, "outputs", config)
    weights = (0.005, 0.3)
    for weight, edit in zip(weights, run(method, table, *weights), strict=True):
        alone = objective(template, before, before, table, weight)
        found = objective(template, before, edit.after, table, weight)
        # Layers are searched on 64 rows: on all rows they are compared with each other only.
        assert np.mean(found <= alone + 1e-6) >= 0.5
        old, new = (logits_of(template, m, table.x) for m in (before, edit.after))
        assert (np.abs(new - old).max((1, 2)) > 0).any() or weight < 0.1


# Adversarial fine-tuning.


def test_a_critic_does_not_see_the_order_of_rows():
    critic = new_critic(6, 8, 1, jax.random.key(1))
    hidden = jax.random.normal(jax.random.key(2), (20, 6))
    order = np.random.default_rng(0).permutation(20)
    one, two = (predicted_bias(critic, h, jnp.ones(20)) for h in (hidden, hidden[order]))
    assert one == pytest.approx(float(two), rel=1e-4)
    assert one != pytest.approx(float(predicted_bias(critic, hidden * 2, jnp.ones(20))), rel=1e-3)


def tuning_data(table):
    weighted, pool = sampling_pool(jax.tree.map(np.asarray, table), balanced=True)
    return Data(table, *jax.tree.map(jnp.asarray, (weighted, pool)))


def test_what_labels_tell_about_groups_is_computed_by_hand():
    table = a_table(3)
    y, group = np.asarray(table.y), np.asarray(table.group)
    data = Data(table, table, jnp.arange(ROWS))
    share = [np.mean(group[y == y[row]] == group[row]) for row in range(ROWS)]
    found = float(group_entropy(data.weighted, data.pool))
    assert found == pytest.approx(-np.log(share).mean(), abs=1e-5)
    even = tuning_data(table)
    balanced = float(group_entropy(even.weighted, even.pool))
    assert balanced == pytest.approx(np.log(3), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["error", "outputs"])
def test_the_network_learns_against_its_critic(target, models, before):
    """At a large lambda groups' mean outputs are closer than after the same training without."""
    template, table = models.template, a_table()
    config = AdversarialConfig(
        critic="group", epochs=12, critic_steps=15, steps=10, batch_size=96, learning_rate=5e-3,
        critic_learning_rate=1e-2, width=8,
    )  # fmt: skip

    @jax.jit
    def program(model, weight, key):
        return fine_tuned(
            template, model, tuning_data(table), equalised_odds, target, weight, config, key
        )

    def soft_gap(model):
        logits = np.asarray(apply_padded(template, model, table.x), np.float64)
        positive = 1 / (1 + np.exp(logits @ [1, -1]))
        y, group = np.asarray(table.y), np.asarray(table.group)
        return eod(np.stack([1 - positive, positive], 1), y, group)

    gaps = np.array([[soft_gap(program(one_of(before, index), jnp.float32(weight), KEYS[index]))
                      for weight in (0.0, 30.0)] for index in range(COUNT)])  # fmt: skip
    assert gaps[:, 1].mean() < 0.85 * gaps[:, 0].mean(), gaps


@pytest.mark.slow
def test_a_network_that_training_makes_worse_is_kept(models, before, run):
    template, table = models.template, a_table()
    config = AdversarialConfig(
        epochs=1, critic_steps=1, steps=3, batch_size=16, learning_rate=3.0, width=4
    )
    method = adversarial_fn(template, equalised_odds, "outputs", config)
    for weight, edit in zip((0.005, 0.1), run(method, tuning_data(table), 0.005, 0.1), strict=True):
        alone = objective(template, before, before, table, weight)
        found = objective(template, before, edit.after, table, weight)
        assert (found <= alone + 1e-5).all()
        assert np.isfinite(np.asarray(edit.after.weight)).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: AdversarialConfig(epochs=0), "epochs: found 0, expected at least 1"),
        (lambda: AdversarialConfig(learning_rate=0.0), "learning_rate: found 0.0"),
        (lambda: SearchConfig(children=0), "children: found 0, expected at least 1"),
        (lambda: SearchConfig(deviation=-1.0), "deviation: found -1.0"),
        (
            lambda: perturbation.perturbed.check(None, (), "one", {"deviations": ()}),
            "deviations: found",
        ),
        (lambda: two_classes(data_of(3), "one", {}), "dataset: found 3"),
    ],
)
def test_bad_settings_are_one_line(make, said):
    with pytest.raises(SettingError, match=said):
        make()
