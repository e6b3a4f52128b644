"""Exact Pareto optimal search beside linear scalarisation, on equalised odds (paper A.8, figure 9).

python -m experiments.run --config=configs/epo.py[:adult|:bank|:synthetic]
"""

import numpy as np
from ml_collections import ConfigDict

from configs import fairness

EDITORS = 5


def get_config(dataset: str = "adult") -> ConfigDict:
    config = fairness.get_config(dataset)
    config.editor.seeds = 1
    # For the search lambda is what JSD is to be in units of the requirement.
    whole = {
        "GMN - LS": {},
        "GMN - EPO": {"scalarisation": "epo", "lambda_range": (0.001, 1.0)},
    }
    # As in the paper, an editor for every preference vector.
    separate = {
        name: {
            f"{name}, vector {index}": changes | {"lambda_range": (lam, lam)}
            for index, lam in enumerate(
                np.geomspace(*changes.get("lambda_range", config.lambda_range), EDITORS).tolist()
            )
        }
        for name, changes in whole.items()
    }
    editors = whole | {k: v for group in separate.values() for k, v in group.items()}
    config.editors = editors
    unions = {
        f"{name}, {EDITORS} editors": {
            "recipe": "metanet.methods.editor.front_union",
            "editors": tuple(group),
        }
        for name, group in separate.items()
    }
    # How many preference vectors each needs.
    counted = {
        f"{editor}, {count} preferences": {
            "recipe": "metanet.methods.editor.edited",
            "editors": (editor,),
            "n_lambdas": count,
        }
        for editor in whole
        for count in (3, 5, 10)
    }
    config.recipes = unions | counted
    config.methods = (*editors, *counted, *unions)
    config.evaluation.main_methods = (*whole, *unions)
    return config
