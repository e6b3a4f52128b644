"""What commands do around their work: devices, processes, cache, the log, errors, stopping."""

import logging
import os
import pathlib
import resource
import shlex
import signal
import sys
from collections.abc import Callable

import jax
from absl import flags

from metanet.core import Diverged, Stopped, UserError, versions
from metanet.devices import any_process, device_name

_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One of several processes, which a TPU pod or SLURM tells about."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, where nothing tells: one of several processes."
)
_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many, with --coordinator.")
_PROCESS = flags.DEFINE_integer("process_id", None, "This one's number, with --coordinator.")
_LOGGERS = ("metanet", "experiments", "__main__")
HEARTBEAT = 20  # seconds without one after which a process counts as gone

_PACKAGES = ("metanet", "jax", "jaxlib", "flax", "optax", "jraph", "orbax-checkpoint", "numpy")


def setup_jax(num_cpu_devices: int) -> None:
    """Host devices, the persistent compilation cache, other processes; before jax starts.

    Raises:
      UserError: the flags of several processes do not go together.
    """
    jax.config.update("jax_num_cpu_devices", num_cpu_devices or len(os.sched_getaffinity(0)))
    if not jax.config.jax_compilation_cache_dir:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(cache / "metanet" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    explicit = (_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    if any(value is not None for value in explicit):
        if None in explicit:
            raise UserError("--coordinator: found some of --coordinator, --num_processes and "
                            "--process_id, expected all three")  # fmt: skip
    elif not _DISTRIBUTED.value:
        return
    try:
        jax.distributed.initialize(*explicit, heartbeat_timeout_seconds=HEARTBEAT)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--distributed: found {reason}, expected processes that meet") from error
    if jax.process_index():  # the first one tells of all
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)


def about(module: str) -> dict:
    """What results.json says of the command and the machine."""
    return {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "device": device_name(),
        "versions": versions(_PACKAGES),
    }


def peak_memory() -> float:
    """The most host memory that this process has held, GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def on_sigterm() -> Callable[[], bool]:
    """A function that says whether SIGTERM has come since, to any process; all have to ask."""
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    return lambda: any_process(bool(stop))


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
    for name in _LOGGERS:
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
