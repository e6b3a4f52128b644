"""The fairness baselines agree with their libraries and do what they promise."""

import json
import logging
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("fairlearn")
pytest.importorskip("aif360")


from metanet import data
from metanet.core import UserError
from metanet.evaluation.scores import Infeasible, Outcome, Scores, eod, jsd_label, jsd_out
from metanet.methods.fairness.cal_eq_odds import cal_eq_odds
from metanet.methods.fairness.error_parity import error_parity
from metanet.methods.fairness.fair_cls import CRITERIA, NOISE, fair_cls
from metanet.methods.fairness.group_shift import group_shift
from metanet.methods.fairness.postprocessed import _with_options
from metanet.methods.fairness.reject_option import GRIDS, reject_option
from metanet.methods.fairness.threshold_opt import threshold_opt


def scores_of(model, table) -> Scores:
    probability = model.predict_proba(table.x)[:, 1].astype(np.float64)
    return Scores(probability, np.asarray(table.y), np.asarray(table.group))


@pytest.fixture(scope="module", params=["logistic", "mlp"])
def pair(request):
    """(fit, test) scores of a model: 600 and 1,200 samples."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    table = data.load("synthetic", None, 0)
    kinds = {"logistic": LogisticRegression(), "mlp": MLPClassifier((16,), max_iter=20)}
    model = kinds[request.param].set_params(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the MLP stops before it has converged
        model.fit(table.train.x, table.train.y)
    return scores_of(model, table.select), scores_of(model, table.test)


def own_labels(scores: Scores) -> np.ndarray:
    return np.eye(2)[(scores.probability > 0.5).astype(int)]


def one_part(labels: np.ndarray) -> Outcome:
    return Outcome(((np.ones(len(labels)), labels),), labels)


def with_probability(scores: Scores, probability) -> Scores:
    return Scores(np.broadcast_to(probability, scores.y.shape).copy(), scores.y, scores.group)


def dataset(scores: Scores):
    import pandas
    from aif360.datasets import BinaryLabelDataset

    frame = pandas.DataFrame({"a": scores.group, "y": scores.y}).astype(float)
    made = BinaryLabelDataset(df=frame, label_names=["y"], protected_attribute_names=["a"])
    made.scores = scores.probability[:, None]
    return made


def thresholded(scores: Scores):
    made = dataset(scores)
    made.labels = (made.scores > 0.5).astype(float)
    return made


GROUPS = ([{"a": 0}], [{"a": 1}])  # in the synthetic data group 1 has more positive labels


METHODS = {
    "ThresholdOpt": threshold_opt,
    "CalEqOdds": cal_eq_odds,
    "RejectOption": reject_option,
    "FairCls": fair_cls,
    "Group shift": group_shift,
    "Error parity": error_parity,
}

# What the methods promise.


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_gives_distributions_or_is_infeasible(name, pair):
    fit, test = pair
    method, settings = METHODS[name], METHODS[name].settings
    assert json.loads(json.dumps(settings)) == list(settings)
    ran = 0
    for setting in settings:
        try:
            outcome = method(fit, test, setting)
        except Infeasible as reason:
            assert str(reason)
            continue
        ran += 1
        weights = sum(weight for weight, _ in outcome.outputs)
        np.testing.assert_allclose(weights, 1, atol=1e-12)
        for part in (outcome.labels, *(part for _, part in outcome.outputs)):
            assert part.shape == (len(test.y), 2) and (part >= 0).all() and (part <= 1).all()
            np.testing.assert_allclose(part.sum(1), 1, atol=1e-12)
        for jsd in (
            jsd_out(outcome, test.probability),
            jsd_label(outcome.labels, test.probability),
        ):
            assert 0 <= jsd <= np.log(2)
    assert ran


@pytest.mark.parametrize("name", METHODS)
def test_the_labels_of_test_are_never_read(name, pair):
    fit, test = pair
    method, settings = METHODS[name], METHODS[name].settings
    hidden = Scores(test.probability, np.full_like(test.y, -1), test.group)
    setting = {**settings[0], "bound": 0.1} if "bound" in settings[0] else settings[0]
    np.testing.assert_array_equal(
        method(fit, test, setting).labels, method(fit, hidden, setting).labels
    )


@pytest.mark.parametrize("name", METHODS)
def test_degenerate_models_and_data_are_infeasible(name, pair):
    fit, test = pair
    method, settings = METHODS[name], METHODS[name].settings
    nan = fit.probability.copy()
    nan[0] = np.nan
    no_positives = Scores(fit.probability, np.where(fit.group == 0, 0, fit.y), fit.group)
    unseen = Scores(test.probability, test.y, test.group + 1)
    for bad_fit, bad_test in (
        (with_probability(fit, 0.2), test),  # constant
        (with_probability(fit, fit.probability / 2), test),  # predicts one class
        (with_probability(fit, nan), test),
        (with_probability(fit, fit.probability * 3), test),
        (no_positives, test),
        (fit, unseen),
    ):
        with pytest.raises(Infeasible):
            method(bad_fit, bad_test, settings[-1])


def test_methods_of_two_groups_refuse_three(pair):
    fit, test = pair
    three = Scores(fit.probability, fit.y, np.arange(len(fit.y)) % 3)
    for name in ("RejectOption", "CalEqOdds"):
        method, settings = METHODS[name], METHODS[name].settings
        with pytest.raises(Infeasible, match="two groups, not 3"):
            method(three, test, settings[0])


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("ThresholdOpt", "fairlearn.postprocessing"),
        ("CalEqOdds", "aif360.algorithms.postprocessing"),
        ("FairCls", "scipy.optimize"),
    ],
)
def test_a_missing_library_is_one_line_for_the_user(name, module, pair, monkeypatch):
    method, settings = METHODS[name], METHODS[name].settings
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"pip install -e '.\[baselines\]'") as error:
        method(*pair, settings[0])
    assert "\n" not in str(error.value)


def test_the_libraries_leave_logging_as_it_was(pair, recwarn):
    root = logging.getLogger()
    before = (list(root.handlers), logging.root.manager.disable)
    cal_eq_odds(*pair, {"cost": "fnr"})
    threshold_opt(*pair, {})
    assert (list(root.handlers), logging.root.manager.disable) == before
    assert not recwarn.list


# The metrics.


def test_unchanged_labels_cost_nothing_and_one_hot_output_pays_the_floor(pair):
    _, test = pair
    labels = own_labels(test)
    assert jsd_label(labels, test.probability) == 0
    assert jsd_label(1 - labels, test.probability) == pytest.approx(np.log(2))
    # JSD of (1, 0) and (q, 1 - q), by hand.
    q = np.maximum(test.probability, 1 - test.probability)
    m = (1 + q) / 2
    by_hand = 0.5 * (-np.log(m) + q * np.log(q / m) + (1 - q) * np.log(2))
    assert jsd_out(one_part(labels), test.probability) == pytest.approx(by_hand.mean(), abs=1e-12)
    own = Outcome(
        ((np.ones(len(q)), np.stack([1 - test.probability, test.probability], 1)),), labels
    )
    assert jsd_out(own, test.probability) == 0


@pytest.mark.parametrize("name", ["ThresholdOpt", "FairCls", "RejectOption"])
def test_divergences_of_random_decisions_are_means_over_draws(name, pair):
    """What a user of a random classifier sees is a label, not its distribution."""
    fit, test = pair
    setting = {"ThresholdOpt": {}, "FairCls": {"criterion": CRITERIA[1], "alpha": 0.001},
               "RejectOption": {"search": "default", "bound": 0.05}}[name]  # fmt: skip
    outcome = METHODS[name](fit, test, setting)
    rng = np.random.default_rng(0)
    drawn = [np.eye(2)[(rng.random(len(test.y)) < outcome.labels[:, 1]).astype(int)]
             for _ in range(200)]  # fmt: skip
    jsd = np.mean([jsd_out(one_part(labels), test.probability) for labels in drawn])
    assert jsd_out(outcome, test.probability) == pytest.approx(jsd, abs=1e-3)
    moved = np.mean([(labels != own_labels(test)).any(1).mean() for labels in drawn])
    found = jsd_label(outcome.labels, test.probability)
    assert found == pytest.approx(np.log(2) * moved, abs=2e-3)
    random = ((outcome.labels > 0.01) & (outcome.labels < 0.99)).any()
    assert random == (name != "RejectOption")


def test_jsd_is_that_of_the_objective(pair):
    from metanet.mlp.network import js_divergence

    fit, _ = pair
    p = np.clip(fit.probability, 1e-6, 1 - 1e-6)
    q = np.roll(p, 1)
    logits = [np.log(np.stack([1 - x, x], 1)) for x in (p, q)]
    outcome = one_part(np.stack([1 - q, q], 1))
    assert jsd_out(outcome, p) == pytest.approx(float(js_divergence(*logits).mean()), abs=1e-6)


def test_eod_of_one_hot_labels_is_fairlearns(pair):
    from fairlearn.metrics import equalized_odds_difference

    for scores, groups in ((pair[0], 2), (pair[1], 2), (pair[1], 5)):
        group = scores.group if groups == 2 else np.arange(len(scores.y)) % groups
        theirs = equalized_odds_difference(
            scores.y, scores.probability > 0.5, sensitive_features=group
        )
        assert eod(own_labels(scores), scores.y, group) == pytest.approx(theirs, abs=1e-12)


def test_an_empty_cell_is_left_out_where_fairlearn_gives_it_the_rate_0():
    """The one difference between the two, in both implementations of the measure."""
    import jax.numpy as jnp
    from fairlearn.metrics import equalized_odds_difference

    from metanet.data.tabular import Table
    from metanet.objectives.base import EditView
    from metanet.objectives.fairness import equalised_odds

    y = np.array([1, 1, 1, 0, 0, 0, 0, 0])  # group 1 has no positives
    group = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    decision = np.array([1, 1, 1, 0, 0, 1, 0, 0])
    labels = np.eye(2)[decision]
    table = Table(jnp.zeros((8, 1)), jnp.array(y), jnp.array(group), jnp.ones(8), 2)
    view = EditView(*[None] * 6, decisions=jnp.array(labels), batch=table)
    false_positive_rates = [0 / 2, 1 / 3]
    for ours in (eod(labels, y, group), float(equalised_odds(view))):
        assert ours == pytest.approx(np.ptp(false_positive_rates), abs=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the empty cell
        theirs = equalized_odds_difference(y, decision, sensitive_features=group)
    assert theirs == 1.0 - 0.0  # the true positive rate of group 0, and that of none


def test_eod_by_hand_and_at_the_edges():
    labels = np.array([[0.5, 0.5], [0.25, 0.75], [0, 1], [1, 0], [1, 0]])
    y, group = np.array([1, 1, 1, 0, 0]), np.array([0, 0, 1, 0, 1])
    assert eod(labels, y, group) == pytest.approx(1 - 0.625)
    assert eod(labels, y, np.array([0, 0, 0, 1, 1])) == 0  # no cell to compare with
    assert eod(labels, y, np.zeros(5, int)) == 0  # one group
    assert eod(labels[:3], y[:3], group[:3]) == pytest.approx(1 - 0.625)  # no negatives at all
    # Group 2 has positives only: it counts in the true positive rate.
    assert eod(np.eye(2)[[1, 0, 1, 0, 0]], y, np.array([0, 2, 1, 0, 1])) == 1
    assert eod(np.zeros((0, 2)), np.zeros(0, int), np.zeros(0, int)) == 0


# The libraries themselves.


def test_threshold_opt_is_fairlearns_exact_distribution(pair):
    from fairlearn.postprocessing import ThresholdOptimizer
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Model(ClassifierMixin, BaseEstimator):
        def __init__(self):
            self.fitted_ = True

        def fit(self, x, y):
            return self

        def predict_proba(self, x):
            return np.stack([1 - x[:, 0], x[:, 0]], axis=1)

    fit, test = pair
    optimizer = ThresholdOptimizer(
        estimator=Model(),
        constraints="equalized_odds",
        prefit=True,
        predict_method="predict_proba",
    )
    optimizer.fit(fit.probability[:, None], fit.y, sensitive_features=fit.group)
    pmf = optimizer._pmf_predict(test.probability[:, None], sensitive_features=test.group)
    labels = threshold_opt(fit, test, {}).labels
    np.testing.assert_allclose(labels, pmf, atol=1e-12)
    drawn = [
        optimizer.predict(test.probability[:, None], sensitive_features=test.group, random_state=i)
        for i in range(100)
    ]
    np.testing.assert_allclose(np.mean(drawn, 0), labels[:, 1], atol=0.3)
    on_fit = threshold_opt(fit, fit, {}).labels
    assert eod(on_fit, fit.y, fit.group) < 1e-3 < eod(own_labels(fit), fit.y, fit.group)


@pytest.mark.parametrize(
    ("search", "bound"),
    [("pinned", b) for b in (0.01, 0.03, 0.05, 0.1, 0.2)]
    + [("coarse", b) for b in (0.01, 0.05, 0.1)]
    + [("upper", b) for b in (0.1, 0.2)],
)
def test_reject_option_is_aif360s(search, bound, pair, monkeypatch):
    from aif360.algorithms.postprocessing import RejectOptionClassification

    monkeypatch.setitem(GRIDS, "coarse", (0.01, 0.99, 11, 12))
    monkeypatch.setitem(GRIDS, "upper", (0.7, 0.99, 3, 12))
    low, high, thresholds, margins = GRIDS[search]
    fit, test = pair
    library = RejectOptionClassification(
        *GROUPS,
        low_class_thresh=low,
        high_class_thresh=high,
        num_class_thresh=thresholds,
        num_ROC_margin=margins,
        metric_name="Average odds difference",
        metric_ub=bound,
        metric_lb=-bound,
    )
    setting = {"search": search, "bound": bound}
    try:
        ours = reject_option(fit, test, setting)
    except Infeasible:
        with pytest.warns(UserWarning, match="fairness constraints"):
            library.fit(dataset(fit), thresholded(fit))
        return
    library.fit(dataset(fit), thresholded(fit))
    np.testing.assert_array_equal(ours.labels[:, 1], library.predict(dataset(test)).labels[:, 0])


def test_the_default_search_is_aif360s_default():
    from aif360.algorithms.postprocessing import RejectOptionClassification

    library = RejectOptionClassification(*GROUPS)
    found = (
        library.low_class_thresh,
        library.high_class_thresh,
        library.num_class_thresh,
        library.num_ROC_margin,
    )
    assert GRIDS["default"] == found


@pytest.mark.parametrize("cost", ["fnr", "fpr", "weighted"])
def test_cal_eq_odds_is_aif360s(cost, pair):
    from aif360.algorithms.postprocessing import CalibratedEqOddsPostprocessing

    fit, test = pair
    library = CalibratedEqOddsPostprocessing(*GROUPS, cost_constraint=cost, seed=0)
    library.fit(dataset(fit), thresholded(fit))
    rates = (library.unpriv_mix_rate, library.priv_mix_rate)
    if not all(0 <= rate <= 1 for rate in rates):
        with pytest.raises(Infeasible, match="mixing rate"):
            cal_eq_odds(fit, test, {"cost": cost})
        return
    ours = cal_eq_odds(fit, test, {"cost": cost})
    (stay, kept), (mix, base) = ours.outputs
    np.testing.assert_allclose(mix, np.asarray(rates)[test.group], atol=1e-12)
    np.testing.assert_array_equal(kept[:, 1], test.probability)
    drawn = library.predict(dataset(test))
    moved = drawn.scores[:, 0] != test.probability
    np.testing.assert_allclose(drawn.scores[moved, 0], base[moved, 1])
    assert abs(moved.mean() - mix.mean()) < 0.05
    expected = stay * (test.probability >= 0.5) + mix * (base[:, 1] >= 0.5)
    np.testing.assert_allclose(ours.labels[:, 1], expected)
    draws = [library_draw(fit, cost, seed, test) for seed in range(30)]
    drawn_jsd = np.mean([jsd_out(one_part(d), test.probability) for d in draws])
    assert jsd_out(ours, test.probability) == pytest.approx(drawn_jsd, abs=3e-3)


def library_draw(fit: Scores, cost: str, seed: int, test: Scores) -> np.ndarray:
    from aif360.algorithms.postprocessing import CalibratedEqOddsPostprocessing

    library = CalibratedEqOddsPostprocessing(*GROUPS, cost_constraint=cost, seed=seed)
    library.fit(dataset(fit), thresholded(fit))
    score = library.predict(dataset(test)).scores[:, 0]
    return np.stack([1 - score, score], axis=1)


# The methods written from papers, and our own.


def rates_by_score(labels: np.ndarray, scores: Scores, criterion: str) -> np.ndarray:
    """[rates, groups]: what the linear programme constrains, the scores taken as the truth."""
    p = scores.probability
    kinds = [np.ones_like(p)] if criterion == "demographic_parity" else [1 - p, p]
    return np.array(
        [
            [np.average(labels[rows, 1], weights=kind[rows]) for rows in members(scores)]
            for kind in kinds
        ]
    )


def members(scores: Scores) -> list[np.ndarray]:
    return [scores.group == g for g in np.unique(scores.group)]


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.1])
def test_fair_cls_meets_its_constraint_on_the_fit_data(criterion, alpha, pair):
    _, two = pair
    n = len(two.y)
    three = Scores(two.probability, two.y, np.where(np.arange(n) % 2, two.group, 2))
    for scores in (two, three):
        before = np.ptp(rates_by_score(own_labels(scores), scores, criterion), axis=1).max()
        labels = fair_cls(scores, scores, {"criterion": criterion, "alpha": alpha}).labels
        # The programme has one draw of the noise, the labels are the distribution over it: here are
        # the labels of that draw, which differ from the programme's in a sample or two per cell.
        up = labels[:, 1] < 0.5
        z = np.where(up, 2 - np.sqrt(8 * labels[:, 1]), np.sqrt(8 * labels[:, 0]) - 2)
        noise = np.random.default_rng(0).uniform(-1, 1, (2, n))
        drawn = np.eye(2)[(z + noise[1] - noise[0] < 0).astype(int)]
        after = np.ptp(rates_by_score(drawn, scores, criterion), axis=1).max()
        assert after <= alpha + 0.015 and after <= before


def test_fair_cls_pays_as_little_as_thresholds_for_parity(pair):
    """Against all pairs of thresholds with rates within alpha: no expected accuracy is lost."""
    fit, _ = pair
    setting = {"criterion": "demographic_parity", "alpha": 0.05}
    labels = fair_cls(fit, fit, setting).labels[:, 1]
    gain = 2 * fit.probability - 1
    rate, value = [], []
    for rows in members(fit):
        ordered = np.sort(gain[rows])[::-1]
        count = np.arange(len(ordered) + 1)
        rate.append(count / len(ordered))
        value.append(np.concatenate([[0], np.cumsum(ordered)]))
    allowed = np.abs(rate[0][:, None] - rate[1]) <= 0.05
    best = np.where(allowed, value[0][:, None] + value[1], -np.inf).max()
    assert labels @ gain == pytest.approx(best, abs=1.0)  # the value of two samples


@pytest.mark.parametrize("criterion", CRITERIA)
def test_fair_cls_without_a_constraint_changes_nothing(criterion, pair):
    fit, test = pair
    labels = fair_cls(fit, test, {"criterion": criterion, "alpha": 1.0}).labels
    decided = np.abs(test.probability - 0.5) > NOISE
    np.testing.assert_array_equal(labels[decided], own_labels(test)[decided])
    assert jsd_label(labels, test.probability) < 1e-3


def test_fair_cls_noise_has_the_distribution_of_draws(pair):
    fit, _ = pair
    labels = fair_cls(fit, fit, {"criterion": "equalized_odds", "alpha": 0.001}).labels
    # Where odds are to be equal one group's decision is left to the noise.
    assert ((labels[:, 1] > 0.01) & (labels[:, 1] < 0.99)).any()
    scale = np.maximum(fit.probability, 1 - fit.probability).mean() * NOISE
    p = np.array([0.5 - 1.5 * scale / 2, 0.5 - 0.25 * scale, 0.5, 0.5 + 0.4 * scale])
    near = Scores(p, np.zeros(4, int), np.zeros(4, int))
    ours = fair_cls(fit, near, {"criterion": "equalized_odds", "alpha": 1.0}).labels
    noise = np.random.default_rng(1).uniform(-scale, scale, (2, 200_000, 1))
    drawn = (1 - p + noise[1] < p + noise[0]).mean(0)
    np.testing.assert_allclose(ours[:, 1], drawn, atol=5e-3)


def test_group_shift_with_bound_one_is_the_identity(pair):
    fit, test = pair
    outcome = group_shift(fit, test, {"bound": 1.0})
    np.testing.assert_array_equal(outcome.outputs[0][1][:, 1], test.probability)
    np.testing.assert_array_equal(outcome.labels, own_labels(test))
    assert jsd_out(outcome, test.probability) == 0


@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("bound", [0.03, 0.1])
def test_group_shift_is_the_best_of_all_shifts(groups, bound, pair):
    fit, _ = pair
    group = fit.group if groups == 2 else np.where(np.arange(len(fit.y)) % 2, fit.group, 2)
    scores = Scores(fit.probability, fit.y, group)
    shifts = np.linspace(-2, 2, 17)
    outcome = group_shift(scores, scores, {"bound": bound}, limit=2.0, count=17)
    found = jsd_out(outcome, scores.probability)
    logit = np.log(scores.probability / (1 - scores.probability))
    best = np.inf
    for numbers in np.stack(np.meshgrid(*[shifts] * groups), -1).reshape(-1, groups):
        p = 1 / (1 + np.exp(-logit - numbers[group]))
        labels = np.eye(2)[(p > 0.5).astype(int)]
        if eod(labels, scores.y, group) <= bound:
            output = Outcome(((np.ones(len(p)), np.stack([1 - p, p], 1)),), labels)
            best = min(best, jsd_out(output, scores.probability))
    assert found == pytest.approx(best, abs=1e-9)


def test_group_shift_meets_its_bound_on_the_fit_data(pair):
    fit, _ = pair
    costs = []
    for bound in (0.02, 0.05, 0.1, 0.2):
        outcome = group_shift(fit, fit, {"bound": bound})
        assert eod(outcome.labels, fit.y, fit.group) <= bound + 1e-9
        costs.append(jsd_out(outcome, fit.probability))
    assert costs == sorted(costs, reverse=True)


def test_group_shift_counts_a_sample_of_weight_two_as_two(pair):
    fit, test = pair
    # Rates are within cells: a whole cell counts twice.
    weight = np.where((fit.y == 1) & (fit.group == 1), 2, 1)
    rows = np.repeat(np.arange(len(fit.y)), weight)
    repeated = Scores(fit.probability[rows], fit.y[rows], fit.group[rows])
    weighted = Scores(fit.probability, fit.y, fit.group, weight)
    ours = group_shift(weighted, test, {"bound": 0.03}).outputs[0][1]
    expected = group_shift(repeated, test, {"bound": 0.03}).outputs[0][1]
    np.testing.assert_array_equal(ours, expected)


def test_no_grid_point_within_the_bound_is_infeasible(pair):
    fit, test = pair
    with pytest.raises(Infeasible, match="within -1"):
        reject_option(fit, test, {"search": "default", "bound": -1})
    with pytest.raises(Infeasible, match="within -1"):
        group_shift(fit, test, {"bound": -1})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tick": 3}, "config key recipe.options.tick: found a key that nothing reads"),
        ({"ticks": "many"}, "config key recipe.options.ticks: found 'many', expected a whole"),
        ({"target": "logits"}, "config key recipe.options.target: found 'logits', expected one of"),
    ],
)
def test_a_bad_option_of_a_method_is_one_line(options, said):
    with pytest.raises(UserError, match=said):
        _with_options(error_parity, options, "recipe")


def test_options_of_a_method_reach_it_in_another_process(pair):
    import pickle

    fit, test = pair
    method = pickle.loads(
        pickle.dumps(_with_options(error_parity, {"target": "outputs"}, "recipe"))
    )
    setting = {"tolerance": 0.05}
    expected = error_parity(fit, test, setting, target="outputs")
    np.testing.assert_array_equal(method(fit, test, setting).labels, expected.labels)
