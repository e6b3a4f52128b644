"""Specs that no model in training had: wider, deeper, with more skip connections.

python -m experiments.run --config=configs/transfer.py[:adult|:bank|:synthetic]

`by_kind` in results.json has every front on the test models of each kind.
"""

from ml_collections import ConfigDict

from configs import pruning


def get_config(dataset: str = "adult") -> ConfigDict:
    config = pruning.get_config(dataset)
    config.editor.seeds = 1
    config.editors = {"GMN": {}} | {
        f"GMN, no {kind} specs": {"unseen": kind} for kind in ("wide", "deep", "skips")
    }
    config.refined, config.baselines = {}, ()
    return config
