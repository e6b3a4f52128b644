"""Models that train beside an editor: their steps, their replacement, and the editor's training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import fresh_stack

from metanet.core import Stopped, UserError, stream
from metanet.data.tabular import Table
from metanet.devices import models_mesh
from metanet.editor.model import EditorConfig
from metanet.graphs.packing import pack
from metanet.mlp import online
from metanet.mlp.online import OnlineConfig, OnlinePopulation
from metanet.mlp.sampling import Family, PopulationConfig
from metanet.mlp.spec import MLPSpec
from metanet.mlp.trainer import folded, member_step
from metanet.training import loop
from metanet.training.checkpoint import load_checkpoint
from metanet.training.config import TrainingConfig
from metanet.training.loop import OnlineTraining, train_editor

ROWS = 64
FAMILIES = (
    Family(MLPSpec((5, 8, 2), norm="batch"), 16),
    Family(MLPSpec((5, 4, 8, 2), ((0, 2),), "layer"), 32),
)
POPULATION = PopulationConfig(experiments=10, max_specs=2, epochs=2, batch_sizes=(16, 32))
ONLINE = OnlinePopulation(FAMILIES, POPULATION, members=4, sgd_steps=3, rows=ROWS)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(ROWS, 5)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int32)
    return Table(x, y, np.zeros_like(y), np.ones(ROWS, np.float32), n_groups=1)


@pytest.fixture(scope="module")
def advance(table):
    """advance(members, step), compiled."""
    train = jax.tree.map(jnp.asarray, table)
    return jax.jit(lambda members, step: online.advance(ONLINE, members, train, 0, step))


@pytest.fixture(scope="module")
def first():
    return jax.jit(lambda: online.start(ONLINE, 0))()


def test_the_first_members_leave_one_after_another(first):
    full = [POPULATION.epochs * (ROWS // family.batch_size) for family in FAMILIES]
    for members, horizon in zip(first, full, strict=True):
        assert (np.diff(members.horizon) > 0).all()
        assert members.horizon[-1] <= horizon and members.horizon[0] <= np.ceil(horizon / 4)
    assert len({float(v) for members in first for v in members.drawn["learning_rate"]}) == 8


@pytest.mark.slow
def test_after_the_burn_in_members_are_of_every_age(first, table):
    train = jax.tree.map(jnp.asarray, table)
    for number, (family, ages) in enumerate(
        zip(FAMILIES, [(3, 3, 0, 6), (0, 0, 0, 3)], strict=True)
    ):
        grow = functools.partial(online.burn_in, ONLINE, number)
        members = jax.jit(grow)(first[number], train, 0)
        full = POPULATION.epochs * (ROWS // family.batch_size)  # 8 and 4, in threes
        assert members.generation.tolist() == [1, 1, 1, 0] and (members.horizon <= full).all()
        assert members.age.tolist() == list(ages)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(members))


@pytest.mark.slow
def test_members_take_the_steps_of_the_trainer(first, advance, table):
    after, snapshots = advance(first, 5)
    key = jax.random.fold_in(stream(0, "resident rows", 5), 1)
    rows = np.asarray(jax.random.randint(key, (3, 32), 0, ROWS))
    number = 3  # of the second family; it stays
    state = jax.tree.map(lambda leaf: leaf[number], first[1].state)
    drawn = jax.tree.map(lambda leaf: leaf[number], first[1].drawn)
    own = jax.random.fold_in(jax.random.fold_in(stream(0, "resident", 1), number), 0)
    own = jax.random.split(own, 3)[2]
    step = jax.jit(functools.partial(member_step, FAMILIES[1].spec))
    for age, batch in enumerate(rows):
        key = jax.random.fold_in(own, age)
        state = step(state, drawn, key, table.x[batch], table.y[batch])
    assert after[1].age[number] == 3
    params, activation = snapshots[1]
    assert activation[number] == drawn["activation"]
    for found, expected in zip(
        jax.tree.leaves(params), jax.tree.leaves(folded(FAMILIES[1].spec, state)), strict=True
    ):
        np.testing.assert_allclose(found[number], expected, atol=1e-5)


@pytest.mark.slow
def test_members_that_are_done_or_diverged_are_replaced_by_fresh_ones(first, advance):
    params = jax.tree.map(lambda leaf: leaf.at[3].set(jnp.nan), first[0].state[0])
    bad = (params, *first[0].state[1:])
    after, _ = advance((first[0].replace(state=bad), first[1]), 0)
    done = np.asarray(first[0].horizon <= 3) | (np.arange(4) == 3)
    assert done.any() and not done.all()
    np.testing.assert_array_equal(after[0].generation, done)
    np.testing.assert_array_equal(after[0].age, np.where(done, 0, 3))
    np.testing.assert_array_equal(after[0].horizon, np.where(done, 8, first[0].horizon))
    changed = np.asarray(after[0].drawn["learning_rate"] != first[0].drawn["learning_rate"])
    np.testing.assert_array_equal(changed, done)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))


EDITOR = EditorConfig(node_width=8, edge_width=4, message_width=4, layers=1)
CONFIG = TrainingConfig(steps=4, batch_size=4, points=16, warmup=2)


@pytest.fixture
def train(table, monkeypatch):
    """train(folder, ...) -> an editor after four steps, one per chunk."""
    monkeypatch.setattr(loop, "CHUNK", 1)
    held_out = pack([fresh_stack(spec, 3) for spec in (FAMILIES[1].spec, MLPSpec((5, 8, 2)))])

    def train(folder, population=ONLINE, **kwargs):
        return train_editor(
            folder, EDITOR, CONFIG, "metanet.objectives.pruning.weights_kept", held_out,
            np.arange(6), table, seed=0, identity={}, online=OnlineTraining(population, table),
            **kwargs,
        )  # fmt: skip

    return train


@pytest.mark.long
@pytest.mark.slow
def test_a_stopped_training_goes_on_with_the_same_models(train, tmp_path):
    calls = iter([False, False, False, True])
    with pytest.raises(Stopped, match="step 2 of 4"):
        train(tmp_path / "stopped", should_stop=lambda: next(calls))
    resumed, whole = train(tmp_path / "stopped"), train(tmp_path / "whole")
    for one, other in zip(
        jax.tree.leaves(resumed.params), jax.tree.leaves(whole.params), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    # Orbax reads members back as dictionaries, in another order than classes.
    loaded = load_checkpoint(tmp_path / "whole")
    jax.tree.map(np.testing.assert_array_equal, loaded.params, whole.params)


@pytest.mark.long
@pytest.mark.slow
def test_a_stopped_burn_in_starts_again(train, tmp_path):
    with pytest.raises(Stopped, match="not of every age yet"):
        train(tmp_path / "stopped", should_stop=lambda: True)
    assert not list((tmp_path / "stopped" / "steps").iterdir())
    calls = iter([False, False, True])  # two families, one step
    with pytest.raises(Stopped, match="step 1 of 4"):
        train(tmp_path / "stopped", should_stop=lambda: next(calls))
    resumed, whole = train(tmp_path / "stopped"), train(tmp_path / "whole")
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)


@pytest.mark.long
@pytest.mark.slow
def test_the_number_of_devices_does_not_matter(train, tmp_path, monkeypatch):
    many = train(tmp_path / "many")
    monkeypatch.setattr(loop, "models_mesh", lambda batch: models_mesh(1))
    alone = train(tmp_path / "alone")
    for one, other in zip(jax.tree.leaves(many.params), jax.tree.leaves(alone.params), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_members_that_devices_cannot_share_are_refused(train, tmp_path):
    with pytest.raises(UserError, match=r"online\.members: found 3, expected a multiple of the 4"):
        train(tmp_path, OnlinePopulation(FAMILIES, POPULATION, members=3, sgd_steps=1, rows=ROWS))
    with pytest.raises(UserError, match=r"online\.sgd_steps: found 0, expected at least 1"):
        OnlineConfig(sgd_steps=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, 1e5])
def test_a_member_that_diverged_is_replaced(first, advance, value):
    """Also one whose parameters are finite and huge."""
    members = list(first)
    params = members[0].state[0]
    bias = params.biases[0].at[2].set(value)
    state = (params.replace(biases=(bias, *params.biases[1:])), *members[0].state[1:])
    members[0] = members[0].replace(state=state, horizon=0 * members[0].horizon + 100)
    after, snapshots = advance(tuple(members), 0)
    assert after[0].generation.tolist() == [0, 0, 1, 0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(snapshots))
