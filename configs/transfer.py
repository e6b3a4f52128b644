"""Models unlike those in training: new specs, wider, deeper, more skip connections; other datasets.

python -m experiments.run --config=configs/transfer.py[:adult|:bank|:synthetic]

`by_subset` in results.json has every front on the test models of each kind. Beside an editor that
has not seen a kind stands its control, trained on as few models of all kinds.
"""

from ml_collections import ConfigDict

from configs import pruning

OTHER = {"adult": ("bank",), "bank": ("adult",)}


def get_config(dataset: str = "adult") -> ConfigDict:
    config = pruning.get_config(dataset)
    config.editor.seeds = 1
    config.editor.learned_probe = 0  # rows are of the features of one dataset
    editors = {"GMN": {}}
    subsets = {
        "held out": "metanet.mlp.subsets.held_out",
        "wide": "metanet.mlp.subsets.wide",
        "deep": "metanet.mlp.subsets.deep",
        "skips": "metanet.mlp.subsets.skips",
    }
    config.evaluation.subsets = subsets
    for name, path in subsets.items():
        editors[f"GMN, {name} specs unseen"] = {"unseen": path}
        editors[f"GMN, control for {name}"] = {"unseen": path, "control": True}
    config.other_datasets = tuple(OTHER.get(dataset, ()))
    for other in config.other_datasets:
        editors["GMN, both datasets"] = {"datasets": (dataset, other)}
        editors[f"GMN, trained on {other}"] = {"datasets": (other,)}
    config.editors = editors
    config.methods = tuple(editors)
    config.evaluation.main_methods = ()
    return config
