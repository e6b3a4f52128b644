"""Runs an experiment: python -m experiments.run --config=configs/pruning.py [--workdir=DIR].

Repeating a command continues where it stopped. Exit status: 0 done, or stopped by SIGTERM with
everything saved; 2 the config, the data or a file is unusable; other: a fault of ours, or 1 with
one line where training diverged.
"""

import pathlib
import sys

import jax
from absl import flags
from ml_collections import config_flags

from experiments import launch
from metanet.core import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "Path of a config file, with :dataset.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Output folder; by default runs/CONFIG_DATASET[-TASK]."
)


def _parse(argv: list[str]) -> None:
    """Parses the flags; whatever is wrong with them becomes a UserError."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise UserError(f"command line: found {rest[1]!r}, expected only flags")
        getattr(_CONFIG.value, "seed", None)  # a file that failed to load says so here
        if _CONFIG.value is None:
            raise UserError("--config: found nothing, expected a config file, for example "
                            "configs/quickstart.py")  # fmt: skip
    except (flags.Error, KeyError, AttributeError, TypeError, ValueError, OSError) as error:
        text = str(error.args[0]) if error.args else repr(error)
        text = " ".join(text.replace("\\n", " ").replace("\\", "").split())
        raise UserError(f"command line: {text}") from error


def _default_workdir(config) -> pathlib.Path:
    path, _, which = flags.FLAGS["config"].config_filename.partition(":")
    return pathlib.Path("runs") / f"{pathlib.Path(path).stem}_{which or config.dataset}"


def _main(argv: list[str]) -> None:
    _parse(argv)
    config = _CONFIG.value
    launch.setup_jax(config.num_cpu_devices)
    from experiments import stages, timing  # after jax is set up: its imports may touch devices
    from metanet import report

    should_stop = launch.on_sigterm()
    workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else _default_workdir(config)
    launch.writable(workdir)
    run = timing.run if config.task == "timing" else stages.run
    results = run(config, workdir, launch.about("experiments.run"), should_stop)
    if jax.process_index():
        return
    print(report.table(results))
    for path in (workdir / "front.png", workdir / "results.json"):
        if path.exists():
            print(f"{'picture' if path.suffix == '.png' else 'results'}: {path}")


if __name__ == "__main__":
    sys.exit(launch.status(_main, sys.argv))
