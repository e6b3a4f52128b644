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

from experiments.children import Ended
from experiments.fault_bench import MINUTE, Bench, Case, broken, numbers, summed
from metanet.data import load
from metanet.editor.release import load_editor
from metanet.interop import files
from metanet.interop.arrays import from_arrays

NETWORKS = 12
DEMAND = "--require=features<=9"  # what editors of configs/faults.py are for


@dataclasses.dataclass(frozen=True)
class _Desk:
    """An editor, a table and networks in a folder."""

    folder: pathlib.Path

    @classmethod
    def prepared(cls, bench: Bench) -> "_Desk":
        folder = bench.folder / "desk"
        folder.mkdir()
        shutil.copytree(bench.done / "editors" / "gmn-probe" / "seed-0", folder / "editor")
        encoding, rows = load_editor(folder / "editor").encoding, load("synthetic", None, 0).select
        columns = {one.column: rows.x[:, place] * one.std + one.mean
                   for place, one in enumerate(encoding.features)}  # fmt: skip
        columns[encoding.label] = np.array(encoding.classes)[rows.y]
        pd.DataFrame(columns).to_csv(folder / "rows.csv", index=False)
        draw = np.random.default_rng(0)
        for number in range(NETWORKS):
            widths = (len(encoding.features), 8 - 2 * (number % 3), len(encoding.classes))
            weights = [draw.normal(size=pair) for pair in itertools.pairwise(widths)]
            biases = [np.zeros(width) for width in widths[1:]]
            path = folder / "models" / f"{number}.npz"
            path.parent.mkdir(exist_ok=True)
            files.write(from_arrays(weights, biases, "relu"), path)
        return cls(folder)

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
    desk = _Desk.prepared(bench)
    kinds: tuple[tuple[str, Callable[[str], subprocess.Popen]], ...] = (
        ("an edit of a folder", lambda out: desk.edit("models", out)),
        ("a certified edit", desk.report),
    )
    for name, begin in kinds:
        whole, again = f"whole {name}", f"killed {name}"
        ended(begin(f"first {name}"))  # programs are compiled
        reference = ended(begin(whole))
        if reference.status:
            raise SystemExit(f"the undisturbed edit failed: {reference.text}")
        draw, start, found = np.random.default_rng(0), time.monotonic(), []
        for _ in range(max(count // 10, 1)):
            process = begin(again)
            time.sleep(draw.uniform(0.1, 1.0) * reference.seconds)
            process.send_signal(signal.SIGKILL)
            ended(process)
            found.append(_same(desk, again, whole, ended(begin(again))))
            shutil.rmtree(desk.folder / again)
        yield summed(f"SIGKILL during {name}", found, start)
    whole = "whole an edit of a folder"
    for path in ("edits.jsonl", "settings.json"):
        yield _damaged(desk, whole, path, lambda out: desk.edit("models", out))
    for path in ("editor/editor.json", "editor/arrays.npz", "rows.csv", "models/0.npz"):
        yield _refused(desk, desk.folder / path, lambda: desk.edit("models/0.npz", "refused"))
    place = desk.folder / "whole a certified edit"
    for one in (place / "report.json", place / "model.npz", desk.folder / "rows.csv",
                desk.folder / "models" / "0.npz"):  # fmt: skip
        yield _refused(desk, one, lambda: desk.verify(place.name), "verify")


def _same(desk: _Desk, out: str, whole: str, end: Ended) -> str:
    if end.status or "Traceback" in end.text:
        return f"WRONG: status {end.status}: {end.text[-200:]}"
    return "same files" if desk.content(out) == desk.content(whole) else "WRONG: other files"


def _damaged(desk: _Desk, whole: str, name: str, begin: Callable[[str], subprocess.Popen]) -> Case:
    """A file of an edit that is done is damaged, and the command given again."""
    start, found = time.monotonic(), []
    for content in broken((desk.folder / whole / name).read_bytes(), name):
        copy = desk.folder / "damaged"
        shutil.copytree(desk.folder / whole, copy)
        (copy / name).write_bytes(content)
        end = ended(begin("damaged"))
        same = end.error and str(copy / name) in end.error
        found.append("one line" if same else _same(desk, "damaged", whole, end))
        shutil.rmtree(copy)
    return summed(f"edits/{name} emptied, cut, a bit flipped", found, start)


def _refused(
    desk: _Desk, path: pathlib.Path, begin: Callable[[], subprocess.Popen], by: str = "edit"
) -> Case:
    """An input of a command is damaged: it says so in one line, or it makes no difference."""
    start, found, content = time.monotonic(), [], path.read_bytes()
    for damaged in broken(content, path.name):
        path.write_bytes(damaged)
        end = ended(begin())
        if "Traceback" in end.text or end.status not in (0, 1, 2):
            found.append(f"WRONG: status {end.status}: {end.text[-200:]}")
        elif by == "verify" and end.status == 1:
            found.append("the difference")
        elif end.status == 2:
            found.append("one line" if end.error else f"WRONG: {end.text[-200:]}")
        else:
            silent = by == "verify" or path.suffix != ".csv"
            found.append(f"WRONG: status {end.status}" if silent else "another table")
        path.write_bytes(content)
        shutil.rmtree(desk.folder / "refused", ignore_errors=True)
    return summed(f"{by}: {path.name} emptied, cut, a bit flipped", found, start)
