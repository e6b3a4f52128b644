"""Cases of experiments.faults for experiments.search."""

import pathlib
import shutil
import time
from collections.abc import Iterator

import numpy as np

from experiments import search
from experiments.children import Child, Ended
from experiments.fault_bench import Bench
from experiments.fault_verdicts import (
    MINUTE,
    Case,
    after_remedy,
    broken,
    numbers_in,
    summed,
    undone,
)

FLAGS = ("--method=SNIP & Distil", "--trials=3")
KEPT = pathlib.Path("search") / "snip-distil.json"


def begin(bench: Bench, workdir: pathlib.Path) -> Child:
    """The search in `workdir`."""
    return bench.start(workdir, *FLAGS, main=search._main)


def whole(bench: Bench) -> pathlib.Path:
    """The folder of an undisturbed search, which is done if it has not been.

    Raises:
      SystemExit: it fails.
    """
    folder = bench.folder / "search"
    if not folder.exists():
        ended = begin(bench, folder).wait(bench.limit())
        if ended.status:
            raise SystemExit(f"the undisturbed search failed: {ended.text}")
    return folder


def judged(bench: Bench, workdir: pathlib.Path, ended: Ended) -> str:
    """How a search ended: "same trials", "one line", or what is wrong."""
    if "Traceback" in ended.text or ended.status is None:
        return f"WRONG: status {ended.status}: {ended.text[-300:]}"
    if ended.status == 0:
        same = _trials(workdir / KEPT) == _trials(whole(bench) / KEPT) != []
        return "same trials" if same else "WRONG: other trials"
    return "one line" if ended.error else f"WRONG: status {ended.status}: {ended.text[-300:]}"


def _trials(path: pathlib.Path) -> list[dict]:
    """A search's trials, in their order; one that was interrupted has taken a number."""
    found = numbers_in(path) or {"trials": []}
    return [{k: v for k, v in one.items() if k != "number"} for one in found["trials"]]


def searches(bench: Bench, count: int) -> Iterator[Case]:
    """SIGKILL during a search, and its files damaged."""
    done, start = whole(bench), time.monotonic()
    draw, found = np.random.default_rng(0), []
    again = bench.folder / "search again"
    seconds = begin(bench, again).wait(bench.limit()).seconds  # with compiled programs
    shutil.rmtree(again)
    for _ in range(max(count // 10, 1)):
        child = begin(bench, again)
        if child.runs(draw.uniform(0.2, 1.0) * seconds):
            child.kill()
            child.wait(MINUTE)
        ended = begin(bench, again).wait(bench.limit())
        found.append(undone(judged(bench, again, ended)))
        shutil.rmtree(again)
    yield summed("SIGKILL during a search", found, start)
    for path in sorted((done / "search").rglob("*")):
        if path.is_file() and path.stat().st_size and path.name != ".lock":
            yield _damaged(bench, path.relative_to(done))


def _damaged(bench: Bench, name: pathlib.Path) -> Case:
    """A file of a search that is done is damaged, and the command given again."""
    start, found, again = time.monotonic(), [], bench.folder / "search again"

    def repeated() -> str:
        return judged(bench, again, begin(bench, again).wait(bench.limit()))

    for content in broken((whole(bench) / name).read_bytes(), str(name)):
        shutil.copytree(whole(bench), again)
        (again / name).write_bytes(content)
        ended = begin(bench, again).wait(bench.limit())
        verdict = judged(bench, again, ended)
        if verdict == "one line":
            verdict = after_remedy(again, str(ended.error), repeated)
        found.append(verdict)
        shutil.rmtree(again)
    return summed(f"{name} emptied, cut, a bit flipped", found, start)
