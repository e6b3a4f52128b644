"""Runs every experiment, and judges every claim of the paper.

python -m experiments.reproduce --preset={smoke,small,full,load} [--runs=RUN,...] [--workdir=DIR]
    [--results=DIR] [--processes=1]

Repeating a command continues where it stopped. Runs share populations and editors; processes with
different --runs may work in one folder at a time, if they differ in dataset. Exit status as of
experiments.run.
"""

import importlib
import logging
import pathlib
import shutil
import sys

import jax
from absl import flags

from configs.presets import PRESETS
from experiments import launch, processes
from metanet.core import UserError
from metanet.report import overview
from metanet.storage import atomic_path

_PRESET = flags.DEFINE_enum("preset", None, list(PRESETS), "How much of everything.")
_RUNS = flags.DEFINE_list("runs", [], "Some of the preset's runs; by default all.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Of the runs; by default runs/reproduce_PRESET.")
_RESULTS = flags.DEFINE_string("results", None, "Of README.md; by default WORKDIR/results.")
_KEPT = ("results.json", "config.json", "front.csv", "front.png", "front_all.png", "stages.png",
         "costs.png")  # fmt: skip

logger = logging.getLogger(__name__)


def config_of(run: str, preset: str):
    """The config of `run`, CONFIG[:DATASET[-TASK]], in the size of `preset`."""
    name, _, which = run.partition(":")
    config = importlib.import_module(f"configs.{name}").get_config(which)
    PRESETS[preset][1](config)
    return config


def publish(workdir: pathlib.Path, results: pathlib.Path) -> None:
    """Copies the files of a run that are kept; values of methods that are gone go."""
    values = {path.relative_to(workdir) for path in workdir.glob("models/*.npz")}
    for path in results.glob("models/*.npz"):
        if path.relative_to(results) not in values:
            path.unlink()
    for name in (*map(pathlib.Path, _KEPT), *values):
        if (workdir / name).exists():
            with atomic_path(results / name) as temporary:
                shutil.copyfile(workdir / name, temporary)


def _main(argv: list[str]) -> None:
    launch.parse_flags(argv)
    if _PRESET.value is None:
        raise UserError(f"--preset: found nothing, expected one of {', '.join(PRESETS)}")
    known = PRESETS[_PRESET.value][0]
    runs = _RUNS.value or known
    unknown = sorted(set(runs) - set(known))
    if unknown:
        raise UserError(f"--runs: found {unknown[0]}, expected some of {', '.join(known)}")
    starts = {name: launch.parsed(config_of(name, _PRESET.value)) for name in runs}
    processes.refuse_if_timing(starts.values())
    devices = processes.setup_jax()
    should_stop = launch.on_sigterm()
    root = pathlib.Path(_WORKDIR.value or f"runs/reproduce_{_PRESET.value}")
    folder = launch.writable(pathlib.Path(_RESULTS.value or root / "results"))
    about = launch.about("experiments.reproduce")
    for name, start in starts.items():
        logger.info("run: %s", name)
        work = launch.writable(root / name.replace(":", "_"))
        more = processes.helped(start, work, devices, root / "store")
        start(work, about=about, store=root / "store", should_stop=should_stop, **more)
        publish(work, folder / work.name)
    overview.write(folder, about)
    if jax.process_index() == 0:
        print(f"report: {folder / 'README.md'}")


if __name__ == "__main__":
    sys.exit(launch.status(_main, sys.argv))
