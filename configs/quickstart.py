"""Pruning on the embedded synthetic dataset: everything in a few minutes, without network.

python -m experiments.run --config=configs/quickstart.py

About three minutes on two cores: 192 models, two editors of 500 steps, seven methods.
"""

from ml_collections import ConfigDict

from configs import pruning


def get_config() -> ConfigDict:
    config = pruning.get_config("synthetic")
    config.population.experiments = 64
    config.population.max_specs = 6
    config.population.epochs = 20
    config.methods = (
        "GMN - Prune & Edit",
        "GMN + probe",
        "GMN + probe, 100 steps",
        "Random",
        "Magnitude",
        "Magnitude (layer-normalised)",
        "SNIP & Distil",
    )
    config.evaluation.main_methods = (
        "GMN - Prune & Edit",
        "GMN + probe",
        "GMN + probe, 100 steps",
        "Magnitude",
        "Magnitude (layer-normalised)",
        "SNIP & Distil",
    )
    config.recipes["SNIP & Distil"].distil.learning_rate = 0.042
    config.recipes["SNIP & Distil"].distil.batch_size = 256
    config.recipes["SNIP & Distil"].study = "snip-distil-366dc6de91a2"
    config.editor.seeds = 1
    config.editor.steps = 500
    config.evaluation.n_lambdas = 10
    config.recipes["GMN + probe, 100 steps"].n_lambdas = 5
    config.evaluation.fractions = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    return config
