"""Locks between processes that share a folder; the system releases those of a process that ends."""

import contextlib
import fcntl
import functools
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, ParamSpec, TypeVar

import jax

from metanet.core import Stopped, UserError
from metanet.devices import any_process
from metanet.storage import writing

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
PAUSE = 0.2  # seconds between two looks at a lock that another process holds
SAID = 25  # such looks, after which the log says what is waited for


def try_hold(path: pathlib.Path) -> IO | None:
    """The lock, which closing it or the end of the process releases; None if somebody holds it.

    Raises:
      UserError: the file cannot be written, or its file system has no locks.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:  # as NFS without its lock service, or Lustre mounted without flock
        file.close()
        expected = "a folder on a file system with locks (flock)"
        raise UserError(f"{path}: found {error.strerror}, expected {expected}") from error
    return file


@contextlib.contextmanager
def hold(path: pathlib.Path, should_stop: Callable[[], bool]) -> Iterator[None]:
    """A block that one process at a time is in; of several that run together, the first one holds.

    Raises:
      Stopped: `should_stop()` became true while another process was in it.
    """
    first, looks = jax.process_index() == 0, 0
    # All processes go round together: `should_stop` may ask all of them.
    while not any_process((lock := try_hold(path) if first else None) is not None):
        if should_stop():
            raise Stopped(f"{path.name}: another process is at work")
        looks = waited(looks, path)
    with lock or contextlib.nullcontext():
        yield


def waited(looks: int, path: pathlib.Path) -> int:
    """Waits for another process for the `looks`-th time; the next number."""
    if looks == SAID:
        logger.info("%s is held by another process: waiting for its end", path)
    time.sleep(PAUSE)
    return looks + 1


def divided(
    tasks: Iterable[T],
    path: Callable[[T], pathlib.Path],
    work: Callable[[T], None],
    should_stop: Callable[[], bool],
) -> None:
    """work(task) for every task while holding the lock path(task); one that another is at, later.

    By then it is done or the other process has ended, so that `work` is to look what is done.

    Raises:
      Stopped: `should_stop()` became true while other processes were at all that is left.
    """
    left, first, looks = list(tasks), jax.process_index() == 0, 0
    while left:
        held = []  # by others
        for task in left:
            lock = try_hold(path(task)) if first else None
            if any_process(lock is not None):
                with lock or contextlib.nullcontext():
                    work(task)
            else:
                held.append(task)
        if held == left:
            if should_stop():
                raise Stopped("other processes are at work")
            looks = waited(looks, path(held[0]))
        else:
            looks = 0
        left = held


def alone(run: Callable[P, T]) -> Callable[P, T]:
    """`run(config, folder, ...)`, which no two processes do in one folder at a time.

    Raises:
      UserError: another process works in the folder.
    """

    @functools.wraps(run)
    def one_run(*args: P.args, **kwargs: P.kwargs) -> T:
        folder = pathlib.Path(str(args[1] if len(args) > 1 else kwargs["folder"]))
        if jax.process_index():
            return run(*args, **kwargs)
        path = folder / ".lock"
        lock = try_hold(path)
        if lock is None:
            other = f"process {path.read_text() or '(not known yet)'} at work in it"
            remedy = "no other; wait for it, or give another --workdir"
            raise UserError(f"{folder}: found {other}, expected {remedy}")
        with lock:
            with contextlib.suppress(OSError):  # a full disk: others see that, not who
                os.ftruncate(lock.fileno(), 0)
                os.write(lock.fileno(), str(os.getpid()).encode())
            return run(*args, **kwargs)

    return one_run
