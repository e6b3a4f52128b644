"""What each of our additions to the paper's recipe is worth: editors that do without one of them.

python -m experiments.run --config=configs/ablation.py[:DATASET-TASK], by default adult-dm

Three seeds each, and at the other end the paper's own recipe, without any of them. "Without
conditioning" is an editor for each of eight lambdas, which are trained for as many steps together
as the one for all. With the small preset of experiments.reproduce, and the full recipe from the
task's own run, some 60 minutes of one core to train and 50 to evaluate.
"""

from ml_collections import ConfigDict

from configs import common
from configs.tasks import config_of

EDITORS = 8


def get_config(which: str = "adult-dm") -> ConfigDict:
    config = config_of(which)
    editor = config.editor
    without = {"ramp": {"ramp": 0.0}, "power": {"lambda_power": 0.0}}
    if editor.mask != "none":
        without |= {"noise": {"mask_noise": 0.0}, "bounds": {"mask_limit": None}}
    if editor.mask_path:
        without["path"] = {"mask_path": 0.0}
    if editor.learned_probe:
        without["learned probe"] = {"learned_probe": 0}
    if editor.imitation:
        without["imitation"] = {"imitation": 0.0}
    if editor.imputation:
        without["imputation"] = {"imputation": False}
    if editor.balanced:
        without["balanced sampling"] = {"balanced": False}
    editors = {"GMN": {}} | {f"GMN without {name}": change for name, change in without.items()}
    apart = "GMN without conditioning"
    single, alone = common.single_lambdas(config, apart, EDITORS, editor.steps // EDITORS)
    paper, united = common.paper_editors(config, EDITORS)
    methods = (*editors, apart, "GMN (paper)")
    if "GMN + probe & means" in config.editors:  # mean replacement needs probes
        pair = {name: config.editors[name] for name in ("GMN + probe", "GMN + probe & means")}
        editors, methods = editors | pair, (*methods, *pair)
    config.editors = editors | single | paper
    config.recipes = {apart: alone, "GMN (paper)": united}
    config.methods = methods
    config.evaluation.main_methods = ("GMN", apart, "GMN (paper)")
    return config
