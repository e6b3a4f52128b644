"""Other processes that work on what a command does, --processes of them in all."""

import contextlib
import functools
import multiprocessing
import os
import pathlib
import sys
from collections.abc import Callable, Iterator

import jax
from absl import flags

from experiments import launch
from metanet.core import UserError
from metanet.pipeline.run import run, take_part

MOST = 1024
_PROCESSES = flags.DEFINE_integer(
    "processes", 1, "How many share the work, on CPU with equally many of the cores each."
)


def count() -> int:
    """The value of --processes.

    Raises:
      UserError: it is not a number of processes.
    """
    if not 1 <= _PROCESSES.value <= MOST:
        raise UserError(f"--processes: found {_PROCESSES.value}, expected 1 to {MOST}")
    return _PROCESSES.value


def setup_jax(devices: int = 0) -> int:
    """`launch.setup_jax` for one of the processes, and its host devices; 0 is one per core.

    Raises:
      UserError: see `launch.setup_jax`; or there are processes on several machines.
    """
    number = count()
    devices = devices or max(len(os.sched_getaffinity(0)) // number, 1)
    if number > 1:  # each takes as much of a GPU's memory as it needs
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    launch.setup_jax(devices)
    if number > 1 and jax.process_count() > 1:
        raise UserError("--distributed: found several processes, expected --processes")
    return devices


@contextlib.contextmanager
def beside(work: Callable[..., None], arguments: tuple, devices: int) -> Iterator[None]:
    """A block beside which the other processes do work(*arguments, should_stop=...).

    An exception of the block stops them. One of theirs is theirs alone: what it has not done, the
    block does.
    """
    spawn = multiprocessing.get_context("spawn")  # jax does not survive a fork
    given = work, arguments, devices
    others = [spawn.Process(target=_work, args=given) for _ in range(count() - 1)]
    for one in others:
        one.start()
    try:
        yield
    except BaseException:
        for one in others:
            one.terminate()  # SIGTERM, at which they store what they have
        raise
    finally:
        for one in others:
            one.join()


def helped(start: functools.partial, folder: pathlib.Path, devices: int, store=None):
    """A block beside which the other processes take part in the run in `folder`.

    Args:
      start: of `launch.parsed`;  devices: see `setup_jax`;  store: see `build_testbed`.

    Raises:
      UserError: the run is a timing run.
    """
    if start.func is not run and count() > 1:
        raise UserError(f"--processes: found {count()}, expected 1 for a timing run, which is to "
                        "have the machine for itself")  # fmt: skip
    part = functools.partial(take_part, store=store)
    return beside(part, (*start.args, folder), devices)


def _work(work: Callable[..., None], arguments: tuple, devices: int) -> None:
    """What one of the others does."""
    parent = multiprocessing.parent_process()

    def go(_):
        launch.setup_jax(devices)
        stopped = launch.on_sigterm()

        def should_stop() -> bool:
            return stopped() or parent is None or not parent.is_alive()

        work(*arguments, should_stop=should_stop)

    sys.exit(launch.status(go, []))
