"""The files of a folder of networks, and where their edits may go."""

import contextlib
import hashlib
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import IO

from metanet.core import UserError
from metanet.interop import files
from metanet.pipeline.locks import try_hold
from metanet.storage import remove, writing

MOST = 100_000  # files


def check_places(folder: pathlib.Path, out: pathlib.Path, data: pathlib.Path) -> None:
    """Refuses an output folder in which an input could be written over, or an output be an input.

    Raises:
      UserError: it is in the folder of models or around it, or around the data.
    """
    models, inside, rows = folder.resolve(), out.resolve(), data.resolve()
    if inside == models or inside in models.parents or models in inside.parents:
        raise UserError(f"--out: found {out}, expected a folder neither in {folder} nor around it")
    if inside in rows.parents:
        raise UserError(f"--out: found {out}, the folder of {data}, expected another one")


def files_of(folder: pathlib.Path) -> list[str]:
    """The names of all files in a folder and its sub-folders, sorted; names with a dot first are
    hidden, and links to folders are not followed.

    Raises:
      UserError: there are none, too many, or a folder cannot be read.
    """

    def failed(error: OSError):
        raise UserError(f"{error.filename}: found {error.strerror}, expected a folder to read")

    names: list[str] = []
    for place, folders, found in os.walk(folder, onerror=failed):
        folders[:] = [one for one in folders if not one.startswith(".")]
        shown = [pathlib.Path(place, one) for one in found if not one.startswith(".")]
        names += [path.relative_to(folder).as_posix() for path in shown]
    known = ", ".join(files.EXTENSIONS)
    if not names:
        raise UserError(f"{folder}: found no files, expected networks in files of {known}")
    if len(names) > MOST:
        raise UserError(f"{folder}: found {len(names)} files, expected at most {MOST}")
    return sorted(names)


@contextlib.contextmanager
def staged(out: pathlib.Path, last: str, gone: Sequence[str] = ()) -> Iterator[pathlib.Path]:
    """A folder inside `out`; if the block succeeds, its files are moved to `out`, `last` at last.

    Before that the earlier files called `last` and as `gone` are removed: they are of the edit that
    is replaced. If the block fails, as on a full disk, `out` is as it was.

    Raises:
      UserError: `out` is in use by another process, or a file cannot be written, moved or removed.
    """
    place = out / ".partial"
    with in_use(out):
        with writing(place):
            if place.exists():  # of a command that was killed
                shutil.rmtree(place)
            place.mkdir()
        try:
            yield place
            made = sorted(place.iterdir(), key=lambda one: one.name == last)
            for name in {last, *gone, *(path.name for path in made)}:
                if (out / name).is_dir():
                    raise UserError(f"{out / name}: found a folder, expected a file or nothing")
            for name in (last, *gone):
                remove(out / name)
            for path in made:
                with writing(out / path.name):
                    os.replace(path, out / path.name)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def in_use(out: pathlib.Path) -> IO:
    """The lock of an output folder, until it is closed.

    Raises:
      UserError: another process has it.
    """
    lock = try_hold(out / ".lock")
    if lock is None:
        raise UserError(f"{out}: found it in use by another process, expected one at a time")
    return lock


def is_model(name: str) -> bool:
    """Whether a file of this name may be a network's."""
    return pathlib.Path(name).suffix.lower() in files.EXTENSIONS


def digest_of(path: pathlib.Path) -> str | None:
    """The SHA-256 of a file, None of what is no regular file or cannot be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
