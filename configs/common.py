"""Parts that several configs share: defaults, a probe, refinements.

A key is described in the dataclass that it belongs to (metanet/pipeline/config.py, and those
that it names). Any key can be set on the command line: `--config.editor.steps=2000`.
"""

import numpy as np
from ml_collections import ConfigDict

from experiments.settings import defaults

# The rows that an editor with probes sees networks on (see probes.rows.ProbeConfig).
PROBE = {"points": 64, "seed": 0, "labelled": False}
LEARNED_PROBE = 32  # rows of its own that an editor sees networks on

# The paper's own recipe (sections 3, A.1 to A.4) as far as it is stated: a straight-through softmax
# over {drop, keep}, which is the logistic function of one logit, and none of our additions. Not
# stated, so as for our editors: optimiser, schedule, points per step, temperatures, widths. Masks
# start a little on the side of keeping, where all is kept and gradients are largest.
PAPER = {
    "mask_noise": 0.0,
    "mask_bias": 0.1,
    "mask_limit": None,
    "mask_path": 0.0,
    "imitation": 0.0,
    "imputation": False,
    "learned_probe": 0,
    "ramp": 0.0,
    "lambda_power": 0.0,
    "balanced": False,
}


def base(dataset: str) -> ConfigDict:
    """Defaults, and what our editors of every task have."""
    config = defaults(dataset)
    config.editor.learned_probe = LEARNED_PROBE
    return config


def refinements(editor: str, learning_rates: dict[int, float], **descent) -> dict[str, dict]:
    """Recipes of the editor called `editor` and descent; learning_rates: by number of steps."""
    return {
        f"{editor}, {steps} steps": {
            "recipe": "metanet.methods.refine.refined",
            "editors": (editor,),
            "seeds": 3,
            "descent": {"steps": steps, "learning_rate": rate, **descent},
        }
        for steps, rate in learning_rates.items()
    }


def single_lambdas(
    config: ConfigDict, name: str, count: int, steps: int, **changes
) -> tuple[dict[str, dict], dict]:
    """`count` editors of one lambda each, over the experiment's range, and a recipe of them all."""
    editors = {
        f"{name}, lambda {index}": {"lambda_range": (lam, lam), "steps": steps, **changes}
        for index, lam in enumerate(np.geomspace(*config.lambda_range, count).tolist())
    }
    recipe = {"recipe": "metanet.methods.editor.front_union", "editors": tuple(editors)}
    return editors, recipe


def paper_editors(config: ConfigDict, count: int = 8) -> tuple[dict[str, dict], dict]:
    """The editors of "GMN (paper)", one for each of `count` lambdas, and its recipe.

    Together they are trained for as many steps as all seeds of one of the experiment's editors.
    """
    steps = config.editor.seeds * config.editor.steps // count
    return single_lambdas(config, "GMN (paper)", count, steps, seeds=1, **PAPER)
