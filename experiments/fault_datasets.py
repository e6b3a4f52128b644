"""Case of experiments.faults for the files of a downloaded dataset."""

import os
import pathlib
import shutil
import time
from collections.abc import Iterator

from experiments.fault_bench import Bench
from experiments.fault_verdicts import MINUTE, Case, broken, summed

FILES = ("adult/adult.data", "adult/adult.test")


def datasets(bench: Bench, count: int) -> Iterator[Case]:
    """A file of a dataset emptied, cut, or with one bit flipped: the run names it."""
    del count
    source = pathlib.Path(os.environ.get("METANET_DATA") or "~/.cache/metanet").expanduser()
    if not all((source / name).is_file() for name in FILES):
        yield Case("dataset damaged", 0, f"no {FILES[0]} in {source}", None, 0.0)
        return
    folder, workdir = bench.folder / "data", bench.folder / "of damaged data"
    shutil.copytree(source / "adult", folder / "adult")

    def before():
        os.environ["METANET_DATA"] = str(folder)

    for name in FILES:
        start, found, content = time.monotonic(), [], (source / name).read_bytes()
        for damaged in broken(content, name):
            (folder / name).write_bytes(damaged)
            child = bench.start(workdir, "--config.dataset=adult", before=before)
            ended = child.wait(MINUTE)
            named = ended.error and str(folder / name) in ended.error
            found.append("one line" if named else f"WRONG: {ended.status}: {ended.text[-200:]}")
            (folder / name).write_bytes(content)
        yield summed(f"{name} emptied, cut, a bit flipped", found, start)
