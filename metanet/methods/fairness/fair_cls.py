"""FairCls: the most accurate fair decisions, by a linear programme."""

import numpy as np

from metanet.evaluation.scores import Infeasible, Outcome, Scores, decided, known_groups
from metanet.methods.fairness.library import optional_library
from metanet.methods.fairness.settings import BOUNDS, DEMOGRAPHIC_PARITY, EQUALISED_ODDS, swept

CRITERIA = ("demographic_parity", "equalized_odds")
NOISE = 1e-4  # of the risks, relative
SETTINGS = tuple({"criterion": criterion, "alpha": alpha}
                 for criterion in CRITERIA for alpha in BOUNDS)  # fmt: skip


@swept(SETTINGS, requirements=(EQUALISED_ODDS, DEMOGRAPHIC_PARITY))
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

    Raises:
      Infeasible: see `known_groups`; or the programme has no solution.
    """
    groups = known_groups(fit, test)
    with optional_library():
        import scipy.sparse
        from scipy.optimize import linprog
    n, rates = len(fit.probability), 1 + CRITERIA.index(setting["criterion"])

    def cells(scores):  # [cells, samples]
        member = (scores.group == groups[:, None]).astype(np.float64)
        p = scores.probability
        return np.concatenate([member * (1 - p), member * p]) if rates == 2 else member

    mass = cells(fit).mean(axis=1, keepdims=True)  # [cells, 1]
    if not (mass > 0).all():
        raise Infeasible("the scores give a class no mass in some group")
    # A row per cell; columns are the n decisions, a free rate for each of `rates`, and the slack of
    # each cell, so that all constraints are equalities with bounds.
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
    # [m], the new risk of class 1 minus that of class 0
    difference = 1 - 2 * test.probability - solved.eqlin.marginals @ (cells(test) / mass)
    # The difference of two uniform variables has a triangular distribution on [-2, 2] x scale.
    z = np.clip(difference / scale, -2, 2)
    return decided(np.where(z < 0, 1 - (2 + z) ** 2 / 8, (2 - z) ** 2 / 8))
