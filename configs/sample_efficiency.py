"""Sample efficiency (paper figure 4): editors that see fractions of the training experiments.

python -m experiments.run --config=configs/sample_efficiency.py[:adult|:bank|:synthetic]
"""

from ml_collections import ConfigDict

from configs import pruning


def get_config(dataset: str = "adult") -> ConfigDict:
    config = pruning.get_config(dataset)
    config.editor.seeds = 1
    editors = {
        f"GMN, {fraction:.0%} of the models": {"share": fraction}
        for fraction in (0.05, 0.1, 0.25, 0.5, 1.0)
    }
    config.editors = editors
    baselines = ("Random", "Magnitude", "Grad Importance", "SNIP", "Lottery Ticket")
    config.methods = (*editors, *baselines)
    config.evaluation.main_methods = (*list(editors)[:1], *list(editors)[-1:], *baselines[1:])
    return config
