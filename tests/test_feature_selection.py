"""Rankings, imputation and normalised students of data minimisation, against plain numpy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import apply, exact_budget, gathered, random_stack

from metanet.core import SettingError
from metanet.data.moments import completion, moments_of
from metanet.data.tabular import Table
from metanet.graphs.batch import to_template
from metanet.graphs.packing import pack
from metanet.graphs.padded import apply_padded, fold_batch_norm
from metanet.methods import data_minimisation as dm
from metanet.methods.rankings import greedy_importance, permutation_importance
from metanet.methods.retrain import RetrainConfig, batch_normed, fresh, jsd_loss, retrain
from metanet.mlp import network
from metanet.mlp.network import js_divergence
from metanet.mlp.spec import NORMS, MLPSpec
from metanet.mlp.trainer import _train_loss

SPECS = (
    MLPSpec((4, 6, 8, 2), skips=((0, 2),), norm="layer"),
    MLPSpec((4, 8, 6, 2), skips=((0, 2),), norm="batch"),
)
COUNT = 2 * len(SPECS)
KEYS = jax.random.split(jax.random.key(0), COUNT)

# Compiled as a whole: operation by operation each is dozens of programs.
completed = jax.jit(completion, static_argnums=2)
divergences = jax.jit(js_divergence)
outputs, folded_of = (jax.jit(f, static_argnums=0) for f in (apply_padded, fold_batch_norm))


@pytest.fixture(scope="module")
def stacks():
    return [random_stack(spec, 2, seed, size=0.8) for seed, spec in enumerate(SPECS)]


@pytest.fixture(scope="module")
def models(stacks):
    return pack(stacks)


@pytest.fixture(scope="module")
def graph(models):
    budget = exact_budget(models, np.arange(COUNT))
    return gathered(models, np.arange(COUNT), np.zeros((COUNT, 1), np.float32), budget)


@pytest.fixture(scope="module")
def before(models, graph):
    found = jax.jit(to_template, static_argnums=0)(models.template, graph)
    return jax.tree.map(np.asarray, found)


@pytest.fixture(scope="module")
def table():
    """Four columns, the last two of which say much of the first two."""
    rng = np.random.default_rng(7)
    mix = np.array([[1.0, 0, 0.9, 0.2], [0, 1.0, 0.1, 0.8], [0, 0, 0.5, 0], [0, 0, 0, 0.5]])
    x = rng.normal(size=(80, 4)) @ mix + np.array([0.5, -0.3, 0.2, 0.0])
    return Table(
        x=jnp.asarray(x, jnp.float32),
        y=jnp.asarray(rng.integers(0, 2, 80), jnp.int32),
        group=jnp.zeros(80, jnp.int32),
        weight=jnp.ones(80),
        n_groups=1,
    )


@pytest.fixture(scope="module")
def context(table):
    return dm.Knowledge(jnp.array([0.1, 0.4, 0.2, 0.3]), table, moments_of(table, 4))


def one(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def run(method, context, graph, *settings):
    program = jax.jit(lambda context, setting: method(context, graph, KEYS)(setting))
    return [program(context, jnp.float32(setting)) for setting in settings]


@pytest.mark.parametrize("kept", list(itertools.product((0, 1), repeat=4)))
def test_completion_is_least_squares_on_the_kept_columns(kept, table):
    keep = np.array(kept, float)
    matrix, offset = completed(moments_of(table, 4), jnp.float32(keep), 0.0)
    x = np.asarray(table.x, np.float64)
    found = x @ np.asarray(matrix, np.float64) + np.asarray(offset)
    there = keep > 0
    regressors = np.column_stack([np.ones(len(x)), x[:, there]])
    expected = x.copy()
    expected[:, ~there] = regressors @ np.linalg.lstsq(regressors, x[:, ~there], rcond=None)[0]
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert not np.asarray(matrix)[~there].any()  # no dropped column is read


def test_completion_without_full_rank_is_finite_and_sensible():
    x = np.random.default_rng(0).normal(size=(50, 3))
    columns = np.column_stack([x[:, 0], x[:, 0], np.full(50, 2.0), x[:, 1]])
    data = Table(columns, np.zeros(50, int), np.zeros(50, int), np.ones(50), 1)
    moments = moments_of(data, 6)  # two features that the table lacks
    for kept in itertools.product((0, 1), repeat=6):
        matrix, offset = completed(moments, jnp.float32(kept), 0.01)
        assert np.isfinite(matrix).all() and np.isfinite(offset).all()
        assert np.abs(matrix).max() < 1.1
    matrix, offset = completed(moments, jnp.float32([0, 1, 1, 1, 0, 0]), 1e-4)
    filled = np.pad(columns, ((0, 0), (0, 2))) @ np.asarray(matrix) + np.asarray(offset)
    np.testing.assert_allclose(filled[:, 0], columns[:, 0], atol=2e-3)
    matrix, offset = completed(moments, jnp.float32([1, 0, 0, 1, 0, 0]), 1e-4)
    filled = np.pad(columns, ((0, 0), (0, 2))) @ np.asarray(matrix) + np.asarray(offset)
    np.testing.assert_allclose(filled[:, 2], 2.0, atol=1e-3)


@pytest.mark.parametrize("more", ["duplicates", "a sum", "a constant"])
def test_completion_without_damping_is_the_pseudoinverse_where_rank_is_missing(more, table):
    """The default: columns that repeat others neither blow gains up nor cost accuracy."""
    x = np.asarray(table.x, np.float64)
    x = np.column_stack([x, {"duplicates": x[:, :2], "a sum": x[:, :1] + x[:, 1:2],
                             "a constant": np.full((len(x), 1), 2.0)}[more]])  # fmt: skip
    zeros = np.zeros(len(x), int)
    moments = moments_of(Table(x, zeros, zeros, np.ones(len(x)), 1), x.shape[1])
    for kept in itertools.product((0, 1), repeat=x.shape[1]):
        there = np.array(kept) > 0
        matrix, offset = completed(moments, jnp.float32(kept), 0.0)
        expected, mean = x.copy(), x.mean(0)
        block = np.cov(x.T, ddof=0)[there]  # [kept, features]
        gain = np.linalg.pinv(block[:, there], rcond=1e-6) @ block[:, ~there]
        expected[:, ~there] = mean[~there] + (x[:, there] - mean[there]) @ gain
        found = x @ np.asarray(matrix, np.float64) + np.asarray(offset)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_an_imputed_model_has_the_outputs_of_the_original_on_completed_rows(
    models, stacks, graph, context
):
    method = dm.selection_fn(models.template, "global", impute=True, damping=0.05)
    x = context.table.x
    for count, edit in zip((0, 1, 3), run(method, context, graph, 0, 1, 3), strict=True):
        keep = np.asarray(dm.ranked_mask(context.importance, jnp.float32(count)))
        matrix, offset = completion(context.moments, jnp.float32(keep), 0.05)
        np.testing.assert_array_equal(edit.input_keep, [keep] * COUNT)
        for index in range(COUNT):
            stack, row = stacks[index // 2], index % 2
            params = one(stack.params, row)
            completed = x @ matrix + offset[None]
            expected = apply(stack.spec, params, stack.activation[row], completed)
            found = outputs(models.template, one(edit.after, index), x)
            np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)
            # Dropped columns are not read.
            noise = 9.0 * (1 - keep)[None]
            again = outputs(models.template, one(edit.after, index), x + noise)
            np.testing.assert_array_equal(found, again)


def test_imputing_is_nearer_to_the_original_than_zeros(models, graph, context):
    costs = []
    for impute in (False, True):
        method = dm.selection_fn(models.template, "greedy", impute=impute)
        (edit,) = run(method, context, graph, 2)
        logits = jax.jit(jax.vmap(lambda m: apply_padded(models.template, m, context.table.x)))
        costs.append(divergences(logits(edit.before), logits(edit.after)).mean(1))
    assert (costs[1] < costs[0]).all()


@pytest.mark.parametrize("impute", [False, True])
def test_greedy_turns_are_those_of_a_loop(impute, models, stacks, before, context):
    x = np.asarray(context.table.x[:40])
    greedy = jax.jit(greedy_importance, static_argnames=("template", "rows", "damping"))
    for index in (0, 2):
        stack, row = stacks[index // 2], index % 2
        params = one(stack.params, row)

        def logits(x, stack=stack, params=params, row=row):
            return apply(stack.spec, params, stack.activation[row], x)

        def cost(kept, logits=logits):
            keep = np.float32([feature in kept for feature in range(4)])
            matrix, offset = completion(context.moments, keep, 0.1)
            seen = x @ matrix + offset[None] if impute else x * keep[None]
            return float(divergences(logits(x), logits(seen)).mean())

        order, kept = [], set(range(4))
        for _ in range(4):
            best = min(kept, key=lambda f, k=kept: cost(k - {f}))
            kept = kept - {best}
            order.append(best)
        found = greedy(
            models.template, one(before, index), context.table, rows=40,
            moments=context.moments if impute else None, damping=0.1,
        )  # fmt: skip
        assert np.argsort(np.asarray(found)).tolist() == order


def test_importance_by_divergence_is_that_of_a_loop(models, stacks, before, table):
    spec, index = SPECS[1], 2
    params = one(stacks[1].params, 0)
    key = jax.random.key(3)
    importance = jax.jit(
        functools.partial(permutation_importance, repeats=4, measure="divergence"),
        static_argnums=0,
    )
    found = importance(models.template, one(before, index), table, key)
    logits = apply(spec, params, stacks[1].activation[0], table.x)
    for feature in range(4):
        costs = []
        for one_key in jax.random.split(jax.random.fold_in(key, feature), 4):
            column = jax.random.permutation(one_key, table.x[:, feature])
            moved = table.x.at[:, feature].set(column)
            after = apply(spec, params, stacks[1].activation[0], moved)
            costs.append(float(divergences(logits, after).mean()))
        assert float(found[feature]) == pytest.approx(np.mean(costs), rel=1e-4)


def test_counts_go_down_to_no_feature():
    assert dm.counts_of(5).tolist() == [4, 3, 2, 1, 0]
    assert dm.counts_of(6, (5, 1, 3)).tolist() == [5, 3, 1, 0]
    assert dm.counts_of(3, (50, 2)).tolist() == [2, 0]  # those that the data has


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"ranking": "greedy", "measure": "divergence"}, "recipes.one.measure"),
        ({"impute": True, "damping": -1.0}, "recipes.one.damping"),
        ({"damping": 0.5}, "recipes.one.damping"),
        ({"counts": (1, 1)}, "recipes.one.counts"),
        ({"counts": (-1,)}, "recipes.one.counts"),
    ],
)
def test_options_that_nothing_reads_are_refused(options, key):
    with pytest.raises(SettingError, match=key):
        dm.selection.check(None, [], "recipes.one", options)


# Students with batch normalisation


def test_batch_normalisation_in_the_template_is_that_of_the_trainer(models, before, stacks, table):
    spec, index = SPECS[1], 3
    key = jax.random.key(5)
    student = jax.tree.map(np.asarray, jax.jit(fresh)(one(before, index), key))
    assert bool(batch_normed(one(before, index))) and not bool(batch_normed(one(before, 0)))
    rng = np.random.default_rng(1)
    real = np.asarray(student.node)
    student = student.replace(
        scale=np.where(real, np.float32(1 + 0.2 * rng.normal(size=real.shape)), np.float32(0)),
        shift=np.where(real, np.float32(0.3 * rng.normal(size=real.shape)), np.float32(0)),
    )
    widths = spec.widths
    size = 8  # both hidden layers take one tile
    cut = [student.weight[s * size:, (t - 1) * size:][: widths[s], : widths[t]]
           for s, t in spec.blocks]  # fmt: skip
    vectors = [
        [getattr(student, name)[(layer - 1) * size :][: widths[layer]] for layer in (1, 2, 3)]
        for name in ("bias", "scale", "shift")
    ]
    params = network.MLPParams(tuple(cut), tuple(vectors[0]), tuple(vectors[1][:2]),
                               tuple(vectors[2][:2]))  # fmt: skip
    member = {"dropout": jnp.float32(0), "activation": jnp.asarray(stacks[1].activation[1])}
    loss = jax.jit(_train_loss, static_argnums=0)
    expected, _ = loss(spec, params, member, key, table.x, table.y)
    logits = outputs(models.template, student, table.x, jnp.array(True))
    found = -jax.nn.log_softmax(logits)[jnp.arange(80), table.y].mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # Folded, it is a plain model with the same outputs on these rows.
    folded = folded_of(models.template, student, table.x, jnp.array(True))
    np.testing.assert_allclose(
        outputs(models.template, folded, table.x), logits, rtol=1e-4, atol=1e-5
    )
    same = folded_of(models.template, student, table.x, jnp.array(False))
    np.testing.assert_array_equal(same.weight, student.weight)


@pytest.mark.slow
def test_a_fresh_student_is_trained_with_the_normalisation_of_its_model(models, before, table):
    config = RetrainConfig(steps=60, batch_size=32, learning_rate=0.02)
    for index in (0, 2):
        model = one(before, index)
        teacher = outputs(models.template, model, table.x)
        start = jax.jit(fresh)(model, KEYS[index])

        def trained(batch_norm, model=model, start=start, teacher=teacher, index=index):
            keep = model.edge.astype(jnp.float32)
            return retrain(models.template, start, keep, table.x, teacher, jsd_loss, config,
                           KEYS[index], batch_norm=batch_norm)  # fmt: skip

        plain, normed = trained(None), trained(batch_normed(model))
        is_batch = int(model.norm) == NORMS.index("batch")
        assert bool((plain.weight != normed.weight).any()) == is_batch
        if is_batch:
            losses = [float(jsd_loss(outputs(models.template, m, table.x), teacher))
                      for m in (normed, start)]  # fmt: skip
            assert losses[0] < losses[1]
            assert np.isfinite(np.asarray(normed.weight)).all()
