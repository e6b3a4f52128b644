"""Edits to a budget keep exactly as much as asked, and what the editor would keep first."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import gathered, init_editor, random_stack, random_table

from metanet.core import SettingError
from metanet.editor.edit_fns import editor_fn
from metanet.editor.inputs import scales_of
from metanet.editor.model import Editor, EditorConfig, TrainedEditor
from metanet.evaluation.program import map_models
from metanet.graphs.packing import pack
from metanet.methods import budget
from metanet.mlp.spec import MLPSpec
from metanet.objectives.data_minimisation import inputs_kept
from metanet.objectives.pruning import weights_kept
from metanet.pipeline import EditorPlan, EvaluationConfig, ExperimentConfig, RecipeConfig
from metanet.pipeline.recipes import check_recipes
from metanet.pipeline.testbed import Testbed

SPECS = (MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"), MLPSpec((5, 8, 2)))
RANGE = (0.001, 0.5)
COUNT = 8


@pytest.fixture(scope="module")
def models():
    return pack([random_stack(spec, 4, seed) for seed, spec in enumerate(SPECS)])


@pytest.fixture(scope="module", params=["edges", "inputs"])
def editor(request, models):
    config = EditorConfig(8, 4, 4, layers=1, mask=request.param, mask_bias=1e-6)
    scales = scales_of(models, np.arange(COUNT))
    graph = gathered(models, np.arange(1), np.zeros((1, 1), np.float32), (10, 10))
    params = init_editor(Editor(config, models.template), jax.random.key(0), graph, scales)
    rng = np.random.default_rng(2)
    params = jax.tree.map(lambda p: np.float32(np.asarray(p) + rng.normal(size=p.shape)), params)
    return TrainedEditor(params, scales, config, models.template, (RANGE,))


def to_budget(both, graph, keys):
    return budget.budget_fn(both[0], graph, keys)(both[1])


def at_lambda(both, graph, keys):
    return editor_fn(both[0], graph, keys)(both[1])


def edits(function, context, models, setting):
    both = context, jnp.float32(setting)
    return map_models(function, both, models, np.arange(COUNT), 0, COUNT)


@pytest.mark.slow
def test_every_model_keeps_exactly_as_much_and_first_what_the_editor_keeps(editor, models):
    context = editor, jnp.log(jnp.array(RANGE))
    of_inputs = editor.config.mask == "inputs"
    plain = [edits(at_lambda, editor, models, one) for one in np.geomspace(*RANGE, 60)]
    settings = (0, 1, 3, 4) if of_inputs else (0.05, 0.3, 0.62, 0.9)
    before = plain[0].before.edge
    for setting in settings:
        edit = edits(to_budget, context, models, setting)
        if of_inputs:
            assert (edit.input_keep.sum(1) == setting).all()
            for index in range(COUNT):
                read = np.ones(before.shape[1])
                read[:5] = edit.input_keep[index]
                np.testing.assert_array_equal(edit.keep[index], before[index] * read[:, None])
        else:
            wanted = np.round(np.float32(setting) * before.sum((1, 2)))
            np.testing.assert_array_equal(edit.keep.sum((1, 2)), wanted)
            assert (edit.input_keep == 1).all()
        assert not (edit.after.weight * (1 - edit.keep)).any()
        for index in range(COUNT):
            # Its biases are those of one lambda, at which the editor keeps no more, but the same.
            apart = [np.abs(one.after.bias[index] - edit.after.bias[index]).max() for one in plain]
            place = int(np.argmin(apart))
            mask = "input_keep" if of_inputs else "keep"
            own, ours = (getattr(one, mask)[index] for one in (plain[place], edit))
            spread = max(apart) - min(apart)
            assert apart[place] < 0.05 * spread + 1e-6
            if own.sum() <= ours.sum():
                assert (own <= ours).mean() > 0.97
    changed = np.abs(edit.after.weight - plain[0].before.weight)[edit.keep == 1]
    assert changed.max() > 1e-3


def a_testbed(editor, models, tmp_path):
    stacks = [random_stack(spec, 4, seed) for seed, spec in enumerate(SPECS)]
    ids = {"validation": np.arange(0, 8, 2), "test": np.arange(1, 8, 2)}
    of_inputs = editor.config.mask == "inputs"
    name = "data_minimisation.inputs_kept" if of_inputs else "pruning.weights_kept"
    table = random_table(40)
    return Testbed(
        experiment=ExperimentConfig(
            requirement=f"metanet.objectives.{name}",
            evaluation=EvaluationConfig(batch_size=4, fractions=(0.3, 0.6)),
            recipes={"any": RecipeConfig("metanet.methods.obs.obs")},
            methods=("any",),
        ),
        folder=tmp_path,
        models=models,
        population=types.SimpleNamespace(stacks=stacks, ids=ids.__getitem__),
        data=types.SimpleNamespace(edit=table, select=table, test=table, n_classes=2, n_features=5),
        requirement=inputs_kept if of_inputs else weights_kept,
    )


@pytest.mark.slow
def test_the_recipe_sweeps_budgets_of_the_editor_s_kind(editor, models, tmp_path):
    testbed = a_testbed(editor, models, tmp_path)
    method = budget.to_budget(testbed, [editor])
    sweep = method.sweep(*testbed.split("test"), np.arange(len(method.settings)))
    if editor.config.mask == "inputs":
        assert [one["features"] for one in method.settings] == [4, 3, 2, 1, 0]
        expected = np.array([4, 3, 2, 1, 0])[:, None] / 5
    else:
        assert [one["fraction"] for one in method.settings] == [0.3, 0.6]
        expected = np.array([0.3, 0.6])[:, None]
    np.testing.assert_allclose(sweep.requirement, expected + np.zeros((1, 4)), atol=0.02)
    assert np.isfinite(sweep.jsd).all() and (sweep.requirement.std(1) < 0.01).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": "both"}, "recipes.b.editors: found mask 'both'"),
        ({"mask": "none"}, "recipes.b.editors: found mask 'none'"),
        ({"mean_replacement": True, "probe": {}}, "mean_replacement True, expected an editor with"),
    ],
)
def test_editors_without_one_kind_of_mask_are_refused(change, message):
    from metanet.probes.rows import ProbeConfig

    if "probe" in change:
        change = change | {"probe": ProbeConfig()}
    plan = EditorPlan(editor=EditorConfig(**change))
    recipe = RecipeConfig("metanet.methods.budget.to_budget", editors=("GMN",))
    experiment = ExperimentConfig(
        requirement="metanet.objectives.pruning.weights_kept",
        editors={"GMN": plan}, recipes={"b": recipe}, methods=("GMN", "b"),
    )  # fmt: skip
    with pytest.raises(SettingError) as error:
        check_recipes(experiment)
    assert message in str(error.value)
