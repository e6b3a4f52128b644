"""One editor for the whole front beside an editor for every lambda; and editors asked for a level.

python -m experiments.run --config=configs/whole_front.py[:DATASET-TASK], by default adult-dm
"""

import numpy as np
from ml_collections import ConfigDict

from configs.tasks import config_of

EDITORS = 5
LEVELS = {"dm": (0.22, 0.43, 0.65), "fairness": (0.03, 0.05, 0.08), "pruning": (0.1, 0.2, 0.4)}


def get_config(which: str = "adult-dm") -> ConfigDict:
    config = config_of(which)
    steps = {"each": config.editor.steps, "together": config.editor.steps // EDITORS}
    config.editor.seeds = 1
    editors = {"GMN": {}} | {
        f"GMN, lambda {index}, {cost}": {"lambda_range": (lam, lam), "steps": count}
        for cost, count in steps.items()
        for index, lam in enumerate(np.geomspace(*config.lambda_range, EDITORS).tolist())
    }
    # In training, as much as one editor for each of them, or for all of them together.
    unions = {
        f"GMN, {EDITORS} editors, its cost {cost}": {
            "recipe": "metanet.methods.editor.front_union",
            "editors": tuple(f"GMN, lambda {index}, {cost}" for index in range(EDITORS)),
        }
        for cost in steps
    }
    config.editors, config.recipes = editors, unions
    config.methods = (*editors, *unions)
    config.evaluation.main_methods = ("GMN", *unions)
    config.levels = LEVELS[which.partition("-")[2]]
    return config
