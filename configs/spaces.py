"""Search spaces: the range of every free option that has one, by its name.

experiments.search searches the options of a method whose path ends in one of these names; of
several, the longest counts. So a new baseline with an option `learning_rate` is searched already,
and one with an option of its own by one more line. Budgets (steps, rounds, settings of a front) are
not here: they are the same in every trial, as the config has them.

A range is extended to the config's own value. Numbers of an editor's training are arguments of its
compiled program; batch sizes and shapes are compiled for, so that they are choices of a few.
"""

from metanet.pipeline.spaces import Choice, Log, Range, Uniform

MASKED: tuple = ("mask", "none")  # without masks their settings have no effect

SPACES: dict[str, Range] = {
    # Editors: the hyperparameters of paper A.4, and of our additions. The paper has no numbers
    # in the text that we have: these are around values found by hand (docs/log.md).
    "editor.batch_size": Choice((8, 16, 32)),
    "editor.node_width": Choice((16, 32, 64)),
    "editor.learning_rate": Log(5e-4, 1e-2),
    "editor.dropout": Uniform(0.0, 0.3),
    "editor.weight_decay": Choice((0.0, 1e-4, 1e-3, 1e-2)),
    "editor.layers": Choice((2, 3, 4)),
    "editor.learned_probe": Choice((16, 32, 64), unless=("learned_probe", 0)),
    "editor.imitation": Log(3e-3, 0.3, unless=("imitation", 0.0)),
    # Everything that descends: distilling, retraining, refinement, per-model optimisation.
    "learning_rate": Log(1e-4, 1e-1),
    "batch_size": Choice((64, 128, 256)),
    "points": Choice((64, 128, 256)),
    "mask_learning_rate": Log(1e-2, 1.0, unless=MASKED),
    "mask_temperature": Uniform(0.3, 2.0, unless=MASKED),
    "critic_learning_rate": Log(1e-4, 1e-1),
    # What descends on nothing.
    "damping": Choice((1e-4, 1e-3, 1e-2, 1e-1), unless=("impute", False)),
    "deviation": Log(1e-2, 1.0),
}
