"""The post-processing methods by name."""

from metanet.methods.fairness.cal_eq_odds import cal_eq_odds
from metanet.methods.fairness.fair_cls import CRITERIA, fair_cls
from metanet.methods.fairness.group_shift import group_shift
from metanet.methods.fairness.reject_option import GRIDS, reject_option
from metanet.methods.fairness.scores import SWEEP
from metanet.methods.fairness.threshold_opt import threshold_opt

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
