"""Parquet files, by pyarrow, which is needed for them alone."""

import pathlib
from collections.abc import Callable
from typing import IO, Any, TypeVar

import pandas as pd

from metanet.core import UserError, one_line
from metanet.data.columns import expect

LONGEST = 200  # characters of a message of the library
T = TypeVar("T")


def names(path: pathlib.Path) -> list[str]:
    """The names of the columns, in order.

    Raises:
      UserError: see `frame`.
    """
    return _opened(path, lambda library, file: library.parquet.read_schema(file).names)


def frame(path: pathlib.Path) -> pd.DataFrame:
    """All rows; what pandas has written about an index is not looked at.

    Raises:
      UserError: pyarrow is not installed, the file is no Parquet, or a column holds lists.
    """

    def read(library, file):
        table = library.parquet.read_table(file)
        for field in table.schema:
            simple = not library.types.is_nested(field.type)
            expect(simple, str(path), f'lists in column "{field.name}"', "one value in every row")
        return table.to_pandas(ignore_metadata=True)

    return _opened(path, read)


def _opened(path: pathlib.Path, call: Callable[[Any, IO[bytes]], T]) -> T:
    """call(pyarrow, file); errors in one line."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"{path}: found a Parquet file and no package pyarrow, expected one; "
                        "pip install -e '.[parquet]'") from error  # fmt: skip
    try:
        with open(path, "rb") as file:
            return call(pyarrow, file)
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        said = one_line(getattr(error, "strerror", None) or str(error))[:LONGEST]
        raise UserError(f"{path}: found {said}, expected a Parquet file") from error
