"""Random keys: every key is used in one place, so that no two draws are the same by accident."""

import collections
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import fresh_stack, gathered, random_table

from metanet.data.moments import Moments
from metanet.editor.inputs import scales_of
from metanet.editor.model import EditorConfig
from metanet.graphs.packing import pack
from metanet.graphs.strata import stratify
from metanet.methods.composition import selected_pruned_fn
from metanet.methods.data_minimisation import Knowledge, selection_fn, selection_retrained_fn
from metanet.methods.lottery import lottery_ticket_fn
from metanet.methods.per_model import RefineConfig, sample_of
from metanet.methods.refine import refined_fn, unedited_fn
from metanet.methods.retrain import RetrainConfig, retraining
from metanet.mlp import online, trainer
from metanet.mlp.online import OnlinePopulation
from metanet.mlp.sampling import Family, Members, PopulationConfig
from metanet.mlp.spec import MLPSpec
from metanet.objectives.data_minimisation import inputs_kept
from metanet.training import step
from metanet.training.config import TrainingConfig
from metanet.training.inputs import problem_of

SPECS = (MLPSpec((5, 8, 2)), MLPSpec((5, 9, 2)))
IDS = np.arange(4)


@pytest.fixture(scope="module")
def models():
    return pack([fresh_stack(spec, 2, seed) for seed, spec in enumerate(SPECS)])


@pytest.fixture
def uses(monkeypatch):
    """uses[key] is the set of (function of jax.random, file, line) that the key was given to."""
    found = collections.defaultdict(set)

    def watched(name, function):
        def call(key, *args, **kwargs):
            frame = sys._getframe(1)
            while "/metanet/" not in frame.f_code.co_filename:
                frame = frame.f_back
            place = (name, frame.f_code.co_filename.rpartition("/metanet/")[2], frame.f_lineno)

            def note(words):
                for one in np.reshape(words, (-1, 2)):
                    found[tuple(one.tolist())].add(place)

            jax.debug.callback(note, jax.random.key_data(key))
            return function(key, *args, **kwargs)

        return call

    for name in ("split", "fold_in", "uniform", "normal", "logistic", "randint", "bits"):
        monkeypatch.setattr(jax.random, name, watched(name, getattr(jax.random, name)))
    return found


def assert_used_once(uses, *functions):
    jax.effects_barrier()
    seen = {place[0] for places in uses.values() for place in places}
    assert seen >= set(functions)  # else the watch is blind
    twice = {tuple(sorted(places)) for places in uses.values() if len(places) > 1}
    assert not twice


def compute(function, *arguments):
    """In one program: operation by operation each is one of its own."""
    jax.block_until_ready(jax.jit(function)(*arguments))


@pytest.mark.slow
def test_a_key_of_a_training_step_is_used_once(models, uses):
    editor = EditorConfig(4, 4, 4, layers=1, mask="both")
    config = TrainingConfig(batch_size=2, points=8, mask_path=0.5, dropout=0.3)
    strata, scales = stratify(models, IDS, 2, 1), scales_of(models, IDS)
    problem = problem_of(config, models, scales, strata, random_table(20), 0)
    state = step.init_state(editor, config, models, scales, 0)
    uses.clear()  # flax names its own keys
    static = (editor, config, inputs_kept, strata.budget)

    @jax.jit
    def losses(problem, number):
        return step._shard_losses(state.params, problem, number, jnp.float32(1), static)

    for number in (0, 1):
        jax.block_until_ready(losses(problem, number))
    assert_used_once(uses, "split", "fold_in", "uniform", "logistic", "randint", "bits")


@pytest.fixture
def graph(models):
    sizes = (models.topologies.n_nodes, models.topologies.n_edges)
    budget = tuple(2 * int(np.asarray(size).sum()) for size in sizes)
    return gathered(models, IDS, np.zeros((len(IDS), 1), np.float32), budget)


@pytest.fixture
def keys():
    return jax.random.wrap_key_data(jnp.arange(8, dtype=jnp.uint32).reshape(4, 2))


def small_table():
    return jax.tree.map(jnp.asarray, random_table(20))


def test_a_key_of_a_refinement_is_used_once(models, graph, uses):
    config = RefineConfig(steps=3, points=8, mask="inputs", mask_path=0.5, starts=2)
    keys = jax.random.wrap_key_data(jnp.arange(8, dtype=jnp.uint32).reshape(2, 2, 2))
    sample = sample_of(small_table(), jnp.arange(20), keys, config)
    fn = refined_fn(unedited_fn(models.template), models.template, inputs_kept, config)
    compute(lambda *given: fn(*given)(jnp.float32(0.1)), (None, sample), graph, jnp.arange(4))
    assert_used_once(uses, "split", "uniform", "normal", "logistic", "randint")


@pytest.mark.slow
@pytest.mark.parametrize("ranking", [None, "model"])
def test_a_key_of_training_after_selection_is_used_once(ranking, models, graph, keys, uses):
    config, table = RetrainConfig(steps=3, batch_size=8), small_table()
    known = Knowledge(jnp.arange(5.0), table, Moments(jnp.zeros(5), jnp.eye(5)))
    if ranking is None:
        fn = selected_pruned_fn(models.template, config, np.array([2.0]), config)
        setting = jnp.array([2.0, 0.5])
    else:
        selection = selection_fn(models.template, ranking)
        fn = selection_retrained_fn(models.template, selection, config, "fresh")
        setting = jnp.float32(2.0)
    context = known, retraining(table, config)
    compute(lambda *given: fn(*given)(setting), context, graph, keys)
    assert_used_once(uses, "split", "uniform", "randint")


@pytest.mark.slow
def test_a_key_of_a_trained_ticket_is_used_once(models, graph, keys, uses):
    config = RetrainConfig(steps=3, batch_size=8)
    fn, training = (
        lottery_ticket_fn(models.template, config, rounds=2),
        retraining(small_table(), config),
    )
    compute(lambda *given: fn(*given)(jnp.float32(0.5)), (training, training), graph, keys)
    assert_used_once(uses, "split", "randint")


FAMILY = Family(MLPSpec((5, 4, 2)), 8)


def test_a_key_of_a_member_is_used_once(uses):
    of_two = {name: np.full(2, 0.01, np.float32) for name in ("learning_rate", "weight_decay")}
    of_two |= {"dropout": np.full(2, 0.5, np.float32)}
    members = Members(np.arange(2), np.zeros(2, np.int32), snapshots=np.ones((2, 3), int), **of_two)
    data = types.SimpleNamespace(train=small_table(), select=small_table())
    jax.block_until_ready(trainer.train_family(FAMILY, members, 2, data, 0, 0))
    assert_used_once(uses, "split", "fold_in", "uniform", "bits")


def test_a_key_of_an_online_member_is_used_once(uses):
    config = PopulationConfig(experiments=10, max_specs=1, epochs=1, batch_sizes=(8,))
    population = OnlinePopulation((FAMILY,), config, members=2, sgd_steps=2, rows=20)
    compute(
        lambda table: online.advance(population, online.start(population, 0), table, 0, 0),
        small_table(),
    )
    assert_used_once(uses, "split", "fold_in", "uniform", "bits", "randint")
