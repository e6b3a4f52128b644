"""The recipe of an editor from a folder, on a testbed of random networks."""

import dataclasses
import types

import jax
import numpy as np
import pytest
from helpers import gathered, init_editor, random_stack, random_table

from metanet.core import SettingError
from metanet.data import load
from metanet.data.encoding import Group
from metanet.editor.api import edit_stack
from metanet.editor.inputs import scales_of
from metanet.editor.model import Editor, EditorConfig, TrainedEditor
from metanet.editor.newton import NewtonConfig
from metanet.editor.release import Release, write_release
from metanet.graphs.packing import pack
from metanet.methods.released import released
from metanet.mlp.spec import MLPSpec
from metanet.objectives.pruning import weights_kept
from metanet.pipeline import ExperimentConfig, RecipeConfig
from metanet.pipeline.config import EvaluationConfig
from metanet.pipeline.evaluate import settings_of
from metanet.pipeline.recipes import check_recipes, check_recipes_on_data
from metanet.pipeline.testbed import Testbed
from metanet.probes.rows import ProbeConfig

LARGE, SMALL = MLPSpec((10, 8, 12, 2)), MLPSpec((10, 8, 2))
KEPT = "metanet.objectives.pruning.weights_kept"


@pytest.fixture(scope="module")
def release():
    """A random editor of larger networks than those that it meets here."""
    models = pack([random_stack(LARGE, 2)])
    config = EditorConfig(4, 4, 4, layers=1, mask_bias=1e-6)
    graph = gathered(models, np.arange(1), np.zeros((1, 1), np.float32), (10, 10))
    scales = scales_of(models, np.arange(2))
    params = init_editor(Editor(config, models.template), jax.random.key(0), graph, scales)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda p: np.float32(np.asarray(p) + rng.normal(size=p.shape)), params)
    editor = TrainedEditor(params, scales, config, models.template, ((0.01, 0.1),))
    return Release(editor, (KEPT,), load("synthetic", None, 0).encoding)


@pytest.fixture
def place(release, tmp_path):
    write_release(tmp_path / "editor", release)
    return tmp_path / "editor"


def a_testbed(place, spec=SMALL, **changes):
    stack, table = random_stack(spec, 4), random_table(30, n_features=10)
    ids = {"validation": np.arange(2), "test": np.arange(2, 4)}
    recipe = RecipeConfig("metanet.methods.released.released", options={"release": str(place)})
    experiment = ExperimentConfig(
        requirement=KEPT,
        evaluation=EvaluationConfig(batch_size=2, n_lambdas=3),
        recipes={"GMN": recipe},
        methods=("GMN",),
    )
    data = dict(
        name="synthetic",
        encoding=load("synthetic", None, 0).encoding,
        edit=table, select=table, test=table, group=None, digest="d", n_classes=2,
    )  # fmt: skip
    return stack, Testbed(
        experiment=dataclasses.replace(experiment, **changes),
        folder=place,
        models=pack([stack]),
        population=types.SimpleNamespace(stacks=[stack], ids=ids.__getitem__, digest=None),
        data=types.SimpleNamespace(**data),
        requirement=weights_kept,
    )


@pytest.mark.slow
def test_it_edits_smaller_networks_as_the_front_door_does(release, place):
    stack, testbed = a_testbed(place)
    method = released(testbed, (), release=str(place))
    lams = [one["lambda"] for one in method.settings]
    assert lams == pytest.approx([0.01, 0.1**1.5, 0.1])
    found = method.sweep(*testbed.split("test"), np.arange(3))
    for row, lam in enumerate(lams):
        _, masks = edit_stack(release.editor, stack, lam)
        kept = sum(np.asarray(one).sum((1, 2)) for one in masks) / SMALL.n_weights
        np.testing.assert_allclose(found.requirement[row], kept[2:], atol=1e-6)


@pytest.mark.slow
def test_gauss_newton_steps_follow_an_edit_in_a_template_per_depth(release, place):
    _, testbed = a_testbed(place)
    plain, stepped = (
        released(testbed, (), release=str(place), newton=newton).sweep(
            *testbed.split("test"), np.arange(3)
        )
        for newton in (None, NewtonConfig(steps=2))
    )
    np.testing.assert_array_equal(plain.requirement, stepped.requirement)
    assert (stepped.jsd < plain.jsd).all()  # little: its edits are random, and far


def test_its_entry_depends_on_what_the_folder_holds(release, place):
    _, testbed = a_testbed(place)
    before = settings_of(testbed, "GMN")
    params = jax.tree.map(lambda leaf: leaf * 2, release.editor.params)
    write_release(place, dataclasses.replace(release, editor=release.editor.replace(params=params)))
    after = settings_of(testbed, "GMN")
    assert {key for key in before if before[key] != after[key]} == {"release"}


def test_it_refuses_networks_that_are_larger_than_its_own(place):
    _, testbed = a_testbed(place, MLPSpec((10, 8, 14, 2)))
    with pytest.raises(SettingError, match=r"an editor for these models: .*width=14"):
        released(testbed, (), release=str(place))


def test_it_refuses_another_requirement_table_or_folder(release, place):
    _, testbed = a_testbed(place)
    other = "metanet.objectives.data_minimisation.inputs_kept"
    with pytest.raises(
        SettingError, match=rf"GMN.release: found one for {KEPT}, expected .*{other}"
    ):
        check_recipes(dataclasses.replace(testbed.experiment, requirement=other))
    encoding = dataclasses.replace(testbed.data.encoding, classes=("a", "b"))
    data = types.SimpleNamespace(name="mine", encoding=encoding)
    with pytest.raises(SettingError, match=r"GMN.release: found an editor for another table than"):
        check_recipes_on_data(testbed.experiment, data)
    probe = ProbeConfig(points=8, labelled=True)
    config = dataclasses.replace(release.editor.config, probe=probe)
    write_release(place, dataclasses.replace(release, editor=release.editor.replace(config=config)))
    other = dataclasses.replace(
        release.encoding, group=Group("sex", "sex", ("a", "b"), codes=(0, 1))
    )
    data = types.SimpleNamespace(name="synthetic", encoding=other, group="sex")
    with pytest.raises(SettingError, match=r"sees the group group, expected one for the group sex"):
        check_recipes_on_data(testbed.experiment, data)
    (place / "editor.json").unlink()
    with pytest.raises(SettingError, match=r"GMN.release: found .*, expected .*found no editor"):
        check_recipes(testbed.experiment)
