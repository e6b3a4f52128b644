"""Networks that were trained elsewhere: editors that come with metanet, beside methods for pruning.

python examples/zoo_adult.py --out=zoo
python -m experiments.run --config=configs/outside.py --config.population.source=zoo

Nothing is trained: the population is read from files, the editors from their folders.
"""

from ml_collections import ConfigDict

from configs import pruning

EDITORS = {"GMN - Prune & Edit": "adult-pruning", "GMN + probe": "adult-pruning-probe"}
BESIDE = ("Magnitude", "LAMP", "SNIP", "ExactOBS", "ExactOBS & Distil")


def get_config(dataset: str = "adult") -> ConfigDict:
    config = pruning.get_config(dataset)
    config.editors = {}
    config.recipes = {
        name: {"recipe": "metanet.methods.released.released", "release": place}
        for name, place in EDITORS.items()
    } | {name: config.recipes[name] for name in BESIDE}
    config.methods = (*EDITORS, *BESIDE)
    config.evaluation.main_methods = ()
    config.population.source = "zoo"
    config.population.split = (0.1, 0.3, 0.6)
    return config
