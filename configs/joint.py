"""Fewer features, fair and small at once: one editor, one preference per requirement.

python -m experiments.run --config=configs/joint.py[:adult|:bank|:synthetic]
"""

from ml_collections import ConfigDict

from configs import common


def get_config(dataset: str = "adult") -> ConfigDict:
    config = common.base(dataset)
    config.task = "joint"
    config.requirement = (
        "metanet.objectives.data_minimisation.inputs_kept",
        "metanet.objectives.fairness.equalised_odds",
        "metanet.objectives.pruning.weights_kept",
    )
    config.editors = {"GMN": {"seeds": 1}}
    config.editor.mask = "both"
    config.editor.gamma = 0.1
    config.editor.points = 1024
    config.editor.balanced = True
    config.lambda_range = ((0.0005, 0.5), (0.005, 1.5), (0.0005, 0.5))
    config.methods = ("GMN",)
    config.evaluation.n_lambdas = 4  # per requirement: 64 preference vectors
    # (features, equalised odds difference, weights, JSD in nats)
    config.evaluation.reference_point = (1.0, 0.3, 1.0, 0.1)
    return config
