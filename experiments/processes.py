"""Other processes that work on what a command does, --processes of them in all."""

import contextlib
import functools
import logging
import multiprocessing
import multiprocessing.context
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator

import jax
from absl import flags

from experiments import launch
from metanet.core import UserError, raised
from metanet.pipeline.run import run, take_part

MOST = 1024
PATIENCE = 120  # seconds until one that is to store what it has is ended
logger = logging.getLogger(__name__)
_PROCESSES = flags.DEFINE_integer(
    "processes", 1, "How many share the work; on CPU the cores are divided among them."
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
    if number > 1:  # each takes as much of a GPU's memory as it needs, when it does
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    launch.setup_jax(devices)
    if number > 1 and jax.process_count() > 1:
        raise UserError("--distributed: found several processes, expected --processes")
    return devices


@contextlib.contextmanager
def beside(work: Callable[..., None], arguments: tuple, devices: int) -> Iterator[None]:
    """A block beside which the other processes do work(*arguments, should_stop=...).

    An exception of the block stops them. One of theirs is a line of the log: what they have not
    done, the block does.

    Raises:
      UserError: the system starts no more processes.
    """
    spawn = multiprocessing.get_context("spawn")  # jax does not survive a fork
    others: list[multiprocessing.context.SpawnProcess] = []
    try:
        for number in range(2, count() + 1):
            one = spawn.Process(target=_work, args=(work, arguments, devices, number))
            try:
                one.start()
            except OSError as error:
                raise UserError(f"--processes: found {raised(error)} at number {number}, expected "
                                "as many as the system starts") from error  # fmt: skip
            others.append(one)
        yield
    except BaseException:
        for one in others:
            one.terminate()  # SIGTERM, at which they store what they have
        raise
    finally:
        for one in others:
            one.join(PATIENCE)
            one.kill()
            one.join()


def refuse_if_timing(starts: Iterable[functools.partial]) -> None:
    """Raises UserError if several processes are asked for and all runs time methods."""
    if count() > 1 and all(start.func is not run for start in starts):
        raise UserError(f"--processes: found {count()}, expected 1 for a timing run")


def helped(start: functools.partial, folder: pathlib.Path, devices: int, store=None) -> dict:
    """What else a run in `folder` is given, so that the other processes take part in it.

    A timing run has the machine for itself.

    Args:
      start: of `launch.parsed`;  devices: see `setup_jax`;  store: see `build_testbed`.
    """
    if start.func is not run or count() == 1:
        return {}
    part = functools.partial(take_part, store=store)
    return {"beside": functools.partial(beside, part, (*start.args, folder), devices)}


def _work(work: Callable[..., None], arguments: tuple, devices: int, number: int) -> None:
    """What one of the others does."""
    parent = multiprocessing.parent_process()

    def go(_):
        launch.setup_jax(devices)
        stopped = launch.on_sigterm()

        def should_stop() -> bool:
            return stopped() or parent is None or not parent.is_alive()

        try:
            work(*arguments, should_stop=should_stop)
        except Exception as error:  # the command meets it too, if it is not this process's alone
            logger.warning("ended: %s", raised(error))

    sys.exit(launch.status(go, [], prefix=f"[{number}] "))
