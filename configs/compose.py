"""Fewer features and fewer weights: editors in a row, and one for both (paper A.7, figure 8).

python -m experiments.run --config=configs/compose.py[:adult|:bank|:synthetic]
"""

from ml_collections import ConfigDict

from configs import common, dm, pruning


def get_config(dataset: str = "adult") -> ConfigDict:
    config = common.base(dataset)
    config.task = "compose"
    features, weights = dm.get_config(dataset), pruning.get_config(dataset)
    config.requirement = (features.requirement, weights.requirement)
    config.lambda_range = (features.lambda_range, weights.lambda_range)
    config.editor.steps = features.editor.steps
    config.editor.seeds = 1
    # Each by the recipe of its own task; the last serves both requirements.
    config.editors = {
        "GMN - Features": {
            "requirement": features.requirement,
            "lambda_range": features.lambda_range,
            "mask": features.editor.mask,
            "mask_path": features.editor.mask_path,
            "imitation": features.editor.imitation,
            "imputation": features.editor.imputation,
            "steps": features.editor.steps,
        },
        "GMN - Weights": {
            "requirement": weights.requirement,
            "lambda_range": weights.lambda_range,
            "mask": weights.editor.mask,
            "steps": weights.editor.steps,
        },
        "GMN - Joint": {"mask": "both"},
    }
    composed = "metanet.methods.editor.composed"
    config.recipes = {
        "GMN - Features, then weights": {
            "recipe": composed,
            "editors": ("GMN - Features", "GMN - Weights"),
        },
        "GMN - Weights, then features": {
            "recipe": composed,
            "editors": ("GMN - Weights", "GMN - Features"),
        },
        "FS & Retrain, then SNIP": _baseline(),
        "FS & Retrain, then SNIP & Distil": _baseline(distil=dict(pruning.DISTIL)),
    }
    config.methods = (
        "GMN - Features",
        "GMN - Weights",
        "GMN - Joint",
        "GMN - Features, then weights",
        "GMN - Weights, then features",
        "FS & Retrain, then SNIP",
        "FS & Retrain, then SNIP & Distil",
    )
    config.evaluation.fractions = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.0)
    config.evaluation.n_lambdas = 8  # per requirement: 64 pairs
    # (features, weights, JSD in nats)
    config.evaluation.reference_point = (1.0, 1.0, 0.1)
    return config


def _baseline(**options) -> dict:
    recipe = "metanet.methods.composition.selected_pruned"
    return {"recipe": recipe, "retrain": dict(dm.RETRAIN), "counts": dm.COUNTS, **options}
