"""Edited models on test data of other people: older ones, and ones who work longer.

python -m experiments.run --config=configs/shift.py[:DATASET-TASK], by default adult-fairness
"""

from ml_collections import ConfigDict

from configs.tasks import config_of

FEATURES = {"adult": ("age", "hours-per-week"), "bank": ("age",), "synthetic": ("cause_a",)}
FEATURES |= {f"{name}_uci121": FEATURES[name] for name in ("adult", "bank")}
# Options of recipes that train every model anew.
TRAINS = {"descent", "distil", "retrain", "search", "tune"}


def get_config(which: str = "adult-fairness") -> ConfigDict:
    config = config_of(which)
    config.editor.seeds = 1
    config.shifts = {
        f"{sign} {feature}": {"feature": feature, "mean_shift": mean_shift}
        for feature in FEATURES[config.dataset]
        for sign, mean_shift in (("more", 1.0), ("less", -1.0))
    }
    config.methods = tuple(
        name for name in config.methods if not TRAINS & set(config.recipes.get(name, {}))
    )
    main = config.evaluation.main_methods
    config.evaluation.main_methods = tuple(name for name in main if name in config.methods)
    return config
