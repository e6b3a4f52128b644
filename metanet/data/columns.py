"""Columns of a table as numbers: the same conversions when a table is first read and ever after.

A value is compared as text in one form, `canonical`: without spaces around it, whole numbers
without decimals, true and false in lower case. So 1, 1.0 and "1" are one category in every file.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from metanet.core import UserError, one_line

Kind = Literal["number", "boolean", "date", "category", "missing"]
# What stands for a missing value in a text file, unless its settings say otherwise.
MISSING_VALUES = ("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null",
                  "None")  # fmt: skip
RARE = "(rare)"  # the category of all that have few rows
NO_VALUE = "(missing)"  # the group of rows without one
MICROSECONDS = 86_400 * 10**6  # of a day
SHOWN = 3  # values or names that a message quotes
_BOOLEANS = {"false": 0.0, "0": 0.0, "true": 1.0, "1": 1.0}
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WHOLE = re.compile(r"-?\d+\.0+")


@dataclasses.dataclass(frozen=True)
class Notation:
    """How values are written as text.

    Attributes:
      decimal: "." or ",";  thousands: what groups digits, "" for nothing.
      missing_values: texts that stand for a missing value.
    """

    decimal: str = "."
    thousands: str = ""
    missing_values: tuple[str, ...] = MISSING_VALUES


def canonical(value) -> str:
    """The one form of a value as text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = " ".join(str(value).split())
    text = text if text.isprintable() else one_line(text)
    if text.casefold() in ("true", "false"):
        return text.casefold()
    return text.partition(".")[0] if _WHOLE.fullmatch(text) else text


def texts(column: pd.Series, notation: Notation) -> tuple[np.ndarray, list[str]]:
    """A column's distinct values: codes [rows] int64, -1 where missing, and their texts."""
    missing = {canonical(one) for one in notation.missing_values}
    column = column if _numeric(column) else column.astype(object)
    try:
        codes, distinct = pd.factorize(column)
    except TypeError:  # lists and the like, which are no values
        codes, distinct = pd.factorize(column.map(repr))
    places: dict[str, int] = {}
    found = [-1] * (len(distinct) + 1)  # the last is where `codes` is -1
    for index, value in enumerate(distinct.tolist()):
        text = canonical(value)
        if text not in missing:
            found[index] = places.setdefault(text, len(places))
    return np.array(found, np.int64)[codes], list(places)


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Names in the order of their codes: by value if all are numbers, by character otherwise."""
    numeric = all(NUMBER.fullmatch(name) for name in names)
    return tuple(sorted(names, key=lambda name: (float(name), name) if numeric else (0.0, name)))


def number_of(text: str, notation: Notation) -> float | None:
    """The number that a text says, or None."""
    if notation.thousands:
        text = text.replace(notation.thousands, "")
    if notation.decimal != ".":
        text = text.replace(".", " ").replace(notation.decimal, ".")
    return float(text) if NUMBER.fullmatch(text) else None


def values(
    column: pd.Series,
    kind: Kind,
    notation: Notation,
    categories: Sequence[str] = (),
    date_format: str = "",
) -> tuple[np.ndarray, list[str]]:
    """A column as numbers: [rows] float64, NaN where missing, and the texts that are none.

    Args:
      kind: number; boolean (0, 1); date (days since 1970-01-01); category (its place in
        `categories`, that of "(rare)" if it is unknown); missing (1 where there is no value).
      date_format: as of strptime; "" is ISO 8601.
    """
    if kind == "missing":
        numeric = _numeric(column)
        absent = np.isnan(_numbers(column, notation)) if numeric else texts(column, notation)[0] < 0
        return absent.astype(np.float64), []
    if kind == "date" and pd.api.types.is_datetime64_any_dtype(column):
        return _days(column), []
    if kind in ("number", "boolean") and _numeric(column):
        numbers = _numbers(column, notation)
        ok = np.isfinite(numbers) if kind == "number" else (numbers == 0) | (numbers == 1)
        strange = pd.unique(numbers[~ok & ~np.isnan(numbers)])
        return numbers, [canonical(one) for one in strange.tolist()]
    codes, names = texts(column, notation)
    of_name: list[float | None]
    if kind == "number":
        of_name = [number_of(name, notation) for name in names]
    elif kind == "boolean":
        of_name = [_BOOLEANS.get(name) for name in names]
    elif kind == "date":
        style = date_format or "ISO8601"
        moments = pd.to_datetime(pd.Series(names, dtype=object), format=style, errors="coerce",
                                 utc=True)  # fmt: skip
        of_name = [None if np.isnan(day) else day for day in _days(moments).tolist()]
    else:
        places = {name: float(place) for place, name in enumerate(categories)}
        of_name = [places.get(name, places.get(RARE)) for name in names]
    bad = [name for name, one in zip(names, of_name, strict=True)
           if one is None or not np.isfinite(one)]  # fmt: skip
    return np.array([np.nan if one is None else one for one in of_name] + [np.nan])[codes], bad


def _numbers(column: pd.Series, notation: Notation) -> np.ndarray:
    """A column of numbers: [rows] float64, NaN where missing."""
    numbers = column.to_numpy(np.float64, na_value=np.nan)
    missing = [number_of(one, notation) for one in notation.missing_values]
    absent = [one for one in missing if one is not None]
    return np.where(np.isin(numbers, absent), np.nan, numbers) if absent else numbers


def _days(moments: pd.Series) -> np.ndarray:
    """[rows] float64, days since 1970-01-01 UTC, NaN where there is none."""
    if moments.dt.tz is not None:
        moments = moments.dt.tz_convert("UTC").dt.tz_localize(None)
    stamps = moments.to_numpy("datetime64[us]")
    return np.where(np.isnat(stamps), np.nan, stamps.astype(np.int64) / MICROSECONDS)


def _numeric(column: pd.Series) -> bool:
    types = pd.api.types
    return types.is_numeric_dtype(column) and not types.is_complex_dtype(column)  # booleans too


def expect(ok: bool, source: str, found: str, expected: str) -> None:
    """Raises UserError about `source`, a file or what else has columns, unless `ok`."""
    if not ok:
        raise UserError(f"{source}: found {found}, expected {expected}")


def quoted(names: Sequence, most: int = SHOWN) -> str:
    """The first of `names` for a message, in quotes."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f'"{_short(str(name))}"' for name in names[:most]) + more


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
