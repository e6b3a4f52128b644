"""Seconds of training against validation hypervolume, pruning on UCI Adult.

JAX_NUM_CPU_DEVICES=4 python -m benchmarks.quality [wide]

Every row is a training of its own with its own schedule. `wide` trains the editor of width 64 with
4 layers instead.
"""

import dataclasses
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
from ml_collections import ConfigDict

from benchmarks.editor import SIZES
from benchmarks.harness import RESULTS
from configs import pruning
from experiments.settings import parse
from metanet.devices import device_name
from metanet.evaluation.pareto import hypervolume
from metanet.pipeline import Testbed, build_testbed, train_editors
from metanet.pipeline.evaluate import make_method
from metanet.storage import write_json

WORKDIR = pathlib.Path("runs/pruning_adult")  # whose population is used, or trained
EDITOR = "GMN - Prune & Edit"
STEPS = {"ours": (500, 1000, 2000, 4000), "wide": (2000,)}


def adult() -> ConfigDict:
    """Pruning on UCI Adult with one editor."""
    config = pruning.get_config("adult")
    config.methods, config.evaluation.main_methods = (EDITOR,), ()
    config.editor.seeds = 1
    return config


def measure(
    testbed: Testbed, should_stop: Callable[[], bool] = lambda: False
) -> tuple[float, float]:
    """Trains the experiment's only editor anew.

    Returns:
      (wall seconds of training, hypervolume of its front on the validation models).

    Raises:
      Stopped: `should_stop()` became true.
    """
    experiment = testbed.experiment
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        trained = train_editors(testbed, folder, should_stop=should_stop)
        seconds = time.perf_counter() - start
    (name,) = experiment.method_names
    recipe = experiment.recipe(name)
    editors = [trained[editor][0] for editor in recipe.editors]
    method = make_method(testbed, recipe, f"recipes.{name}", editors)
    sweep = method.sweep(*testbed.split("validation"), np.arange(len(method.settings)))
    reference = experiment.evaluation.reference_point
    return seconds, hypervolume(sweep.points()[sweep.selected()], reference)


def main(
    config: ConfigDict, workdir: pathlib.Path, name: str = "ours", steps: Sequence[int] = ()
) -> None:
    """A table with a row for each number of steps."""
    if name == "wide":
        config.editor.update(SIZES["width 64"])
    testbed, rows = build_testbed(parse(config), workdir), []
    for count in steps or STEPS[name]:
        config.editor.steps = count
        seconds, volume = measure(dataclasses.replace(testbed, experiment=parse(config)))
        rows.append({"steps": count, "seconds": seconds, "hypervolume": volume})
    print(f"{device_name()}\n\n| steps | seconds | validation hypervolume |\n|---|---|---|")
    for row in rows:
        print(f"| {row['steps']} | {row['seconds']:.0f} | {row['hypervolume']:.4f} |")
    write_json(RESULTS / f"quality_{name}.json", {"device": device_name(), "rows": rows})


if __name__ == "__main__":
    main(adult(), WORKDIR, "wide" if sys.argv[1:] == ["wide"] else "ours")
