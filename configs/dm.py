"""Data minimisation: drop input features (paper section 3.2.1, figure 1; figure 6 on Bank).

python -m experiments.run --config=configs/dm.py[:adult|:bank|:synthetic]
"""

from ml_collections import ConfigDict

from configs import common


def get_config(dataset: str = "adult") -> ConfigDict:
    config = common.base(dataset)
    config.task = "dm"
    config.requirement = "metanet.objectives.data_minimisation.inputs_kept"
    config.editors = {"GMN": {}, "GMN + probe": {"probe": common.PROBE}}
    config.refined = common.refined("GMN + probe", {10: 1e-3, 100: 3e-3, 300: 3e-3})
    config.editor.mask = "inputs"
    config.editor.mask_path = 0.5
    config.editor.steps = 16_000
    config.lambda_range = (0.0005, 0.5)
    config.baselines = (
        "FS",
        "FS (per model)",
        "FS (GMN)",
        "FS & Retrain",
        "FS & Retrain (from original)",
        "Greedy & Retrain",
        "Per-model optimum",
    )
    # FS & Retrain: 100 epochs of the `edit` data from a fresh start, 20 from the original weights,
    # at every second number of features.
    config.evaluation.retrain = {"steps": 3800, "batch_size": 128, "learning_rate": 1e-3}
    config.evaluation.retrain_original = {"steps": 760, "batch_size": 128, "learning_rate": 1e-3}
    config.evaluation.retrain_every = 2
    config.evaluation.optimum = {"steps": 2000, "mask": "inputs", "ramp": 0.3}
    config.evaluation.reference_point = (1.0, 0.1)
    return config
