"""What kind of feature a column of one's own table is: said by its settings, or guessed."""

import dataclasses
import logging
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from metanet.data import columns
from metanet.data.columns import RARE, Notation, expect, quoted
from metanet.data.encoding import Feature
from metanet.data.table_config import TableConfig

logger = logging.getLogger(__name__)

# Different texts in a column that nobody has called one of categories: at most so many, and half of
# the rows; more are names or free text.
CATEGORIES, FEW = 1000, 20
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ][\d:.]+([+-][\d:]+|Z)?)?")
_GROUPED = re.compile(r"[-+]?\d{1,3}([,.' ]\d{3})*([.,]\d+)?")


@dataclasses.dataclass(frozen=True)
class Source:
    """A table on its way to numbers.

    Attributes:
      name: of its file, for messages;  toml: of the file that may say more.
      frame: the columns;  config: what is said about them;  label: the column of the class.
    """

    name: str
    toml: str
    frame: pd.DataFrame
    config: TableConfig
    label: str

    @property
    def notation(self) -> Notation:
        """How values are written as text."""
        return self.config.notation

    def expect(self, ok: bool, found: str, expected: str) -> None:
        """Raises UserError about the file unless `ok`."""
        expect(ok, self.name, found, expected)

    def say(self, column: str, what: str) -> None:
        """Logs what became of a column."""
        logger.info('%s: column "%s" %s', self.name, column, what)

    def key(self, text: str) -> str:
        """A remedy: keys of the settings."""
        return f"{text} in {self.toml}"


def feature_of(source: Source, name: str) -> tuple[Feature, np.ndarray]:
    """A column as a feature, and its numbers [rows] float64, NaN where one is missing.

    Raises:
      UserError: its kind is not clear, or a value is not of it.
    """
    feature = _described(source, name)
    numbers, bad = columns.values(
        source.frame[name], feature.kind, source.notation, feature.categories, feature.date_format
    )
    style = "dates like 2024-12-31 or a format in dates"
    expected = {"number": "finite numbers, or these in missing_values", "date": style}
    source.expect(not bad, f'{quoted(bad)} in column "{name}"', source.key(
        expected.get(feature.kind, feature.kind)))  # fmt: skip
    return feature, numbers


def _described(source: Source, name: str) -> Feature:
    """What kind of feature a column is, from its settings, its type or its values."""
    column, config = source.frame[name], source.config
    said = name in (config.categorical or ())
    if name in (config.dates or {}):
        return Feature(name, name, "date", (), (config.dates or {})[name])
    if not said and pd.api.types.is_bool_dtype(column):
        return Feature(name, name, "boolean")
    if not said and pd.api.types.is_numeric_dtype(column):
        return Feature(name, name, "number")
    if not said and pd.api.types.is_datetime64_any_dtype(column):
        return Feature(name, name, "date")
    codes, names = columns.texts(column, source.notation)
    if not said:
        numeric = sum(columns.number_of(one, source.notation) is not None for one in names)
        if numeric == len(names):  # also of none
            return Feature(name, name, "number")
        if set(names) <= {"true", "false"}:
            return Feature(name, name, "boolean")
        if all(map(_DATE.fullmatch, names)):
            return Feature(name, name, "date")
        _refuse_numbers_in_disguise(source, name, names, numeric)
    if not names:
        return Feature(name, name, "number")
    categories = categories_of(source, name, codes, names)
    most = min(CATEGORIES, max(FEW, len(codes) // 2))
    many = f'{len(categories)} different texts in column "{name}", such as {quoted(names[:2])}'
    remedy = f"drop = [{name!r}], or categorical = [{name!r}] and perhaps rare = N"
    source.expect(said or len(categories) <= most, many, source.key(remedy))
    return Feature(name, name, "category", categories)


def _refuse_numbers_in_disguise(
    source: Source, name: str, names: Sequence[str], numeric: int
) -> None:
    """Raises UserError about a column whose values are mostly numbers, in some notation."""
    others = [one for one in names if columns.number_of(one, source.notation) is None]
    signs = all(map(_GROUPED.fullmatch, names))
    said = 'decimal = "," or thousands = "," for all columns, or categorical'
    source.expect(not signs, f'{quoted(others)} in column "{name}"', source.key(said))
    mixed = f'{quoted(others)} among numbers in column "{name}"'
    said = f"missing_values with {quoted(others)}, or categorical = [{name!r}]"
    source.expect(2 * numeric < len(names), mixed, source.key(said))


def categories_of(
    source: Source, name: str, codes: np.ndarray, names: Sequence[str]
) -> tuple[str, ...]:
    """The categories of a column in the order of their codes, rare ones merged."""
    rows = np.bincount(codes[codes >= 0], minlength=len(names))
    kept = [one for one, count in zip(names, rows, strict=True)
            if count >= (source.config.rare or 1)]  # fmt: skip
    if len(kept) < len(names):
        source.say(name, f"has {len(names) - len(kept)} rare categories, which become {RARE}")
        kept = [one for one in kept if one != RARE] + [RARE]
    return columns.in_order(kept)


def row_numbers(column: pd.Series) -> str | None:
    """Why a column is but a number of every row, or None."""
    if not pd.api.types.is_integer_dtype(column):
        return None
    numbers, rows = column.to_numpy(), len(column)
    first = numbers.min()
    counts = first in (0, 1) and numbers.max() == first + rows - 1
    return "numbers the rows" if counts and len(np.unique(numbers)) == rows else None
