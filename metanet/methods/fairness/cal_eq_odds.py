"""Calibrated equalised odds (Pleiss et al. 2017), by aif360."""

import dataclasses

import numpy as np

from metanet.evaluation.scores import Infeasible, Outcome, Scores, both_classes, two_groups
from metanet.methods.fairness.library import optional_library
from metanet.methods.fairness.settings import EQUALISED_ODDS, swept

COSTS = ("fnr", "fpr", "weighted")


@swept(tuple({"cost": cost} for cost in COSTS), (EQUALISED_ODDS,), library="aif360")
def cal_eq_odds(fit: Scores, test: Scores, setting: dict) -> Outcome:
    """Calibrated equalised odds (Pleiss et al. 2017), by aif360.

    With a probability `mix` a sample of the group with the lower cost has its group's base rate for
    a score; other scores stay. If the costs cannot be made equal `mix` is not in [0, 1], which
    aif360 does not refuse. Setting: cost, one of COSTS.

    Raises:
      Infeasible: see `two_groups`; or the costs cannot be made equal.
    """
    privileged, other = two_groups(fit, test)
    with optional_library():
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
    first = test.group == privileged  # [m] bool
    mix = np.where(first, *rates)
    base = np.where(first, method.base_rate_priv, method.base_rate_unpriv)
    labels = both_classes((1 - mix) * (test.probability >= 0.5) + mix * (base >= 0.5))
    return Outcome(((1 - mix, both_classes(test.probability)), (mix, both_classes(base))), labels)
