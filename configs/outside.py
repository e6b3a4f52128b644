"""Networks that were trained elsewhere: editors that come with metanet, beside other methods.

python examples/zoo_adult.py --out=zoo
python -m experiments.run --config=configs/outside.py --config.population.source=zoo

No population and no editor is trained: both are read from files.
"""

from ml_collections import ConfigDict

from configs import pruning
from configs.newton import STEPS

EDITORS = {"GMN - Prune & Edit": "adult-pruning", "GMN + probe": "adult-pruning-probe"}
BESIDE = ("Magnitude", "LAMP", "SNIP", "ExactOBS", "ExactOBS & Distil")
STEPPED = ("GMN + probe", "LAMP", "ExactOBS")


def get_config(dataset: str = "adult") -> ConfigDict:
    config = pruning.get_config(dataset)
    config.editors = {}
    config.recipes = {
        name: {"recipe": "metanet.methods.released.released", "release": place}
        for name, place in EDITORS.items()
    } | {name: config.recipes[name] for name in BESIDE}
    stepped = {
        f"{name} & Newton": dict(config.recipes[name]) | {"newton": dict(STEPS)} for name in STEPPED
    }
    config.recipes = dict(config.recipes) | stepped
    config.methods = (*EDITORS, *BESIDE, *stepped)
    config.evaluation.main_methods = (*EDITORS, "LAMP", "ExactOBS", "GMN + probe & Newton",
                                      "ExactOBS & Newton")  # fmt: skip
    config.population.source = "zoo"
    config.population.split = (0.1, 0.3, 0.6)
    return config
