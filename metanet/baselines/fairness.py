"""Post-processing baselines of the fairness task: adapters to the libraries and papers they cite.

A method is a function `method(fit, test, setting) -> Outcome`: it reads the scores, labels and
groups of `fit` and decides on the samples of `test`, whose `y` it never reads. Everything is binary
classification on plain numpy arrays; divergences are in nats. All methods know each sample's group.
One-hot outputs pay a floor of divergence even where they agree with the original's labels.
"""

import contextlib
import dataclasses
import logging
import warnings

import numpy as np

from metanet.core import UserError

# RejectOption: thresholds from, to, how many; margins for each. aif360's default moves the
# threshold to maximise balanced accuracy, which flips many labels where positives are rare.
GRIDS = {"default": (0.01, 0.99, 100, 50), "pinned": (0.5, 0.501, 1, 50)}
CRITERIA = ("demographic_parity", "equalized_odds")
NOISE = 1e-4  # FairCls: of the risks, relative
SHIFTS = np.linspace(-4, 4, 401)  # Group shift: what may be added to the logits
SWEEP = (0.001, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2)


class Infeasible(Exception):
    """The method has no result for this model and setting; the message says why. Count it."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """What is known of n samples.

    probability: [n] float64 in [0, 1], P(y = 1). y: [n] int, 0 or 1. group: [n] int from 0.
    weight: what a sample counts in means over the data, [n]; only Group shift may be fitted on
      samples of unequal weight.
    """

    probability: np.ndarray
    y: np.ndarray
    group: np.ndarray
    weight: np.ndarray | float = 1.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a method says about m samples.

    outputs: its own output, a mixture: pairs of a weight [m] (they sum to 1) and a distribution
      over the classes [m, 2]. labels: [m, 2], the distribution of the decision: one-hot where the
      method is deterministic, exact (never sampled) where it randomises.
    """

    outputs: tuple[tuple[np.ndarray, np.ndarray], ...]
    labels: np.ndarray


def _both(positive: np.ndarray) -> np.ndarray:
    """[..., 2] from P(y = 1), or from a decision, [...]."""
    positive = np.asarray(positive, np.float64)
    return np.stack([1 - positive, positive], axis=-1)


def _decided(positive: np.ndarray) -> Outcome:
    """A method whose output is its decision, P(label = 1) [m]."""
    return Outcome(((np.ones(len(positive)), _both(positive)),), _both(positive))


def _jsd(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in nats, [...], of distributions [..., 2]; 0 log 0 is 0."""
    log_p, log_q, log_m = (np.log(np.maximum(x, 1e-300)) for x in (p, q, (p + q) / 2))
    return np.maximum(0.5 * (p * (log_p - log_m) + q * (log_q - log_m)).sum(-1), 0.0)


def jsd_out(outcome: Outcome, probability: np.ndarray) -> float:
    """Mean JSD (nats) of a method's output, part by part, and the original's `probability` [m]."""
    return float(sum((w * _jsd(part, _both(probability))).mean() for w, part in outcome.outputs))


def jsd_label(labels: np.ndarray, probability: np.ndarray) -> float:
    """Mean JSD (nats) of `labels` [m, 2] and the original's label, `probability` [m] > 1/2."""
    return float(_jsd(labels, _both(probability > 0.5)).mean())


def one_hot_jsd(probability: np.ndarray) -> float:
    """Mean JSD (nats) of the decision, as a one-hot distribution, to `probability` [...]."""
    return float(_jsd(_both(probability > 0.5), _both(probability)).mean())


def eod(labels: np.ndarray, y: np.ndarray, group: np.ndarray) -> float:
    """Equalised odds difference of the label distributions `labels` [m, 2] (paper eq. 9).

    The largest difference of two groups in expected true or false positive rate. A group without
    samples of a class is left out there; a class with fewer than two groups left contributes 0. So
    the value is in [0, 1], never NaN.
    """
    cells = [[labels[(y == c) & (group == g), 1] for g in np.unique(group)] for c in (0, 1)]
    rates = [[cell.mean() for cell in row if len(cell)] or [0.0] for row in cells]
    return float(max(max(row) - min(row) for row in rates))


def _groups(fit: Scores, test: Scores) -> np.ndarray:
    """The groups, sorted. Raises Infeasible for models and data with which no method can work."""
    p = np.concatenate([fit.probability, test.probability])
    if not (np.isfinite(p).all() and (np.abs(p - 0.5) <= 0.5).all()):
        raise Infeasible("a probability is not a number in [0, 1]")
    if np.unique(fit.probability > 0.5).size < 2:
        raise Infeasible("the model predicts one class only")
    for g in np.union1d(fit.group, test.group):
        if np.unique(fit.y[fit.group == g]).size < 2:
            raise Infeasible(f"the data to fit on lacks a class in group {g}")
    return np.unique(fit.group)


def _two_groups(fit: Scores, test: Scores) -> tuple[int, int]:
    """(privileged, other): the group with more positive labels in `fit`, and the other."""
    groups = _groups(fit, test)
    if len(groups) != 2:
        raise Infeasible(f"the method is for two groups, not {len(groups)}")
    other, privileged = sorted(groups.tolist(), key=lambda g: fit.y[fit.group == g].mean())
    return privileged, other


@contextlib.contextmanager
def _library():
    """Where an optional library is imported and used: quiet, and UserError if it is missing."""
    root, level, handler = logging.getLogger(), logging.root.manager.disable, logging.NullHandler()
    root.addHandler(handler)  # or the notices at import would install one for good
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        missing = f"fairness baselines: {error.name} not found"
        raise UserError(f"{missing}; install with pip install 'metanet[baselines]'") from error
    finally:
        logging.disable(level)
        root.removeHandler(handler)


def threshold_opt(fit: Scores, test: Scores, setting: dict) -> Outcome:
    """Equal odds by random thresholds (Hardt et al. 2016), by fairlearn. One point: no setting."""
    _groups(fit, test)
    with _library():
        from fairlearn.postprocessing import ThresholdOptimizer
        from sklearn.linear_model import LinearRegression

        model = LinearRegression()  # which predicts its input, the probability
        model.coef_, model.intercept_ = np.ones(1), 0.0
        optimizer = ThresholdOptimizer(
            estimator=model, constraints="equalized_odds", prefit=True, predict_method="predict"
        ).fit(fit.probability[:, None], fit.y, sensitive_features=fit.group)
        x = test.probability[:, None]
        return _decided(optimizer._pmf_predict(x, sensitive_features=test.group)[:, 1])


def _above(values: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """How many of `values` [n] are above each threshold [...]."""
    return len(values) - np.searchsorted(np.sort(values), threshold, side="right")


def reject_option(fit: Scores, test: Scores, setting: dict) -> Outcome:
    """Reject option classification (Kamiran et al. 2012), aif360's grid search tabulated.

    Within a margin of the threshold the privileged group gets class 0 and the other class 1. Like
    RejectOptionClassification, which is thousands of times slower, takes the best balanced accuracy
    at an |average odds difference| <= bound. Setting: search, a name in GRIDS; bound.
    """
    privileged, other = _two_groups(fit, test)
    low, high, thresholds, margins = GRIDS[setting["search"]]
    threshold = np.linspace(low, high, thresholds)
    margin = np.stack([np.linspace(0, min(t, 1 - t), margins) for t in threshold])
    above = {privileged: threshold[:, None] + margin, other: threshold[:, None] - margin}
    right, gap = [], []  # per class: the rate of right decisions, the difference of positive rates
    for c in (0, 1):
        cells = [fit.probability[(fit.group == g) & (fit.y == c)] for g in above]
        positive = [_above(cell, above[g]) for cell, g in zip(cells, above, strict=True)]
        size, count = len(cells[0]) + len(cells[1]), positive[0] + positive[1]
        right.append((count if c else size - count) / size)
        gap.append(positive[1] / len(cells[1]) - positive[0] / len(cells[0]))
    feasible = np.abs(0.5 * (gap[0] + gap[1])) <= setting["bound"]
    if not feasible.any():
        raise Infeasible(f"no margin has an average odds difference within {setting['bound']}")
    score = np.where(feasible, 0.5 * (right[1] + right[0]), -np.inf)
    best = np.unravel_index(np.argmax(score), score.shape)
    cut = np.where(test.group == privileged, above[privileged][best], above[other][best])
    return _decided(test.probability > cut)


def reject_option_by_aif360(fit: Scores, test: Scores, bound: float) -> np.ndarray:
    """What `reject_option` does at its default search, by aif360 itself, for timing: labels [m]."""
    privileged, other = _two_groups(fit, test)
    with _library():
        import pandas
        from aif360.algorithms.postprocessing import RejectOptionClassification
        from aif360.datasets import BinaryLabelDataset

    def dataset(scores, labels):
        frame = pandas.DataFrame({"group": scores.group, "y": labels}, dtype=np.float64)
        made = BinaryLabelDataset(df=frame, label_names=["y"], protected_attribute_names=["group"])
        made.scores = scores.probability[:, None]
        return made

    with _library():
        method = RejectOptionClassification(
            [{"group": other}], [{"group": privileged}], metric_name="Average odds difference",
            metric_ub=bound, metric_lb=-bound,
        )  # fmt: skip
        decided = dataset(fit, fit.probability > 0.5)
        method.fit(dataset(fit, fit.y), decided)
        return method.predict(dataset(test, test.probability > 0.5)).labels[:, 0]


def cal_eq_odds(fit: Scores, test: Scores, setting: dict) -> Outcome:
    """Calibrated equalised odds (Pleiss et al. 2017), by aif360.

    With a probability `mix` a sample of the group with the lower cost has its group's base rate for
    a score; other scores stay. Where the costs cannot be made equal mix is not in [0, 1], and
    aif360 goes on. Setting: cost, "fnr", "fpr" or "weighted".
    """
    privileged, other = _two_groups(fit, test)
    with _library():
        import pandas
        from aif360.algorithms.postprocessing import CalibratedEqOddsPostprocessing
        from aif360.datasets import BinaryLabelDataset

        data = BinaryLabelDataset(
            df=pandas.DataFrame(dataclasses.asdict(fit), dtype=np.float64),
            label_names=["y"],
            scores_names=["probability"],
            protected_attribute_names=["group"],
        )
        method = CalibratedEqOddsPostprocessing(
            [{"group": other}], [{"group": privileged}], cost_constraint=setting["cost"]
        ).fit(data, data)  # of the predictions it reads the scores only
    rates = method.priv_mix_rate, method.unpriv_mix_rate  # one of them is 0
    if not all(0 <= rate <= 1 for rate in rates):
        raise Infeasible(f"the mixing rate is {sum(rates):.3g}, not in [0, 1]")
    first = test.group == privileged
    mix = np.where(first, *rates)
    base = np.where(first, method.base_rate_priv, method.base_rate_unpriv)
    labels = _both((1 - mix) * (test.probability >= 0.5) + mix * (base >= 0.5))
    return Outcome(((1 - mix, _both(test.probability)), (mix, _both(base))), labels)


def fair_cls(fit: Scores, test: Scores, setting: dict) -> Outcome:
    """The most accurate decisions with rates within alpha of each other, by a linear programme.

    Demographic parity: Xian, Yin and Zhao 2023, "Fair and Optimal Classification via
    Post-Processing". Equalised odds: Xian and Zhao 2024, "A Unified Post-Processing Framework for
    Group Fairness in Classification". The scores are taken as calibrated; no label is read.

        minimise sum_i (1 - 2 p_i) d_i   so that   |sum_i v_ki d_i - q| <= alpha / 2   for cells k

    over d in [0, 1] and a free q per rate. Cells are groups (parity) or groups by class (odds), v_k
    their distribution over samples. The dual makes new risks, linear in p. As in the papers' code
    uniform noise on them randomises where p does not decide; labels are the exact distribution over
    it. Setting: criterion, in CRITERIA; alpha.
    """
    groups = _groups(fit, test)
    with _library():
        import scipy.sparse
        from scipy.optimize import linprog
    n, rates = len(fit.probability), 1 + CRITERIA.index(setting["criterion"])

    def cells(scores):  # [cells, samples]
        member = (scores.group == groups[:, None]).astype(np.float64)
        p = scores.probability
        return np.concatenate([member * (1 - p), member * p]) if rates == 2 else member

    mass = cells(fit).mean(axis=1, keepdims=True)
    if not (mass > 0).all():
        raise Infeasible("the scores give a class no mass in some group")
    free = -n * np.repeat(np.eye(rates), len(groups), axis=0)
    rows = np.concatenate([cells(fit) / mass, free, -np.eye(len(mass))], axis=1)
    scale = np.maximum(fit.probability, 1 - fit.probability).mean() * NOISE
    noise = np.random.default_rng(0).uniform(-scale, scale, (2, n))
    cost = np.pad(1 - 2 * fit.probability + noise[1] - noise[0], (0, rates + len(mass)))
    slack = n * setting["alpha"] / 2
    bounds = [(0, 1)] * n + [(None, None)] * rates + [(-slack, slack)] * len(mass)
    sparse, zero = scipy.sparse.csr_array(rows), np.zeros(len(mass))
    solved = linprog(cost, A_eq=sparse, b_eq=zero, bounds=bounds, method="highs")
    if solved.status != 0:
        raise Infeasible(f"linear programme: {solved.message}")
    difference = 1 - 2 * test.probability - solved.eqlin.marginals @ (cells(test) / mass)
    # The difference of two uniform variables has a triangular distribution on [-2, 2] x scale.
    z = np.clip(difference / scale, -2, 2)
    return _decided(np.where(z < 0, 1 - (2 + z) ** 2 / 8, (2 - z) ** 2 / 8))


def group_shift(fit: Scores, test: Scores, setting: dict) -> Outcome:
    """One number per group, added to its logits: not in the paper, a strong baseline all the same.

    The numbers of SHIFTS with the least mean JSD on `fit` whose EOD on its labels is within the
    bound; any number of groups. The output is probabilities. Setting: bound.
    """
    groups, bound = _groups(fit, test), setting["bound"] + 1e-12
    p, test_p = (np.clip(s.probability, 1e-12, 1 - 1e-12) for s in (fit, test))
    logit, test_logit = np.log(p / (1 - p)), np.log(test_p / (1 - test_p))
    rates, costs = [], []
    for g in groups:
        rows = fit.group == g
        cells = [logit[rows & (fit.y == c)] for c in (0, 1)]
        rates.append([_above(cell, -SHIFTS) / len(cell) for cell in cells])
        shifted = 1 / (1 + np.exp(-logit[rows, None] - SHIFTS))
        weight = np.broadcast_to(fit.weight, rows.shape)[rows]
        costs.append(weight @ _jsd(_both(shifted), _both(fit.probability[rows, None])))
    # Rates are within the bound of each other in a window that starts at one of them. They grow
    # with the shift: the window is an interval of a group's shifts, the best nearest to zero.
    start = [np.unique([rate[c] for rate in rates]) for c in (0, 1)]
    total, nearest = 0.0, []
    for rate, cost in zip(rates, costs, strict=True):
        first = [np.searchsorted(rate[c], start[c]) for c in (0, 1)]
        last = [np.searchsorted(rate[c], start[c] + bound, side="right") - 1 for c in (0, 1)]
        low, high = np.maximum.outer(*first), np.minimum.outer(*last)
        nearest.append(np.clip(len(SHIFTS) // 2, low, high))
        total = total + np.where(low <= high, cost[nearest[-1]], np.inf)
    best = np.unravel_index(np.argmin(total), total.shape)
    if not np.isfinite(total[best]):
        raise Infeasible(f"no shifts have an equalised odds difference within {setting['bound']}")
    shift = SHIFTS[[index[best] for index in nearest]][np.searchsorted(groups, test.group)]
    edited = np.where(shift == 0, test.probability, 1 / (1 + np.exp(-test_logit - shift)))
    return Outcome(((np.ones(len(edited)), _both(edited)),), _both(edited > 0.5))


# Libraries that a method needs beyond metanet's own requirements.
LIBRARIES = {"ThresholdOpt": "fairlearn", "CalEqOdds": "aif360"}
# What to run: for each method its function and the settings of its sweep, ready for JSON.
SETTINGS = {
    "ThresholdOpt": (threshold_opt, ({},)),
    "CalEqOdds": (cal_eq_odds, tuple({"cost": cost} for cost in ("fnr", "fpr", "weighted"))),
    "RejectOption": (reject_option, tuple({"search": s, "bound": b} for s in GRIDS for b in SWEEP)),
    "FairCls": (fair_cls, tuple({"criterion": c, "alpha": b} for c in CRITERIA for b in SWEEP)),
    "Group shift": (group_shift, tuple({"bound": bound} for bound in SWEEP)),
    "Group shift (probe points)": (group_shift, tuple({"bound": bound} for bound in SWEEP)),
}
