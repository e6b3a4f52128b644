"""Models unlike those in training: wider, deeper, more skip connections; of another dataset.

python -m experiments.run --config=configs/transfer.py[:adult|:bank|:synthetic]

`by_kind` in results.json has every front on the test models of each kind.
"""

from ml_collections import ConfigDict

from configs import pruning

OTHER = {"adult": ("bank",), "bank": ("adult",)}


def get_config(dataset: str = "adult") -> ConfigDict:
    config = pruning.get_config(dataset)
    config.editor.seeds = 1
    config.editors = {"GMN": {}} | {
        f"GMN, no {kind} specs": {"unseen": kind} for kind in ("wide", "deep", "skips")
    }
    config.others = tuple(OTHER.get(dataset, ()))
    for other in config.others:
        config.editors["GMN, both datasets"] = {"datasets": (dataset, other)}
        config.editors[f"GMN, trained on {other}"] = {"datasets": (other,)}
    config.refined, config.baselines = {}, ()
    return config
