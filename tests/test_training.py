"""Training an editor: stop and resume, devices, schedules, failures, and what it learns."""

import dataclasses
import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from helpers import assert_same, fresh_stack, permuted, random_stack, random_table
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from configs.common import PAPER
from metanet.core import Diverged, Stopped, UserError
from metanet.data.tabular import Table
from metanet.devices import replicate
from metanet.editor.api import edit_stack
from metanet.editor.edit_fns import editor_fn
from metanet.editor.inputs import scales_of
from metanet.editor.layers import EdgeMLP, at_sources, softmax_at_targets, sum_at_targets
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.evaluation.program import evaluate
from metanet.graphs.packing import pack
from metanet.graphs.strata import stratify
from metanet.mlp.spec import MLPSpec
from metanet.objectives import fairness
from metanet.objectives.base import EditView
from metanet.objectives.pruning import weights_kept
from metanet.storage import read_json
from metanet.training import loop
from metanet.training.checkpoint import load_checkpoint
from metanet.training.config import TrainingConfig, lambda_pairs
from metanet.training.inputs import problem_of, schedules
from metanet.training.step import init_state, make_chunk

SPECS = (
    MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"),
    MLPSpec((5, 8, 2)),
    MLPSpec((5, 8, 8, 2), norm="batch"),
)
PER_STACK = 4
IDS = np.arange(len(SPECS) * PER_STACK)
REQUIREMENT = "metanet.objectives.pruning.weights_kept"
EDITOR = EditorConfig(node_width=8, edge_width=4, message_width=4, layers=2)
CONFIG = TrainingConfig(steps=6, batch_size=4, points=16, warmup=2)


@pytest.fixture(scope="module")
def stacks():
    return [fresh_stack(spec, PER_STACK, seed) for seed, spec in enumerate(SPECS)]


@pytest.fixture(scope="module")
def models(stacks):
    return pack(stacks)


@pytest.fixture(scope="module")
def table():
    return random_table(64)


@pytest.fixture(scope="module")
def program():
    """make_chunk, with one compiled program for all trainings of this module."""
    cached = functools.cache(make_chunk)

    def program(editor, config, *others):
        # What belongs to the arguments of the program, not to the program.
        values = {key: getattr(CONFIG, key) for key in ("lambda_range", "steps", "learning_rate")}
        return cached(editor, dataclasses.replace(config, **values), *others)

    return program


@pytest.fixture(scope="module")
def start(models):
    """init_state, computed once per seed; the population's values do not matter to it."""

    @functools.cache
    def cached(seed):
        scales = scales_of(models, IDS)
        return jax.device_get(init_state(EDITOR, CONFIG, models, scales, seed))

    return lambda editor, config, models, scales, seed: cached(seed)


@pytest.fixture
def train(models, table, monkeypatch, program, start):
    """train(folder, ...) -> the editor after CONFIG.steps steps, one step per chunk."""
    monkeypatch.setattr(loop, "CHUNK", 1)
    monkeypatch.setattr(loop, "make_chunk", program)
    monkeypatch.setattr(loop, "init_state", start)

    def train(folder, config=CONFIG, models=models, ids=IDS, seed=0, **kwargs):
        return loop.train_editor(
            folder,
            EDITOR,
            config,
            REQUIREMENT,
            models,
            ids,
            table,
            seed,
            {"dataset": "t"},
            **kwargs,
        )

    return train


def after(calls, error=None):
    """A should_stop that says so, or raises `error`, at call number `calls`."""
    count = iter(range(1, 1000))

    def should_stop():
        if next(count) < calls:
            return False
        if error is not None:
            raise error
        return True

    return should_stop


@pytest.fixture
def six_steps(train, tmp_path):
    """(editor, metrics.csv) of six steps at a stretch."""
    folder = tmp_path / "undisturbed"
    return train(folder), (folder / "metrics.csv").read_bytes()


def test_three_steps_and_three_after_a_stop_are_six_steps_bit_for_bit(train, tmp_path, six_steps):
    editor, metrics = six_steps
    with pytest.raises(Stopped, match="step 3 of 6"):
        train(tmp_path / "stopped", should_stop=after(3))
    assert list(pd.read_csv(tmp_path / "stopped" / "metrics.csv")["step"]) == [1, 2, 3]
    resumed = train(tmp_path / "stopped")
    assert_same(resumed.params, editor.params)
    assert (tmp_path / "stopped" / "metrics.csv").read_bytes() == metrics


def test_a_killed_training_goes_on_from_its_last_checkpoint(train, tmp_path, six_steps):
    editor, metrics = six_steps
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", checkpoint_every=2, should_stop=after(5, KeyboardInterrupt()))
    rows = pd.read_csv(tmp_path / "killed" / "metrics.csv")
    assert list(rows["step"]) == [1, 2, 3, 4, 5]
    resumed = train(tmp_path / "killed", checkpoint_every=2)
    assert_same(resumed.params, editor.params)
    assert (tmp_path / "killed" / "metrics.csv").read_bytes() == metrics


def test_a_finished_training_is_not_repeated(train, tmp_path):
    editor = train(tmp_path)
    metrics = (tmp_path / "metrics.csv").read_bytes()
    again = train(tmp_path, should_stop=after(1, AssertionError("a step was taken")))
    assert_same(again.params, editor.params)
    assert (tmp_path / "metrics.csv").read_bytes() == metrics


def test_every_step_changes_the_editor_and_every_seed_gives_another(train, tmp_path):
    editor = train(tmp_path / "a")
    with pytest.raises(Stopped):
        train(tmp_path / "b", should_stop=after(5))
    other = train(tmp_path / "c", seed=1)
    for folder in (load_checkpoint(tmp_path / "b"), other):
        leaves = zip(jax.tree.leaves(editor.params), jax.tree.leaves(folder.params), strict=True)
        assert any((a != b).any() for a, b in leaves)


def test_a_loaded_editor_edits_as_the_trained_one(train, tmp_path, stacks):
    editor = train(tmp_path)
    expected, mask = edit_stack(editor, stacks[0], 0.1)
    edited, other_mask = edit_stack(load_checkpoint(tmp_path), stacks[0], 0.1)
    assert_same(edited.params, expected.params)
    assert_same(other_mask, mask)
    assert any(
        (a != b).any() for a, b in zip(edited.params.weights, stacks[0].params.weights, strict=True)
    )


@pytest.mark.slow
def test_a_trained_editor_can_be_evaluated_on_fewer_devices(train, tmp_path, models, table):
    editor = train(tmp_path)
    found = evaluate(
        editor_fn,
        editor,
        models,
        IDS[:2],
        np.array([0.1]),
        table,
        weights_kept,
        0,
        batch_size=1,
    )
    assert np.isfinite(found.jsd).all()


@pytest.mark.slow
@pytest.mark.parametrize("lambda_range", [(0.01, 0.2), ((0.01, 0.2), (0.3, 0.4))])
def test_an_editor_knows_the_range_of_lambda_that_it_was_trained_on(
    lambda_range, models, uneven, tmp_path
):
    config = dataclasses.replace(CONFIG, steps=1, lambda_range=lambda_range)
    requirement = REQUIREMENT if len(lambda_pairs(lambda_range)) == 1 else TWO
    editor = loop.train_editor(tmp_path, EDITOR, config, requirement, models, IDS, uneven, 0, {})
    assert editor.lambda_range == lambda_pairs(lambda_range)
    assert load_checkpoint(tmp_path).lambda_range == editor.lambda_range


def test_an_editor_of_a_version_without_a_range_of_lambda_is_refused_in_one_line(train, tmp_path):
    train(tmp_path)
    path = tmp_path / "editor.json"
    shape = read_json(path)
    del shape["lambda_range"]
    path.write_text(json.dumps(shape))
    with pytest.raises(UserError) as caught:
        load_checkpoint(tmp_path)
    assert str(caught.value).startswith(f"{path}: found KeyError('lambda_range'), expected")
    assert "this version" in str(caught.value) and "\n" not in str(caught.value)
    del shape["format"]
    path.write_text(json.dumps(shape))
    with pytest.raises(UserError, match="found format 1, expected 2"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("content", ["nothing", "no checkpoint", "another version"])
def test_loading_from_a_folder_without_an_editor_is_a_user_error(content, train, tmp_path):
    if content == "no checkpoint":
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, should_stop=after(1, KeyboardInterrupt()))
    if content == "another version":
        train(tmp_path)
        shape = read_json(tmp_path / "editor.json")
        shape["config"]["warp"] = 9
        (tmp_path / "editor.json").write_text(json.dumps(shape))
    with pytest.raises(UserError) as caught:
        load_checkpoint(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"config": dataclasses.replace(CONFIG, learning_rate=0.5)}, "learning_rate"),
        ({"config": dataclasses.replace(CONFIG, lambda_range=(0.1, 0.2))}, "lambda_range"),
        ({"seed": 3}, "seed"),
    ],
)
def test_a_folder_with_other_settings_is_refused_and_kept(change, key, train, tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, should_stop=after(1))
    before = (tmp_path / "metrics.csv").read_bytes()
    with pytest.raises(UserError, match=key) as caught:
        train(tmp_path, **change)
    assert str(tmp_path) in str(caught.value)
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_too_few_models_are_a_user_error_that_names_the_key(train, tmp_path):
    with pytest.raises(UserError, match=r"editor\.batch_size.* 4.* 3 "):
        train(tmp_path / "new", ids=IDS[:3])
    assert not (tmp_path / "new").exists()


def test_no_steps_are_a_user_error_that_names_the_key(train, tmp_path):
    with pytest.raises(UserError, match=r"editor\.steps"):
        train(tmp_path / "new", dataclasses.replace(CONFIG, steps=0))


def poisoned(models, index, value):
    """The models with `value` as the first weight of model `index`."""
    start = models.edge_start[index]
    return models.replace(weight=models.weight.at[start, 0, 0].set(value))


@pytest.mark.parametrize("guilty", [1, 6])
def test_a_model_that_is_not_finite_is_named_and_the_last_checkpoint_stays(
    guilty, train, tmp_path, models
):
    with pytest.raises(Stopped):
        train(tmp_path, should_stop=after(2))
    good = load_checkpoint(tmp_path)
    with pytest.raises(Diverged) as caught:
        train(tmp_path, models=poisoned(models, guilty, np.nan))
    words = str(caught.value).replace(",", " ").replace(";", " ").split()
    assert f"[{guilty}]" in words
    step = int(words[words.index("step") + 1])
    assert 2 <= step < 6
    # What was written belongs to finite steps, and the run can go on with good models.
    assert list(pd.read_csv(tmp_path / "metrics.csv")["step"]) == list(range(1, step + 1))
    assert_same(load_checkpoint(tmp_path).params, good.params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(train(tmp_path).params))


def scheduled_metrics(folder, config):
    rows = pd.read_csv(folder / "metrics.csv")
    _, ramp = schedules(config)
    return rows, ramp


def test_equal_ends_of_the_range_are_one_lambda(train, tmp_path):
    config = dataclasses.replace(CONFIG, lambda_range=(0.3, 0.3))
    train(tmp_path, config)
    rows, ramp = scheduled_metrics(tmp_path, config)
    expected = rows["jsd"] + 0.3 * ramp * rows["requirement"]
    np.testing.assert_allclose(rows["loss"], expected, rtol=1e-4)


TWO = (REQUIREMENT, "metanet.objectives.fairness.demographic_parity")


@pytest.mark.slow
def test_the_loss_of_several_requirements_weighs_each_by_its_own_lambda(
    models, uneven, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "CHUNK", 1)
    config = dataclasses.replace(CONFIG, steps=3, lambda_range=((0.3, 0.3), (0.02, 0.02)), ramp=0.0)
    loop.train_editor(tmp_path, EDITOR, config, TWO, models, IDS, uneven, 0, {})
    rows = pd.read_csv(tmp_path / "metrics.csv")
    expected = rows["jsd"] + 0.3 * rows["requirement_0"] + 0.02 * rows["requirement_1"]
    np.testing.assert_allclose(rows["loss"], expected, rtol=1e-4)
    assert (rows["requirement_1"] > 0).all()
    assert load_checkpoint(tmp_path).params  # its first layer takes two lambdas


@pytest.mark.slow
def test_datasets_take_turns(train, models, table, uneven, tmp_path):
    def first_steps(name, **kwargs):
        train(tmp_path / name, **kwargs)
        return pd.read_csv(tmp_path / name / "metrics.csv")["loss"].to_numpy()

    alone = first_steps("alone")
    same = first_steps("same", others=[(IDS, table)])
    np.testing.assert_array_equal(same, alone)
    other = first_steps("other", others=[(IDS[::-1][:8], uneven)])
    assert other[0] == pytest.approx(alone[0], rel=1e-4)  # scales are of all models
    assert abs(other[1] - alone[1]) > 1e-3 * alone[1]
    with pytest.raises(UserError, match="at most the 3 models"):
        train(tmp_path / "few", others=[(IDS[:3], uneven)])


def test_requirements_without_a_range_of_lambda_each_are_a_user_error(train, tmp_path):
    config = dataclasses.replace(CONFIG, lambda_range=((0.3, 0.3), (0.02, 0.02)))
    with pytest.raises(UserError, match=r"lambda_range: found .* expected 1 of"):
        train(tmp_path, config)


def test_a_range_of_lambda_is_drawn_from_between_its_ends(train, tmp_path):
    config = dataclasses.replace(CONFIG, lambda_range=(0.01, 1.0))
    train(tmp_path, config)
    rows, ramp = scheduled_metrics(tmp_path, config)
    weight = (rows["loss"] - rows["jsd"]) / (ramp * rows["requirement"])
    assert weight.between(0.01, 1.0).all()
    assert weight.nunique() == len(rows)


@pytest.mark.slow
def test_a_power_of_lambda_scales_the_gradient_of_a_model(models, table, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHUNK", 1)
    plain = dataclasses.replace(CONFIG, steps=1, batch_size=1, lambda_range=(0.01, 1.0), ramp=0.0)
    first = []
    for power in (0.0, 0.5):
        folder, config = tmp_path / str(power), dataclasses.replace(plain, lambda_power=power)
        loop.train_editor(folder, EDITOR, config, REQUIREMENT, models, IDS, table, 0, {})
        first.append(pd.read_csv(folder / "metrics.csv").iloc[0])
    assert first[0]["loss"] == first[1]["loss"]  # reported as it is
    weight = (first[0]["loss"] - first[0]["jsd"]) / first[0]["requirement"]
    ratio = first[1]["gradient_norm"] / first[0]["gradient_norm"]
    assert ratio == pytest.approx(weight**-0.5, rel=1e-3) and ratio > 1.1


@pytest.fixture(scope="module")
def steps_on(models, table, program, start):
    """steps_on(n_devices) -> (parameters, metrics, ids and programs) after six single steps."""

    def steps_on(n_devices, config=CONFIG):
        mesh = Mesh(jax.devices()[:n_devices], ("models",))
        strata = stratify(models, IDS, config.batch_size, n_devices)
        scales = replicate(scales_of(models, IDS), mesh)
        problem = problem_of(config, models, scales, strata, table, 0)
        chunk = program(EDITOR, config, weights_kept, strata.budget, mesh)
        state = replicate(start(EDITOR, config, models, scales, 0), mesh)
        rates, ramps = schedules(config)
        history, programs = [], set()
        for step in range(config.steps):
            here = slice(step, step + 1)
            state, metrics, by_model = chunk(state, problem, rates[here], ramps[here])
            ids = np.sort(by_model["model_id"][0])
            history.append({k: float(v[0]) for k, v in metrics.items()} | {"ids": ids.tolist()})
            programs.add(chunk._cache_size())
        return jax.device_get(state.params), history, programs

    return steps_on


@pytest.fixture(scope="module")
def on_one_device(steps_on):
    return steps_on(1)


def test_training_is_one_program_for_all_architectures_and_lambdas(steps_on):
    _, history, programs = steps_on(4)
    assert len(programs) == 1
    # The batches did hold different models, of every architecture.
    batches = [step["ids"] for step in history]
    assert len({tuple(batch) for batch in batches}) > 3
    assert set().union(*batches) == set(IDS.tolist())


@pytest.mark.slow
def test_one_device_and_four_devices_train_the_same_editor(on_one_device, steps_on, start, models):
    params, history, _ = on_one_device
    other, other_history, _ = steps_on(4)
    for step, other_step in zip(history, other_history, strict=True):
        assert step.pop("ids") == other_step.pop("ids")
        assert other_step == pytest.approx(step, rel=1e-3)
    moved = jax.tree.map(
        lambda a, b: np.abs(a - b).max(), params, start(EDITOR, CONFIG, models, None, 0).params
    )
    assert max(jax.tree.leaves(moved)) > 1e-3
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), other, params)


DROPPED = dataclasses.replace(CONFIG, dropout=0.3, mask_path=0.5, steps=3)


@pytest.mark.slow
def test_dropout_and_mask_paths_are_the_same_on_one_and_two_devices(steps_on, on_one_device):
    (params, history, _), (other, other_history, _) = (steps_on(n, DROPPED) for n in (1, 2))
    for step, other_step in zip(history, other_history, strict=True):
        assert step.pop("ids") == other_step.pop("ids")
        assert other_step == pytest.approx(step, rel=1e-3)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), other, params)
    # The same models, points and lambdas without it: another loss from the first step on.
    assert abs(history[0]["gradient_norm"] / on_one_device[1][0]["gradient_norm"] - 1) > 0.01


SHARED = [
    {"mask_noise": 0.0},
    {"ramp": 0.0, "steps": 9, "learning_rate": 0.1, "warmup": 0, "final_learning_rate": 1.0},
    {"lambda_power": 0.0, "weight_decay": 0.1},
    {"lambda_range": (0.2, 0.2)},
    {"dropout": 0.1},
    {"mask_path": 0.9},
]
APART = [
    ({}, {"mask_limit": None}),
    ({}, {"mask": "inputs"}),
    ({"clip": None}, {}),
    ({"dropout": 0.0}, {}),
    ({"mask_path": 0.0}, {}),
    ({"balanced": False, "points": 17}, {}),
    ({"decision_temperature": 0.5}, {}),
]


def test_editors_that_differ_in_numbers_share_a_program():
    mesh, full = Mesh(jax.devices()[:1], ("models",)), dataclasses.replace(DROPPED, balanced=True)

    def program(training, shape):
        config, editor = dataclasses.replace(full, **training), dataclasses.replace(EDITOR, **shape)
        return make_chunk(editor, config, weights_kept, (40, 90), mesh)

    for changes in SHARED:
        assert program(changes, {}) is program({}, {}), changes
    for training, shape in APART:
        assert program(training, shape) is not program({}, {}), (training, shape)


@pytest.mark.slow
def test_numbers_reach_the_program(models, table, program, start):
    """Each number changes what it is there for, in the first of three steps."""
    mesh, strata = Mesh(jax.devices()[:1], ("models",)), stratify(models, IDS, 4, 1)
    scales = scales_of(models, IDS)
    config = dataclasses.replace(CONFIG, mask_path=0.5, lambda_range=(0.01, 1.0))
    chunk = program(EDITOR, config, weights_kept, strata.budget, mesh)

    def moved(**changes):
        problem = problem_of(
            dataclasses.replace(config, **changes), models, scales, strata, table, 0
        )
        rates, ramps = np.float32([0.01, 0.0, 0.0]), np.ones(3, np.float32)
        state = jax.device_put(
            start(EDITOR, config, models, scales, 0), NamedSharding(mesh, PartitionSpec())
        )
        state, metrics, _ = chunk(state, problem, rates, ramps)
        leaves = jax.tree.leaves(state.params)
        params = np.concatenate([leaf.reshape(-1) for leaf in leaves])
        return params, {k: np.asarray(v) for k, v in metrics.items()}

    plain, metrics = moved()
    assert (moved(mask_noise=0.0)[1]["requirement"][0] == 1.0) and metrics["requirement"][0] < 1.0
    decayed, _ = moved(weight_decay=0.1)
    fresh = jax.tree.leaves(start(EDITOR, config, models, None, 0).params)
    first = np.concatenate([leaf.reshape(-1) for leaf in fresh])
    np.testing.assert_allclose(decayed - plain, -0.01 * 0.1 * first, atol=1e-6)
    for changes in ({"mask_path": 1.0}, {"lambda_power": 0.0}):
        norms = moved(**changes)[1]["gradient_norm"]
        assert np.abs(norms / metrics["gradient_norm"] - 1).max() > 0.01, changes


@pytest.mark.slow
def test_the_papers_recipe_trains_without_noise_from_masks_that_are_nearly_undecided(
    table, tmp_path
):
    """At one lambda: some weights are left, at a lower loss than that of the unedited models."""
    models = pack([random_stack(spec, PER_STACK, n) for n, spec in enumerate(SPECS)])
    training = {field.name for field in dataclasses.fields(TrainingConfig)} & PAPER.keys()
    shape = {name: value for name, value in PAPER.items() if name not in training}
    training = {name: PAPER[name] for name in training}
    editor, lam = dataclasses.replace(EDITOR, **shape), 0.03
    config = dataclasses.replace(
        CONFIG, steps=400, points=64, learning_rate=4e-3, lambda_range=(lam, lam), **training
    )
    loop.train_editor(tmp_path, editor, config, REQUIREMENT, models, IDS, table, 0, {})
    last = pd.read_csv(tmp_path / "metrics.csv").tail(2).mean()
    assert last["loss"] < 0.9 * lam and 0.02 < last["requirement"] < 0.9


class Attention(nn.Module):
    """A round by a user: nodes read what enters them by attention, edges are updated from both."""

    message: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, state, tiles):
        nodes, edges = state  # [V, node width], [T, TILE, TILE, edge width]
        logits = EdgeMLP(self.message, 2, self.dtype, name="logit")(edges, nodes, tiles)
        share = softmax_at_targets(tiles, logits, len(nodes))  # [T, TILE, TILE, 2], two heads
        values = nn.Dense(2 * self.message, dtype=self.dtype, name="value")(nodes)
        read = [
            sum_at_targets(tiles, share[..., head, None] * at_sources(tiles, value), len(nodes))
            for head, value in enumerate(jnp.split(values, 2, axis=-1))
        ]
        update = nn.Dense(nodes.shape[-1], dtype=self.dtype, name="node")
        nodes = nodes + update(nn.relu(jnp.concatenate([nodes, *read], axis=-1)))
        change = EdgeMLP(self.message, edges.shape[-1], self.dtype, name="edge")
        return (nodes, edges + change(edges, nodes, tiles)), None


ATTENTION = dataclasses.replace(EDITOR, layer=f"{__name__}.Attention")


@pytest.mark.slow
def test_an_editor_with_a_users_own_layer_is_trained_and_stored(models, stacks, table, tmp_path):
    config = dataclasses.replace(CONFIG, steps=2, warmup=0, learning_rate=0.01)
    editor = loop.train_editor(tmp_path, ATTENTION, config, REQUIREMENT, models, IDS, table, 0, {})
    assert set(editor.params["layers"]) == {"logit", "value", "node", "edge"}
    assert editor.params["layers"]["value"]["kernel"].shape[0] == EDITOR.layers
    first = init_state(ATTENTION, config, models, editor.scales, 0).params["layers"]
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max() > 0, editor.params["layers"], first)
    assert moved["logit"]["last"]["kernel"] and moved["value"]["kernel"]
    loaded = load_checkpoint(tmp_path)
    assert loaded.config.layer == ATTENTION.layer
    (edited, mask), (other, other_mask) = (
        edit_stack(one, stacks[0], 0.1) for one in (editor, loaded)
    )
    assert_same((edited.params, mask), (other.params, other_mask))
    # Neurons of the first hidden layer in another order: the same edit in that order.
    order = np.random.default_rng(0).permutation(6)
    moved = permuted(stacks[0], {1: order})
    other, _ = edit_stack(editor, moved, 0.1)
    change = edited.params.biases[0] - stacks[0].params.biases[0]
    found = other.params.biases[0] - moved.params.biases[0]
    assert change.std() > 0
    np.testing.assert_allclose(found, change[:, order], atol=1e-3 * change.std())


@pytest.mark.parametrize("layer", ["nowhere.Layer", f"{__name__}.IDS", "metanet.core.require"])
def test_a_layer_that_is_none_is_a_user_error_that_names_its_key(layer):
    with pytest.raises(UserError, match=r"config key editor\.layer: found .* expected the dotted"):
        dataclasses.replace(EDITOR, layer=layer)


EPO = dataclasses.replace(CONFIG, scalarisation="epo", steps=4)


@pytest.mark.slow
def test_exact_pareto_search_is_the_same_on_one_and_four_devices(steps_on):
    (params, history, _), (other, other_history, _) = (steps_on(n, EPO) for n in (1, 4))
    for step, other_step in zip(history, other_history, strict=True):
        assert step.pop("ids") == other_step.pop("ids")
        assert other_step == pytest.approx(step, rel=1e-3)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), other, params)


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.03, 0.3])
def test_exact_pareto_search_leads_to_the_preferred_ratio(ratio, models, tmp_path):
    rng = np.random.default_rng(7)
    group = (rng.uniform(size=256) < 0.4).astype(np.int32)
    x = rng.normal(size=(256, 5)) + 1.5 * np.outer(group, [1, 0, 0, 0, 0])
    ones = np.ones(256, np.float32)
    table = Table(x.astype(np.float32), np.zeros(256, np.int32), group, ones, n_groups=2)
    config = dataclasses.replace(
        EPO, steps=300, learning_rate=1e-2, lambda_range=(ratio, ratio), points=256, ramp=0.1
    )
    editor = dataclasses.replace(EDITOR, mask="none", gamma=0.1)
    parity = "metanet.objectives.fairness.demographic_parity"
    loop.train_editor(tmp_path, editor, config, parity, models, IDS, table, 0, {})
    rows = pd.read_csv(tmp_path / "metrics.csv")
    last = rows.tail(3).mean()
    assert last["jsd"] == pytest.approx(ratio * last["requirement"], rel=0.35)
    assert last["requirement"] < 0.6 * rows["requirement"][0]


@pytest.mark.slow
def test_exact_pareto_search_for_two_requirements_names_a_model_that_is_not_finite(
    models, table, tmp_path
):
    two = REQUIREMENT, "metanet.objectives.fairness.demographic_parity"
    config = dataclasses.replace(EPO, lambda_range=((0.1, 0.2),) * 2)
    bad = poisoned(models, 1, np.nan)
    with pytest.raises(Diverged, match=r"at step \d, models \[1\]"):
        loop.train_editor(tmp_path, EDITOR, config, two, bad, IDS, table, 0, {})


def test_the_learning_rate_warms_up_linearly_and_ends_a_cosine():
    config = TrainingConfig(steps=1000, learning_rate=2e-3, final_learning_rate=0.1, warmup=100)
    rates, _ = schedules(config)
    assert rates.shape == (1000,)
    np.testing.assert_allclose(rates[:101], 2e-3 * np.arange(101) / 100, rtol=1e-5)
    progress = (np.arange(100, 1000) - 100) / 900
    cosine = 0.5 * (1 + np.cos(np.pi * progress))
    np.testing.assert_allclose(rates[100:], 2e-3 * (0.1 + 0.9 * cosine), rtol=1e-4)
    np.testing.assert_allclose(rates[-1], 2e-4, rtol=1e-3)


def test_lambda_ramps_up_linearly_and_stays():
    _, ramp = schedules(TrainingConfig(steps=100, ramp=0.4))
    np.testing.assert_allclose(ramp[:40], np.arange(1, 41) / 40, rtol=1e-6)
    np.testing.assert_array_equal(ramp[40:], 1.0)
    np.testing.assert_array_equal(schedules(TrainingConfig(steps=5, ramp=0.0))[1], 1.0)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_short_trainings_have_finite_schedules(steps):
    rates, ramp = schedules(TrainingConfig(steps=steps))
    assert len(rates) == len(ramp) == steps
    assert np.isfinite(rates).all()
    assert ramp[-1] == 1.0


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("editor.batch_size", {"batch_size": 0}),
        ("editor.points", {"points": 0}),
        ("editor.clip", {"clip": 0.0}),
        ("editor.dropout", {"dropout": 1.0}),
        ("editor.mask_temperature", {"mask_temperature": -1.0}),
        ("editor.decision_temperature", {"decision_temperature": 0.0}),
        ("lambda_range", {"lambda_range": (0.0, 0.1)}),
        ("lambda_range", {"lambda_range": (0.2, 0.1)}),
        ("lambda_range", {"lambda_range": (0.2,)}),
        ("lambda_range", {"lambda_range": ((0.1, 0.2), (0.2, 0.1))}),
    ],
)
def test_an_impossible_setting_is_a_user_error_that_names_its_key(key, values):
    with pytest.raises(UserError, match=f"config key {key}:"):
        TrainingConfig(**{"steps": 5} | values)


@pytest.fixture(scope="module")
def uneven():
    """A table whose cells of (label, group) have very different sizes; two of the nine are empty.

    Cells also differ in x, so that models and edits differ between them.
    """
    rng = np.random.default_rng(3)
    sizes = {(0, 0): 300, (0, 1): 40, (0, 2): 9, (1, 0): 60, (1, 1): 5, (2, 1): 30, (2, 2): 2}
    y, group = np.repeat(np.array(list(sizes)), list(sizes.values()), axis=0).T
    order = rng.permutation(len(y))
    y, group = y[order].astype(np.int32), group[order].astype(np.int32)
    x = rng.normal(size=(len(y), 5)) * (0.3 + y + group)[:, None] + y[:, None]
    return Table(x.astype(np.float32), y, group, np.ones(len(y), np.float32), n_groups=3)


def sampled(config, models, table):
    """(table, probability of each row) that training samples from."""
    strata = stratify(models, IDS, config.batch_size, 1)
    problem = problem_of(config, models, scales_of(models, IDS), strata, table, 0)
    pool = np.asarray(problem.pool)
    return problem.table, np.bincount(pool, minlength=len(table.y)) / len(pool)


BALANCED = dataclasses.replace(CONFIG, balanced=True)


def test_balanced_sampling_gives_every_cell_the_same_share_and_weights_undo_it(models, uneven):
    table, probability = sampled(BALANCED, models, uneven)
    np.testing.assert_allclose(probability.sum(), 1.0, rtol=1e-5)
    cell = 3 * uneven.y + uneven.group
    shares = np.bincount(cell, probability, minlength=9)
    np.testing.assert_allclose(shares[shares > 0], 1 / 7, rtol=1e-4)
    for one in np.unique(cell):
        assert np.ptp(probability[cell == one]) < 1e-3
    weight = np.asarray(table.weight)
    np.testing.assert_allclose((probability * weight).sum(), 1.0, rtol=1e-4)
    # Of any function of the rows the weighted mean is the plain one.
    np.testing.assert_allclose(probability * weight, 1 / len(weight), rtol=0.01)
    for name in ("x", "y", "group"):
        np.testing.assert_array_equal(getattr(table, name), getattr(uneven, name))


def test_plain_sampling_gives_every_row_the_same_share_and_weight(models, uneven):
    table, probability = sampled(CONFIG, models, uneven)
    np.testing.assert_allclose(probability, 1 / len(uneven.y), rtol=1e-3)
    np.testing.assert_array_equal(table.weight, 1.0)


def largest_excess_of_a_cell(view):
    """The most frequent (label, group) of a batch: its fraction, less a seventh."""
    cell = 3 * view.batch.y + view.batch.group
    return jnp.bincount(cell, length=9).max() / len(cell) - 1 / 7


@pytest.mark.slow
def test_a_balanced_batch_has_equal_cells_and_estimates_the_divergence_of_all_data(models, uneven):
    points = 8192
    editor = dataclasses.replace(EDITOR, mask="none", gamma=4.0, layers=1)
    config = dataclasses.replace(
        BALANCED, points=points, lambda_range=(0.1, 0.1), learning_rate=0.0
    )
    scales = scales_of(models, IDS)
    strata = stratify(models, IDS, config.batch_size, 1)
    problem = problem_of(config, models, scales, strata, uneven, 0)
    mesh = Mesh(jax.devices()[:1], ("models",))
    chunk = make_chunk(editor, config, largest_excess_of_a_cell, strata.budget, mesh)
    state = init_state(editor, config, models, scales, 0)
    trained = TrainedEditor(jax.device_get(state.params), scales, editor, models.template)
    state = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    _, metrics, by_model = chunk(state, problem, np.zeros(3, np.float32), np.ones(3, np.float32))
    excess = np.asarray(metrics["requirement"])
    assert (np.abs(excess) < 5 * np.sqrt(1 / 7 / points)).all()
    ids = np.unique(by_model["model_id"])
    all_models = evaluate(
        editor_fn, trained, models, ids, np.array([0.1]), uneven, weights_kept, 0
    ).jsd[0]
    expected = [all_models[np.searchsorted(ids, batch)].mean() for batch in by_model["model_id"]]
    assert np.min(expected) > 0.01
    np.testing.assert_allclose(metrics["jsd"], expected, rtol=0.05)


FAIRNESS = ("equalised_odds", "equal_opportunity", "demographic_parity")


@pytest.mark.parametrize("name", FAIRNESS)
def test_fairness_of_a_balanced_batch_estimates_that_of_all_data(name, models, uneven):
    table, probability = sampled(BALANCED, models, uneven)
    rng = np.random.default_rng(1)
    rows = rng.choice(len(probability), 20000, p=probability / probability.sum())
    # Cells differ; groups differ most in how often class 0 is decided on where it is wrong.
    logits = rng.normal(size=(len(uneven.y), 3))
    logits[:, 0] += np.where(uneven.group == 1, 3.0 - 3.0 * (uneven.y == 1), 0.0)
    decisions = np.asarray(jax.nn.softmax(logits))

    def value(batch, decisions):
        view = EditView(None, None, None, None, None, None, jnp.asarray(decisions), batch)
        return float(getattr(fairness, name)(view))

    sample = jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], table)
    expected = value(jax.tree.map(jnp.asarray, uneven), decisions)
    assert value(sample, decisions[rows]) == pytest.approx(expected, abs=0.01)
