"""A task in the size of a search of one method: the small preset's population, fewer settings.

python -m experiments.search --config=configs/search.py[:DATASET-TASK] --method=NAME --trials=10
    --spaces=configs.search.SPACES

By default adult-pruning. Budgets of training are those of the task's table in the small preset.
"""

from ml_collections import ConfigDict

from configs import spaces
from configs.presets import small
from configs.tasks import config_of
from metanet.pipeline.spaces import Choice, Log, Range, Uniform

# Without what makes a trial of an editor cost several times another: batch size, width and depth.
SPACES: dict[str, Range] = {
    name: one for name, one in spaces.SPACES.items() if not name.startswith("editor.")
} | {
    "editor.learning_rate": Log(5e-4, 1e-2),
    "editor.weight_decay": Choice((0.0, 1e-4, 1e-3, 1e-2)),
    "editor.dropout": Uniform(0.0, 0.3),
    "editor.mask_bias": Uniform(0.0, 3.0, unless=spaces.MASKED),
}


def get_config(which: str = "adult-pruning") -> ConfigDict:
    config = config_of(which)
    small(config)
    config.evaluation.validation_models = 16
    config.evaluation.n_lambdas = 8
    config.evaluation.fractions = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
    for recipe in config.recipes.values():
        if "counts" in recipe:
            recipe.counts = (1, 2, 3, 5, 8)
        if "descent" in recipe:
            recipe.n_lambdas = 4
            if "starts" in recipe.descent:
                recipe.descent.starts = 1
        if "search" in recipe or "tune" in recipe:
            recipe.n_lambdas = 4
    united = config.recipes["GMN (paper)"]
    united.editors = united.editors[3:6:2]  # two of its lambdas in the middle
    return config
