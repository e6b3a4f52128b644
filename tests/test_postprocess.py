"""Post-processing of a population's scores, against calls of the methods themselves."""

import multiprocessing

import jax
import numpy as np
import pytest
from metanet.baselines import fairness
from scipy.spatial.distance import jensenshannon

from metanet.core import Stopped
from metanet.data.tabular import Table
from metanet.evaluation import postprocess as module
from metanet.evaluation.postprocess import (
    one_class,
    one_hot_floor,
    postprocess,
    postprocess_seconds,
    probabilities,
)
from metanet.evaluation.scores import Infeasible, Scores
from metanet.graphs.packing import pack
from metanet.mlp import network
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec

PER_STACK = 4
IDS = np.array([6, 0, 3, 5])


def a_population(n_out=2):
    """Random models of two specs."""
    stacks = []
    for seed, spec in enumerate((MLPSpec((3, 5, n_out)), MLPSpec((3, 4, 6, n_out), norm="layer"))):
        keys = jax.random.split(jax.random.key(seed), PER_STACK)
        params = jax.vmap(lambda key, spec=spec: network.init(spec, key))(keys)
        params = jax.tree.map(lambda leaf: 2 * np.asarray(leaf), params)
        stacks.append(Stack(spec, params, np.arange(PER_STACK, dtype=np.int32)))
    return stacks, pack(stacks)


@pytest.fixture(scope="module")
def population():
    return a_population()


@pytest.fixture(scope="module")
def tables():
    """(fit, test): the label depends on the group and on x, as the group does."""
    rng = np.random.default_rng(0)

    def table(rows):
        group = rng.integers(0, 2, rows)
        x = rng.normal(size=(rows, 3)) + 0.5 * group[:, None]
        y = x[:, 0] - x[:, 1] + 0.7 * group + rng.normal(size=rows) > 0.3
        return Table(
            x.astype(np.float32), y.astype(np.int32), group.astype(np.int32),
            np.ones(rows, np.float32), 2,
        )  # fmt: skip

    return table(300), table(200)


@pytest.fixture(scope="module")
def found_probabilities(population, tables):
    return [probabilities(population[1], IDS, table) for table in tables]


@pytest.fixture
def known(found_probabilities, tables, monkeypatch):
    """The probabilities of `tables`, which nobody computes again."""

    def look_up(models, ids, table):
        return found_probabilities[[t is table for t in tables].index(True)][: len(ids)]

    monkeypatch.setattr(module, "probabilities", look_up)
    return found_probabilities


def plain_probabilities(stacks, table):
    found = []
    for index in IDS:
        stack, row = stacks[index // PER_STACK], index % PER_STACK
        params = jax.tree.map(lambda leaf, row=row: leaf[row], stack.params)
        logits = network.apply(stack.spec, params, stack.activation[row], table.x)
        found.append(np.asarray(jax.nn.softmax(logits))[:, 1])
    return np.array(found)


def test_probabilities_are_those_of_one_model_after_another_in_the_order_of_ids(
    population, tables, found_probabilities
):
    for table, found in zip(tables, found_probabilities, strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, plain_probabilities(population[0], table), rtol=1e-4)


def test_models_of_three_classes_have_no_probability_of_the_positive_one(tables):
    _, models = a_population(3)
    with pytest.raises(ValueError, match="classes: found 3"):
        probabilities(models, IDS, tables[0])


@pytest.mark.parametrize(
    ("name", "indices"),
    [
        ("CalEqOdds", np.arange(3)),
        ("RejectOption", np.array([10, 0])),
        ("Group shift", np.array([0, 4, 8])),
        ("Nearly never", np.array([1, 0])),
    ],
)
def test_post_processing_is_a_loop_over_models_and_settings(
    name, indices, population, tables, known, monkeypatch
):
    _, models = population
    if name == "CalEqOdds":
        pytest.importorskip("aif360")
    if name == "Nearly never":
        # No shift at all, so that the bound holds for few models.
        monkeypatch.setattr(fairness, "SHIFTS", np.zeros(1))
        settings = ({"bound": 0.0}, {"bound": 0.35})
        monkeypatch.setitem(fairness.SETTINGS, name, (fairness.group_shift, settings))
    if name != "RejectOption":
        monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor", Here)
    fit, test = tables
    sweep = postprocess(name, models, IDS, indices, fit, test)
    scores = [
        [Scores(p, table.y, table.group) for p in found]
        for table, found in zip(tables, known, strict=True)
    ]
    method, settings = fairness.SETTINGS[name]
    infeasible = 0
    for row, index in enumerate(indices):
        for column in range(len(IDS)):
            found = {key: values[row, column] for key, values in vars(sweep).items()}
            try:
                outcome = method(scores[0][column], scores[1][column], settings[index])
            except Infeasible:
                infeasible += 1
                assert all(np.isnan(value) for value in found.values())
                continue
            probability = scores[1][column].probability
            expected = {
                "requirement": fairness.eod(outcome.labels, test.y, test.group),
                "jsd": fairness.jsd_out(outcome, probability),
                "jsd_label": fairness.jsd_label(outcome.labels, probability),
                "accuracy": np.mean([p[y] for p, y in zip(outcome.labels, test.y, strict=True)]),
                "accuracy_original": np.mean((probability > 0.5) == test.y),
            }
            assert found == pytest.approx(expected, abs=1e-9)
    assert sweep.jsd.shape == (len(indices), len(IDS))
    assert infeasible < sweep.jsd.size
    if name == "Nearly never":
        assert infeasible >= len(IDS)
        np.testing.assert_array_equal(np.isnan(sweep.points).all(1), np.isnan(sweep.jsd).all(1))
        assert sweep.selected.tolist() == [0]


class Here:
    """A pool of no processes."""

    def __init__(self, workers, mp_context):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def map(self, function, tasks, chunksize):
        yield from map(function, tasks)


def test_a_sweep_can_be_stopped_after_any_model(population, tables):
    def stop():
        raise Stopped

    fit, test = tables
    # Of a pool of processes: what had not begun is given up, and none is left.
    with pytest.raises(Stopped):
        postprocess("Group shift", population[1], IDS, np.array([0]), fit, test, stop)
    assert not multiprocessing.active_children()


def test_no_settings_give_an_empty_sweep(population, tables, known, monkeypatch):
    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor", Here)
    sweep = postprocess("Group shift", population[1], IDS, np.array([], int), *tables)
    assert sweep.jsd.shape == (0, len(IDS))


@pytest.mark.parametrize("count", [1, 2])
def test_seconds_are_positive_for_any_number_of_models(count, population, tables, known):
    first, warm = postprocess_seconds("Group shift", population[1], IDS[:count], 0, *tables)
    assert 0 < warm < 10 and first > 0


def test_models_of_one_decision_are_found(population, tables, monkeypatch):
    rows = np.array([[0.1, 0.5, 0.2], [0.6, 0.9, 0.7], [0.4, 0.6, 0.1]])  # 0.5 decides for 0
    monkeypatch.setattr(module, "probabilities", lambda *_: rows)
    assert one_class(population[1], IDS[:3], tables[0]).tolist() == [True, True, False]


def test_the_floor_is_the_divergence_of_one_hot_decisions(population, tables, known):
    p = known[1]
    both = np.stack([1 - p, p], axis=-1)
    decided = np.eye(2)[(p > 0.5).astype(int)]
    expected = jensenshannon(both, decided, axis=-1) ** 2
    found = one_hot_floor(population[1], IDS, tables[1])
    assert 0 < found == pytest.approx(expected.mean())
