"""Cases of experiments.faults with disks that are full or read-only, at every command."""

import functools
import pathlib
import shutil
import subprocess  # nosec B404 # mount and umount, without a shell
import time
from collections.abc import Callable, Iterator

from experiments import fault_edits, fault_searches
from experiments.fault_bench import Bench
from experiments.fault_verdicts import Case, summed

PAGE = 4096  # bytes, which a file system gives at a time


def disk(bench: Bench, count: int) -> Iterator[Case]:
    """A disk that is full, at several places, and then is not; one that is read-only."""
    place, places = bench.folder / "disk", max(count // 5, 3)
    work = place / "work"
    place.mkdir()
    if not _mount(place, "size=1g"):
        yield Case("full and read-only disk", 0, "no rights to mount one", None, 0.0)
        return

    def run() -> str:
        return bench.judged(work, bench.start(work).wait(bench.limit()))

    def search() -> str:
        ended = fault_searches.begin(bench, work).wait(bench.limit())
        return fault_searches.judged(bench, work, ended)

    def edit(name: str) -> str:
        end = fault_edits.ended(fault_edits.KINDS[name](desk, str(work)))
        return "one line" if end.error else desk.same(str(work), name, end)

    commands: list[tuple[str, Callable[[], str], pathlib.Path, int]]
    try:
        desk = fault_edits.Desk.prepared(bench)
        commands = [("a run", run, bench.done, places),
                    ("a search", search, fault_searches.whole(bench), places // 2)]  # fmt: skip
        commands += [(name, functools.partial(edit, name), desk.whole(name), places // 2)
                     for name in fault_edits.KINDS]  # fmt: skip
        for name, command, whole, times in commands:
            yield _full(name, place, _size(whole), times, command)
        for name, command, whole, _ in commands:
            yield _read_only(name, place, whole, command)
    finally:
        _done("umount", str(place))


def _read_only(
    name: str, place: pathlib.Path, whole: pathlib.Path, command: Callable[[], str]
) -> Case:
    """A command on a read-only disk: new there, and done before."""
    start, found = time.monotonic(), []
    for done in (False, True):
        if done:
            shutil.copytree(whole, place / "work")
        _remount(place, "ro")
        found.append(command())
        _remount(place, "rw")
    shutil.rmtree(place / "work")
    return summed(f"read-only disk: {name}", found, start)


def _full(
    name: str, place: pathlib.Path, used: int, places: int, command: Callable[[], str]
) -> Case:
    """A command on a disk that is too small, which is then given room."""
    start, found = time.monotonic(), []
    for number in range(places):
        _remount(place, f"size={max(used * (number + 1) // (places + 1), PAGE)}")
        found.append(command())
        _remount(place, "size=1g")
        again = command()
        found.append(f"then {again}" if again.startswith("same") else f"WRONG: then {again}")
        shutil.rmtree(place / "work", ignore_errors=True)
    return summed(f"disk full, then not: {name}", found, start)


def _size(folder: pathlib.Path) -> int:
    """Bytes of a folder's files in whole pages."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(-(-size // PAGE) * PAGE for size in sizes)


def _remount(place: pathlib.Path, options: str) -> None:
    if not _mount(place, f"remount,{options}"):
        raise SystemExit(f"{place}: cannot be mounted again with {options}")


def _mount(place: pathlib.Path, options: str) -> bool:
    return _done("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place))


def _done(*command: str) -> bool:
    """Whether a command of the system succeeded."""
    done = subprocess.run(command, capture_output=True)  # nosec B603 # mount and umount alone
    return done.returncode == 0
