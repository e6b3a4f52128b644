"""How training scales over devices: sizes of the measurement.

python -m experiments.scaling [--config=configs/scaling.py[:DATASET]]
"""

from ml_collections import ConfigDict

from configs import pruning


def get_config(dataset: str = "synthetic") -> ConfigDict:
    config = pruning.get_config(dataset)  # speed does not depend on its values
    config.population.max_specs = 8  # every process compiles the first weights of each
    config.devices = (1, 2, 4, 8)  # those that there are
    # Weak scaling: so much per device; strong scaling: as much as the most devices have, for all.
    config.members = 16  # MLPs in training
    config.editor.batch_size = 16
    config.epochs = 4  # of a member, per measurement
    config.steps = 20  # of the editor
    return config
