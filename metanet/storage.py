"""Files that a kill or a full disk leaves whole, and whose damage is found when they are read."""

import contextlib
import errno
import hashlib
import json
import math
import operator
import os
import pathlib
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from metanet.core import UserError, raised

# Of folders with settings: config keys, parameters and results have the names of this version.
FORMAT = 2
_SUM = "sha256"  # the key of a JSON file's checksum
_NAMES = "names"  # the array of the others' names
# Errors of the system about a path that is no file. None and EINVAL come of archives whose offsets
# are damaged.
_OF_FILES = (None, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EINVAL)
# Of the others, which say nothing against a file's content, those that libraries quote.
_QUOTED = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE,
           errno.ENOMEM, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN)  # fmt: skip


def slug(name: str) -> str:
    """The name of a folder or file of the method or editor called `name`: letters, digits and
    hyphens alone, so that it is in the folder where it is looked for; "" if it has none."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A temporary path in the folder of `path`, which becomes `path` if the block succeeds.

    A reader sees the old file or the whole new one, never a part. Of several processes, which
    share the folder, the first one's file counts; the others' are removed. A link at `path` is
    replaced, not followed.

    Raises:
      UserError: it cannot be written, as on a full disk.
    """
    path = pathlib.Path(path)
    process = jax.process_index()
    temporary = path.with_name(f".{path.name}.{process}-{os.getpid()}.partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # a link would lead out of the folder
        try:
            yield temporary
            if process == 0:
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """A block that writes `path`.

    Raises:
      UserError: the system refused, as on a full disk.
    """
    try:
        yield
    except OSError as error:
        expected = "a file that can be written; the same command continues then"
        raise UserError(f"{path}: found {error.strerror or raised(error)}, expected {expected}") \
            from error  # fmt: skip


def remove(path: str | os.PathLike) -> None:
    """Removes a file, if there is one.

    Raises:
      UserError: the system refused.
    """
    with writing(path):
        pathlib.Path(path).unlink(missing_ok=True)


def refused(error: BaseException | None) -> str | None:
    """What the system said when it refused to read a file; None if the error is about its content.

    Args:
      error: that reading raised, perhaps by a library that quotes the system's words.
    """
    while error is not None:
        if isinstance(error, MemoryError):
            return os.strerror(errno.ENOMEM)
        if isinstance(error, OSError):
            return None if error.errno in _OF_FILES else error.strerror
        for code in _QUOTED:
            if os.strerror(code) in str(error):
                return os.strerror(code)
        error = error.__cause__ or error.__context__
    return None


def unusable(path: str | os.PathLike, found: str, expected: str, error: Exception) -> UserError:
    """The error of a file that was not read: `expected` advises to remove it only if it was."""
    said = refused(error)
    if said is not None:
        found, expected = said, "a file that can be read; the same command continues then"
    return UserError(f"{path}: found {found}, expected {expected}")


def write_json(path: str | os.PathLike, value: dict) -> None:
    """Writes `value` and its SHA-256, which `read_json` verifies, as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(sealed(value), indent=1) + "\n")


def sealed(value: dict) -> dict:
    """`value` as JSON has it, and its SHA-256, which `json_of` verifies."""
    plain = json.loads(json.dumps(value))
    return plain | {_SUM: _sha256(plain)}


def read_json(path: str | os.PathLike, remedy: str = "remove it", keys: Sequence[str] = ()) -> dict:
    """The content of a JSON file that metanet wrote, without its SHA-256, which is verified.

    Args:
      remedy: for the message;  keys: that it has to have.

    Raises:
      UserError: the file is damaged, or cannot be read.
    """
    expected = f"a file that metanet wrote; {remedy}"
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise unusable(path, error.strerror or raised(error), expected, error) from error
    value = json_of(content, path, remedy)
    for key in keys:
        if key not in value:
            raise UserError(f"{path}: found no {key}, expected {expected}")
    return value


def read_seconds(path: str | os.PathLike, keys: Sequence[str] = ()) -> dict[str, float]:
    """The wall seconds by name that `write_json` wrote, {} where there is no file.

    Raises:
      UserError: see `read_json`; or one is no number.
    """
    try:
        seconds = read_json(path, keys=keys)
    except UserError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise
    for name, value in seconds.items():
        if not (isinstance(value, int | float) and 0 <= value < float("inf")):
            expected = "seconds that metanet wrote; remove it"
            raise UserError(f"{path}: found {name} = {value}, expected {expected}")
    return seconds


def json_of(content: bytes, path: str | os.PathLike, remedy: str) -> dict:
    """`read_json` of a file at `path` that was read already.

    Content without SHA-256, which earlier versions wrote, is taken as it is, unless its last key is
    that of one but for a character: then it is damaged.
    """
    expected = f"a file that metanet wrote; {remedy}"
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: found no JSON ({error}), expected {expected}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: found a {type(value).__name__}, expected {expected}")
    stored = value.pop(_SUM, None)
    last = next(reversed(value), "")
    renamed = len(last) == len(_SUM) and sum(map(operator.ne, last, _SUM)) == 1
    if (stored is None and renamed) or (stored is not None and stored != _sha256(value)):
        raise UserError(f"{path}: found content that its {_SUM} does not fit, expected {expected}")
    return value


def _sha256(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_npz(path: str | os.PathLike, arrays: dict[str, Any], compressed: bool = False) -> None:
    """Writes arrays and their names as .npz, which has a checksum of each, atomically."""
    assert _NAMES not in arrays
    save = np.savez_compressed if compressed else np.savez
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        # First, since a damaged directory of an archive may end early.
        save(file, **{_NAMES: np.array(sorted(arrays), str)} | arrays)


def read_npz(path: str | os.PathLike, expected: str) -> dict[str, Any]:
    """What `write_npz` wrote, as numpy arrays, whose checksums are verified.

    Args:
      expected: what the file is to be, and the remedy, for the message.

    Raises:
      UserError: the file is damaged, or cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            _check_sizes(archive.zip)
            arrays = dict(archive)
        names = arrays.pop(_NAMES, None)  # which earlier versions did not write
        if names is not None and names.tolist() != sorted(arrays):
            raise ValueError(f"no {', '.join(sorted(set(names.tolist()) - arrays.keys()))}")
        return arrays
    except Exception as error:  # a damaged archive makes zipfile and numpy raise nearly everything
        said = getattr(error, "strerror", None) or raised(error)
        raise unusable(path, said, expected, error) from error


def _check_sizes(archive: zipfile.ZipFile) -> None:
    """ValueError if an array is not as long as its header says: numpy would ask memory for it."""
    for member in archive.infolist():
        with archive.open(member) as file:
            np.lib.format.read_magic(file)  # 1.0 of all that `write_npz` writes
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            wanted, found = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
        if wanted != found:
            raise ValueError(f"{found} bytes of {member.filename}, expected {wanted}")


def digest(settings: dict) -> str:
    """A short name for `settings`, a dict for JSON: 12 hexadecimal digits."""
    return _sha256(settings)[:12]


def match_settings(
    folder: str | os.PathLike, settings: dict, source: str = "config", flag: str = "--workdir"
) -> None:
    """Makes `folder` the output of one stage with these `settings`, a flat dict for JSON.

    Args:
      source: where they were given;  flag: that names the folder. Both are for the message.

    Raises:
      UserError: the folder holds the output of other settings; nothing in it is touched.
    """
    path = pathlib.Path(folder) / "settings.json"
    wanted = json.loads(json.dumps({"format": FORMAT} | settings))
    if not path.exists():
        write_json(path, wanted)
        return
    stored = read_json(path, f"give another {flag} or remove that folder")
    require_format(path, stored, flag)
    for key in sorted(wanted.keys() | stored.keys()):
        if wanted.get(key) != stored.get(key):
            raise UserError(
                f"{path}: found {key} = {stored.get(key)}, expected {wanted.get(key)} as in the "
                f"{source}; give another {flag} or remove that folder"
            )


def require_format(path: pathlib.Path, stored, flag: str = "--workdir") -> None:
    """Raises UserError unless `stored`, the settings in `path`, are of this version's format."""
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        version = stored.get("format", 1) if isinstance(stored, dict) else "no settings"
        raise UserError(
            f"{path}: found format {version}, expected {FORMAT}: keys and parameters have other "
            f"names since version 0.2; give another {flag} or remove that folder"
        )
