"""Weight pruning (paper section 3.2.3 and figure 3; figure 7 on Bank).

python -m experiments.run --config=configs/pruning.py[:adult|:bank|:synthetic]

1,000 experiments, twelve editors of 16,000 steps, eight shorter ones and 26 methods on 450 test
models: some days on four cores, hours on a GPU.
"""

from ml_collections import ConfigDict

from configs import common, searched

ONE_SHOT = "metanet.methods.pruning.one_shot"
EXACT_OBS = "metanet.methods.exact_obs.exact_obs"
TICKET = "metanet.methods.lottery.lottery_ticket"
DISTIL = {"steps": 100, "batch_size": 128, "learning_rate": 1e-2}


def get_config(dataset: str = "adult") -> ConfigDict:
    config = common.base(dataset)
    config.task = "pruning"
    config.requirement = "metanet.objectives.pruning.weights_kept"
    config.editor.mask = "edges"
    config.editor.steps = 16_000
    config.lambda_range = (0.0005, 0.5)
    ours = {
        "GMN - Prune & Edit": {"edit": True},
        "GMN - Prune": {"edit": False},
        "GMN + probe": {"probe": dict(common.PROBE)},
        "GMN + probe & means": {"probe": dict(common.PROBE), "mean_replacement": True},
    }
    paper, united = common.paper_editors(config)
    config.editors = ours | paper
    scores = {
        "Random": "random",
        "Magnitude": "magnitude",
        "Magnitude (layer-normalised)": "layer_magnitude",
        "LAMP": "lamp",
        "Grad Importance": "gradient",
        "SNIP": "snip",
    }
    one_shot = {
        name: {"recipe": ONE_SHOT, "score": f"metanet.methods.pruning.{score}"}
        for name, score in scores.items()
    }
    surgeons = {
        "OBD": {"recipe": "metanet.methods.brain_damage.brain_damage"},
        "ExactOBS": {"recipe": EXACT_OBS},
        "OBS": {"recipe": "metanet.methods.obs.obs"},
    }
    distilled = {
        f"{name} & Distil": (one_shot | surgeons)[name] | {"distil": dict(DISTIL)}
        for name in ("SNIP", "LAMP", *surgeons)
    }
    refined = common.refinements("GMN + probe", {10: 3e-3, 100: 5e-3, 300: 5e-3})
    others = {
        # The paper's own: errors count alike in all neurons, and every layer is restored alone.
        "ExactOBS (layer-wise)": {
            "recipe": EXACT_OBS,
            "output_aware": False,
            "sequential": False,
        },
        "Lottery Ticket": {"recipe": TICKET, "retrain": dict(DISTIL)},
        "Lottery Ticket (untrained)": {
            "recipe": TICKET,
            "retrain": dict(DISTIL),
            "target": "labels",
            "trained": False,
        },
        "Per-model optimisation": {
            "recipe": "metanet.methods.refine.optimised",
            "descent": {"steps": 2000, "mask": "edges", "ramp": 0.3, "starts": 3},
        },
    }
    config.recipes = {"GMN (paper)": united} | refined | one_shot | surgeons | distilled | others
    searched.apply(config)
    config.methods = (
        *ours,
        "GMN (paper)",
        *refined,
        *one_shot,
        *surgeons,
        *distilled,
        *others,
    )
    config.evaluation.main_methods = (
        "GMN + probe",
        "GMN + probe, 100 steps",
        "LAMP",
        "ExactOBS",
        "ExactOBS & Distil",
        "Per-model optimisation",
    )
    config.evaluation.report_levels = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7)
    # (fraction of weights kept, JSD in nats) that hypervolumes are measured from.
    config.evaluation.reference_point = (1.0, 0.1)
    return config
