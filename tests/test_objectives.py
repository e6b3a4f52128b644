"""The objectives: the divergence, the contract that all of them keep, and how they are named."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from metanet.core import UserError
from metanet.data.tabular import Table
from metanet.editor.edits import Edit
from metanet.editor.relax import hard_decisions, soft_decisions
from metanet.graphs.batch import gather, to_template
from metanet.graphs.packing import pack
from metanet.mlp import network
from metanet.mlp.network import js_divergence
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec
from metanet.objectives import fairness
from metanet.objectives.base import (
    EditView,
    known_objectives,
    resolve,
    view_of,
    view_of_logits,
)
from metanet.objectives.preservation import mean_jsd

SPECS = (MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"), MLPSpec((5, 8, 8, 2)))
TILE = 8  # inputs, each of the two hidden layers, and outputs fill one tile of the template each
ROWS = 24
BATCHES = ["mixed", "one group", "one class", "empty cell", "absent group"]
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


def oracle_inputs_kept(view):
    return sum(view.input_keep.tolist()) / len(view.input_keep)


def gap(view, one_class, rows):
    """The largest difference between two groups' mean decision on a class over their `rows`."""
    rates = []
    for group in set(view.batch.group.tolist()):
        cell = [
            view.decisions[row, one_class]
            for row in range(len(rows))
            if rows[row] and view.batch.group[row] == group
        ]
        if cell:
            rates.append(sum(cell) / len(cell))
    return max(a - b for a in rates for b in rates) if rates else 0.0


def oracle_equalised_odds(view):
    y, classes = view.batch.y, range(view.decisions.shape[1])
    return max(gap(view, c, side) for c in classes for side in (y == c, y != c))


def oracle_equal_opportunity(view):
    last = view.decisions.shape[1] - 1
    return gap(view, last, view.batch.y == last)


def oracle_demographic_parity(view):
    all_models = np.ones(len(view.batch.y), bool)
    return max(gap(view, c, all_models) for c in range(view.decisions.shape[1]))


ORACLES = {
    "metanet.objectives.preservation.mean_jsd": oracle_mean_jsd,
    "metanet.objectives.pruning.weights_kept": oracle_weights_kept,
    "metanet.objectives.data_minimisation.inputs_kept": oracle_inputs_kept,
    "metanet.objectives.fairness.equalised_odds": oracle_equalised_odds,
    "metanet.objectives.fairness.equal_opportunity": oracle_equal_opportunity,
    "metanet.objectives.fairness.demographic_parity": oracle_demographic_parity,
}


def random_stack(spec, seed):
    keys = jax.random.split(jax.random.key(seed))
    params = jax.jit(jax.vmap(lambda key: network.init(spec, key)))(keys)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda p: np.asarray(p) + 0.3 * rng.normal(size=p.shape).astype(np.float32), params
    )
    return Stack(spec, params, np.array([0, 3], np.int32))


def a_batch(kind="mixed"):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(ROWS, 5))
    y = rng.integers(0, 1 if kind == "one class" else 2, ROWS)
    group = rng.integers(0, 1 if kind == "one group" else 2, ROWS)
    return Table(
        x=jnp.asarray(x, jnp.float32),
        y=jnp.asarray(np.where(group == 1, 0, y) if kind == "empty cell" else y, jnp.int32),
        group=jnp.asarray(group, jnp.int32),
        weight=jnp.ones(ROWS),
        n_groups=3 if kind == "absent group" else 2,
    )


@pytest.fixture(scope="module")
def edits():
    """(template, edits) of four models of two specs, with half the weights and some inputs cut."""
    models = pack([random_stack(spec, seed) for seed, spec in enumerate(SPECS)])

    @jax.jit
    def in_template(models):
        graph = gather(models, jnp.arange(4), jnp.zeros((4, 1)), (16, 24))
        return to_template(models.template, graph)

    before = in_template(models)
    rng = np.random.default_rng(0)
    input_keep = np.float32([[1, 1, 0, 1, 1], [0, 1, 0, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    keep = (rng.random(before.edge.shape) < 0.5) * np.asarray(before.edge, np.float32)
    keep[:, :5] *= input_keep[:, :, None]
    keep = jnp.asarray(keep)
    change = jnp.asarray(0.2 * rng.normal(size=before.weight.shape), jnp.float32)
    after = before.replace(weight=(before.weight + change) * keep, bias=before.bias + 0.1)
    return models.template, Edit(before, after, keep, jnp.asarray(input_keep))


def one_of(edits, index):
    template, edit = edits
    return template, jax.tree.map(lambda leaf: leaf[index], edit)


viewed = jax.jit(view_of, static_argnums=(0, 3))


def view_number(edits, index, batch="mixed", decide=hard_decisions):
    return viewed(*one_of(edits, index), a_batch(batch), decide)


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
    value, gradients = jax.jit(jax.value_and_grad(js_divergence, argnums=(0, 1)))(p, q)
    np.testing.assert_allclose(value, 0.0 if same else math.log(2), atol=1e-6)
    assert np.isfinite(gradients).all()


def test_the_gradient_of_the_divergence_is_that_of_finite_differences():
    p, q = np.random.default_rng(1).normal(size=(2, 3))
    step = 1e-5 * np.eye(3)

    def exact(q):
        return jensenshannon(softmax(p), softmax(q)) ** 2

    expected = [(exact(q + d) - exact(q - d)) / 2e-5 for d in step]
    gradient = jax.jit(jax.grad(js_divergence, argnums=1))(jnp.float32(p), jnp.float32(q))
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


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradients(path, view, *arguments):
    def value(logits, keep, input_keep):
        decisions = soft_decisions(logits, 0.2)
        changes = {"decisions": decisions, "keep": keep, "input_keep": input_keep}
        return resolve(path)(view.replace(logits_after=logits, **changes))

    return jax.value_and_grad(value, argnums=(0, 1, 2))(*arguments)


@every_objective
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("change", ["edited", "unedited", "all cut", "extreme"])
def test_objective_and_its_gradients_are_finite(path, batch, change, edits):
    template, edit = one_of(edits, 0)
    before = edit.before
    if change == "unedited":
        edit = edit.replace(after=before, keep=before.edge.astype(jnp.float32))
    if change == "all cut":
        after = before.replace(weight=0 * before.weight)
        edit = edit.replace(after=after, keep=0 * edit.keep, input_keep=0 * edit.input_keep)
    view = viewed(template, edit, a_batch(batch), hard_decisions)
    size = 1e4 if change == "extreme" else 1.0
    result, gradients = value_and_gradients(
        path, view, size * view.logits_after, edit.keep, edit.input_keep
    )
    assert np.isfinite(result)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def permuted(edit, rows, columns):
    """The edit with its template's nodes reordered: `rows` as sources, `columns` as targets."""
    template, edit = edit

    def model(mlp):
        grids = {name: getattr(mlp, name)[rows][:, columns] for name in ("weight", "edge")}
        ends = {name: getattr(mlp, name)[columns] for name in ("bias", "scale", "shift", "node")}
        return mlp.replace(**grids, **ends)

    keep = edit.keep[rows][:, columns]
    return template, edit.replace(before=model(edit.before), after=model(edit.after), keep=keep)


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
        viewed(*candidate, a_batch(), hard_decisions)
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
        viewed(*candidate, a_batch(), hard_decisions).logits_after
        for candidate in (edit, right, wrong)
    )
    np.testing.assert_allclose(right, original, atol=1e-5)
    assert np.abs(wrong - original).max() > 0.1


def test_a_view_of_known_outputs_keeps_all_of_one_model(edits):
    view = view_number(edits, 0)
    seen = view_of_logits(
        view.before, view.after, view.logits_before, view.logits_after, view.decisions, view.batch
    )
    np.testing.assert_array_equal(seen.keep, view.before.edge)
    assert seen.keep.dtype == jnp.float32
    np.testing.assert_array_equal(seen.input_keep, np.ones(5))
    assert mean_jsd(seen) == mean_jsd(view)


def test_a_divergence_of_weighted_rows_is_their_weighted_mean(edits):
    view = view_number(edits, 0)
    weight = np.geomspace(0.01, 1, ROWS, dtype=np.float32)
    weight /= weight.mean()
    p, q = softmax(view.logits_before), softmax(view.logits_after)
    expected = np.average(jensenshannon(p, q, axis=1) ** 2, weights=weight)
    found = mean_jsd(view.replace(batch=view.batch.replace(weight=jnp.asarray(weight))))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert abs(mean_jsd(view) - expected) > 0.01 * expected


def decided(decisions, y, group, n_groups):
    """A view that has no more than what fairness is about."""
    rows = len(y)
    batch = Table(None, *map(jnp.asarray, (y, group)), jnp.ones(rows), n_groups)
    return EditView(None, None, None, None, None, None, jnp.float32(decisions), batch)


def a_population(n_classes, n_groups, rows=400):
    """Labels, groups and decisions (class numbers) that all depend on one another."""
    rng = np.random.default_rng(n_classes + 10 * n_groups)
    group = rng.integers(0, n_groups, rows)
    y = (rng.integers(0, n_classes, rows) + (rng.random(rows) < 0.2 * group)) % n_classes
    wrong = rng.random(rows) < 0.1 + 0.15 * group
    return y, group, np.where(wrong, rng.integers(0, n_classes, rows), y)


@pytest.mark.parametrize("n_groups", [2, 3, 5])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_equalised_odds_of_hard_decisions_are_those_of_fairlearn(n_classes, n_groups):
    metrics = pytest.importorskip("fairlearn.metrics")
    y, group, decision = a_population(n_classes, n_groups)
    expected = max(
        metrics.equalized_odds_difference(y == c, decision == c, sensitive_features=group)
        for c in range(n_classes)
    )
    view = decided(np.eye(n_classes)[decision], y, group, n_groups)
    assert 0.05 < expected < 0.9
    np.testing.assert_allclose(fairness.equalised_odds(view), expected, rtol=1e-5)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("n_classes", "n_groups"), [(2, 3), (3, 2), (3, 4)])
@pytest.mark.parametrize("name", ["equalised_odds", "equal_opportunity", "demographic_parity"])
def test_fairness_of_many_classes_and_groups_agrees_with_a_loop(name, n_classes, n_groups, soft):
    y, group, decision = a_population(n_classes, n_groups)
    decisions = np.eye(n_classes)[decision]
    if soft:
        decisions = softmax(decisions + np.random.default_rng(0).normal(size=decisions.shape))
    view = decided(decisions, y, group, n_groups)
    expected = ORACLES[f"metanet.objectives.fairness.{name}"](jax.tree.map(np.asarray, view))
    assert expected > 0.01
    np.testing.assert_allclose(getattr(fairness, name)(view), expected, rtol=1e-4)


# Rows are (label, group, decision). A cell without rows has no rate.
CELLS = {
    "one group": ([(0, 0, 0), (1, 0, 1), (1, 0, 0)], 0.0, 0.0, 0.0),
    "one class": ([(0, 0, 0), (0, 0, 1), (0, 1, 0)], 0.5, 0.0, 0.5),
    "only the last class": ([(1, 0, 0), (1, 0, 1), (1, 1, 1)], 0.5, 0.5, 0.5),
    "empty cell": ([(0, 0, 0), (1, 0, 0), (0, 1, 1), (0, 1, 0)], 0.5, 0.0, 0.5),
    "classes apart": ([(0, 0, 0), (1, 1, 1)], 0.0, 0.0, 1.0),
    "no rows": ([], 0.0, 0.0, 0.0),
}


def test_the_floor_of_equalised_odds_is_that_of_decisions_drawn_for_every_row():
    """Of two groups of unequal size, and a third without rows of the second class."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 0, 0, 1, 1], [200, 40, 25, 30, 12])
    group = np.repeat([0, 1, 2, 0, 1], [200, 40, 25, 30, 12])
    table = Table(None, y, group, None, 3)
    rate = np.where(y == 1, 0.6, 0.2)
    decisions = rng.random((400, len(y))) < rate
    gaps = []
    for _ in range(4000):
        drawn = rng.random(len(y)) < rate
        means = [[drawn[(y == label) & (group == one)].mean() for one in groups]
                 for label, groups in ((0, (0, 1, 2)), (1, (0, 1)))]  # fmt: skip
        gaps.append(max(max(one) - min(one) for one in means))
    assert fairness.odds_floor(table, decisions) == pytest.approx(np.mean(gaps), rel=0.03)


@pytest.mark.parametrize("n_groups", [2, 4])
@pytest.mark.parametrize("cells", CELLS)
def test_cells_without_rows_take_no_part_and_leave_gradients_finite(cells, n_groups):
    rows, *expected = CELLS[cells]
    y, group, decision = np.array(rows, np.int32).reshape(-1, 3).T
    view = decided(np.eye(2)[decision], y, group, n_groups)
    for name, value in zip(
        ("equalised_odds", "equal_opportunity", "demographic_parity"), expected, strict=True
    ):
        objective = getattr(fairness, name)

        @jax.jit
        def both(view, logits, objective=objective):
            def on_logits(logits):
                return objective(view.replace(decisions=soft_decisions(logits, 0.2)))

            return objective(view), jax.value_and_grad(on_logits)(logits)

        found, (soft, gradient) = both(view, view.decisions)
        np.testing.assert_allclose(found, value, atol=1e-6, err_msg=name)
        assert np.isfinite(soft) and np.isfinite(gradient).all()
        if value > 0:
            assert gradient.any(), name


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
