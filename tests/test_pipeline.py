"""The testbed, and methods on it; on small stacks of different depth."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from metanet.core import Stopped
from metanet.data.tabular import Table
from metanet.evaluation.values import ENDS
from metanet.graphs.packing import pack
from metanet.methods import data_minimisation as dm
from metanet.methods.compiled import compiled, lambdas
from metanet.methods.editor import union
from metanet.mlp import network
from metanet.mlp.population import Stack
from metanet.mlp.sampling import PopulationConfig, sample_catalogue
from metanet.mlp.spec import MLPSpec
from metanet.mlp.subsets import held_out
from metanet.objectives.data_minimisation import inputs_kept
from metanet.pipeline import EditorPlan, EvaluationConfig, ExperimentConfig, results
from metanet.pipeline.testbed import Testbed, training_ids

PER_STACK = 5


def random_stack(spec, seed):
    keys = jax.random.split(jax.random.key(seed), PER_STACK)
    params = jax.jit(jax.vmap(lambda key: network.init(spec, key)))(keys)
    return Stack(spec, jax.tree.map(np.asarray, params), np.arange(PER_STACK, dtype=np.int32))


@pytest.fixture(scope="module")
def testbed(tmp_path_factory):
    stacks = [
        random_stack(MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"), 0),
        random_stack(MLPSpec((5, 8, 2)), 1),
        random_stack(MLPSpec((5, 8, 8, 2)), 2),
    ]
    rng = np.random.default_rng(7)
    table = Table(
        x=rng.normal(size=(40, 5)).astype(np.float32),
        y=rng.integers(0, 2, 40).astype(np.int32),
        group=np.zeros(40, np.int32),
        weight=np.ones(40, np.float32),
        n_groups=1,
    )
    ids = {"validation": np.arange(0, 15, 2), "test": np.array([1, 3, 5, 7, 9, 13])}
    experiment = ExperimentConfig(
        requirement="metanet.objectives.data_minimisation.inputs_kept",
        evaluation=EvaluationConfig(batch_size=4),
        editors={"GMN": EditorPlan()},
    )
    return Testbed(
        experiment=experiment,
        folder=tmp_path_factory.mktemp("testbed"),
        models=pack(stacks),
        population=types.SimpleNamespace(stacks=stacks, ids=ids.__getitem__, digest=None),
        data=types.SimpleNamespace(edit=table, select=table, test=table, group="g", digest="d"),
        requirement=inputs_kept,
    )


def with_evaluation(testbed, **changes):
    evaluation = dataclasses.replace(testbed.experiment.evaluation, **changes)
    experiment = dataclasses.replace(testbed.experiment, evaluation=evaluation)
    return dataclasses.replace(testbed, experiment=experiment, cache={})


def test_a_template_per_depth_gives_the_results_of_the_common_one(testbed):
    ranking = dm.Knowledge(jnp.array([0.3, 0.1, 0.5, 0.2, 0.4]), None, None)
    arguments = ranking, "features", np.array([1.0, 3.0])
    recipe = functools.partial(dm.selection_fn, ranking="global")
    common = compiled(testbed, recipe, *arguments)
    by_depth = compiled(testbed, recipe, *arguments, testbed.by_depth())
    assert [models.template.depth for _, models in testbed.by_depth()] == [1, 2]
    found, expected = (
        method.sweep(*testbed.split("test"), np.array([0, 1])) for method in (by_depth, common)
    )
    assert expected.jsd.shape == (2, 6) and (expected.jsd > 0).all()
    for name in ("requirement", "jsd", "jsd_label", "accuracy", "accuracy_original"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6)
    assert min(by_depth.seconds(np.array([3, 5, 7]), 0)) > 0


@pytest.mark.parametrize("size", [3, 100])
def test_settings_are_chosen_on_some_validation_models_that_are_not_set_apart(size, testbed):
    few = with_evaluation(testbed, validation_models=size, test_models=4)
    every, test = testbed.population.ids("validation"), testbed.population.ids("test")
    ids, table = few.split("validation")
    assert table is testbed.data.select
    assert len(ids) == min(size, len(every)) and set(ids) <= set(every)
    np.testing.assert_array_equal(ids, few.split("validation")[0])
    np.testing.assert_array_equal(testbed.split("test")[0], test)
    chosen, table = few.split("test")
    assert table is testbed.data.test and len(set(chosen)) == 4 and set(chosen) < set(test)
    apart = np.zeros(15, bool)
    apart[ids[0]] = True
    few.cache["constant"] = apart
    assert ids[0] not in few.split("validation")[0]


def test_a_limited_testbed_edits_its_models_alone_and_shares_what_is_computed(testbed):
    testbed.cached("answer", lambda: 42)
    limited = testbed.limited_to(np.array([3, 7]))
    assert limited.cached("answer", lambda: 0) == 42
    assert limited.experiment.evaluation.batch_size == 2
    for name in ("validation", "test"):
        np.testing.assert_array_equal(limited.split(name)[0], [3, 7])


def test_several_requirements_are_swept_over_a_grid():
    grid = lambdas(((0.01, 1.0), (0.1, 0.1), (0.001, 0.1)), 3)
    assert grid.shape == (9, 3)
    np.testing.assert_allclose(np.unique(grid[:, 0]), [0.01, 0.1, 1.0])
    np.testing.assert_allclose(grid[:, 1], 0.1)
    assert len(np.unique(grid, axis=0)) == 9
    np.testing.assert_allclose(lambdas((0.01, 1.0), 3), [0.01, 0.1, 1.0])


def test_an_editor_is_trained_on_a_share_of_experiments_without_a_kind_of_specs():
    ids, experiment = np.arange(10, 70), np.repeat(np.arange(20), 3)
    shapes = [MLPSpec((5, 8, 2)), MLPSpec((5, 8, 32, 2)), MLPSpec((5, 8, 8, 8, 8, 2))]
    specs = [shapes[number % 3] for number in experiment]

    def chosen(share, unseen=None, control=False):
        unseen = unseen and f"metanet.mlp.subsets.{unseen}"
        plan = EditorPlan(share=share, unseen=unseen, control=control)
        return training_ids(ids, experiment, specs, plan)

    np.testing.assert_array_equal(chosen(1.0), ids)
    quarter, half = chosen(0.25), chosen(0.5)
    assert len(quarter) == 15 and len(half) == 30 and set(quarter) < set(half)
    for found in (quarter, half):
        assert all(np.unique(experiment[found - 10], return_counts=True)[1] == 3)
    for unseen, absent in (("wide", shapes[1]), ("deep", shapes[2])):
        rest = chosen(1.0, unseen)
        np.testing.assert_array_equal(
            rest, [i for i, spec in zip(ids, specs, strict=True) if spec != absent]
        )
        control = chosen(1.0, unseen, control=True)
        assert len(control) == len(rest) and {specs[i - 10] for i in control} == set(shapes)
    assert len(chosen(0.5, "wide")) == 3 * 6 or len(chosen(0.5, "wide")) == 3 * 7


def test_a_fifth_of_the_specs_is_held_out():
    specs = sample_catalogue(0, PopulationConfig(experiments=600, epochs=1, max_specs=400), 14, 2)
    share = np.mean([held_out(family.spec) for family in specs])
    assert 0.14 < share < 0.26


def test_a_sweep_stops_between_batches_of_models(testbed):
    asked = []
    stopping = dataclasses.replace(
        testbed, should_stop=lambda: asked.append(True) or len(asked) > 1
    )
    recipe = functools.partial(dm.selection_fn, ranking="global")
    ranking = dm.Knowledge(jnp.array([0.3, 0.1, 0.5, 0.2, 0.4]), None, None)
    method = compiled(stopping, recipe, ranking, "features", np.array([1.0]))
    with pytest.raises(Stopped, match="before the next batch of models"):
        method.sweep(*testbed.split("test"), np.array([0]))  # six models in batches of four
    assert len(asked) == 2


def test_a_union_of_methods_has_all_settings_of_its_parts(testbed):
    ranking = dm.Knowledge(jnp.array([0.3, 0.1, 0.5, 0.2, 0.4]), None, None)
    recipe = functools.partial(dm.selection_fn, ranking="global")
    parts = [
        compiled(testbed, recipe, ranking, "features", np.array(counts))
        for counts in ([1.0, 4.0], [2.0])
    ]
    both = union(parts)
    assert both.settings == ({"features": 1.0}, {"features": 4.0}, {"features": 2.0})
    found = both.sweep(*testbed.split("test"), np.array([2, 0]))
    for row, (part, index) in enumerate([(parts[1], 0), (parts[0], 0)]):
        expected = part.sweep(*testbed.split("test"), np.array([index]))
        np.testing.assert_array_equal(found.jsd[row], expected.jsd[0])
    assert min(both.seconds(np.array([3, 5]), 2)) > 0


def test_other_datasets_are_known_by_their_content(testbed):
    one, other = (
        dataclasses.replace(testbed, other_data={"bank": content}).identity for content in "ab"
    )
    assert one["other_data.bank"] == "a" and one != other
    assert "other_data.bank" not in testbed.identity


@pytest.mark.parametrize("lost", [0, 3])
def test_models_that_diverged_are_counted_in_the_results(lost, testbed, monkeypatch):
    monkeypatch.setitem(results.__globals__, "analysed", lambda content, values: content)
    split = ["train"] * (10 - lost) + ["diverged"] * lost
    population = types.SimpleNamespace(
        ids=testbed.population.ids, table=pd.DataFrame({"split": split})
    )
    data = types.SimpleNamespace(**vars(testbed.data), n_classes=2)
    testbed = dataclasses.replace(testbed, population=population, data=data)
    entries = {name: {"front": []} for name in (ENDS, *testbed.experiment.method_names)}
    found = results(testbed, entries, {})
    assert found.get("models_diverged", 0) == lost and ("models_diverged" in found) == (lost > 0)
