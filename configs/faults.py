"""The smallest run with every phase: models, probing, an editor, a baseline that trains, a report.

python -m experiments.faults runs it again and again; its numbers mean nothing.
"""

from ml_collections import ConfigDict

from configs import presets, quickstart


def get_config() -> ConfigDict:
    config = quickstart.get_config()
    config.methods = ("GMN + probe", "SNIP & Distil")
    config.evaluation.main_methods = ()
    # With every file that training may leave.
    config.editors["GMN + probe"].update(
        requirement="metanet.objectives.data_minimisation.inputs_kept",
        mask="inputs",
        imitation=0.03,
        imputation=True,
    )
    presets.smoke(config)
    config.num_cpu_devices = 1
    config.editor.steps = 300
    config.editor.checkpoint_every = 50
    return config
