"""Locks between processes that share a folder; the system releases those of a process that ends."""

import contextlib
import fcntl
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import IO

from metanet.core import Stopped

PAUSE = 0.2  # seconds between two looks at a lock that another process holds


def try_hold(path: pathlib.Path) -> IO | None:
    """The lock, which closing it or the end of the process releases; None if somebody holds it."""
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
    """A block that one process at a time is in.

    Raises:
      Stopped: `should_stop()` became true while another process was in it.
    """
    while (lock := try_hold(path)) is None:
        if should_stop():
            raise Stopped(f"{path.name}: another process is at work")
        time.sleep(PAUSE)
    with lock:
        yield
