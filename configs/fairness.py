"""Bias mitigation: equalised odds (paper section 3.2.2, figure 2).

python -m experiments.run --config=configs/fairness.py[:adult|:bank|:synthetic]
"""

from ml_collections import ConfigDict

from configs import common


def get_config(dataset: str = "adult") -> ConfigDict:
    config = common.base(dataset)
    config.task = "fairness"
    config.requirement = "metanet.objectives.fairness.equalised_odds"
    rows = common.PROBE | {"points": 256, "labelled": True}
    config.editors = {
        "GMN": {},
        "GMN + probe": {"probe": rows, "lambda_range": (0.005, 1.5)},
    }
    config.refined = common.refined("GMN + probe", {10: 3e-4, 100: 2e-3, 300: 2e-3}, points=1024)
    config.editor.mask = "none"
    config.editor.steps = 6000
    config.editor.gamma = 0.1
    config.editor.points = 1024
    config.editor.balanced = True
    config.lambda_range = (0.005, 0.8)
    config.baselines = (
        "ThresholdOpt",
        "CalEqOdds",
        "RejectOption",
        "FairCls",
        "Group shift",
        "Group shift (probe points)",
        "Per-model optimum",
    )
    config.evaluation.optimum = {"steps": 2000, "points": 256, "ramp": 0.3}
    config.evaluation.reference_point = (0.3, 0.05)
    return config
