"""The cases of experiments.faults: each breaks a small run and says how it ended."""

import dataclasses
import os
import pathlib
import re
import shutil
import signal
import socket
import time
import zlib
from collections.abc import Callable, Iterator

import jax
import numpy as np
from absl import flags

from experiments import run
from experiments.children import Child
from experiments.fault_bench import Bench
from experiments.fault_datasets import datasets
from experiments.fault_disk import disk
from experiments.fault_edits import edits
from experiments.fault_searches import searches
from experiments.fault_verdicts import (
    MINUTE,
    Case,
    after_remedy,
    broken,
    numbers_in,
    summed,
    undone,
)
from metanet.core import UserError
from metanet.editor.release import load_editor

KILLS = 4  # of one run, before it may end


def killed(bench: Bench, count: int) -> Iterator[Case]:
    """SIGKILL and SIGTERM at random moments of all phases."""
    yield _killed(bench, count, signal.SIGKILL)
    yield _killed(bench, count, signal.SIGTERM)


def _killed(bench: Bench, count: int, number: signal.Signals) -> Case:
    start, draw, done = time.monotonic(), np.random.default_rng(int(number)), 0
    found: list[str] = []
    while done < count and not any(one.startswith("WRONG") for one in found):
        workdir, ended = bench.folder / f"{number.name.lower()}-{done}", None
        for _ in range(min(KILLS, count - done)):
            child = bench.start(workdir)
            if not child.runs(draw.uniform(0.05, 1.0) * bench.seconds):
                ended = child.wait(0)  # by itself, before its time
                break
            child.kill(number)
            stopped, done = child.wait(MINUTE), done + 1
            # By its default before the command has heard of it.
            good = stopped.status in (0, -number) and "Traceback" not in stopped.text
            if not good:
                found.append(f"WRONG: status {stopped.status} after it: {stopped.text[-200:]}")
        ended = ended or bench.start(workdir).wait(bench.limit())
        found.append(undone(bench.judged(workdir, ended)))
        shutil.rmtree(workdir)
    case = summed(f"{number.name} at a random moment, up to {KILLS} in a run", found, start)
    return dataclasses.replace(case, times=done)


def repeated(bench: Bench, count: int) -> Iterator[Case]:
    """Nothing goes wrong: two runs leave the same bytes, but for what the clock decides."""
    del count
    start, other = time.monotonic(), bench.folder / "compiled"
    kinds = (".npz", ".png", ".csv")
    files = [path.relative_to(other) for path in other.rglob("*") if path.suffix in kinds]
    differ = [str(one) for one in files if not _same_bytes(other / one, bench.done / one)]
    found = ["same bytes"] * (len(files) - len(differ)) + [f"WRONG: {one}" for one in differ]
    found.append("same numbers" if bench.same(other) else "WRONG: other numbers")
    yield summed("none: the same run again, in another folder", found, start)


def _same_bytes(one: pathlib.Path, other: pathlib.Path) -> bool:
    return other.exists() and one.read_bytes() == other.read_bytes()


def _kind(path: pathlib.Path) -> str:
    """What files are alike: names without numbers and digests."""
    parts = (*path.parts[:1], *path.parts[1:][-3:])
    name = re.sub(r"[0-9a-f]{32}|\d+", "*", "/".join(parts))
    return name.partition("default/")[2] or name


def damaged(bench: Bench, count: int) -> Iterator[Case]:
    """A file of every kind emptied, cut, or with one bit flipped; the remedy is then done."""
    del count
    files = sorted(path for path in bench.done.rglob("*") if path.is_file())
    files = [one for one in files if one.suffix not in (".png", ".lock") and one.stat().st_size
             and "tfevents" not in one.name and one.name != ".lock"]  # fmt: skip
    kinds = {_kind(one.relative_to(bench.done)): one for one in files}
    workdir = bench.folder / "damaged"

    def again() -> str:
        return bench.judged(workdir, bench.start(workdir).wait(bench.limit()))

    for kind, path in kinds.items():
        start, found = time.monotonic(), []
        for one in broken(path.read_bytes(), kind):
            shutil.copytree(bench.done, workdir)
            (workdir / path.relative_to(bench.done)).write_bytes(one)
            ended = bench.start(workdir).wait(bench.limit())
            verdict = bench.judged(workdir, ended)
            if verdict == "one line":
                verdict = after_remedy(workdir, str(ended.error), again)
            if kind.startswith("editors/"):
                try:
                    load_editor(workdir / path.relative_to(bench.done).parent)
                except UserError as error:
                    verdict = f"WRONG: left damaged: {error}"
            found.append(verdict)
            shutil.rmtree(workdir)
        yield summed(f"{kind} emptied, cut, a bit flipped", found, start)


def cached(bench: Bench, count: int) -> Iterator[Case]:
    """Damaged files in the compilation cache."""
    del count
    whole = pathlib.Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    for fault in ("emptied", "cut", "a bit flipped"):
        start, draw, copy = (
            time.monotonic(),
            np.random.default_rng(zlib.crc32(fault.encode())),
            bench.folder / "other cache",
        )
        shutil.copytree(whole, copy)
        for path in copy.rglob("*"):
            content = bytearray(path.read_bytes()) if path.is_file() else bytearray()
            if not content:
                continue
            content[draw.integers(len(content))] ^= 1 << int(draw.integers(8))
            size = {"emptied": 0, "cut": len(content) // 2}.get(fault, len(content))
            path.write_bytes(bytes(content[:size]))
        workdir = bench.folder / "cached"

        def before(copy=copy):
            jax.config.update("jax_compilation_cache_dir", str(copy))

        ended = bench.start(workdir, before=before).wait(10 * MINUTE)
        yield summed(
            f"compilation cache: every file {fault}", [undone(bench.judged(workdir, ended))], start
        )
        for folder in (copy, workdir):
            shutil.rmtree(folder)


def clock(bench: Bench, count: int) -> Iterator[Case]:
    """A clock that jumps by a day, back and forth, at every look."""
    del count
    start, workdir, real = time.monotonic(), bench.folder / "clock", time.time

    def before():
        draw = np.random.default_rng(0)
        time.time = lambda: real() + float(draw.choice([-86400.0, 0.0, 86400.0]))

    ended = bench.start(workdir, before=before).wait(bench.limit())
    yield summed("a clock that jumps by a day", [undone(bench.judged(workdir, ended))], start)


def twice(bench: Bench, count: int) -> Iterator[Case]:
    """The same command twice at once."""
    del count
    start, workdir = time.monotonic(), bench.folder / "twice"
    first = bench.start(workdir)
    while not (workdir / ".lock").exists() and first.runs(0.1):
        pass
    log = bench.folder / "log-second"
    second = Child(run.main, [*bench.flags, f"--workdir={workdir}"], log, flags.FLAGS.unparse_flags)
    ended = second.wait(MINUTE)
    said = ended.error and "at work in it" in ended.error
    found = ["one line" if said else f"WRONG: {ended.text[-300:]}"]
    found.append(bench.judged(workdir, first.wait(bench.limit())))
    yield summed("the same command twice at once", found, start)


def processes(bench: Bench, count: int) -> Iterator[Case]:
    """One of two processes is killed."""
    del count

    def both(workdir):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        meeting = (f"--coordinator=127.0.0.1:{port}", "--num_processes=2")
        return [bench.start(workdir, *meeting, f"--process_id={n}") for n in range(2)]

    start, found = time.monotonic(), []
    whole, workdir = bench.folder / "both", bench.folder / "one of both"
    reference = [child.wait(2 * bench.limit()) for child in both(whole)]
    seconds = max(one.seconds for one in reference)
    for share, victim in ((0.4, 1), (0.7, 0)):
        children = both(workdir)
        if children[victim].runs(share * seconds):
            children[victim].kill()
        other = children[1 - victim].wait(MINUTE)
        children[victim].wait(MINUTE)
        # 0: it had given and got all that it needed; the repeated run has to have the same numbers.
        ends = {None: "WRONG: no end within a minute", 0: "the other was done"}
        found.append(ends.get(other.status, "the other ended"))
        if "Traceback" in other.text:
            found.append(f"WRONG: traceback: {other.text.strip().splitlines()[-1][:200]}")
        for ended in [child.wait(2 * bench.limit()) for child in both(workdir)]:
            if ended.status != 0:
                found.append(f"WRONG: the repeated run ended with {ended.status}")
        expected = numbers_in(whole / "results.json")
        same = expected is not None and numbers_in(workdir / "results.json") == expected
        found.append("same numbers" if same else "WRONG: other numbers")
        shutil.rmtree(workdir)
    yield summed("one of two processes killed", found, start)


CASES: dict[str, Callable[[Bench, int], Iterator[Case]]] = {
    "repeat": repeated,
    "kill": killed,
    "search": searches,
    "damage": damaged,
    "cache": cached,
    "clock": clock,
    "twice": twice,
    "processes": processes,
    "datasets": datasets,
    "disk": disk,
    "edits": edits,
}
