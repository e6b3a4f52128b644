"""Post-processing of a population's scores, against calls of the methods themselves."""

import functools
import multiprocessing

import jax
import numpy as np
import pytest
from helpers import apply
from scipy.spatial.distance import jensenshannon

from metanet.core import Stopped
from metanet.data.tabular import Table
from metanet.evaluation import postprocess as module
from metanet.evaluation.postprocess import (
    one_class,
    postprocess,
    postprocess_seconds,
    probabilities,
)
from metanet.evaluation.scores import (
    Infeasible,
    Outcome,
    Scores,
    calibration_error,
    decided,
    eod,
    jsd_label,
    jsd_out,
    one_hot_jsd,
)
from metanet.graphs.packing import pack
from metanet.methods.fairness.cal_eq_odds import cal_eq_odds
from metanet.methods.fairness.fair_cls import fair_cls
from metanet.methods.fairness.group_shift import group_shift
from metanet.methods.fairness.reject_option import reject_option
from metanet.mlp import network
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec
from metanet.objectives.fairness import demographic_parity, equalised_odds

PER_STACK = 4
IDS = np.array([6, 0, 3, 5])


def a_population(n_out=2):
    """Random models of two specs."""
    stacks = []
    for seed, spec in enumerate((MLPSpec((3, 5, n_out)), MLPSpec((3, 4, 6, n_out), norm="layer"))):
        keys = jax.random.split(jax.random.key(seed), PER_STACK)
        params = jax.jit(jax.vmap(functools.partial(network.init, spec)))(keys)
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
def computed(population, tables):
    """(models in their template, probabilities) on each of `tables`."""
    return [module._padded(population[1], IDS, table) for table in tables]


@pytest.fixture
def known(computed, tables, monkeypatch):
    """The probabilities of `tables`, which nobody computes again."""

    def look_up(models, ids, table):
        found = computed[[t is table for t in tables].index(True)]
        return jax.tree.map(lambda leaf: leaf[: len(ids)], found)

    monkeypatch.setattr(module, "_padded", look_up)
    return [p for _, p in computed]


def plain_probabilities(stacks, table):
    found = []
    for index in IDS:
        stack, row = stacks[index // PER_STACK], index % PER_STACK
        params = jax.tree.map(lambda leaf, row=row: leaf[row], stack.params)
        logits = apply(stack.spec, params, stack.activation[row], table.x)
        found.append(np.asarray(jax.nn.softmax(logits))[:, 1])
    return np.array(found)


def test_probabilities_are_those_of_one_model_after_another_in_the_order_of_ids(
    population, tables, computed
):
    for table, (_, found) in zip(tables, computed, strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, plain_probabilities(population[0], table), rtol=1e-4)


def test_models_of_three_classes_have_no_probability_of_the_positive_one(tables):
    _, models = a_population(3)
    with pytest.raises(ValueError, match="classes: found 3"):
        probabilities(models, IDS, tables[0])


def test_the_calibration_error_is_of_what_a_user_sees():
    rng = np.random.default_rng(0)
    p, share = rng.uniform(size=4000), rng.uniform(size=4000)
    y = (rng.uniform(size=4000) < p).astype(int)
    own = np.stack([1 - p, p], 1)
    plain = Outcome(((np.ones(4000), own),), own)
    assert calibration_error(plain, y) < 0.02  # 0 but for chance
    bins = np.minimum((10 * p).astype(int), 9)
    by_hand = sum(abs((p - y)[bins == one].sum()) for one in range(10)) / 4000
    assert calibration_error(plain, y) == pytest.approx(by_hand)
    # Too sure of one class: as far as the mean output is from the share.
    sure = Outcome(((np.ones(4000), np.tile([0.05, 0.95], (4000, 1))),), own)
    assert calibration_error(sure, y) == pytest.approx(0.95 - y.mean())
    # A decision is an output of 0 or 1, drawn or not: its errors of either kind.
    hard = (p > 0.5).astype(float)
    wrong = ((hard == 0) & (y == 1)).mean() + ((hard == 1) & (y == 0)).mean()
    assert calibration_error(decided(hard), y) == pytest.approx(wrong)
    drawn = ((1 - share) * y).mean() + (share * (1 - y)).mean()
    assert calibration_error(decided(share), y) == pytest.approx(drawn)


def nearly_never(fit, test, setting):
    """Shifts of nothing, so that the bound holds for few models."""
    if eod(np.eye(2)[(fit.probability > 0.5).astype(int)], fit.y, fit.group) > setting["bound"]:
        raise Infeasible
    return group_shift(fit, test, {"bound": 1.0})


nearly_never.settings = ({"bound": 0.0}, {"bound": 0.35})


@pytest.mark.parametrize(
    ("method", "indices"),
    [
        (cal_eq_odds, np.arange(3)),
        (reject_option, np.array([10, 0])),
        (group_shift, np.array([0, 4, 8])),
        (nearly_never, np.array([1, 0])),
    ],
)
def test_post_processing_is_a_loop_over_models_and_settings(
    method, indices, population, tables, known, monkeypatch
):
    _, models = population
    if method is cal_eq_odds:
        pytest.importorskip("aif360")
    if method is reject_option:  # in processes of their own
        monkeypatch.setattr(module, "SHARE", 1)
    fit, test = tables
    settings = [method.settings[index] for index in indices]
    sweep = postprocess(method, settings, models, IDS, fit, test, equalised_odds)
    scores = [
        [Scores(p, table.y, table.group) for p in found]
        for table, found in zip(tables, known, strict=True)
    ]
    infeasible = 0
    for row, setting in enumerate(settings):
        for column in range(len(IDS)):
            found = {key: values[row, column] for key, values in vars(sweep).items()}
            try:
                outcome = method(scores[0][column], scores[1][column], setting)
            except Infeasible:
                infeasible += 1
                assert all(np.isnan(value) for value in found.values())
                continue
            probability = scores[1][column].probability
            requirement = found.pop("requirement")  # by the objective, in float32
            assert requirement == pytest.approx(eod(outcome.labels, test.y, test.group), abs=1e-6)
            expected = {
                "jsd": jsd_out(outcome, probability),
                "jsd_label": jsd_label(outcome.labels, probability),
                "accuracy": np.mean([p[y] for p, y in zip(outcome.labels, test.y, strict=True)]),
                "accuracy_original": np.mean((probability > 0.5) == test.y),
                "constant": float(len(np.unique(outcome.labels, axis=0)) == 1),
                "calibration": calibration_error(outcome, test.y),
            }
            assert found == pytest.approx(expected, abs=1e-9)
    assert sweep.jsd.shape == (len(indices), len(IDS))
    assert infeasible < sweep.jsd.size
    if method is nearly_never:
        assert infeasible >= len(IDS)
        assert sweep.selected().tolist() == [0]


def test_a_method_is_measured_by_the_run_s_own_requirement(population, tables, known):
    fit, test = tables
    setting = {"criterion": "demographic_parity", "alpha": 0.05}
    arguments = [setting], population[1], IDS, fit, test
    sweep = postprocess(fair_cls, *arguments, demographic_parity)
    for column, p in enumerate(zip(*known, strict=True)):
        scores = [Scores(one, t.y, t.group) for one, t in zip(p, tables, strict=True)]
        positive = fair_cls(*scores, setting).labels[:, 1]
        rates = [positive[test.group == g].mean() for g in (0, 1)]
        assert sweep.requirement[0, column] == pytest.approx(abs(rates[0] - rates[1]), abs=1e-6)
    odds = postprocess(fair_cls, *arguments, equalised_odds)
    assert (np.abs(odds.requirement - sweep.requirement) > 1e-3).any()


def test_a_sweep_can_be_stopped_after_any_model(population, tables, monkeypatch):
    def stop():
        raise Stopped

    monkeypatch.setattr(module, "SHARE", 1)
    fit, test = tables
    # Of a pool of processes: what had not begun is given up, and none is left.
    with pytest.raises(Stopped):
        postprocess(
            group_shift, group_shift.settings[:1], population[1], IDS, fit, test,
            equalised_odds, stop,
        )  # fmt: skip
    assert not multiprocessing.active_children()


def test_no_settings_give_an_empty_sweep(population, tables, known):
    sweep = postprocess(group_shift, [], population[1], IDS, *tables, equalised_odds)
    assert sweep.jsd.shape == (0, len(IDS))


@pytest.mark.parametrize("count", [1, 2])
def test_seconds_are_positive_for_any_number_of_models(count, population, tables, known):
    first, warm = postprocess_seconds(
        group_shift, {"bound": 0.1}, population[1], IDS[:count], *tables
    )
    assert 0 < warm < 10 and first > 0


def test_models_of_one_decision_are_found(population, tables, monkeypatch):
    rows = np.array([[0.1, 0.5, 0.2], [0.6, 0.9, 0.7], [0.4, 0.6, 0.1]])  # 0.5 decides for 0
    monkeypatch.setattr(module, "_padded", lambda *_: (None, rows))
    assert one_class(population[1], IDS[:3], tables[0]).tolist() == [True, True, False]


def test_the_floor_is_the_divergence_of_one_hot_decisions(population, tables, known):
    p = known[1]
    both = np.stack([1 - p, p], axis=-1)
    decided = np.eye(2)[(p > 0.5).astype(int)]
    expected = jensenshannon(both, decided, axis=-1) ** 2
    found = one_hot_jsd(probabilities(population[1], IDS, tables[1]))
    assert 0 < found == pytest.approx(expected.mean())
