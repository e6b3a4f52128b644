"""Populations of target MLPs: sampling, training, storing and resuming."""

import collections
import contextlib
import dataclasses
import functools
import json
import os
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metanet import data as datasets
from metanet import devices
from metanet.core import Stopped, UserError, stream
from metanet.data import synthetic, tabular
from metanet.mlp import network, population, sampling, trainer
from metanet.mlp.network import ACTIVATIONS
from metanet.mlp.sampling import Family, Members, PopulationConfig
from metanet.mlp.spec import NORMS, MLPSpec

BATCH_SKIP = Family(MLPSpec((10, 8, 8, 2), ((0, 2),), "batch"), 32)
LAYER = Family(MLPSpec((10, 8, 2), norm="layer"), 32)
EPOCHS = 4
SAMPLED = PopulationConfig(experiments=400, max_specs=60, epochs=50)
TINY = PopulationConfig(
    experiments=6, max_specs=2, epochs=2, depths=(1, 2), widths=(4,), batch_sizes=(64,)
)


@pytest.fixture(scope="module")
def data():
    return tabular.split(synthetic.synthetic(rows=500), "group", 0)


def make_members(count, **changes):
    """Members with dropout and every activation; a changed field is broadcast over them."""
    defaults = {
        "experiment": np.arange(count),
        "activation": np.arange(count) % len(ACTIVATIONS),
        "dropout": np.float32(0.25),
        "learning_rate": np.geomspace(1e-3, 1e-2, count),
        "weight_decay": np.float32(1e-3),
        "snapshots": np.array([[1, 2, EPOCHS]]),
    }
    whole = ("experiment", "activation", "snapshots")
    return Members(
        **{
            name: np.broadcast_to(value, (count, 3) if name == "snapshots" else count).astype(
                np.int32 if name in whole else np.float32
            )
            for name, value in (defaults | changes).items()
        }
    )


def train(family, members, data, seed=0, index=0):
    results = trainer.train_family(family, members, EPOCHS, data, seed, index)
    return jax.tree.map(np.asarray, results)


@pytest.fixture(scope="module")
def trained(data):
    """Six members of one family on four devices: (members, params, accuracy)."""
    members = make_members(6)
    return members, *train(BATCH_SKIP, members, data)


@pytest.fixture(scope="module")
def trained_alone(data, trained):
    """Results on a single device: of all members, and of each of two by itself."""
    members, *_ = trained
    mesh = jax.sharding.Mesh(jax.devices()[:1], ("models",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "models_mesh", lambda: mesh)
        patch.setattr(trainer, "program", functools.cache(trainer.program))
        alone = {i: train(BATCH_SKIP, sampling.select(members, [i]), data) for i in (1, 4)}
        return train(BATCH_SKIP, members, data), alone


def assert_close(found, expected):
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def assert_same_population(found, expected):
    """Bit for bit."""
    assert found.table.equals(expected.table)
    for a, b in zip(found.stacks, expected.stacks, strict=True):
        assert a.spec == b.spec
        for x, y in zip(*map(jax.tree.leaves, (vars(a), vars(b))), strict=True):
            if isinstance(x, np.ndarray):
                assert x.dtype == y.dtype
                assert x.tobytes() == y.tobytes()


def contents(folder):
    """Bytes and time of change of every file."""
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


# Sampling.


def test_sampled_specs_follow_the_distribution():
    families = [
        sampling.sample_family(np.random.default_rng(seed), SAMPLED, 10, 3) for seed in range(300)
    ]
    skips_per_layer = collections.Counter()
    for family in families:
        widths, hidden = family.spec.widths, family.spec.widths[1:-1]
        assert (widths[0], widths[-1]) == (10, 3)
        assert list(hidden) == sorted(hidden)
        assert set(hidden) <= set(SAMPLED.widths)
        for source, target in family.spec.skips:
            assert 0 <= source < target - 1 <= len(hidden) - 1
        targets = collections.Counter(target for _, target in family.spec.skips)
        skips_per_layer.update(targets[layer] for layer in range(3, len(hidden) + 1))
    assert {len(f.spec.widths) - 2 for f in families} == set(SAMPLED.depths)
    assert {w for f in families for w in f.spec.widths[1:-1]} == set(SAMPLED.widths)
    assert {f.spec.norm for f in families} == set(NORMS)
    assert {f.batch_size for f in families} == set(SAMPLED.batch_sizes)
    assert set(skips_per_layer) == set(range(SAMPLED.max_skips + 1))
    assert any(w[1] < w[-2] for w in (f.spec.widths for f in families))


def test_the_catalogue_holds_distinct_families_reproducible_by_seed():
    catalogue = sampling.sample_catalogue(3, SAMPLED, 10, 2)
    assert len(set(catalogue)) == len(catalogue) == SAMPLED.max_specs
    assert catalogue == sampling.sample_catalogue(3, SAMPLED, 10, 2)
    assert catalogue != sampling.sample_catalogue(4, SAMPLED, 10, 2)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"experiments": 7}, 7),
        ({"depths": (1,), "widths": (8,), "norms": ("none",), "batch_sizes": (64,)}, 1),
        ({"depths": (1,), "widths": (8, 16), "batch_sizes": (64,)}, 6),
    ],
)
def test_the_catalogue_is_no_larger_than_the_experiments_or_the_distribution(changes, count):
    config = dataclasses.replace(SAMPLED, **changes)
    assert len(sampling.sample_catalogue(0, config, 10, 2)) == count


def test_every_experiment_belongs_to_one_family_and_families_are_of_equal_size():
    families = sampling.sample_members(0, SAMPLED, 60)
    experiments = np.concatenate([members.experiment for members in families])
    assert sorted(experiments) == list(range(400))
    assert {len(members.experiment) for members in families} == {6, 7}


def test_members_follow_the_distribution():
    (members,) = sampling.sample_members(0, dataclasses.replace(SAMPLED, experiments=4000), 1)
    assert set(members.activation) == set(range(5))
    assert set(members.dropout) == set(np.float32(SAMPLED.dropouts))
    for name in ("learning_rate", "weight_decay"):
        low, high = getattr(SAMPLED, name)
        values = getattr(members, name)
        assert low * (1 - 1e-6) <= values.min() < low * 1.1
        assert high / 1.1 < values.max() <= high * (1 + 1e-6)
        quartiles = np.quantile(np.log(values), [0.25, 0.5, 0.75])
        expected = np.log(low) + np.log(high / low) * np.array([0.25, 0.5, 0.75])
        np.testing.assert_allclose(quartiles, expected, atol=0.05 * np.log(high / low))
    early, middle, last = members.snapshots.T
    assert set(early) == set(range(1, 11))
    assert set(middle) == {25}
    assert set(last) == {50}


def test_only_the_configured_activations_are_drawn():
    config = dataclasses.replace(SAMPLED, activations=("gelu", "tanh"))
    (members,) = sampling.sample_members(0, config, 1)
    assert {ACTIVATIONS[index] for index in members.activation} == {"gelu", "tanh"}


def test_members_are_reproducible_by_seed():
    first, again, other = (sampling.sample_members(seed, SAMPLED, 3)[1] for seed in (0, 0, 1))
    for name in vars(first):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.learning_rate, other.learning_rate)


@pytest.mark.parametrize(
    ("experiments", "fractions", "sizes"),
    [
        (400, (0.7, 0.15, 0.15), [280, 60, 60]),
        (7, (0.5, 0.25, 0.25), [4, 1, 2]),
        (10, (0.5, 0.1, 0.4), [5, 1, 4]),
    ],
)
def test_the_split_has_the_configured_sizes(experiments, fractions, sizes):
    config = dataclasses.replace(SAMPLED, experiments=experiments, split=fractions)
    split = sampling.split_experiments(0, config)
    assert np.bincount(split, minlength=3).tolist() == sizes


def test_the_split_is_random_and_reproducible_by_seed():
    first, again, other = (sampling.split_experiments(seed, SAMPLED) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert abs(np.mean(first[:200] == 0) - 0.7) < 0.15


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("experiments", 0),
        ("max_specs", 0),
        ("epochs", 0),
        ("depths", ()),
        ("widths", (8, 0)),
        ("max_skips", -1),
        ("batch_sizes", (0,)),
        ("norms", ("group",)),
        ("activations", ("relu", "sine")),
        ("dropouts", (0.0, 1.0)),
        ("learning_rate", (1e-2, 1e-3)),
        ("weight_decay", (0.0, 1e-3)),
        ("split", (0.5, 0.5, 0.5)),
        ("split", (0.5, 0.5)),
    ],
)
def test_an_unusable_value_is_an_error_that_names_its_key(key, value):
    with pytest.raises(UserError, match=rf"population\.{key}: found .*, expected "):
        sampling.sample_catalogue(0, dataclasses.replace(SAMPLED, **{key: value}), 10, 2)


# The training step.


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5])
def test_dropout_keeps_the_mean_and_drops_the_rate(rate):
    a = jnp.ones((1000, 101), jnp.float32)  # a size that is no multiple of four
    dropped = np.asarray(jax.jit(trainer.dropout)(jax.random.key(0), rate, a))
    assert abs((dropped == 0).mean() - rate) < 1 / 512 + 0.005
    assert abs(dropped.mean() - 1) < 0.01
    kept = dropped[dropped != 0]
    assert kept.min() == kept.max()
    # Neither a row nor a column is dropped as a whole.
    assert np.ptp((dropped == 0).mean(0)) < 0.15
    assert np.ptp((dropped == 0).mean(1)) < 0.4


def test_dropout_is_independent_from_entry_to_entry_and_from_key_to_key():
    a = jnp.ones((1000, 64), jnp.float32)
    first, other = (
        np.asarray(trainer.dropout(jax.random.key(seed), 0.5, a)).ravel() == 0 for seed in (0, 1)
    )
    for lag in (1, 2, 3, 4, 64):
        assert abs((first[lag:] == first[:-lag]).mean() - 0.5) < 0.01
    assert abs((first == other).mean() - 0.5) < 0.01


def test_dropout_at_rate_zero_is_the_identity():
    a = jax.random.normal(jax.random.key(1), (1001, 101))
    assert np.array_equal(trainer.dropout(jax.random.key(0), 0.0, a), a)


def test_a_step_equals_optax_adamw_on_the_same_gradients(data):
    spec, rate, decay = MLPSpec((10, 8, 2), (), "layer"), 0.02, 0.1
    member = {
        "activation": jnp.asarray(2),
        "dropout": jnp.asarray(0.25),
        "learning_rate": jnp.float32(rate),
        "weight_decay": jnp.float32(decay),
    }
    adamw = optax.adamw(rate, weight_decay=decay)

    def both(state, expected, optimiser, key, x, y):
        gradient = jax.grad(trainer._train_loss, argnums=1, has_aux=True)(
            spec, state[0], member, key, x, y
        )[0]
        update, optimiser = adamw.update(gradient, optimiser, expected)
        state = trainer.member_step(spec, state, member, key, x, y)
        return state, optax.apply_updates(expected, update), optimiser

    state = trainer.init_member(spec, jax.random.key(0))
    start = expected = state[0]
    optimiser = adamw.init(expected)
    for number, step in enumerate([jax.jit(both)] * 5):
        rows = slice(32 * number, 32 * (number + 1))
        key = stream(0, "step", number)
        x, y = data.train.x[rows], data.train.y[rows]
        state, expected, optimiser = step(state, expected, optimiser, key, x, y)
    for a, b, c in zip(*map(jax.tree.leaves, (state[0], expected, start)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        assert abs(a - c).max() > rate


def test_running_statistics_average_those_of_the_batches(data):
    spec = MLPSpec((10, 8, 2), norm="batch")
    member = {
        "activation": jnp.asarray(0),
        "dropout": jnp.asarray(0.5),
        "learning_rate": jnp.asarray(0.0),
        "weight_decay": jnp.asarray(0.0),
    }
    state = trainer.init_member(spec, jax.random.key(0))
    x, y = data.train.x[:64], data.train.y[:64]
    step = jax.jit(functools.partial(trainer.member_step, spec))
    for number in range(3):
        state = step(state, member, stream(0, "step", number), x, y)
    z = x @ np.asarray(state[0].weights[0]) + np.asarray(state[0].biases[0])
    ((mean, variance),) = state[2]
    np.testing.assert_allclose(mean, (1 - 0.9**3) * z.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance, 0.9**3 + (1 - 0.9**3) * z.var(0), rtol=1e-4)


# Families.


def test_a_member_trained_in_a_family_equals_the_member_trained_alone(trained_alone):
    together, alone = trained_alone
    for index, results in alone.items():
        assert_close(results, jax.tree.map(lambda leaf, i=index: leaf[i : i + 1], together))


def test_training_on_one_device_equals_training_on_four(trained, trained_alone):
    _, *results = trained
    assert_close(trained_alone[0], tuple(results))


def test_members_differ_from_each_other(data, trained):
    _, params, _ = trained
    for leaf in params.weights:
        last = leaf[:, -1].reshape(6, -1)
        distances = abs(last[:, None] - last[None]).max(-1)
        assert distances[~np.eye(6, dtype=bool)].min() > 1e-2


@pytest.mark.parametrize("field", ["experiment", "activation", "dropout", "weight_decay"])
def test_every_value_of_a_member_matters(data, trained, field):
    members, params, _ = trained
    value = {"experiment": 99, "activation": 1, "dropout": 0.0, "weight_decay": 0.5}[field]
    changed, _ = train(
        BATCH_SKIP,
        dataclasses.replace(members, **{field: np.full_like(getattr(members, field), value)}),
        data,
    )
    assert abs(changed.weights[0][0, -1] - params.weights[0][0, -1]).max() > 1e-3


@pytest.mark.parametrize("changes", [{"seed": 1}, {"index": 1}])
def test_training_depends_on_the_seed_and_on_the_family(data, trained, changes):
    members, params, _ = trained
    changed, _ = train(BATCH_SKIP, members, data, **changes)
    assert abs(changed.weights[0] - params.weights[0]).max() > 1e-3


def test_training_is_reproducible_bit_for_bit(data, trained):
    members, *results = trained
    again = train(BATCH_SKIP, members, data)
    for a, b in zip(*map(jax.tree.leaves, (again, tuple(results))), strict=True):
        assert np.array_equal(a, b)


def test_snapshots_are_inference_parameters_that_go_on_changing(trained):
    _, params, accuracy = trained
    assert [w.shape for w in params.weights] == [
        (6, 3, 10, 8),
        (6, 3, 10, 8),
        (6, 3, 8, 8),
        (6, 3, 8, 2),
    ]
    assert params.scales == params.shifts == ()
    assert accuracy.shape == (6, 3)
    for leaf in params.weights:
        moved = abs(np.diff(leaf, axis=1)).reshape(6, 2, -1).max(-1)
        assert moved.min() > 1e-3


def test_a_snapshot_is_the_state_after_its_epoch_whatever_its_stage(data):
    snapshots = np.array([[1, 2, 3], [2, 3, 4], [2, 2, 4], [3, 1, 1]])
    same = {"experiment": 5, "activation": 2, "learning_rate": 5e-3}
    members = make_members(4, **same, snapshots=snapshots)
    params, accuracy = train(LAYER, members, data)
    for leaf in [*jax.tree.leaves(params), accuracy]:
        by_epoch = {}
        for member, stage in np.ndindex(4, 3):
            by_epoch.setdefault(snapshots[member, stage], []).append(leaf[member, stage])
        for values in by_epoch.values():
            assert all(np.array_equal(value, values[0]) for value in values)
    assert abs(np.diff(params.weights[0][0], axis=0)).max() > 1e-3


def test_the_snapshots_of_one_epoch_are_all_equal(data):
    config = dataclasses.replace(TINY, epochs=1)
    (members,) = sampling.sample_members(0, config, 1)
    assert (members.snapshots == 1).all()
    params, _ = trainer.train_family(LAYER, members, 1, data, 0, 0)
    for leaf in jax.tree.leaves(params):
        assert np.array_equal(leaf[:, 0], leaf[:, 1])
        assert np.array_equal(leaf[:, 0], leaf[:, 2])
    fresh = network.init(LAYER.spec, stream(0, "member", 0))
    assert abs(params.weights[0][0, 0] - fresh.weights[0]).max() > 1e-4


def test_training_learns_the_task():
    data = datasets.load("synthetic", None, 0)
    members = make_members(5, learning_rate=1e-2, dropout=0.1)
    _, accuracy = train(BATCH_SKIP, members, data)
    majority = 1 - data.select.y.mean()
    assert accuracy[:, -1].min() > majority + 0.08


# Populations on disk.


@pytest.fixture(scope="module")
def built(data, tmp_path_factory):
    """(folder, population) of an uninterrupted build."""
    folder = tmp_path_factory.mktemp("population")
    return folder, population.build(folder, TINY, data, 0)


@pytest.fixture
def copied(built, tmp_path):
    """A copy of the folder of `built`, for a test to spoil."""
    return shutil.copytree(built[0], tmp_path / "population")


@pytest.fixture
def no_training(monkeypatch):
    def fail(*arguments):
        raise AssertionError("a family was trained")

    monkeypatch.setattr(trainer, "train_family", fail)


def test_a_population_has_three_checkpoints_of_every_experiment_in_one_split(built):
    _, found = built
    table = found.table
    assert len(found.stacks) == table["family"].nunique() == TINY.max_specs
    assert sorted(table["experiment"].unique()) == list(range(TINY.experiments))
    split = sampling.split_experiments(0, TINY)
    for experiment, rows in table.groupby("experiment"):
        assert rows["stage"].tolist() == ["early", "middle", "last"]
        assert rows["epoch"].tolist() == [1, 1, 2]
        assert set(rows["split"]) == {sampling.SPLITS[split[experiment]]}
    assert sorted(np.concatenate([found.ids(name) for name in sampling.SPLITS])) == list(
        range(3 * TINY.experiments)
    )


def test_every_row_of_the_table_describes_its_model(built, data):
    _, found = built
    members = sampling.sample_members(0, TINY, len(found.stacks))
    catalogue = sampling.sample_catalogue(0, TINY, data.n_features, data.n_classes)
    rows = found.table.itertuples()
    for number, (stack, family) in enumerate(zip(found.stacks, catalogue, strict=True)):
        assert stack.spec == family.spec
        for model, activation in enumerate(stack.activation):
            row = next(rows)
            params = jax.tree.map(lambda leaf, i=model: leaf[i], stack.params)
            logits = network.apply(stack.spec, params, activation, data.select.x)
            predicted = np.asarray(logits).argmax(-1)
            assert row.accuracy == pytest.approx(np.mean(predicted == data.select.y), abs=1e-6)
            assert (row.family, row.batch_size) == (number, family.batch_size)
            at = members[number].experiment.tolist().index(row.experiment)
            assert activation == members[number].activation[at]
            for name in ("dropout", "learning_rate", "weight_decay"):
                assert getattr(row, name) == getattr(members[number], name)[at]
    assert next(rows, None) is None
    assert found.table["accuracy"].nunique() > 3


def test_a_stored_population_is_loaded_bit_for_bit_without_training(built, data, no_training):
    folder, expected = built
    before = contents(folder)
    assert_same_population(population.build(folder, TINY, data, 0), expected)
    assert contents(folder) == before


def test_a_stored_family_needs_no_pickle(built):
    folder, _ = built
    paths = sorted(folder.glob("*.npz"))
    assert [path.name for path in paths] == ["family_000.npz", "family_001.npz"]
    for path in paths:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        names = arrays.pop("names")  # of the others, as text
        assert names.dtype.kind == "U" and sorted(arrays) == names.tolist()
        assert all(array.dtype.kind in "if" for array in arrays.values())


def test_a_stopped_build_continues_and_equals_an_uninterrupted_one(built, data, tmp_path):
    _, expected = built
    with pytest.raises(Stopped, match="3 of 6 experiments stored"):
        population.build(tmp_path, TINY, data, 0, should_stop=lambda: True)
    before = contents(tmp_path)
    assert set(before) == {"settings.json", "seconds.json", "family_000.npz"}
    first, _ = before.pop("seconds.json")
    found = population.build(tmp_path, TINY, data, 0)
    assert_same_population(found, expected)
    after = contents(tmp_path)
    assert set(after) - set(before) == {"family_001.npz", "seconds.json"}
    assert {name: after[name] for name in before} == before
    # The clock counts both runs.
    assert found.seconds > json.loads(first)["training"] > 0


def test_families_compiled_at_the_same_time_are_the_same_population(
    built, data, tmp_path, monkeypatch
):
    monkeypatch.setattr(devices, "compilers", lambda: 3)
    assert_same_population(population.build(tmp_path, TINY, data, 0), built[1])
    with pytest.raises(Stopped, match="3 of 6 experiments stored"):
        population.build(tmp_path / "stopped", TINY, data, 0, should_stop=lambda: True)
    assert not (tmp_path / "stopped" / "family_001.npz").exists()


@pytest.mark.parametrize("threads", [1, 3])
def test_calls_are_made_in_advance_and_their_results_come_in_order(monkeypatch, threads):
    monkeypatch.setattr(devices, "compilers", lambda: threads)
    made, given = [], []

    def call(number):
        made.append(number)
        return 10 * number

    for result in devices.in_advance(functools.partial(call, number) for number in range(5)):
        given.append(result)
        assert threads > 1 or len(made) == min(len(given) + 1, 5)
    assert given == [0, 10, 20, 30, 40] and sorted(made) == list(range(5))
    assert list(devices.in_advance([])) == []

    # Whoever stops early has made no more calls than the next ones.
    made.clear()
    with contextlib.closing(
        devices.in_advance(functools.partial(call, number) for number in range(100))
    ) as results:
        assert next(results) == 0
    assert len(made) <= 1 + threads

    def fails():
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        list(devices.in_advance([functools.partial(call, 0), fails]))


def test_the_host_of_a_gpu_compiles_with_all_its_cores(monkeypatch):
    cores = len(os.sched_getaffinity(0))
    for backend, count, expected in (("cpu", 1, 1), ("gpu", 1, cores), ("gpu", 2, 1)):
        monkeypatch.setattr(devices.jax, "default_backend", lambda backend=backend: backend)
        monkeypatch.setattr(devices.jax, "device_count", lambda count=count: count)
        assert devices.compilers() == expected


def test_a_lost_family_alone_is_trained_again(built, data, copied):
    _, expected = built
    (copied / "family_000.npz").unlink()
    before = contents(copied)
    del before["seconds.json"]
    assert_same_population(population.build(copied, TINY, data, 0), expected)
    after = contents(copied)
    assert {name: after[name] for name in before} == before


def spoil(path, kind):
    """Makes a stored family unreadable."""
    whole = path.read_bytes()
    if kind in ("weights_1", "accuracy", "member_dropout"):
        with np.load(path) as archive:
            np.savez(path, **{name: value for name, value in archive.items() if name != kind})
    elif kind == "one byte changed":
        # The byte is inside the numbers of the largest array: the checksum alone tells.
        with np.load(path) as archive:
            numbers = max(archive.values(), key=lambda array: array.nbytes).tobytes()
        position = whole.index(numbers) + len(numbers) // 2
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :])
    else:
        parts = {"empty": b"", "garbage": b"garbage" * 50, "cut": whole[: len(whole) // 2]}
        path.write_bytes(parts[kind])


@pytest.mark.parametrize(
    "kind",
    ["empty", "garbage", "cut", "one byte changed", "weights_1", "accuracy", "member_dropout"],
)
def test_a_corrupt_family_is_an_error_that_names_its_file(data, copied, no_training, kind):
    path = copied / "family_001.npz"
    spoil(path, kind)
    before = contents(copied)
    with pytest.raises(UserError, match=re.escape(f"{path}: found ")):
        population.build(copied, TINY, data, 0)
    assert contents(copied) == before


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 1}, "seed"),
        ({"data": {"name": "other"}}, "dataset"),
        ({"config": {"epochs": 3}}, "epochs"),
        ({"config": {"experiments": 7}}, "experiments"),
        ({"config": {"learning_rate": (1e-3, 1e-2)}}, "learning_rate"),
    ],
)
def test_other_settings_in_the_same_folder_are_an_error(built, data, no_training, changes, key):
    folder, _ = built
    before = contents(folder)
    with pytest.raises(UserError, match=rf"settings\.json: found {key} = .*, expected "):
        population.build(
            folder,
            dataclasses.replace(TINY, **changes.get("config", {})),
            dataclasses.replace(data, **changes.get("data", {})),
            changes.get("seed", 0),
        )
    assert contents(folder) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, -1e5])
@pytest.mark.parametrize("name", ["weights_0", "biases_1"])
def test_a_model_that_is_not_finite_or_huge_alone_is_diverged(
    built, data, copied, no_training, caplog, name, value
):
    _, expected = built
    path = copied / "family_001.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays[name][1, 2].flat[0] = value
    np.savez(path, **arrays)
    found = population.build(copied, TINY, data, 0)
    row = int(np.flatnonzero(expected.table["family"] == 1)[0]) + 3 * 1 + 2
    assert found.ids("diverged").tolist() == [row]
    others = np.arange(len(found.table)) != row
    assert found.table[others].equals(expected.table[others])
    assert all(row not in found.ids(split) for split in sampling.SPLITS)
    assert "1 of 18 models diverged" in caplog.text


def test_members_of_an_absurd_learning_rate_are_diverged(data):
    """Also where their parameters are finite: they would set the units of all edits."""
    rates = np.array([1e-3, 1e20, 3e-3, 1e4, 1e-2, 1e3])
    members = make_members(6, learning_rate=rates, weight_decay=0.0, dropout=0.0)
    params, _ = train(BATCH_SKIP, members, data)
    size = population.size_of(jax.tree.map(lambda leaf: leaf[:, -1], params))
    assert np.isfinite(size).tolist() == [True, False, True, True, True, True]
    assert population.diverged(size).tolist() == [False, True, False, True, False, True]


def test_healthy_models_of_many_sizes_are_kept():
    size = np.geomspace(0.05, 5, 20)
    assert not population.diverged(size).any()
    assert population.diverged(np.array([np.nan, np.inf])).all()
    assert not population.diverged(np.zeros(3)).any()  # all weights 0
