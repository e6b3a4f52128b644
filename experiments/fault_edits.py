"""Cases of experiments.faults for experiments.edit and experiments.verify."""

import dataclasses
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess  # nosec B404 # our own commands, without a shell
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from experiments.children import Child, Ended
from experiments.fault_bench import Bench
from experiments.fault_verdicts import MINUTE, Case, after_remedy, broken, numbers, summed
from metanet.data import load
from metanet.editor.release import load_editor
from metanet.interop import files
from metanet.interop.arrays import from_arrays

NETWORKS = 12
DEMAND = "--require=features<=9"  # what editors of configs/faults.py are for


@dataclasses.dataclass(frozen=True)
class Desk:
    """An editor, a table and networks in a folder, and the commands on them; paths are below it."""

    folder: pathlib.Path

    @classmethod
    def prepared(cls, bench: Bench) -> "Desk":
        """The desk of a bench, in a fork: it starts JAX, and later forks need it not to run.

        Raises:
          SystemExit: it cannot be prepared.
        """
        desk = cls(bench.folder / "desk")
        if not desk.folder.exists():
            child = Child(lambda _: desk._write(bench.done), [], bench.folder / "log-desk")
            end = child.wait(10 * MINUTE)
            if end.status:
                raise SystemExit(f"no editor and table: {end.text}")
        return desk

    def _write(self, done: pathlib.Path) -> None:
        """The editor of a run that is done, and rows and networks that fit it."""
        shutil.copytree(done / "editors" / "gmn-probe" / "seed-0", self.folder / "editor")
        found = load_editor(self.folder / "editor").encoding
        rows = load("synthetic", None, 0).select
        columns = {one.column: rows.x[:, place] * one.std + one.mean
                   for place, one in enumerate(found.features)}  # fmt: skip
        columns[found.label] = np.array(found.classes)[rows.y]
        pd.DataFrame(columns).to_csv(self.folder / "rows.csv", index=False)
        draw = np.random.default_rng(0)
        (self.folder / "models").mkdir()
        for number in range(NETWORKS):
            widths = (len(found.features), 8 - 2 * (number % 3), len(found.classes))
            weights = [draw.normal(size=pair) for pair in itertools.pairwise(widths)]
            biases = [np.zeros(width) for width in widths[1:]]
            files.write(from_arrays(weights, biases, "relu"),
                        self.folder / "models" / f"{number}.npz")  # fmt: skip

    def start(self, module: str, *flags: str) -> subprocess.Popen:
        return subprocess.Popen(  # nosec B603 # our own command
            [sys.executable, "-m", f"experiments.{module}", *flags], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )  # fmt: skip

    def edit(self, model: str, out: str, *more: str) -> subprocess.Popen:
        return self.start(
            "edit", f"--editor={self.folder / 'editor'}", f"--model={self.folder / model}",
            f"--data={self.folder / 'rows.csv'}", f"--out={self.folder / out}", DEMAND, *more,
        )  # fmt: skip

    def edit_all(self, out: str) -> subprocess.Popen:
        return self.edit("models", out)

    def report(self, out: str) -> subprocess.Popen:
        return self.edit("models/0.npz", out, "--certify=0.9", "--report")

    def verify(self, out: str) -> subprocess.Popen:
        place = self.folder / out
        return self.start(
            "verify", str(place / "report.json"), f"--model={place / 'model.npz'}",
            f"--original={self.folder / 'models' / '0.npz'}",
            f"--data={self.folder / 'rows.csv'}",
        )  # fmt: skip

    def content(self, out: str) -> dict:
        """What an edit left, without what the clock decides."""
        found: dict = {}
        for path in sorted((self.folder / out).rglob("*")):
            name = str(path.relative_to(self.folder / out))
            if path.is_file() and path.suffix in (".npz", ".jsonl"):
                found[name] = path.read_bytes()
            elif path.name in ("edit.json", "report.json"):
                known = numbers(json.loads(path.read_text()))
                found[name] = {k: v for k, v in known.items() if k != "date"}
        return found

    def whole(self, name: str) -> pathlib.Path:
        """The folder of an undisturbed edit of one of KINDS, which is done if it has not been.

        Raises:
          SystemExit: it fails.
        """
        out = self.folder / f"whole {name}"
        if not out.exists():
            end = ended(KINDS[name](self, out.name))
            if end.status:
                raise SystemExit(f"the undisturbed edit failed: {end.text}")
        return out

    def same(self, out: str, name: str, end: Ended) -> str:
        """How an edit of one of KINDS ended: "same files", or what is wrong."""
        if end.status or "Traceback" in end.text:
            return f"WRONG: status {end.status}: {end.text[-200:]}"
        same = self.content(out) == self.content(self.whole(name).name)
        return "same files" if same else "WRONG: other files"


KINDS: dict[str, Callable[[Desk, str], subprocess.Popen]] = {
    "an edit of a folder": Desk.edit_all,
    "a certified edit": Desk.report,
}


def ended(process: subprocess.Popen, limit: float = 5 * MINUTE) -> Ended:
    """How a command ended; one that takes more than `limit` seconds more is killed."""
    start = time.monotonic()
    try:
        text, _ = process.communicate(timeout=limit)
        return Ended(process.returncode, text, time.monotonic() - start)
    except subprocess.TimeoutExpired:
        process.kill()
        return Ended(None, process.communicate()[0], time.monotonic() - start)


def edits(bench: Bench, count: int) -> Iterator[Case]:
    """Edits and reports that are killed, and their files damaged."""
    desk = Desk.prepared(bench)
    for name, begin in KINDS.items():
        desk.whole(name)  # programs are compiled
        seconds = ended(begin(desk, "timed")).seconds
        shutil.rmtree(desk.folder / "timed")
        for number in (signal.SIGKILL, signal.SIGTERM):
            draw, start, found = np.random.default_rng(0), time.monotonic(), []
            for _ in range(max(count // 10, 1)):
                process = begin(desk, "killed")
                time.sleep(draw.uniform(0.1, 1.0) * seconds)
                process.send_signal(number)
                stopped = ended(process, MINUTE)
                if "Traceback" in stopped.text or stopped.status not in (0, -number):
                    found.append(f"WRONG: status {stopped.status}: {stopped.text[-200:]}")
                found.append(desk.same("killed", name, ended(begin(desk, "killed"))))
                shutil.rmtree(desk.folder / "killed", ignore_errors=True)
            yield summed(f"{number.name} during {name}", found, start)
    for path in ("edits.jsonl", "settings.json"):
        yield _damaged(desk, "an edit of a folder", path)
    for path in ("editor/editor.json", "editor/arrays.npz", "rows.csv", "models/0.npz"):
        yield _refused(desk, desk.folder / path, lambda: desk.edit("models/0.npz", "refused"))
    place = desk.whole("a certified edit")
    for one in (place / "report.json", place / "model.npz", desk.folder / "rows.csv",
                desk.folder / "models" / "0.npz"):  # fmt: skip
        yield _refused(desk, one, lambda: desk.verify(place.name), "verify")


def _damaged(desk: Desk, name: str, path: str) -> Case:
    """A file of an edit that is done is damaged, and the command given again."""
    start, found = time.monotonic(), []
    whole, copy = desk.whole(name), desk.folder / "damaged"

    def again() -> str:
        return desk.same("damaged", name, ended(KINDS[name](desk, "damaged")))

    for content in broken((whole / path).read_bytes(), path):
        shutil.copytree(whole, copy)
        (copy / path).write_bytes(content)
        end = ended(KINDS[name](desk, "damaged"))
        if end.error is None:
            found.append(desk.same("damaged", name, end))
        else:
            found.append(after_remedy(desk.folder, end.error, again))
        shutil.rmtree(copy, ignore_errors=True)
    return summed(f"edits/{path} emptied, cut, a bit flipped", found, start)


def _refused(
    desk: Desk, path: pathlib.Path, begin: Callable[[], subprocess.Popen], by: str = "edit"
) -> Case:
    """An input of a command is damaged: it says so in one line, or it makes no difference."""
    start, found, content = time.monotonic(), [], path.read_bytes()
    for damaged in broken(content, path.name):
        path.write_bytes(damaged)
        end = ended(begin(), MINUTE)
        if "Traceback" in end.text or end.status not in (0, 1, 2):
            found.append(f"WRONG: status {end.status}: {end.text[-200:]}")
        elif by == "verify" and end.status == 1:
            found.append("the difference")
        elif end.status == 2:
            # Of an editor that is damaged either file may be named.
            place = path.parent if path.parent.name == "editor" else path
            named = end.error and str(place) in end.error
            found.append("one line" if named else f"WRONG: {end.text[-200:]}")
        else:
            silent = by == "verify" or path.suffix != ".csv"
            found.append(f"WRONG: status {end.status}" if silent else "another table")
        path.write_bytes(content)
        shutil.rmtree(desk.folder / "refused", ignore_errors=True)
    return summed(f"{by}: {path.name} emptied, cut, a bit flipped", found, start)
