"""Wall seconds and peak memory of an experiment's phases."""

import contextlib
import logging
import pathlib
import resource
import sys
import time
from collections.abc import Iterator

from metanet.core import read_json, write_json

logger = logging.getLogger(__name__)

_FILE = "wall_seconds.json"


@contextlib.contextmanager
def clocked(folder: pathlib.Path, phase: str) -> Iterator[None]:
    """Adds the block's wall seconds to the phase's in wall_seconds.json, over all resumed runs."""
    start = time.monotonic()
    try:
        yield
        logger.info("%s: done, peak memory %.2f GiB", phase, peak_memory())
    finally:
        seconds = wall_seconds(folder)
        seconds[phase] = round(seconds.get(phase, 0.0) + time.monotonic() - start, 2)
        write_json(folder / _FILE, seconds)


def wall_seconds(folder: pathlib.Path) -> dict[str, float]:
    """What wall_seconds.json says so far, by phase."""
    path = folder / _FILE
    return read_json(path) if path.exists() else {}


def reset(folder: pathlib.Path, seconds: dict[str, float]) -> None:
    """Writes `seconds`, those of an earlier run that did the work."""
    write_json(folder / _FILE, seconds)


def peak_memory() -> float:
    """The most host memory that this process has held, GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
