"""The boundary to files: whatever a file holds, it is read as a network or refused in one line."""

import contextlib
import os
import pathlib
import stat
from collections.abc import Iterator

from metanet.core import UserError
from metanet.interop.imported import MAX_WEIGHTS, Refused, short

MAX_BYTES = 8 * MAX_WEIGHTS + 2**24  # of a file: weights in float64, and its structure


@contextlib.contextmanager
def reading(path: str | os.PathLike, expected: str) -> Iterator[pathlib.Path]:
    """A block that reads the regular file `path`, of at most MAX_BYTES.

    Raises:
      UserError: there is no such file, or whatever the block raises: parsers of foreign formats
        have errors of many types.
    """
    path = pathlib.Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"found no regular file, expected {expected}")
        if status.st_size > MAX_BYTES:
            raise Refused(f"found {status.st_size} bytes, expected at most {MAX_BYTES}")
        yield path
    except UserError:
        raise
    except Refused as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        found = short(f"{type(error).__name__}: {error}")
        raise UserError(
            f"{path}: found what cannot be read ({found}), expected {expected}"
        ) from error
