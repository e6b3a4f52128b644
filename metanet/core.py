"""Shared by every part of metanet: errors in one line, streams of random keys."""

import contextlib
import importlib.metadata
import zlib
from collections.abc import Iterator, Sequence

import jax

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


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of the installed ones of `packages`, by name."""
    installed = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed
