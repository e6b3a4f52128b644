"""The objectives: the divergence, the contract that all of them keep, and how they are named."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from metanet.core import UserError
from metanet.data.tabular import Table
from metanet.editor.relax import hard_decisions, soft_decisions
from metanet.graphs.convert import gather, pack, to_template
from metanet.mlp import network
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec
from metanet.objectives.base import known_objectives, resolve, view_of
from metanet.objectives.preservation import js_divergence

SPECS = (MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"), MLPSpec((5, 8, 8, 2)))
TILE = 8  # inputs, each of the two hidden layers, and outputs fill one tile of the template each
ROWS = 24
every_objective = pytest.mark.parametrize("path", known_objectives())


def softmax(logits):
    z = np.exp(np.float64(logits) - np.max(logits, axis=-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def oracle_mean_jsd(view):
    p, q = softmax(view.logits_before), softmax(view.logits_after)
    return np.mean([jensenshannon(a, b) ** 2 for a, b in zip(p, q, strict=True)])


def oracle_weights_kept(view):
    kept = [k for k, exists in zip(view.keep.flat, view.before.edge.flat, strict=True) if exists]
    return sum(kept) / len(kept)


ORACLES = {
    "metanet.objectives.preservation.mean_jsd": oracle_mean_jsd,
    "metanet.objectives.pruning.weights_kept": oracle_weights_kept,
}


def random_stack(spec, seed):
    keys = jax.random.split(jax.random.key(seed))
    params = jax.jit(jax.vmap(lambda key: network.init(spec, key)))(keys)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), params)
    return Stack(spec, params, np.array([0, 3], np.int32))


def a_batch(kind="mixed"):
    rng = np.random.default_rng(3)
    return Table(
        x=jnp.asarray(rng.normal(size=(ROWS, 5)), jnp.float32),
        y=jnp.asarray(rng.integers(0, 1 if kind == "one class" else 2, ROWS), jnp.int32),
        group=jnp.asarray(rng.integers(0, 1 if kind == "one group" else 2, ROWS), jnp.int32),
    )


@pytest.fixture(scope="module")
def edits():
    """(template, before, after, keep) of four models of two specs, with half the weights cut."""
    models = pack([random_stack(spec, seed) for seed, spec in enumerate(SPECS)])

    @jax.jit
    def in_template(models):
        graph = gather(models, jnp.arange(4), jnp.zeros((4, 1)), (16, 24))
        return to_template(models.template, graph)

    before = in_template(models)
    rng = np.random.default_rng(0)
    keep = jnp.asarray(rng.random(before.edge.shape) < 0.5, jnp.float32) * before.edge
    change = jnp.asarray(0.2 * rng.normal(size=before.weight.shape), jnp.float32)
    after = before.replace(weight=(before.weight + change) * keep, bias=before.bias + 0.1)
    return models.template, before, after, keep


def one_of(edits, index):
    template, *trees = edits
    return template, *jax.tree.map(lambda leaf: leaf[index], trees)


def view_number(edits, index, batch="mixed", decide=hard_decisions):
    return view_of(*one_of(edits, index), a_batch(batch), decide)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_divergence_agrees_with_scipy(n_classes):
    p, q = np.random.default_rng(0).normal(size=(2, 40, n_classes)).astype(np.float32) * 3
    expected = jensenshannon(softmax(p), softmax(q), axis=-1) ** 2
    np.testing.assert_allclose(js_divergence(p, q), expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(js_divergence(q, p), expected, rtol=1e-4, atol=1e-7)


def test_divergence_lies_between_zero_and_ln_2():
    scale = np.geomspace(1e-3, 1e4, 300, dtype=np.float32)[:, None]
    p, q = np.random.default_rng(0).normal(size=(2, 300, 3)).astype(np.float32) * scale
    divergence = js_divergence(p, q)
    assert divergence.min() >= -1e-6
    assert divergence.max() <= math.log(2) + 1e-6
    assert divergence.max() > 0.99 * math.log(2)


@pytest.mark.parametrize("size", [1.0, 1e4, 1e30])
def test_divergence_of_equal_distributions_is_zero_even_if_the_logits_differ_by_a_constant(size):
    logits = size * jnp.asarray([[0.3, -1.0, 0.7], [1.0, 0.0, -1.0]], jnp.float32)
    np.testing.assert_allclose(js_divergence(logits, logits), 0.0, atol=1e-6)
    if size == 1.0:
        np.testing.assert_allclose(js_divergence(logits, logits + 5.0), 0.0, atol=1e-6)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
@pytest.mark.parametrize("same", [True, False])
def test_divergence_of_extreme_logits_is_finite_with_finite_gradients(size, same):
    p = jnp.asarray([size, -size], jnp.float32)
    q = p if same else -p
    value, gradients = jax.value_and_grad(js_divergence, argnums=(0, 1))(p, q)
    np.testing.assert_allclose(value, 0.0 if same else math.log(2), atol=1e-6)
    assert np.isfinite(gradients).all()


def test_the_gradient_of_the_divergence_is_that_of_finite_differences():
    p, q = np.random.default_rng(1).normal(size=(2, 3))
    step = 1e-5 * np.eye(3)

    def exact(q):
        return jensenshannon(softmax(p), softmax(q)) ** 2

    expected = [(exact(q + d) - exact(q - d)) / 2e-5 for d in step]
    gradient = jax.grad(js_divergence, argnums=1)(jnp.float32(p), jnp.float32(q))
    np.testing.assert_allclose(gradient, expected, atol=1e-4)


def test_the_known_objectives_are_found():
    assert {"metanet.objectives.preservation.mean_jsd", *ORACLES} <= set(known_objectives())
    assert "metanet.objectives.preservation.js_divergence" not in known_objectives()


@every_objective
def test_objective_agrees_with_its_numpy_oracle(path, edits):
    assert path in ORACLES, f"{path} has no oracle: add one to ORACLES"
    for index in range(4):
        view = view_number(edits, index)
        expected = ORACLES[path](jax.tree.map(np.asarray, view))
        np.testing.assert_allclose(resolve(path)(view), expected, rtol=1e-4, atol=1e-6)


@every_objective
def test_objective_is_a_float_scalar_and_the_same_under_jit_and_vmap(path, edits):
    objective = resolve(path)
    views = [view_number(edits, index) for index in range(4)]
    values = [objective(view) for view in views]
    assert all(value.shape == () and value.dtype == jnp.float32 for value in values)
    assert len({float(value) for value in values}) > 1
    np.testing.assert_allclose(jax.jit(objective)(views[0]), values[0], rtol=1e-5)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *views)
    np.testing.assert_allclose(jax.vmap(objective)(stacked), values, rtol=1e-5)


@every_objective
@pytest.mark.parametrize("batch", ["mixed", "one group", "one class"])
@pytest.mark.parametrize("change", ["edited", "unedited", "all cut", "extreme"])
def test_objective_and_its_gradients_are_finite(path, batch, change, edits):
    template, before, after, keep = one_of(edits, 0)
    if change == "unedited":
        after, keep = before, before.edge.astype(jnp.float32)
    if change == "all cut":
        after, keep = before.replace(weight=0 * before.weight), 0 * keep
    view = view_of(template, before, after, keep, a_batch(batch), hard_decisions)
    size = 1e4 if change == "extreme" else 1.0

    def value(logits, keep):
        decisions = soft_decisions(logits, 0.2)
        return resolve(path)(view.replace(logits_after=logits, decisions=decisions, keep=keep))

    result, gradients = jax.value_and_grad(value, argnums=(0, 1))(size * view.logits_after, keep)
    assert np.isfinite(result)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def permuted(edit, rows, columns):
    """The edit with its template's nodes reordered: `rows` as sources, `columns` as targets."""
    template, before, after, keep = edit

    def model(mlp):
        grids = {name: getattr(mlp, name)[rows][:, columns] for name in ("weight", "edge")}
        ends = {name: getattr(mlp, name)[columns] for name in ("bias", "scale", "shift", "node")}
        return mlp.replace(**grids, **ends)

    return template, model(before), model(after), keep[rows][:, columns]


@pytest.fixture(scope="module")
def order():
    """(rows, columns) of a permutation within each hidden layer of the template."""
    rng = np.random.default_rng(5)
    first, second = rng.permutation(TILE), TILE + rng.permutation(TILE)
    rows = np.concatenate([np.arange(TILE), TILE + first, TILE + second])
    return rows, np.concatenate([first, second, 2 * TILE + np.arange(TILE)])


@every_objective
@pytest.mark.parametrize("index", [0, 2])
def test_objective_does_not_depend_on_the_order_of_hidden_neurons(path, index, edits, order):
    edit = one_of(edits, index)
    views = [
        view_of(*candidate, a_batch(), hard_decisions)
        for candidate in (edit, permuted(edit, *order))
    ]
    before, after = (resolve(path)(view) for view in views)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("index", [0, 2])
def test_a_wrong_permutation_changes_the_model(index, edits, order):
    rows, columns = order
    edit = one_of(edits, index)
    right, wrong = permuted(edit, rows, columns), permuted(edit, np.arange(3 * TILE), columns)
    original, right, wrong = (
        view_of(*candidate, a_batch(), hard_decisions).logits_after
        for candidate in (edit, right, wrong)
    )
    np.testing.assert_allclose(right, original, atol=1e-5)
    assert np.abs(wrong - original).max() > 0.1


@pytest.mark.parametrize(
    "path",
    [
        "metanet.objectives.pruning.no_such_function",
        "metanet.objectives.no_such_module.weights_kept",
        "no_such_package.objective",
        "weights_kept",
        "",
        ".weights_kept",
        "metanet.objectives.pruning",
    ],
)
def test_an_unknown_objective_is_a_user_error_that_lists_the_known_ones(path):
    with pytest.raises(UserError) as caught:
        resolve(path)
    message = str(caught.value)
    assert "\n" not in message
    assert repr(path) in message
    assert all(known in message for known in known_objectives())


def test_an_objective_of_a_users_own_module_works(tmp_path, monkeypatch, edits):
    (tmp_path / "my_objectives.py").write_text(
        "def biggest_bias(view):\n    return abs(view.after.bias).max()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    objective = resolve("my_objectives.biggest_bias")
    view = view_number(edits, 1)
    np.testing.assert_array_equal(objective(view), np.abs(view.after.bias).max())
