"""One editor for the whole front beside an editor for every lambda; and editors asked for a level.

python -m experiments.run --config=configs/whole_front.py[:DATASET-TASK], by default adult-dm
"""

from ml_collections import ConfigDict

from configs import common
from configs.tasks import config_of

EDITORS = 5
LEVELS = {"dm": (0.22, 0.43, 0.65), "fairness": (0.03, 0.05, 0.08), "pruning": (0.1, 0.2, 0.4)}


def get_config(which: str = "adult-dm") -> ConfigDict:
    config = config_of(which)
    config.editor.seeds = 1
    # In training, as much as one editor for each of them, or for all of them together.
    steps = {"each": config.editor.steps, "together": config.editor.steps // EDITORS}
    editors, unions = {"GMN": {}}, {}
    for cost, count in steps.items():
        name = f"GMN, {EDITORS} editors, its cost {cost}"
        single, unions[name] = common.single_lambdas(config, f"GMN, {cost}", EDITORS, count)
        editors |= single
    config.editors, config.recipes = editors, unions
    config.methods = (*editors, *unions)
    config.evaluation.main_methods = ("GMN", *unions)
    config.levels = LEVELS[which.rpartition("-")[2]]
    return config
