"""Editors trained on models of data whose causes, irrelevances and biases are known."""

import jax
import numpy as np
import pytest

from metanet import data
from metanet.data import synthetic
from metanet.editor.api import edit_stack
from metanet.editor.edit_fns import editor_fn
from metanet.editor.model import EditorConfig
from metanet.evaluation.postprocess import scores_of
from metanet.evaluation.program import evaluate
from metanet.graphs.packing import pack
from metanet.mlp import population
from metanet.mlp.population import Stack
from metanet.mlp.sampling import PopulationConfig
from metanet.objectives.base import resolve
from metanet.training.config import TrainingConfig
from metanet.training.loop import train_editor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def optimised_programs():
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module")
def tables():
    return data.load("synthetic", None, 0)


@pytest.fixture(scope="module")
def targets(tables, tmp_path_factory):
    wanted = PopulationConfig(
        experiments=32, max_specs=2, epochs=10, depths=(1, 2), widths=(8,), dropouts=(0.0,),
        batch_sizes=(64,), learning_rate=(3e-3, 1e-2), norms=("none",),
    )  # fmt: skip
    return population.build(tmp_path_factory.mktemp("population"), wanted, tables, 0)


@pytest.fixture(scope="module")
def trained(targets, tables, tmp_path_factory):
    """trained(requirement, editor, training) -> an editor of the training split."""

    def trained(requirement, editor, training):
        return train_editor(
            tmp_path_factory.mktemp("editor"), editor, training, requirement,
            pack(list(targets.stacks)), targets.ids("train"), tables.edit, 0, {},
        )  # fmt: skip

    return trained


@pytest.fixture(scope="module")
def held_out(targets):
    """The last checkpoints of the first architecture that no editor was trained on."""
    chosen = targets.table.query("split != 'train' and stage == 'last' and family == 0").index
    first = targets.stacks[0]
    return Stack(
        first.spec, jax.tree.map(lambda leaf: leaf[chosen], first.params), first.activation[chosen]
    )


REQUIRED = {"edges": "pruning.weights_kept", "inputs": "data_minimisation.inputs_kept"}


@pytest.mark.parametrize("mask", [pytest.param("edges", marks=pytest.mark.long), "inputs"])
def test_what_leaves_irrelevant_inputs_is_dropped_first(mask, trained, held_out, tables):
    training = TrainingConfig(steps=300, lambda_power=0.0, batch_size=8, lambda_range=(0.003, 0.3))
    requirement = f"metanet.objectives.{REQUIRED[mask]}"
    editor = trained(requirement, EditorConfig(mask=mask), training)
    leaving = [i for i, (source, _) in enumerate(held_out.spec.blocks) if source == 0]

    def kept(preference):
        """(on average, of each input's weights): fractions over the held-out models."""
        _, masks = edit_stack(editor, held_out, preference)
        by_input = np.concatenate([np.asarray(masks[i]) for i in leaving], axis=2).mean((0, 2))
        return by_input.mean(), dict(zip(tables.features, by_input, strict=True))

    total, by_input = min(
        (kept(preference) for preference in np.geomspace(0.003, 0.3, 16)),
        key=lambda result: abs(result[0] - 0.5),
    )
    assert 0.25 < total < 0.75
    irrelevant = np.mean([by_input[name] for name in synthetic.IRRELEVANT])
    causes = np.mean([by_input[name] for name in synthetic.CAUSES])
    assert irrelevant < 0.3 and causes > irrelevant + 0.4


def test_a_fair_editor_removes_the_planted_bias(trained, targets, tables):
    # Not equalised odds: on 600 rows an editor learns the noise of its rates.
    requirement = "metanet.objectives.fairness.demographic_parity"
    training = TrainingConfig(
        steps=300,
        lambda_power=0.0,
        batch_size=8,
        points=512,
        balanced=True,
        lambda_range=(0.03, 0.8),
    )
    editor = trained(requirement, EditorConfig(mask="none", gamma=0.1), training)
    models = pack(list(targets.stacks))
    ids = np.concatenate([targets.ids("validation"), targets.ids("test")])
    found = evaluate(
        editor_fn, editor, models, ids, np.array([0.03, 0.8]), tables.test,
        resolve(requirement), 0,
    )  # fmt: skip
    gaps = []
    for one in scores_of(models, ids, tables.test):
        rates = [(one.probability > 0.5)[one.group == g].mean() for g in (0, 1)]
        gaps.append(abs(rates[0] - rates[1]))
    weak, strong = found.requirement.mean(1)
    assert np.mean(gaps) > 0.12
    assert strong < 0.6 * np.mean(gaps) and strong < 0.8 * weak
    assert found.jsd[1].mean() < 0.02
    assert found.accuracy[1].mean() > found.accuracy_original[1].mean() - 0.03
