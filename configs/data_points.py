"""Editors trained on fewer data points: 50 to 5,000 rows of the `edit` data.

python -m experiments.run --config=configs/data_points.py[:adult|:bank|:synthetic]
"""

from ml_collections import ConfigDict

from configs import pruning


def get_config(dataset: str = "adult") -> ConfigDict:
    config = pruning.get_config(dataset)
    config.editor.seeds = 1
    counts = (50, 150, 500, 1500, 5000)
    editors = {f"GMN, {rows} rows": {"rows": rows} for rows in counts}
    config.editors, config.methods = editors, tuple(editors)
    config.evaluation.main_methods = ()
    return config
