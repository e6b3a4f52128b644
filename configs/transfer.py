"""Models unlike those in training: new specs, wider, deeper, more skip connections; other datasets.

python -m experiments.run --config=configs/transfer.py[:adult|:bank|:synthetic]

`by_kind` in results.json has every front on the test models of each kind. Beside an editor that has
not seen a kind stands its control, trained on as few models of all kinds.
"""

from ml_collections import ConfigDict

from configs import pruning

OTHER = {"adult": ("bank",), "bank": ("adult",)}


def get_config(dataset: str = "adult") -> ConfigDict:
    config = pruning.get_config(dataset)
    config.editor.seeds = 1
    config.editors = {"GMN": {}}
    for kind in ("held out", "wide", "deep", "skips"):
        config.editors[f"GMN, {kind} specs unseen"] = {"unseen": kind}
        config.editors[f"GMN, control for {kind}"] = {"unseen": kind, "control": True}
    config.others = tuple(OTHER.get(dataset, ()))
    for other in config.others:
        config.editors["GMN, both datasets"] = {"datasets": (dataset, other)}
        config.editors[f"GMN, trained on {other}"] = {"datasets": (other,)}
    config.refined, config.baselines = {}, ()
    return config
