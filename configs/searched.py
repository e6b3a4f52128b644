"""Values that experiments.search chose, with the studies that they are from.

Every study is of 10 trials on validation models of Adult (configs/search.py), and is kept in
results/search. Bank has the same values.
"""

from ml_collections import ConfigDict

VALUES: dict[str, dict[str, dict]] = {
    "pruning": {
        "SNIP & Distil": {
            "study": "snip-distil-3619810ead1b",
            "distil.batch_size": 128,
            "distil.learning_rate": 0.035,
        },
        "LAMP & Distil": {
            "study": "lamp-distil-5a38aab63951",
            "distil.batch_size": 256,
            "distil.learning_rate": 0.1,
        },
        "OBD & Distil": {
            "study": "obd-distil-0932b2825464",
            "distil.batch_size": 256,
            "distil.learning_rate": 0.1,
        },
        "ExactOBS & Distil": {
            "study": "exactobs-distil-6b9277480205",
            "damping": 1e-4,
            "distil.batch_size": 256,
            "distil.learning_rate": 0.016,
        },
        "Lottery Ticket": {
            "study": "lottery-ticket-e3595daaf856",
            "retrain.batch_size": 256,
            "retrain.learning_rate": 0.1,
        },
        "Lottery Ticket (untrained)": {
            "study": "lottery-ticket-untrained-d69246a40b21",
            "retrain.batch_size": 128,
            "retrain.learning_rate": 0.01,
        },
    },
}


def apply(config: ConfigDict) -> None:
    """Gives the recipes of a task's config their searched values."""
    for name, values in VALUES.get(config.task, {}).items():
        recipe = config.recipes[name]
        for path, value in values.items():
            section, _, key = path.rpartition(".")
            (recipe[section] if section else recipe)[key] = value
