"""Tables in files: CSV and its relatives, with any separator and perhaps gzip, and Parquet."""

import codecs
import csv
import dataclasses
import gzip
import io
import itertools
import logging
import pathlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd

from metanet.core import UserError, one_line
from metanet.data import parquet
from metanet.data.columns import NUMBER, Notation, canonical, expect, quoted
from metanet.data.encoding import Encoding
from metanet.data.table_config import SEPARATORS

logger = logging.getLogger(__name__)

TEXT, PARQUET = (".csv", ".tsv", ".txt"), (".parquet", ".pq")
SAMPLE = 2**20  # bytes that the separator and the names are taken from
LINES = 50  # of them, which a separator has to fit
BINARY = {
    b"PAR1": "a Parquet file; call it .parquet",
    b"PK\x03\x04": "an archive or workbook; save the table as CSV",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}
_UNREADABLE = (ValueError, OSError, EOFError, zlib.error, csv.Error, OverflowError)
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is known of a table before its values are read.

    Attributes:
      path: of the file.
      names: of its columns, in order; "" for one without.
      separator: of the columns; None: it is a Parquet file.
    """

    path: pathlib.Path
    names: tuple[str, ...]
    separator: str | None


def is_file(dataset: str) -> bool:
    """Whether a config means a file by `dataset`, instead of a built-in name or a dotted path."""
    return "/" in dataset or dataset.lower().removesuffix(".gz").endswith((*TEXT, *PARQUET))


def label_of(dataset: str) -> str:
    """What reports call a dataset: a file by its name without folder and ending.

    It is the name of a folder too, and so never "." or "..".
    """
    if not is_file(dataset):
        return dataset
    found = _stem(pathlib.Path(dataset))
    return found if found.strip(".") else "table"


def toml_of(path: pathlib.Path) -> pathlib.Path:
    """The file beside the table at `path` that has its settings."""
    return path.with_name(f"{_stem(path)}.toml")


def _stem(path: pathlib.Path) -> str:
    bare = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return bare.stem if bare.suffix.lower() in (*TEXT, *PARQUET) else bare.name


def require_file(path: pathlib.Path) -> None:
    """Raises UserError unless `path` is a file with the ending of a table, which can be read."""
    endings = (*TEXT, *PARQUET)
    expected = f"a readable file that ends in {', '.join(endings)}"
    try:
        expect(not path.is_dir(), str(path), "a folder", expected)
        regular = not path.exists() or path.is_file()  # a pipe would be waited for
        expect(regular, str(path), "no regular file", expected)
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        said = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: found {said}, expected {expected}") from error
    known = path.name.lower().removesuffix(".gz").endswith(endings)
    expect(known, str(path), "a file of another kind", expected)


def look(path: pathlib.Path, separator: str | None) -> Layout:
    """The layout of the table at `path`.

    Args:
      separator: a key of `table_config.SEPARATORS`; None is what fits the first lines.

    Raises:
      UserError: there is no such file, or it is no table.
    """
    require_file(path)
    if path.suffix.lower() in PARQUET:
        return _checked(Layout(path, tuple(map(canonical, parquet.names(path))), None))
    sample, whole = _guarded(path, lambda: _sample(path))
    expect(bool(sample.strip()), str(path), "nothing", "column names and rows")
    sign = SEPARATORS[separator] if separator else _fitting(sample, whole)
    names = _guarded(path, lambda: next(_records(sample, sign), []))
    lone = f"one column in the first line ({quoted(names)})"
    expect(len(names) > 1, str(path), lone, 'two or more; say separator = "..." if there are')
    said = next(name for name, one in SEPARATORS.items() if one == sign)
    if separator is None:
        logger.info("%s: columns are separated by %s", path, said)
    return _checked(Layout(path, tuple(map(canonical, names)), sign))


def read(layout: Layout, notation: Notation, text: Sequence[str]) -> pd.DataFrame:
    """The values of a table; columns of numbers as numbers.

    A first column without a name holds row names, which are left out.

    Args:
      text: the columns whose values are kept as they are written.

    Raises:
      UserError: rows differ in length, the table has none, or the file is damaged.
    """
    path = layout.path
    if layout.separator is None:
        frame = parquet.frame(path)
        frame.columns = pd.Index(layout.names)
    else:
        frame = _guarded(path, lambda: _csv(layout, notation, text))
    expect(len(frame) > 0, str(path), "column names and no rows", "rows")
    keep = np.array([bool(name) for name in layout.names])
    if not keep[0]:
        logger.info("%s: the first column has no name and is left out", path)
    for place in np.flatnonzero(~keep[1:]).tolist():
        column: pd.Series = frame.iloc[:, place + 1]
        bare = bool(column.isna().all())  # of a separator at the end of every line
        expect(bare, str(path), f"no name for column {place + 2}", "a name for every column")
    return frame.loc[:, keep]


def read_like(path: pathlib.Path, encoding: Encoding) -> pd.DataFrame:
    """A later table at `path`, for `encoding.encode`.

    Raises:
      UserError: see `look` and `read`.
    """
    return read(look(path, None), encoding.notation, encoding.text_columns)


def _checked(layout: Layout) -> Layout:
    path, names = str(layout.path), [name for name in layout.names if name]
    expect(bool(names), path, "no columns", "two or more")
    twice = sorted({name for name in names if names.count(name) > 1})
    expect(not twice, path, f"the column name {quoted(twice)} twice", "every name once")
    headed = not all(NUMBER.fullmatch(name) for name in names)
    expect(headed, path, f"the column names {quoted(names)}", "a first line with names")
    return layout


def _guarded(path: pathlib.Path, call: Callable[[], T]) -> T:
    """call(); errors of readers in one line."""
    try:
        return call()
    except UserError:
        raise
    except UnicodeDecodeError as error:
        where = f"bytes that are no UTF-8 text ({error.reason})"
        raise UserError(f"{path}: found {where}, expected UTF-8; save it as such") from error
    except _UNREADABLE as error:
        said = getattr(error, "strerror", None) or str(error)
        said = one_line(said.removeprefix("Error tokenizing data. C error: ")) or repr(error)
        expected = "a table with as many values in every row as it has column names"
        raise UserError(f"{path}: found {said}, expected {expected}") from error


def _open(path: pathlib.Path) -> gzip.GzipFile | io.BufferedReader:
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else open(path, "rb")


def _sample(path: pathlib.Path) -> tuple[str, bool]:
    """The text that the file starts with, and whether that is all."""
    with _open(path) as file:
        data = file.read(SAMPLE)
    for start, what in BINARY.items():
        expect(not data.startswith(start), str(path), what.partition(";")[0],
               f"text with separators{what[what.index(';'):]}")  # fmt: skip
    expect(b"\0" not in data, str(path), "bytes that are no text", "text with separators")
    whole = len(data) < SAMPLE
    return codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=whole), whole


def _records(text: str | Iterable[str], separator: str) -> Iterator[list[str]]:
    """The rows of a text, without empty lines."""
    lines = io.StringIO(text, newline="") if isinstance(text, str) else text
    stripped = (line.strip(" \r\n") + "\n" for line in lines)
    reader = csv.reader(stripped, delimiter=separator, skipinitialspace=True)
    return (record for record in reader if any(record) or len(record) > 1)


def _fitting(sample: str, whole: bool) -> str:
    """The separator by which the first lines have the most columns, the same number in all."""
    best, most = ",", (False, 0)
    for sign in SEPARATORS.values():
        try:
            records = list(itertools.islice(_records(sample, sign), LINES + 1))
        except csv.Error:
            continue
        cut = not whole or len(records) > LINES  # the last one may be a part
        widths = {len(record) for record in records[: -1 if cut and len(records) > 1 else None]}
        even = len(widths) == 1
        # Spaces are in names and texts too: only where nothing else fits.
        found = (even and max(widths) > 1 and sign != " ", len(records[0]) if records else 0)
        if sign == " ":
            if even and max(widths) > 1 and most[1] <= 1:
                best = sign
        elif found > most:
            best, most = sign, found
    return best


def _csv(layout: Layout, notation: Notation, text: Sequence[str]) -> pd.DataFrame:
    names = [name or f"(column {place})" for place, name in enumerate(layout.names)]
    spaced = layout.separator == " "
    with _open(layout.path) as file:
        frame = pd.read_csv(
            file,
            sep=r"\s+" if spaced else layout.separator,
            header=0,
            names=names,
            dtype={name: str for name in text if name in names},
            na_values=list(notation.missing_values),
            keep_default_na=False,
            skipinitialspace=True,
            low_memory=False,
            encoding="utf-8-sig",
            decimal=notation.decimal,
            thousands=notation.thousands or None,
        )
    # pandas takes surplus values for row names, and lacking ones for missing values.
    ranged = isinstance(frame.index, pd.RangeIndex)
    expect(ranged, str(layout.path), "more values in a row than column names", "as many")
    if frame.iloc[:, -1].isna().any():
        _require_full_rows(layout)
    return frame


def _require_full_rows(layout: Layout) -> None:
    assert layout.separator is not None
    with _open(layout.path) as file:
        lines = io.TextIOWrapper(file, "utf-8-sig", newline="")
        for number, record in enumerate(_records(lines, layout.separator), 1):
            expect(len(record) == len(layout.names), str(layout.path),
                   f"{len(record)} values in row {number}, names included",
                   f"{len(layout.names)}, as there are column names")  # fmt: skip
