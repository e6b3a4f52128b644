"""What every command does around its work: JAX's devices and cache, the log, errors, stopping."""

import logging
import os
import pathlib
import shlex
import signal
import sys
from collections.abc import Callable

import jax

from metanet.core import Diverged, Stopped, UserError, device_name, versions

_PACKAGES = ("metanet", "jax", "jaxlib", "flax", "optax", "jraph", "orbax-checkpoint", "numpy")


def setup_jax(num_cpu_devices: int) -> None:
    """Host devices for the cores, and the persistent compilation cache; before jax starts."""
    jax.config.update("jax_num_cpu_devices", num_cpu_devices or len(os.sched_getaffinity(0)))
    if not jax.config.jax_compilation_cache_dir:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(cache / "metanet" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def about(module: str) -> dict:
    """What results.json says of the command and the machine."""
    return {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "device": device_name(),
        "versions": versions(_PACKAGES),
    }


def on_sigterm() -> Callable[[], bool]:
    """A function that says whether SIGTERM has come since."""
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    return lambda: bool(stop)


def writable(folder: pathlib.Path) -> pathlib.Path:
    """`folder`, which is made.

    Raises:
      UserError: it cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: found {error.strerror}, expected a folder to write") from error
    return folder


def status(command: Callable[[list[str]], None], argv: list[str]) -> int:
    """Runs `command`, with the log on stderr, and turns errors into one line and an exit status."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    for name in ("metanet", "experiments", "__main__"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False
    try:
        command(argv)
    except Stopped as stopped:
        print(f"{stopped}; the same command continues", file=sys.stderr)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Diverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
