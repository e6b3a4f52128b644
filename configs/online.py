"""Editors of stored models, or of models that train beside them: which is better in equal time.

python -m experiments.run --config=configs/online.py[:DATASET[-online|-offline]]

Both are evaluated on the same test models, trained twice, so to rounding. experiments.overlay puts
the two fronts in one picture.
"""

from ml_collections import ConfigDict

from configs import pruning

# Short editors are those of configs/pruning.py. With the small preset on one core, models included,
# a short one takes 25 minutes, an online one 27 and a long one 38: without learned probes.
STEPS = {"offline": {"GMN, short": 16_000, "GMN, long": 64_000}, "online": {"GMN": 32_000}}


def get_config(which: str = "adult") -> ConfigDict:
    dataset, _, mode = which.partition("-")
    mode = mode or "online"
    if mode not in STEPS:
        raise ValueError(f"found :{which}, expected {dataset}-offline or {dataset}-online")
    config = pruning.get_config(dataset)
    config.population.mode = mode
    config.editor.seeds = 1
    config.editors = {name: {"steps": steps} for name, steps in STEPS[mode].items()}
    config.methods = tuple(STEPS[mode])
    config.evaluation.main_methods = ()
    return config
