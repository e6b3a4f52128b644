"""Table 1: seconds per model of every method of every task, warm, one model and a batch.

python -m experiments.run --config=configs/timing.py[:adult|:bank|:synthetic]
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common, dm, fairness, pruning

SLOW = ("OBS", "OBS & Distil", "Per-model optimisation", "Random perturbation",
        "Layer-wise search", "Adversarial tuning")  # fmt: skip


def get_config(dataset: str = "adult") -> ConfigDict:
    shared = common.base(dataset)
    config = ConfigDict({"seed": 0, "dataset": dataset, "num_cpu_devices": 0})
    config.table = shared.table
    config.group = placeholder(str)
    config.population = shared.population
    config.population.experiments = 150
    config.population.max_specs = 12
    config.population.epochs = 10
    config.steps = 50  # of the editors, whose quality their time does not depend on
    config.experiments = {
        task: module.get_config(dataset)
        for task, module in {"dm": dm, "fairness": fairness, "pruning": pruning}.items()
    }
    # The library itself; ours tabulates its grid.
    library = "RejectOption (aif360)"
    config.experiments.fairness.recipes[library] = {
        "recipe": fairness.POSTPROCESSED,
        "method": "metanet.methods.fairness.reject_option.reject_option_by_aif360",
    }
    config.experiments.fairness.methods += (library,)
    config.timed_models = 64
    # Those that take seconds a model, or ten.
    config.few = dict.fromkeys(SLOW, 8) | {library: 2}
    return config
