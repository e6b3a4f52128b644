"""Commands except for their work: flags, devices, processes, cache, the log, exit status."""

import functools
import importlib
import logging
import os
import pathlib
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence

import jax
from absl import flags
from ml_collections import ConfigDict

from experiments import settings
from metanet.core import Diverged, Stopped, UserError, one_line, raised, require
from metanet.data.files import label_of
from metanet.devices import any_process
from metanet.pipeline import run, timing
from metanet.pipeline.provenance import about_this_process as about

__all__ = [
    "about",
    "import_named",
    "on_sigterm",
    "parse_flags",
    "parsed",
    "setup_jax",
    "status",
    "writable",
]

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
# What JAX's errors quote of those by which processes exchange arrays, when another one has ended.
_OF_OTHERS = ("Gloo", "NCCL", "coordination service", "DEADLINE_EXCEEDED", "UNAVAILABLE")
LONGEST = 400  # characters of a message from a library


def parse_flags(argv: Sequence[str], arguments: int = 0) -> list[str]:
    """Parses the flags of a command, and returns its other arguments.

    Args:
      arguments: how many others it takes, at most.

    The folder of a config file is on Python's path, so that it may import files beside it.

    Raises:
      UserError: a flag is unknown or has no such value, or a config file cannot be loaded.
    """
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        if name.lstrip("-") == "config":
            folder = pathlib.Path((value if equals else following).partition(":")[0]).parent
            sys.path.append(str(folder.absolute()))
    try:
        rest = flags.FLAGS(list(argv))
        if "config" in flags.FLAGS:
            getattr(flags.FLAGS.config, "seed", None)  # a file that failed to load says so here
    except (Exception, SystemExit) as error:  # a config file is a user's code
        raise UserError(f"command line: {_cause(error)}") from error
    if len(rest) > 1 + arguments:
        raise UserError(f"command line: found {rest[1 + arguments]!r}, expected only flags")
    return rest[1:]


def _cause(error: BaseException) -> str:
    """The message of the first error in a chain, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error.args[0]) if error.args else repr(error)
    # Of a traceback within a message only its last line says what happened.
    before, traceback, rest = text.replace("\\n", "\n").partition("Traceback")
    lines = rest.strip().splitlines()
    text = f"{before} {lines[-1]}" if traceback and lines else text
    text = " ".join(text.replace("\\n", " ").replace("\\", "").split())
    named = isinstance(error, (flags.Error, UserError, OSError, AttributeError))
    text = text if named else f"{type(error).__name__}: {text}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def parsed(config: ConfigDict) -> functools.partial:
    """The run that a config asks for: (folder, *, about, store=None, should_stop) -> results.

    A config of several experiments asks for their methods' times.

    Raises:
      UserError: a setting is unusable.
    """
    require(isinstance(config, ConfigDict), "config", repr(config), "a ConfigDict from get_config")
    if "experiments" in config:
        return functools.partial(timing.run, settings.parse_timing(config))
    return functools.partial(run, settings.parse(config))


def default_workdir(config_flag: str, dataset: str) -> pathlib.Path:
    """The folder of a run that has none of its own: runs/CONFIG_DATASET[-TASK].

    Args:
      config_flag: FILE[:WHICH];  dataset: that the config has, perhaps a file's path.
    """
    path, _, which = config_flag.partition(":")
    # The dataset may be all of WHICH, or a part of it.
    which = (which or dataset).replace(dataset, label_of(dataset)).replace("/", "-")
    return pathlib.Path("runs") / f"{pathlib.Path(path).stem}_{which}"


def import_named(names: Sequence[str]) -> None:
    """Imports the modules of --imports, so that an editor may name what is in them.

    Raises:
      UserError: one cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # a user's module may do anything
            raise UserError(
                f"--imports: found {name} ({raised(error)}), expected a module"
            ) from error


def setup_jax(num_cpu_devices: int = 0) -> None:
    """Host devices, the persistent compilation cache, other processes; before jax starts.

    Args:
      num_cpu_devices: 0 is one per core.

    Raises:
      UserError: the flags of several processes do not go together.
    """
    jax.config.update("jax_num_cpu_devices", num_cpu_devices or len(os.sched_getaffinity(0)))
    if not jax.config.values["jax_compilation_cache_dir"]:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(cache / "metanet" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    if not flags.FLAGS.is_parsed():
        return
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


def on_sigterm() -> Callable[[], bool]:
    """A function that says whether SIGTERM has come since, to any process; all have to call it."""
    stop: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    return lambda: any_process(bool(stop))


def writable(folder: pathlib.Path) -> pathlib.Path:
    """`folder`, which is made if it is absent.

    Raises:
      UserError: it cannot be made, or not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{folder}: found {reason}, expected a folder to write") from error


def _hear_libraries() -> None:
    """Faults in threads and finalisers of libraries become lines of the log, each text once.

    On a full disk Orbax would print dozens of tracebacks about one cause, which the command's own
    error names.
    """
    log, heard, told = logging.getLogger("experiments"), set[str](), sys.excepthook
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    def hear(where: str, error: BaseException | None) -> None:
        text = f"{where}: {raised(error) if error else 'unknown'}"
        if text not in heard:
            heard.add(text)
            log.warning("%s", text)

    def in_any_thread(kind, value, trace) -> None:  # Python or not
        if threading.current_thread() is threading.main_thread():
            told(kind, value, trace)
        else:
            hear("in a thread of a library", value)

    sys.excepthook = in_any_thread
    threading.excepthook = lambda args: hear("in a thread of a library", args.exc_value)
    sys.unraisablehook = lambda args: hear("while a library cleaned up", args.exc_value)


def status(command: Callable[[list[str]], None], argv: list[str], prefix: str = "") -> int:
    """Runs `command`, with the log on stderr, and turns errors into one line and an exit status.

    Args:
      prefix: of every line of the log, after the time.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"%(asctime)s {prefix}%(message)s", "%H:%M:%S"))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False
    _hear_libraries()
    try:
        command(argv)
    except Stopped as stopped:
        print(f"{stopped}; the same command continues", file=sys.stderr)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        expected = "a file that can be read and written; the same command continues then"
        found = f"{error.filename}: found {error.strerror}"
        print(f"error: {one_line(f'{found}, expected {expected}')}", file=sys.stderr)
        return 2
    except Diverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except jax.errors.JaxRuntimeError as error:
        others = jax.distributed.is_initialized()
        if not (others and any(one in str(error) for one in _OF_OTHERS)):
            raise
        said = f"error: another process has ended ({raised(error)}); the same command continues"
        print(said, file=sys.stderr)
        return 1
    return 0
