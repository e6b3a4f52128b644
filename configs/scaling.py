"""How training scales over devices: sizes of the measurement.

python -m experiments.scaling [--config=configs/scaling.py[:DATASET]]

Speed does not depend on the data's values. Only what changes it is here.
"""

from ml_collections import ConfigDict

from configs import common

SHAPE = ("node_width", "edge_width", "message_width", "layers", "learned_probe", "dtype")
EDITOR = (*SHAPE, "batch_size", "points")


def get_config(dataset: str = "synthetic") -> ConfigDict:
    shared = common.base(dataset)
    config = ConfigDict({"dataset": dataset, "seed": shared.seed})
    config.requirement = "metanet.objectives.pruning.weights_kept"
    config.population = {"max_specs": 8}  # every process compiles the first weights of each
    config.editors = {"GMN": {}}
    config.editor = {key: shared.editor[key] for key in EDITOR}
    # Weak scaling: so much per device; strong scaling: as much as the most devices have, for all.
    config.members = 16  # MLPs in training
    config.editor.batch_size = 16
    config.epochs = 4  # of a member, per measurement
    config.steps = 20  # of the editor, per measurement
    config.devices = (1, 2, 4, 8)  # those that there are
    return config
