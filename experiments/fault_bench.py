"""An undisturbed run, runs like it, and how they end; for experiments.faults."""

import dataclasses
import json
import os
import pathlib
import shutil
import time
import zlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
from absl import flags

from experiments import run
from experiments.children import Child, Ended

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


@dataclasses.dataclass(frozen=True)
class Bench:
    """An undisturbed run, and what starts others like it.

    Attributes:
      folder: of everything;  flags: of every run;  seconds: that the undisturbed one took.
    """

    folder: pathlib.Path
    flags: Sequence[str]
    seconds: float = 0.0

    @classmethod
    def prepared(cls, folder: pathlib.Path, flags: Sequence[str]) -> "Bench":
        """Runs twice: programs are compiled, then the time is taken.

        Raises:
          SystemExit: the undisturbed run fails.
        """
        bench = cls(folder, flags)
        for name in ("compiled", "done"):
            ended = bench.start(folder / name).wait(10 * MINUTE)
            if ended.status:
                raise SystemExit(f"the undisturbed run failed: {ended.text}")
        return dataclasses.replace(bench, seconds=ended.seconds)

    @property
    def done(self) -> pathlib.Path:
        return self.folder / "done"

    def start(
        self,
        workdir: pathlib.Path,
        *more: str,
        main: Callable[[list[str]], None] = run.main,
        before: Callable[[], None] = lambda: None,
    ) -> Child:
        """The run in `workdir`, or another command on its config."""

        def prepare():
            flags.FLAGS.unparse_flags()
            jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
            before()

        log = self.folder / f"log-{workdir.name}"
        return Child(main, [*self.flags, f"--workdir={workdir}", *more], log, prepare)

    def same(self, workdir: pathlib.Path) -> bool:
        """Whether `workdir` has the numbers of the undisturbed run."""
        expected = numbers_in(self.done / "results.json")
        return numbers_in(workdir / "results.json") == expected

    def judged(self, workdir: pathlib.Path, ended: Ended) -> str:
        """How a run ended: "same numbers", "one line", or what is wrong."""
        if "Traceback" in ended.text:
            return f"WRONG: traceback: {ended.text.strip().splitlines()[-1][:200]}"
        if ended.status is None:
            return "WRONG: no end within a minute"
        if ended.status == 0:
            return "same numbers" if self.same(workdir) else "WRONG: other numbers"
        return "one line" if ended.error else f"WRONG: status {ended.status}: {ended.text[-300:]}"

    def limit(self) -> float:
        """Seconds in which a whole run has to end."""
        return MINUTE + 5 * self.seconds


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


def summed(fault: str, found: Sequence[str], start: float) -> Case:
    """The case of a fault that ended so, each time."""
    kinds = {kind: found.count(kind) for kind in sorted(set(found), key=found.index)}
    ended = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    wrong = any(kind.startswith("WRONG") for kind in found)
    return Case(fault, len(found), ended, bool(found) and not wrong, time.monotonic() - start)
