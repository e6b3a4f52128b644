"""Table 1: seconds per model of every method of every task, warm, one model and a batch.

python -m experiments.run --config=configs/timing.py[:adult|:bank|:synthetic]
"""

from ml_collections import ConfigDict

from configs import common, dm, fairness, pruning


def get_config(dataset: str = "adult") -> ConfigDict:
    config = common.base(dataset)
    config.task = "timing"
    config.population.experiments = 150
    config.population.max_specs = 12
    config.population.epochs = 10
    config.editor.steps = 50
    config.parts = {
        task: module.get_config(dataset)
        for task, module in {"dm": dm, "fairness": fairness, "pruning": pruning}.items()
    }
    config.timed_models = 64
    return config
