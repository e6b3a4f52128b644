"""Wall seconds and peak memory of an experiment's phases."""

import contextlib
import logging
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Iterator

import jax

from metanet.pipeline.locks import try_hold, waited
from metanet.storage import read_seconds, write_json

logger = logging.getLogger(__name__)

_FILE = "wall_seconds.json"
_TRAINED = "seconds.json"


@contextlib.contextmanager
def clocked(folder: pathlib.Path, phase: str) -> Iterator[None]:
    """A block whose wall seconds add to the phase's in wall_seconds.json, over all resumed runs."""
    start = time.monotonic()
    try:
        yield
        logger.info("%s: done, peak memory %.2f GiB", phase, peak_memory())
    finally:
        took = time.monotonic() - start
        _set(folder, phase, lambda before: before + took)


@contextlib.contextmanager
def clocked_once(folder: pathlib.Path, steps: int) -> Iterator[None]:
    """A block whose wall seconds add to seconds.json of an editor, unless it is trained already.

    Runs that share the editor load it, which is not its training time.
    """
    trained = (folder / "steps" / str(steps)).exists()
    start = time.monotonic()
    try:
        yield
    finally:
        if not trained and folder.exists():
            seconds = trained_seconds(folder) + time.monotonic() - start
            write_json(folder / _TRAINED, {"training": round(seconds, 2)})
            logger.info("editor: peak memory %.2f GiB", peak_memory())


def trained_seconds(folder: pathlib.Path) -> float:
    """The wall seconds of an editor's training, over all runs that took part."""
    return read_seconds(folder / _TRAINED, ("training",)).get("training", 0.0)


def record(folder: pathlib.Path, phase: str, seconds: float) -> None:
    """Sets a phase's seconds in wall_seconds.json."""
    _set(folder, phase, lambda _: seconds)


def _set(folder: pathlib.Path, phase: str, of: Callable[[float], float]) -> None:
    """Sets a phase's seconds, `of` those so far, beside processes that set others'."""
    if jax.process_index():
        return
    # Nothing that other hosts have to take part in: an error may be on its way.
    path, looks = folder / ".locks" / _FILE, 0
    while (lock := try_hold(path)) is None:
        looks = waited(looks, path)
    with lock:
        seconds = wall_seconds(folder)
        seconds[phase] = round(of(seconds.get(phase, 0.0)), 2)
        write_json(folder / _FILE, seconds)


def wall_seconds(folder: pathlib.Path) -> dict[str, float]:
    """The content of wall_seconds.json so far, by phase."""
    return read_seconds(folder / _FILE)


def reset(folder: pathlib.Path, seconds: dict[str, float]) -> None:
    """Writes `seconds`, those of an earlier run that did the work."""
    write_json(folder / _FILE, seconds)


def peak_memory() -> float:
    """The most host memory that this process has held, GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
