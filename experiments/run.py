"""Runs an experiment.

python -m experiments.run --config=configs/pruning.py [--workdir=DIR] [--processes=1]

Repeating a command continues where it stopped. Exit status: 0 done, or stopped by SIGTERM with
everything saved; 2 the config, the data or a file is unusable; other: a fault of ours, or 1 with
one line where training diverged.
"""

import pathlib
import sys

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from experiments import launch, processes
from metanet import report
from metanet.core import UserError, require

_CONFIG = config_flags.DEFINE_config_file("config", None, "Path of a config file, with :dataset.")
DEVICES = 1024  # on CPU, each of which has threads of its own
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Output folder; by default runs/CONFIG_DATASET[-TASK]."
)


def workdir_given() -> str | None:
    """The value of --workdir."""
    return _WORKDIR.value


def parsed(argv: list[str]) -> tuple[ConfigDict, int, pathlib.Path]:
    """The config, the number of host devices (0 is one per core) and the workdir that flags name.

    Raises:
      UserError: a flag is unusable.
    """
    launch.parse_flags(argv)
    config = _CONFIG.value
    if config is None:
        raise UserError("--config: found nothing, expected a config file, for example "
                        "configs/quickstart.py")  # fmt: skip
    require(isinstance(config, ConfigDict), "config", repr(config), "a ConfigDict from get_config")
    devices = config.get("num_cpu_devices", 0)
    ok = type(devices) is int and 0 <= devices <= DEVICES
    require(ok, "num_cpu_devices", repr(devices), f"0 for one per core, or at most {DEVICES}")
    given = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = _WORKDIR.value or launch.default_workdir(given, str(config.get("dataset")))
    return config, devices, pathlib.Path(workdir)


def main(argv: list[str]) -> None:
    config, devices, workdir = parsed(argv)
    start = launch.parsed(config)
    processes.refuse_if_timing([start])
    devices = processes.setup_jax(devices)
    should_stop = launch.on_sigterm()
    launch.writable(workdir)
    about, more = launch.about("experiments.run"), processes.helped(start, workdir, devices)
    results = start(workdir, about=about, should_stop=should_stop, **more)
    if jax.process_index():
        return
    print(report.table(results))
    for name in ("front.png", "front_all.png", "results.json"):
        if (workdir / name).exists():
            kind = "picture" if name.endswith(".png") else "results"
            print(f"{kind}: {workdir / name}")


if __name__ == "__main__":
    sys.exit(launch.status(main, sys.argv))
