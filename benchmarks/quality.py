"""Seconds of training against validation hypervolume, pruning on UCI Adult.

JAX_NUM_CPU_DEVICES=4 python -m benchmarks.quality [wide]

Every row is a training of its own with its own schedule. `wide` trains the editor of width 64 with
4 layers instead.
"""

import pathlib
import sys
import tempfile
import time

import numpy as np

from benchmarks.editor import SIZES
from configs import pruning
from experiments import methods, stages
from metanet.core import write_json
from metanet.devices import device_name
from metanet.evaluation.pareto import hypervolume

WORKDIR = pathlib.Path("runs/pruning_adult")  # whose population is used, or trained
EDITOR = "GMN - Prune & Edit"
STEPS = {"ours": (500, 1000, 2000, 4000), "wide": (2000,)}


def measure(steps: int, size: dict) -> dict:
    """Trains one editor and evaluates it on the validation models."""
    config = pruning.get_config("adult")
    config.editors = {EDITOR: {"edit": True, "seeds": 1}}
    config.editor.update(size | {"steps": steps})
    study = stages.prepare(config, WORKDIR, lambda: False)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        editors = stages.train(study, pathlib.Path(folder), lambda: False)
        seconds = time.perf_counter() - start
    swept = methods.swept(EDITOR, study, {name: of_seed[0] for name, of_seed in editors.items()})
    sweep = swept.run("validation", np.arange(len(swept.settings)))
    volume = hypervolume(sweep.points[sweep.selected], tuple(config.evaluation.reference_point))
    return {"steps": steps, "seconds": seconds, "hypervolume": volume}


def main() -> None:
    name = "wide" if sys.argv[1:] == ["wide"] else "ours"
    size = SIZES["width 64"] if name == "wide" else {}
    rows = [measure(steps, size) for steps in STEPS[name]]
    print(f"{device_name()}\n\n| steps | seconds | validation hypervolume |\n|---|---|---|")
    for row in rows:
        print(f"| {row['steps']} | {row['seconds']:.0f} | {row['hypervolume']:.4f} |")
    write_json(f"results/benchmarks/quality_{name}.json", {"device": device_name(), "rows": rows})


if __name__ == "__main__":
    main()
