"""Runs an experiment: python -m experiments.run --config=configs/pruning.py [--workdir=DIR].

Repeating a command continues where it stopped. Exit status: 0 done, or stopped by SIGTERM with
everything saved; 2 the config, the data or a file is unusable; other: a fault of ours, or 1 with
one line where training diverged.
"""

import logging
import os
import pathlib
import shlex
import signal
import sys

import jax
from absl import flags
from ml_collections import config_flags

from metanet.core import Diverged, Stopped, UserError, device_name, versions

_CONFIG = config_flags.DEFINE_config_file("config", None, "Path of a config file, with :dataset.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Output folder; by default runs/CONFIG_DATASET.")
_PACKAGES = ("metanet", "jax", "jaxlib", "flax", "optax", "jraph", "orbax-checkpoint", "numpy")


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


def _setup_jax(num_cpu_devices: int) -> None:
    """Host devices for the cores, and the persistent compilation cache; before jax starts."""
    jax.config.update("jax_num_cpu_devices", num_cpu_devices or len(os.sched_getaffinity(0)))
    if not jax.config.jax_compilation_cache_dir:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(cache / "metanet" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _default_workdir(config) -> pathlib.Path:
    path = flags.FLAGS["config"].config_filename.split(":")[0]
    return pathlib.Path("runs") / f"{pathlib.Path(path).stem}_{config.dataset}"


def _about() -> dict:
    return {
        "command": shlex.join(["python", "-m", "experiments.run", *sys.argv[1:]]),
        "device": device_name(),
        "versions": versions(_PACKAGES),
    }


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    for name in ("metanet", "experiments", "__main__"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False


def _main(argv: list[str]) -> None:
    _parse(argv)
    config = _CONFIG.value
    _setup_jax(config.num_cpu_devices)
    from experiments import stages, timing  # after jax is set up: its imports may touch devices
    from metanet import report

    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else _default_workdir(config)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{workdir}: found {error.strerror}, expected a folder to write") from error
    about = _about()
    run = timing.run if config.task == "timing" else stages.run
    results = run(config, workdir, about, should_stop=lambda: bool(stop))
    print(report.table(results))
    for path in (workdir / "front.png", workdir / "results.json"):
        if path.exists():
            print(f"{'picture' if path.suffix == '.png' else 'results'}: {path}")


def main(argv: list[str]) -> int:
    """Runs, and turns errors into an exit status and one line on stderr."""
    _log_to_stderr()
    try:
        _main(argv)
    except Stopped as stopped:
        print(f"{stopped}; the same command continues", file=sys.stderr)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Diverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
