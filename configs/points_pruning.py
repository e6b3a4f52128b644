"""How few unlabelled points an editor with probes needs, and points of another distribution.

python -m experiments.run --config=configs/points_pruning.py[:adult|:bank|:synthetic]
"""

from ml_collections import ConfigDict

from configs import common, pruning


def get_config(dataset: str = "adult") -> ConfigDict:
    return common.points_study(pruning.get_config(dataset), labelled=False)
