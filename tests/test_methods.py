"""What methods are applied to, and how; on two small stacks of different depth."""

import dataclasses
import functools
import importlib.util
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import fairness, joint, pruning
from experiments import methods, stages
from experiments.study import Study
from metanet.baselines import data_minimisation as dm
from metanet.core import UserError
from metanet.data.tabular import Table
from metanet.graphs.convert import pack
from metanet.mlp import network
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec
from metanet.objectives.data_minimisation import inputs_kept

PER_STACK = 5


def random_stack(spec, seed):
    keys = jax.random.split(jax.random.key(seed), PER_STACK)
    params = jax.jit(jax.vmap(lambda key: network.init(spec, key)))(keys)
    return Stack(spec, jax.tree.map(np.asarray, params), np.arange(PER_STACK, dtype=np.int32))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
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
    config = pruning.get_config("synthetic")
    config.evaluation.batch_size = 4
    return Study(
        config=config,
        workdir=tmp_path_factory.mktemp("study"),
        models=pack(stacks),
        population=types.SimpleNamespace(stacks=stacks, ids=ids.__getitem__),
        data=types.SimpleNamespace(edit=table, select=table, test=table, group="g"),
        requirement=inputs_kept,
    )


def test_a_template_per_depth_gives_the_results_of_the_common_one(study):
    ranking = jnp.array([0.3, 0.1, 0.5, 0.2, 0.4])
    arguments = ranking, "features", np.array([1.0, 3.0])
    recipe = functools.partial(dm.selection, ranking="global")
    common = methods._compiled(study, recipe, *arguments)
    by_depth = methods._compiled(study, recipe, *arguments, study.by_depth())
    assert [models.template.depth for _, models in study.by_depth()] == [1, 2]
    found, expected = (swept.run("test", np.array([0, 1])) for swept in (by_depth, common))
    assert expected.jsd.shape == (2, 6) and (expected.jsd > 0).all()
    for name in ("requirement", "jsd", "jsd_label", "accuracy", "accuracy_original"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6)
    assert min(by_depth.seconds(np.array([3, 5, 7]), 0)) > 0


@pytest.mark.parametrize("size", [3, 100])
def test_settings_are_chosen_on_some_validation_models_that_are_not_set_apart(size, study):
    study.config.evaluation.validation_models = size
    everyone, test = study.population.ids("validation"), study.population.ids("test")
    ids, table = methods._split(study, "validation")
    assert table is study.data.select
    assert len(ids) == min(size, len(everyone)) and set(ids) <= set(everyone)
    np.testing.assert_array_equal(ids, methods._split(study, "validation")[0])
    np.testing.assert_array_equal(methods._split(study, "test")[0], test)
    other = dataclasses.replace(study)
    apart = np.zeros(15, bool)
    apart[ids[0]] = True
    vars(other)["degenerate"] = apart
    assert ids[0] not in methods._split(other, "validation")[0]


def test_several_requirements_are_swept_over_a_grid():
    config = joint.get_config("synthetic")
    config.preference = ((0.01, 1.0), (0.1, 0.1), (0.001, 0.1))
    grid = methods._preferences(config, 3)
    assert grid.shape == (9, 3)
    np.testing.assert_allclose(np.unique(grid[:, 0]), [0.01, 0.1, 1.0])
    np.testing.assert_allclose(grid[:, 1], 0.1)
    assert len(np.unique(grid, axis=0)) == 9
    config.preference = (0.01, 1.0)
    np.testing.assert_allclose(methods._preferences(config, 3), [0.01, 0.1, 1.0])


def test_a_missing_library_is_said_before_anything_is_trained(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"fairlearn, aif360.*metanet\[baselines\]"):
        stages.prepare(fairness.get_config("synthetic"), tmp_path, lambda: False)
    assert not list(tmp_path.iterdir())


def test_an_editor_is_shown_points_of_its_own_kind(tmp_path):
    config = fairness.get_config("synthetic")
    config.baselines = ()
    config.variants = {"odd": {"editor": "GMN + probe", "probe": {"points": 9, "labelled": False}}}
    with pytest.raises(UserError, match=r"variants.odd.probe: found .*9.* expected a probe with"):
        stages.prepare(config, tmp_path, lambda: False)
    config.variants = {"odd": {"editor": "None", "probe": {"points": 9}}}
    with pytest.raises(UserError, match=r"variants.odd.editor: found None, expected one of GMN"):
        stages.prepare(config, tmp_path, lambda: False)
    assert not list(tmp_path.iterdir())
