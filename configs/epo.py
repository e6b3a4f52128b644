"""Exact Pareto optimal search beside linear scalarisation, on equalised odds (paper A.8, figure 9).

python -m experiments.run --config=configs/epo.py[:adult|:bank|:synthetic]
"""

from ml_collections import ConfigDict

from configs import fairness


def get_config(dataset: str = "adult") -> ConfigDict:
    config = fairness.get_config(dataset)
    # For the search lambda is what JSD is to be in units of the requirement.
    config.editors = {
        "GMN - LS": {},
        "GMN - EPO": {"scalarisation": "epo", "preference": (0.001, 1.0)},
    }
    # How many preference vectors each needs.
    config.variants = {
        f"{editor}, {count} preferences": {"editor": editor, "preferences": count}
        for editor in config.editors
        for count in (3, 5, 10)
    }
    config.refined, config.baselines = {}, ()
    return config
