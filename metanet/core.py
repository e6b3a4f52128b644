"""Shared by every part of metanet: errors, key streams, safe files."""

import contextlib
import hashlib
import importlib.metadata
import json
import operator
import os
import pathlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

# Of folders with settings: config keys, parameters and results have the names of this version.
FORMAT = 2
_SUM = "sha256"  # the key of a JSON file's checksum
_NAMES = "names"  # the array of the others' names
LONGEST = 300  # characters of what was found, in a message


class UserError(Exception):
    """The config, the data or a file is unusable.

    The message is one line, whatever it quotes: which file or config key, what was found, what was
    expected. The runner prints it on stderr and exits with status 2.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


class SettingError(UserError):
    """The value of a config key is unusable.

    Attributes:
      key: its full name;  found: its value;  expected: the remedy, in words.
    """

    def __init__(self, key: str, found, expected: str):
        quoted = one_line(str(found))
        quoted = quoted if len(quoted) <= LONGEST else f"{quoted[:LONGEST]}..."
        super().__init__(f"config key {key}: found {quoted}, expected {expected}")
        self.key, self.found, self.expected = key, found, expected


def one_line(text: str) -> str:
    """`text` in one line of characters that print."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def require(ok: bool, key: str, found, expected: str) -> None:
    """Raises SettingError about the config key `key` unless `ok`."""
    if not ok:
        raise SettingError(key, found, expected)


@contextlib.contextmanager
def keys_below(prefix: str) -> Iterator[None]:
    """A block whose SettingErrors are about keys below `prefix`, which becomes part of their names.

    Raises:
      SettingError: one of the block, with the full name of the key.
    """
    try:
        yield
    except SettingError as error:
        raise SettingError(f"{prefix}.{error.key}", error.found, error.expected) from error


def raised(error: BaseException) -> str:
    """An exception of other code in one line: its type and, up to LONGEST characters, message."""
    text = one_line(f"{type(error).__name__}: {error}")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


class Stopped(Exception):
    """The user asked the run to stop (SIGTERM); everything is saved, the same command continues."""


class Diverged(Exception):
    """A loss or gradient was not finite; the last good checkpoint is kept."""


def stream(seed: int | jax.Array, name: str, index: int | jax.Array = 0) -> jax.Array:
    """The random key of one use: a pure function of (seed, name, index).

    Nothing has to be stored to resume: the key of step `index` is the same before and after a kill.
    `seed` and `index` may be traced.
    """
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return jax.random.fold_in(key, index)


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


def write_json(path: str | os.PathLike, value: dict) -> None:
    """Writes `value` and its SHA-256, which `read_json` verifies, as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(sealed(value), indent=1) + "\n")


def sealed(value: dict) -> dict:
    """`value` as JSON has it, and its SHA-256, which `json_of` verifies."""
    plain = json.loads(json.dumps(value))
    return plain | {_SUM: _sha256(plain)}


def read_json(path: str | os.PathLike, remedy: str = "remove it") -> dict:
    """The content of a JSON file that metanet wrote, without its SHA-256, which is verified.

    Raises:
      UserError: the file is damaged, or cannot be read.
    """
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        said = f"{error.strerror}, expected a file that metanet wrote; {remedy}"
        raise UserError(f"{path}: found {said}") from error
    return json_of(content, path, remedy)


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
            arrays = dict(archive)
        names = arrays.pop(_NAMES, None)  # which earlier versions did not write
        if names is not None and names.tolist() != sorted(arrays):
            raise ValueError(f"no {', '.join(sorted(set(names.tolist()) - arrays.keys()))}")
        return arrays
    except Exception as error:  # a damaged archive makes zipfile and numpy raise nearly everything
        said = getattr(error, "strerror", None) or raised(error)
        raise UserError(f"{path}: found {said}, expected {expected}") from error


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


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of the installed ones of `packages`, by name."""
    installed = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed
