"""What every part of metanet shares: errors, key streams, safe files."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pathlib
import zlib
from collections.abc import Iterator, Sequence

import jax

# Of folders with settings: config keys, parameters and results have the names of this version.
FORMAT = 2


class UserError(Exception):
    """The config, the data or a file is unusable.

    The message is one line: which file or config key, what was found, what was expected. The
    runner prints it on stderr and exits with status 2.
    """


class SettingError(UserError):
    """The value of a config key is unusable."""

    def __init__(self, key: str, found, expected: str):
        super().__init__(f"config key {key}: found {found}, expected {expected}")
        self.key, self.found, self.expected = key, found, expected


def require(ok: bool, key: str, found, expected: str) -> None:
    """Raises SettingError about the config key `key` unless `ok`."""
    if not ok:
        raise SettingError(key, found, expected)


class Stopped(Exception):
    """The user asked the run to stop (SIGTERM); everything is saved, the same command continues."""


class Diverged(Exception):
    """A loss or gradient was not finite; the last good checkpoint is kept."""


def stream(seed: int, name: str, index: int | jax.Array = 0) -> jax.Array:
    """The random key of one use: a pure function of (seed, name, index).

    Nothing has to be stored to resume: the key of step `index` is the same before and after a kill.
    `index` may be traced.
    """
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return jax.random.fold_in(key, index)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path in the folder of `path`, which becomes `path` if the block succeeds.

    A reader sees the old file or the whole new one, never a part. Of several processes, which
    share the folder, the first one's file counts; the others' are removed.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    process = jax.process_index()
    temporary = path.with_name(f".{path.name}.{process}-{os.getpid()}.partial")
    try:
        yield temporary
        if process == 0:
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def read_json(path: str | os.PathLike):
    """The content of a JSON file that metanet wrote.

    Raises:
      UserError: the file is damaged.
    """
    try:
        return json.loads(pathlib.Path(path).read_text())
    except ValueError as error:
        raise UserError(f"{path}: found no JSON ({error}), expected a file that metanet wrote; "
                        "remove it") from error  # fmt: skip


def digest(settings: dict) -> str:
    """A short name for `settings`, a flat dict for JSON: 12 hexadecimal digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def match_settings(folder: str | os.PathLike, settings: dict) -> None:
    """Makes `folder` the output of one stage with these `settings`, a flat dict for JSON.

    Raises:
      UserError: the folder holds the output of other settings; nothing in it is touched.
    """
    path = pathlib.Path(folder) / "settings.json"
    wanted = json.loads(json.dumps({"format": FORMAT} | settings))
    if not path.exists():
        write_json(path, wanted)
        return
    found = read_json(path)
    require_format(path, found)
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise UserError(
                f"{path}: found {key} = {found.get(key)}, expected {wanted.get(key)} as in the "
                "config; give another --workdir or remove that folder"
            )


def require_format(path: pathlib.Path, found) -> None:
    """Raises UserError unless `found`, the settings in `path`, are of this version's format."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        version = found.get("format", 1) if isinstance(found, dict) else "no settings"
        raise UserError(
            f"{path}: found format {version}, expected {FORMAT}: keys and parameters have other "
            "names since version 0.2; give another --workdir or remove that folder"
        )


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of the installed ones of `packages`."""
    found = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
