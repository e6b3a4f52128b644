"""What experiments.faults breaks files into, and how it judges what became of them."""

import dataclasses
import json
import pathlib
import shutil
import time
import zlib
from collections.abc import Callable, Sequence

import numpy as np

MINUTE = 60.0
# Parts of results.json that the clock, the command or the checkout decides.
CLOCK = {"wall_seconds", "seconds_per_model", "command", "seconds", "duration",
         "commit", "dirty"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """What became of one fault.

    Attributes:
      fault: in words;  times: how often it was done;  ended: how.
      holds: whether every time ended as it should; None where it cannot be done here.
      seconds: that all took.
    """

    fault: str
    times: int
    ended: str
    holds: bool | None
    seconds: float


def numbers(value):
    """The content of a results.json without what the clock decides."""
    if isinstance(value, dict):
        return {k: numbers(v) for k, v in value.items() if k not in CLOCK | {"sha256"}}
    return [numbers(one) for one in value] if isinstance(value, list) else value


def numbers_in(path: pathlib.Path):
    return numbers(json.loads(path.read_text())) if path.exists() else None


def broken(content: bytes, seed: str) -> tuple[bytes, bytes, bytes]:
    """A file's content emptied, cut, and with one bit flipped, at a place that `seed` decides."""
    flipped, draw = bytearray(content), np.random.default_rng(zlib.crc32(seed.encode()))
    flipped[draw.integers(len(content))] ^= 1 << int(draw.integers(8))
    return b"", content[: len(content) // 2], bytes(flipped)


def undone(verdict: str) -> str:
    """A verdict on a fault that has to leave no trace."""
    return verdict if verdict.startswith(("same", "WRONG")) else f"WRONG: {verdict}"


def remedied(folder: pathlib.Path, error: str) -> str | None:
    """Does what an error's line advises: removes what it names; what is wrong if it names nothing.

    Args:
      folder: in which everything has to be that may be removed.
    """
    named = pathlib.Path(
        error.removeprefix("error: ").partition(": found ")[0].partition(", line")[0]
    )
    remedy = error.rpartition("remove ")[2]
    if remedy.startswith("that folder") and named.is_file():
        named = named.parent
    elif not remedy.startswith(("that folder", "it")):
        named = pathlib.Path(remedy)
    if "remove " not in error or folder not in named.parents:
        return f"WRONG: names no file of its own: {error[:200]}"
    if named.is_dir():
        shutil.rmtree(named)
    else:
        named.unlink()
    return None


def after_remedy(folder: pathlib.Path, error: str, again: Callable[[], str]) -> str:
    """How again() ends after what an error advises is done, which has to be as if nothing was."""
    verdict = remedied(folder, error) or undone(again())
    return verdict if verdict.startswith("WRONG") else f"one line, remedy, {verdict}"


def summed(fault: str, found: Sequence[str], start: float) -> Case:
    """The case of a fault that ended so, each time."""
    kinds = {kind: found.count(kind) for kind in sorted(set(found), key=found.index)}
    ended = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    wrong = any(kind.startswith("WRONG") for kind in found)
    return Case(fault, len(found), ended, bool(found) and not wrong, time.monotonic() - start)
