"""Weight pruning (paper section 3.2.3 and figure 3; figure 7 on Bank).

python -m experiments.run --config=configs/pruning.py[:adult|:bank|:synthetic]

1,000 experiments, nine editors of 16,000 steps and 14 methods on 450 test models: about a day on
four cores, hours on a GPU. The small preset of experiments.reproduce takes two hours of one core.
"""

from ml_collections import ConfigDict

from configs import common

ONE_SHOT = "metanet.methods.pruning.one_shot"
DISTIL = {"steps": 100, "batch_size": 128, "learning_rate": 3e-3}


def get_config(dataset: str = "adult") -> ConfigDict:
    config = common.base(dataset)
    config.task = "pruning"
    config.requirement = "metanet.objectives.pruning.weights_kept"
    config.editors = {
        "GMN - Prune & Edit": {"edit": True},
        "GMN - Prune": {"edit": False, "seeds": 1},
        "GMN + probe": {"probe": dict(common.PROBE), "mean_replacement": True},
    }
    config.editor.mask = "edges"
    config.editor.steps = 16_000
    config.lambda_range = (0.0005, 0.5)
    scores = {
        "Random": "random",
        "Magnitude": "magnitude",
        "Magnitude (layer-normalised)": "layer_magnitude",
        "Grad Importance": "gradient",
        "SNIP": "snip",
    }
    one_shot = {
        name: {"recipe": ONE_SHOT, "score": f"metanet.methods.pruning.{score}"}
        for name, score in scores.items()
    }
    refined = common.refinements("GMN + probe", {10: 3e-3, 100: 5e-3, 300: 5e-3})
    others = {
        "Lottery Ticket": {
            "recipe": "metanet.methods.pruning.lottery_ticket",
            "retrain": {"steps": 50, "batch_size": 128, "learning_rate": 1e-3},
            "rounds": 3,
        },
        "SNIP & Distil": one_shot["SNIP"] | {"distil": dict(DISTIL)},
        "OBD": {"recipe": "metanet.methods.pruning.brain_damage"},
        "OBD & Distil": {"recipe": "metanet.methods.pruning.brain_damage", "distil": dict(DISTIL)},
        "Per-model optimisation": {
            "recipe": "metanet.methods.refine.optimised",
            "n_lambdas": 8,
            "descent": {"steps": 2000, "mask": "edges", "ramp": 0.3},
        },
    }
    config.recipes = refined | one_shot | others
    config.methods = (
        "GMN - Prune & Edit",
        "GMN - Prune",
        "GMN + probe",
        *refined,
        *one_shot,
        *others,
    )
    config.evaluation.main_methods = (
        "GMN - Prune & Edit",
        "GMN - Prune",
        "Magnitude",
        "Grad Importance",
        "SNIP",
        "Lottery Ticket",
    )
    config.evaluation.report_levels = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
    # (fraction of weights kept, JSD in nats) that hypervolumes are measured from.
    config.evaluation.reference_point = (1.0, 0.1)
    return config
