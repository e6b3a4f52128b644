"""How few labelled points an editor with probes needs, and points of another distribution.

python -m experiments.run --config=configs/points_fairness.py[:adult|:bank|:synthetic]
"""

from ml_collections import ConfigDict

from configs import common, fairness


def get_config(dataset: str = "adult") -> ConfigDict:
    return common.points_study(fairness.get_config(dataset), labelled=True)
