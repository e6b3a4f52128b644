"""Data minimisation: drop input features (paper section 3.2.1, figure 1; figure 6 on Bank).

python -m experiments.run --config=configs/dm.py[:adult|:bank|:synthetic]

1,000 experiments, six editors of 16,000 steps, eight shorter ones and 18 methods on 450 test
models: some days on four cores.
"""

from ml_collections import ConfigDict

from configs import common, searched

SELECTION = "metanet.methods.data_minimisation.selection"
RETRAINED = "metanet.methods.data_minimisation.selection_retrained"
# 100 epochs of the `edit` data from a fresh start, 20 from the original weights.
RETRAIN = {"steps": 3800, "batch_size": 128, "learning_rate": 1e-3}
RETRAIN_ORIGINAL = {"steps": 760, "batch_size": 128, "learning_rate": 1e-3}
# Numbers of features at which methods are compared, and retraining ones run.
COUNTS = (0, 1, 2, 3, 4, 5, 6, 8, 10)
FEATURES = {"adult": 14, "adult_uci121": 14, "bank": 16, "bank_uci121": 16}


def get_config(dataset: str = "adult") -> ConfigDict:
    config = common.base(dataset)
    config.task = "dm"
    config.requirement = "metanet.objectives.data_minimisation.inputs_kept"
    config.editor.mask = "inputs"
    config.editor.mask_path = 0.5
    config.editor.imputation = True
    config.editor.imitation = 0.03
    config.editor.steps = 16_000
    config.lambda_range = (0.0005, 0.5)
    paper, united = common.paper_editors(config)
    config.editors = {"GMN": {}, "GMN + probe": {"probe": dict(common.PROBE)}} | paper
    refined = common.refinements("GMN + probe", {10: 1e-3, 100: 3e-3, 300: 3e-3})
    others = {
        "GMN (paper)": united,
        "FS": {"recipe": SELECTION},
        "FS (divergence)": {"recipe": SELECTION, "measure": "divergence"},
        "FS (per model)": {"recipe": SELECTION, "ranking": "model", "measure": "divergence"},
        "FS & impute": {"recipe": SELECTION, "impute": True},
        "Greedy": {"recipe": SELECTION, "ranking": "greedy"},
        "Greedy & impute": {"recipe": SELECTION, "ranking": "greedy", "impute": True},
        "FS (GMN)": {"recipe": "metanet.methods.editor.masks_only", "editors": ("GMN",)},
        "FS & Retrain": {"recipe": RETRAINED, "retrain": dict(RETRAIN), "counts": COUNTS},
        "FS & Retrain (from original)": _from_original("global"),
        "Greedy & Retrain": _from_original("greedy"),
        "Greedy, impute & Retrain": _from_original("greedy", impute=True),
        "Per-model optimisation": {
            "recipe": "metanet.methods.refine.optimised",
            "descent": {"steps": 2000, "mask": "inputs", "ramp": 0.3, "starts": 3},
        },
    }
    config.recipes = refined | others
    searched.apply(config)
    config.methods = ("GMN", "GMN + probe", *refined, *others)
    config.evaluation.main_methods = (
        "GMN + probe",
        "GMN + probe, 100 steps",
        "FS & impute",
        "Greedy & impute",
        "Greedy, impute & Retrain",
        "Per-model optimisation",
    )
    if dataset in FEATURES:
        levels = tuple(count / FEATURES[dataset] for count in COUNTS[1:])
        config.evaluation.report_levels = levels
    config.evaluation.reference_point = (1.0, 0.1)
    return config


def _from_original(ranking: str, **options) -> dict:
    retrain = dict(RETRAIN_ORIGINAL)
    return {
        "recipe": RETRAINED,
        "ranking": ranking,
        "start": "original",
        "retrain": retrain,
        "counts": COUNTS,
        **options,
    }
