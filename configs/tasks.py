"""The config of a task, for studies that exist for several."""

from ml_collections import ConfigDict

from configs import dm, fairness, pruning

TASKS = {"dm": dm, "fairness": fairness, "pruning": pruning}


def config_of(which: str) -> ConfigDict:
    """The config of `which`: DATASET-TASK."""
    dataset, _, task = which.rpartition("-")
    if task not in TASKS:
        known = ", ".join(f"{dataset}-{task}" for task in TASKS)
        raise ValueError(f"found :{which}, expected one of {known}")
    return TASKS[task].get_config(dataset)
