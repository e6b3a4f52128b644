"""What methods are applied to, and how; on two small stacks of different depth."""

import dataclasses
import functools
import importlib
import importlib.util
import itertools
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments.study import Study
from experiments.swept import compiled, lambdas_of
from metanet.baselines import data_minimisation as dm

import configs
from configs import fairness, joint, presets, pruning
from configs.tasks import TASKS
from experiments import methods, plan, stages
from metanet.core import Stopped, UserError
from metanet.data import SOURCES
from metanet.data.tabular import Table
from metanet.graphs.packing import pack
from metanet.mlp import network
from metanet.mlp.population import Stack
from metanet.mlp.sampling import PopulationConfig, sample_catalogue
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
        folder=tmp_path_factory.mktemp("study"),
        models=pack(stacks),
        population=types.SimpleNamespace(stacks=stacks, ids=ids.__getitem__),
        data=types.SimpleNamespace(edit=table, select=table, test=table, group="g"),
        requirement=inputs_kept,
    )


def test_a_template_per_depth_gives_the_results_of_the_common_one(study):
    ranking = jnp.array([0.3, 0.1, 0.5, 0.2, 0.4])
    arguments = ranking, "features", np.array([1.0, 3.0])
    recipe = functools.partial(dm.selection_fn, ranking="global")
    common = compiled(study, recipe, *arguments)
    by_depth = compiled(study, recipe, *arguments, study.by_depth())
    assert [models.template.depth for _, models in study.by_depth()] == [1, 2]
    found, expected = (
        swept.run(*study.split("test"), np.array([0, 1])) for swept in (by_depth, common)
    )
    assert expected.jsd.shape == (2, 6) and (expected.jsd > 0).all()
    for name in ("requirement", "jsd", "jsd_label", "accuracy", "accuracy_original"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6)
    assert min(by_depth.seconds(np.array([3, 5, 7]), 0)) > 0


@pytest.mark.parametrize("size", [3, 100])
def test_settings_are_chosen_on_some_validation_models_that_are_not_set_apart(size, study):
    study.config.evaluation.validation_models = size
    all_models, test = study.population.ids("validation"), study.population.ids("test")
    ids, table = study.split("validation")
    assert table is study.data.select
    assert len(ids) == min(size, len(all_models)) and set(ids) <= set(all_models)
    np.testing.assert_array_equal(ids, study.split("validation")[0])
    np.testing.assert_array_equal(study.split("test")[0], test)
    study.config.evaluation.test_models = 4
    few, table = study.split("test")
    study.config.evaluation.test_models = 450
    assert table is study.data.test and len(set(few)) == 4 and set(few) < set(test)
    other = dataclasses.replace(study)
    apart = np.zeros(15, bool)
    apart[ids[0]] = True
    vars(other)["degenerate"] = apart
    assert ids[0] not in other.split("validation")[0]


def test_several_requirements_are_swept_over_a_grid():
    config = joint.get_config("synthetic")
    config.lambda_range = ((0.01, 1.0), (0.1, 0.1), (0.001, 0.1))
    grid = lambdas_of(config, 3)
    assert grid.shape == (9, 3)
    np.testing.assert_allclose(np.unique(grid[:, 0]), [0.01, 0.1, 1.0])
    np.testing.assert_allclose(grid[:, 1], 0.1)
    assert len(np.unique(grid, axis=0)) == 9
    config.lambda_range = (0.01, 1.0)
    np.testing.assert_allclose(lambdas_of(config, 3), [0.01, 0.1, 1.0])


def test_a_missing_library_is_said_before_anything_is_trained(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"fairlearn, aif360.*metanet\[baselines\]"):
        stages.prepare(fairness.get_config("synthetic"), tmp_path, lambda: False)
    assert not list(tmp_path.iterdir())


STUDIES = sorted(
    {path.stem for path in pathlib.Path(configs.__file__).parent.glob("*.py")}
    - {"__init__", "common", "tasks", "presets", "quickstart"}
)


@pytest.mark.parametrize("name", STUDIES)
def test_the_config_passes_the_checks_for_every_dataset(name):
    module = importlib.import_module(f"configs.{name}")
    suffixes = [f"-{task}" for task in TASKS] if "[:DATASET-TASK]" in module.__doc__ else [""]
    for dataset, suffix in itertools.product(SOURCES, suffixes):
        config = module.get_config(dataset + suffix)
        for part in config.parts.values() if config.task == "timing" else [config]:
            plan.check(part, methods.BASELINES)
        assert config.dataset == dataset


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_the_configs_of_a_preset_pass_the_checks(preset):
    runs, resize = presets.PRESETS[preset]
    for run in runs:
        name, _, which = run.partition(":")
        config = importlib.import_module(f"configs.{name}").get_config(which)
        resize(config)
        for part in config.parts.values() if config.task == "timing" else [config]:
            plan.check(part, methods.BASELINES)


def test_an_editor_is_shown_points_of_its_own_kind(tmp_path):
    config = fairness.get_config("synthetic")
    config.baselines = ()
    config.variants = {"odd": {"editor": "GMN + probe", "probe": {"points": 9, "labelled": False}}}
    with pytest.raises(UserError, match=r"variants.odd.probe: found .*9.* expected a probe with"):
        stages.prepare(config, tmp_path, lambda: False)
    config.variants = {"odd": {"editor": "None", "probe": {"points": 9}}}
    with pytest.raises(UserError, match=r"variants.odd: found None, expected one of GMN"):
        stages.prepare(config, tmp_path, lambda: False)
    assert not list(tmp_path.iterdir())


def test_an_editor_is_trained_on_a_share_of_experiments_without_a_kind_of_specs():
    ids, experiment = np.arange(10, 70), np.repeat(np.arange(20), 3)
    shapes = [MLPSpec((5, 8, 2)), MLPSpec((5, 8, 32, 2)), MLPSpec((5, 8, 8, 8, 8, 2))]
    specs = [shapes[number % 3] for number in experiment]

    def chosen(share, unseen=None, control=False):
        return plan.training_ids(ids, experiment, specs, share, unseen, control)

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
    share = np.mean([plan.KINDS["held out"](family.spec) for family in specs])
    assert 0.14 < share < 0.26


def test_a_sweep_stops_between_batches_of_models(study):
    asked = []
    stopping = dataclasses.replace(study, should_stop=lambda: asked.append(True) or len(asked) > 1)
    recipe = functools.partial(dm.selection_fn, ranking="global")
    ranking = jnp.array([0.3, 0.1, 0.5, 0.2, 0.4])
    swept = compiled(stopping, recipe, ranking, "features", np.array([1.0]))
    with pytest.raises(Stopped, match="before the next batch of models"):
        swept.run(*study.split("test"), np.array([0]))  # six models in batches of four
    assert len(asked) == 2


def test_united_methods_have_all_settings_of_their_parts(study):
    ranking = jnp.array([0.3, 0.1, 0.5, 0.2, 0.4])
    recipe = functools.partial(dm.selection_fn, ranking="global")
    parts = [
        compiled(study, recipe, ranking, "features", np.array(counts))
        for counts in ([1.0, 4.0], [2.0])
    ]
    both = methods._front_union(parts)
    assert both.settings == ({"features": 1.0}, {"features": 4.0}, {"features": 2.0})
    found = both.run(*study.split("test"), np.array([2, 0]))
    for row, (part, index) in enumerate([(parts[1], 0), (parts[0], 0)]):
        expected = part.run(*study.split("test"), np.array([index]))
        np.testing.assert_array_equal(found.jsd[row], expected.jsd[0])
    assert min(both.seconds(np.array([3, 5]), 2)) > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"share": 0.0}, r"editor.share: found 0.0, expected a fraction above 0"),
        ({"unseen": "long"}, r"editor.unseen: found long, expected none, or one of held out"),
        ({"requirement": "metanet.none"}, r"requirement: found 'metanet.none'"),
        ({"lambda_range": (0.1, 0.2, 0.3)}, r"lambda_range"),
        ({"seeds": 0}, r"editor.seeds: found 0"),
        ({"control": True}, r"editor.control: found True, expected editor.unseen"),
    ],
)
def test_an_editors_own_settings_are_checked(change, said):
    config = pruning.get_config("synthetic")
    config.editors = {"GMN + probe": config.editors["GMN + probe"], "odd": change}
    with pytest.raises(UserError, match=said):
        plan.check(config, methods.BASELINES)


def test_only_editors_without_probes_are_composed():
    config = pruning.get_config("synthetic")
    config.composed = {"both": ("GMN - Prune", "GMN + probe")}
    with pytest.raises(UserError, match=r"composed.both: found .*GMN \+ probe.* without probes"):
        plan.check(config, methods.BASELINES)
