"""Weight pruning (paper section 3.2.3 and figure 3; figure 7 on Bank).

python -m experiments.run --config=configs/pruning.py[:adult|:bank|:synthetic]
"""

from ml_collections import ConfigDict

from configs import common


def get_config(dataset: str = "adult") -> ConfigDict:
    config = common.base(dataset)
    config.task = "pruning"
    config.requirement = "metanet.objectives.pruning.weights_kept"
    # The editors to train: method name, and what differs from `config.editor`.
    config.editors = {
        "GMN - Prune & Edit": {"edit": True},
        "GMN - Prune": {"edit": False, "seeds": 1},
        "GMN + probe": {"probe": common.PROBE, "mean_replacement": True},
    }
    config.refined = common.refined("GMN + probe", {10: 3e-3, 100: 5e-3, 300: 5e-3})
    config.editor.mask = "edges"
    config.editor.steps = 16_000
    config.lambda_range = (0.0005, 0.5)
    config.baselines = (
        "Random",
        "Magnitude",
        "Magnitude (layer-normalised)",
        "Grad Importance",
        "SNIP",
        "Lottery Ticket",
        "SNIP & Distil",
        "OBD",
        "OBD & Distil",
        "Per-model optimum",
    )
    # Baselines that train: steps of Adam on batches of the `edit` data.
    config.evaluation.distil = {"steps": 100, "batch_size": 128, "learning_rate": 3e-3}
    config.evaluation.lottery = {"steps": 50, "batch_size": 128, "learning_rate": 1e-3}
    config.evaluation.lottery_rounds = 3
    config.evaluation.optimum = {"steps": 2000, "mask": "edges", "ramp": 0.3}
    config.evaluation.fractions = tuple(round(0.05 * i, 2) for i in range(1, 20))  # baselines'
    # (fraction of weights kept, JSD in nats) that hypervolumes are measured from.
    config.evaluation.reference_point = (1.0, 0.1)
    return config
