"""Pruning recipes on a testbed of small stacks of two depths."""

import types

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_stack, random_table

from metanet.core import UserError
from metanet.editor.edits import whole_edit
from metanet.editor.newton import NewtonConfig
from metanet.graphs.batch import to_template
from metanet.graphs.packing import pack
from metanet.methods.brain_damage import brain_damage
from metanet.methods.compiled import compiled
from metanet.methods.exact_obs import exact_obs, exact_obs_fn
from metanet.methods.lottery import lottery_ticket
from metanet.methods.obs import obs
from metanet.methods.pruning import lamp, one_shot
from metanet.methods.retrain import RetrainConfig
from metanet.mlp.spec import MLPSpec
from metanet.objectives.pruning import weights_kept
from metanet.pipeline import EvaluationConfig, ExperimentConfig, RecipeConfig
from metanet.pipeline.recipes import check_recipes
from metanet.pipeline.testbed import Testbed

FRACTIONS = (0.3, 0.6)
SHORT = RetrainConfig(steps=3, batch_size=8, learning_rate=1e-3)
SPECS = (MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"), MLPSpec((5, 8, 2)))


@pytest.fixture(scope="module")
def testbed(tmp_path_factory):
    stacks = [random_stack(spec, 4, seed) for seed, spec in enumerate(SPECS)]
    ids = {"validation": np.arange(0, 8, 2), "test": np.arange(1, 8, 2)}
    table = random_table(40)
    return Testbed(
        experiment=ExperimentConfig(
            requirement="metanet.objectives.pruning.weights_kept",
            evaluation=EvaluationConfig(batch_size=4, fractions=FRACTIONS),
            recipes={"any": RecipeConfig("metanet.methods.obs.obs")},
        ),
        folder=tmp_path_factory.mktemp("testbed"),
        models=pack(stacks),
        population=types.SimpleNamespace(stacks=stacks, ids=ids.__getitem__),
        data=types.SimpleNamespace(
            edit=table, select=table, test=table, group="g", digest="d", n_classes=2
        ),
        requirement=weights_kept,
    )


def swept(testbed, method):
    return method.sweep(*testbed.split("test"), np.arange(len(FRACTIONS)))


def ticket(testbed, **options):
    return lottery_ticket(testbed, (), retrain=SHORT, rounds=2, **options)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(
            lambda testbed: one_shot(testbed, (), score=lamp, distil=SHORT), marks=pytest.mark.slow
        ),
        pytest.param(lambda testbed: exact_obs(testbed, (), distil=SHORT), marks=pytest.mark.slow),
        pytest.param(
            lambda testbed: obs(testbed, (), rounds=2), marks=[pytest.mark.slow, pytest.mark.long]
        ),
        pytest.param(lambda testbed: obs(testbed, (), distil=SHORT), marks=pytest.mark.slow),
        pytest.param(lambda testbed: ticket(testbed, trained=False), marks=pytest.mark.slow),
        pytest.param(lambda testbed: ticket(testbed, target="labels"), marks=pytest.mark.slow),
    ],
    ids=["LAMP & Distil", "ExactOBS & Distil", "OBS", "OBS & Distil", "untrained", "trained"],
)
def test_recipes_keep_exactly_the_fractions(recipe, testbed):
    sweep = swept(testbed, recipe(testbed))
    weights = np.repeat([spec.n_weights for spec in SPECS], 2)  # of the test models
    expected = np.round(np.outer(FRACTIONS, weights)) / weights[None]
    np.testing.assert_allclose(sweep.requirement, expected, atol=1e-6)
    assert (sweep.jsd > 0).all() and sweep.jsd.shape == (2, 4)


@pytest.mark.slow
def test_gauss_newton_steps_lower_the_divergence_of_the_same_masks(testbed):
    plain, stepped, known = (
        swept(testbed, one_shot(testbed, (), score=lamp, newton=newton))
        for newton in (None, NewtonConfig(steps=2), NewtonConfig(steps=2, moments=True))
    )
    for one in (stepped, known):
        np.testing.assert_array_equal(plain.requirement, one.requirement)
    assert (stepped.jsd < 0.9 * plain.jsd).all()  # on the rows of the steps
    assert (known.jsd.mean(1) < 0.9 * plain.jsd.mean(1)).all()  # on others


@pytest.mark.slow
def test_a_template_per_depth_gives_the_results_of_the_common_one(testbed):
    found = swept(testbed, exact_obs(testbed, (), rows=30))
    common = compiled(
        testbed,
        lambda template: exact_obs_fn(template, 30),
        testbed.edit_table,
        "fraction",
        np.array(FRACTIONS),
    )
    np.testing.assert_allclose(found.jsd, swept(testbed, common).jsd, rtol=1e-3, atol=1e-6)


@pytest.mark.long
@pytest.mark.slow
def test_obs_is_no_worse_than_exact_obs_where_its_own_path_went_astray(testbed, monkeypatch):
    def astray(template, *_):
        def prune(table, graph, keys):
            before = to_template(template, graph)
            after = before.replace(bias=before.bias + jnp.nan)
            return lambda fraction: whole_edit(template, before, after)

        return prune

    monkeypatch.setattr("metanet.methods.obs.obs_fn", astray)
    found, expected = (swept(testbed, method(testbed, ())) for method in (obs, exact_obs))
    np.testing.assert_allclose(found.jsd, expected.jsd, rtol=1e-5)
    np.testing.assert_array_equal(found.requirement, expected.requirement)


@pytest.mark.slow
def test_distilled_brain_damage_is_in_a_template_per_depth(testbed, monkeypatch):
    """Its probes are those of the models in the common one."""
    from metanet.probes.store import probe_stack

    monkeypatch.setattr(
        Testbed,
        "probes",
        lambda self, probe: [
            probe_stack(stack, self.points(probe)) for stack in self.population.stacks
        ],
    )
    still = RetrainConfig(steps=1, batch_size=4, learning_rate=0.0)
    plain, distilled = (
        swept(testbed, brain_damage(testbed, (), **options)) for options in ({}, {"distil": still})
    )
    np.testing.assert_allclose(distilled.jsd, plain.jsd, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "recipe, options, message",
    [
        ("obs.obs", {"damping": 0.0}, "recipes.any.damping: found 0.0, expected a number above 0"),
        ("exact_obs.exact_obs", {"damping": -1.0}, "recipes.any.damping: found -1.0"),
        ("exact_obs.exact_obs", {"rows": 0}, "recipes.any.rows: found 0, expected 1 to"),
        ("obs.obs", {"kept": 1.0}, "recipes.any.kept: found 1.0, expected a fraction above 0"),
        ("obs.obs", {"steps": 0}, "recipes.any.steps: found 0, expected 1 to"),
        ("obs.obs", {"newton": {"requirement": True}}, "any.newton.requirement: found True, exp"),
        ("obs.obs", {"newton": {"steps": 0}}, "steps: found 0, expected at least 1"),
        (
            "obs.obs",
            {"newton": {"decision_temperature": 0.1}},
            "decision_temperature: found 0.1, expected requirement, whose decisions",
        ),
        (
            "lottery.lottery_ticket",
            {"retrain": {"steps": 2}, "target": "both"},
            "recipes.any.target: found 'both'",
        ),
        (
            "lottery.lottery_ticket",
            {"retrain": {"steps": 2}, "kept": 0.0},
            "recipes.any.kept: found 0.0",
        ),
    ],
)
def test_options_that_cannot_be_end_in_one_line(recipe, options, message):
    recipes = {"any": RecipeConfig(f"metanet.methods.{recipe}", options=options)}
    requirement = "metanet.objectives.pruning.weights_kept"
    with pytest.raises(UserError, match=message):
        check_recipes(ExperimentConfig(requirement=requirement, recipes=recipes))
