"""Runs every experiment and says of every claim of the paper whether it holds.

python -m experiments.reproduce --preset={smoke,small,full} [--runs=RUN,...] [--workdir=DIR]
    [--results=DIR]

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
from experiments import launch
from metanet.core import UserError, atomic_path

_PRESET = flags.DEFINE_enum("preset", None, list(PRESETS), "How much of everything.")
_RUNS = flags.DEFINE_list("runs", [], "Some of the preset's runs; by default all.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Of the runs; by default runs/reproduce_PRESET.")
_RESULTS = flags.DEFINE_string("results", None, "Of README.md; by default WORKDIR/results.")
_KEPT = ("results.json", "front.csv", "front.png", "stages.png", "labels.png")

logger = logging.getLogger(__name__)


def config_of(run: str, preset: str):
    """The config of `run`, CONFIG[:DATASET[-TASK]], in the size of `preset`."""
    name, _, which = run.partition(":")
    config = importlib.import_module(f"configs.{name}").get_config(which)
    PRESETS[preset][1](config)
    return config


def publish(workdir: pathlib.Path, results: pathlib.Path) -> None:
    """Copies what is kept of a run."""
    for name in _KEPT:
        if (workdir / name).exists():
            with atomic_path(results / name) as temporary:
                shutil.copyfile(workdir / name, temporary)


def _main(argv: list[str]) -> None:
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(f"command line: {' '.join(str(error).split())}") from error
    if len(rest) > 1 or _PRESET.value is None:
        found = rest[1] if len(rest) > 1 else "nothing"
        raise UserError(f"--preset: found {found}, expected one of {', '.join(PRESETS)}")
    known = PRESETS[_PRESET.value][0]
    runs = _RUNS.value or known
    unknown = sorted(set(runs) - set(known))
    if unknown:
        raise UserError(f"--runs: found {unknown[0]}, expected some of {', '.join(known)}")
    launch.setup_jax(0)
    from experiments import stages, timing  # after jax is set up: its imports may touch devices
    from metanet.report import overview

    should_stop = launch.on_sigterm()
    root = pathlib.Path(_WORKDIR.value or f"runs/reproduce_{_PRESET.value}")
    folder = launch.writable(pathlib.Path(_RESULTS.value or root / "results"))
    about = launch.about("experiments.reproduce")
    for run in runs:
        name = run.replace(":", "_")
        logger.info("run: %s", run)
        config = config_of(run, _PRESET.value)
        work = launch.writable(root / name)
        function = timing.run if config.task == "timing" else stages.run
        function(config, work, about, should_stop, store=root / "store")
        publish(work, folder / name)
    overview.write(folder, about)
    if jax.process_index() == 0:
        print(f"report: {folder / 'README.md'}")


if __name__ == "__main__":
    sys.exit(launch.status(_main, sys.argv))
