"""Numbers of points for an editor with probes, and points of other people than in training.

Its editors have no learned probe, which would make up for points.

python -m experiments.run --config=configs/points.py[:DATASET-TASK], by default adult-pruning
"""

from ml_collections import ConfigDict

from configs import common
from configs.tasks import config_of


def get_config(which: str = "adult-pruning") -> ConfigDict:
    config = config_of(which)
    config.editor.learned_probe = 0
    editor = config.editors["GMN + probe"].to_dict() | {"seeds": 1}
    labelled = editor["probe"]["labelled"]
    kinds = {f"{n} points": {"points": n, "labelled": labelled} for n in (16, 64, 256, 1024, 4096)}
    if labelled:
        kinds["256 points, unlabelled"] = {"points": 256, "labelled": False}
    config.editors = {name: editor | {"probe": common.PROBE | kind} for name, kind in kinds.items()}
    # Training and edit differ: other points, and points of older people.
    shown = {"others": {"seed": 1}, "older": {"tilt": 1.0}}
    others = {
        f"{name}, {kind}": {
            "recipe": "metanet.methods.editor.edited",
            "editors": (name,),
            "probe": common.PROBE | kinds[name] | change,
        }
        for name in ("64 points", "256 points")
        for kind, change in shown.items()
    }
    config.recipes = others
    config.methods = (*kinds, *others)
    config.evaluation.main_methods = tuple(kinds)
    return config
