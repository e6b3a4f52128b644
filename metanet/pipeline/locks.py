"""Locks between processes that share a folder; the system releases those of a process that ends."""

import contextlib
import fcntl
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, ParamSpec, TypeVar

import jax

from metanet.core import Stopped, UserError, writing
from metanet.devices import any_process

P = ParamSpec("P")
T = TypeVar("T")
PAUSE = 0.2  # seconds between two looks at a lock that another process holds


def try_hold(path: pathlib.Path) -> IO | None:
    """The lock, which closing it or the end of the process releases; None if somebody holds it."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextlib.contextmanager
def hold(path: pathlib.Path, should_stop: Callable[[], bool]) -> Iterator[None]:
    """A block that one process at a time is in; of several that run together, the first one holds.

    Raises:
      Stopped: `should_stop()` became true while another process was in it.
    """
    first = jax.process_index() == 0
    # All processes go round together: `should_stop` may ask all of them.
    while not any_process((lock := try_hold(path) if first else None) is not None):
        if should_stop():
            raise Stopped(f"{path.name}: another process is at work")
        time.sleep(PAUSE)
    with lock or contextlib.nullcontext():
        yield


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
    left, first = list(tasks), jax.process_index() == 0
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
            time.sleep(PAUSE)
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
