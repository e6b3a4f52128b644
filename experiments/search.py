"""Searches the free options of one method on validation models.

python -m experiments.search --config=configs/pruning.py:adult --method=NAME [--trials=20]
    [--processes=1] [--workdir=DIR] [--spaces=configs.spaces.SPACES] [--results=DIR]

The study goes on to so many trials in all: repeating the command continues, also after kill -9, and
the same command may run several times at once. Exit status as of experiments.run.
"""

import importlib
import pathlib
import sys

import jax
from absl import flags

from experiments import launch, processes, run, settings
from metanet.core import UserError, raised
from metanet.pipeline import search
from metanet.pipeline.search import Search
from metanet.pipeline.spaces import Range, check
from metanet.report import searches

_METHOD = flags.DEFINE_string("method", None, "Name of an editor or recipe of the config.")
_TRIALS = flags.DEFINE_integer("trials", search.TRIALS, "Of the study, in all.")
_SPACES = flags.DEFINE_string(
    "spaces", "configs.spaces.SPACES", "Dotted path of ranges by option name."
)
_RESULTS = flags.DEFINE_string("results", None, "Where the study and a table of all are kept.")


def _spaces(path: str) -> dict[str, Range]:
    """The ranges that a dotted path names."""
    module, _, name = path.rpartition(".")
    try:
        value = getattr(importlib.import_module(module), name)
    except Exception as error:  # a user's module may do anything when it is imported
        cause = f"found {path!r} ({raised(error)})"
        raise UserError(f"--spaces: {cause}, expected the dotted path of a dict") from error
    return check(value, f"--spaces={path}")


def _work(asked: Search, workdir: pathlib.Path, trials: int, should_stop) -> None:
    """What every process does."""
    search.work(asked, search.testbed_of(asked, workdir, should_stop), workdir, trials)


def _count(name: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise UserError(f"--{name}: found {value}, expected 1 to {most}")
    return value


def _main(argv: list[str]) -> None:
    config, devices, workdir = run.parsed(argv)
    if "experiments" in config:
        raise UserError("--config: found a timing run, expected a config of one experiment")
    trials = _count("trials", _TRIALS.value, search.MOST)
    processes.count()
    experiment = settings.parse(config)
    if _METHOD.value is None:
        names = ", ".join(experiment.method_names)
        raise UserError(f"--method: found nothing, expected one of {names}")
    asked = search.prepare(experiment, _METHOD.value, _spaces(_SPACES.value))
    devices = processes.setup_jax(devices)
    if jax.process_count() > 1:
        raise UserError("--distributed: found several processes, expected --processes")
    should_stop = launch.on_sigterm()
    launch.writable(workdir)
    testbed = search.testbed_of(asked, workdir, should_stop)
    with processes.beside(_work, (asked, workdir, trials), devices):
        search.work(asked, testbed, workdir, trials)
    content = search.results(asked, testbed, workdir, launch.about("experiments.search"))
    print(searches.table(content))
    if _RESULTS.value:
        print(f"kept: {searches.keep(content, launch.writable(pathlib.Path(_RESULTS.value)))}")


if __name__ == "__main__":
    sys.exit(launch.status(_main, sys.argv))
