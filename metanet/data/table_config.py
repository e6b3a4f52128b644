"""What a user says about a table: keys of a config, and of the TOML file beside the table."""

import dataclasses
import pathlib
import tomllib
from collections.abc import Mapping
from typing import Literal

import pandas as pd

from metanet.core import SettingError, UserError, require
from metanet.data.columns import MISSING_VALUES, Notation
from metanet.settings import build

SEPARATORS = {",": ",", ";": ";", "|": "|", "tab": "\t", "space": " "}
THOUSANDS = (",", ".", "'", "_", " ")


@dataclasses.dataclass(frozen=True)
class TableConfig:
    """How a table in a file is read. None: as the TOML file beside it says, or else as below.

    Attributes:
      label: the column of the class; None is the only column called label, target, class or y.
      groups: columns of protected attributes, which may be features too; the first is the default.
        With cut points where a column has numbers: {"age": (25, 60)} has below 25, below 60, above.
      features: the columns that models see; None is all but the label and those that say nothing.
      drop: columns that models do not see.
      categorical: columns of numbers that are categories.
      dates: columns of dates that are not written as 2024-12-31, and their format (strptime).
      missing: what becomes of missing values: "refuse" (None), "impute" (the training rows' median
        or most frequent category) or "indicator" (that, and a feature "NAME is missing").
      missing_values: texts that stand for a missing value; None is `columns.MISSING_VALUES`.
      rare: categories of fewer rows become one, "(rare)", also those that only a later table has.
      separator: "," ";" "|" "tab" or "space"; None is what fits the first lines.
      decimal: "." (None) or ",";  thousands: what groups digits; None is nothing.
    """

    label: str | None = None
    groups: tuple[str, ...] | dict[str, tuple[float, ...]] | None = None
    features: tuple[str, ...] | None = None
    drop: tuple[str, ...] | None = None
    categorical: tuple[str, ...] | None = None
    dates: dict[str, str] | None = None
    missing: Literal["refuse", "impute", "indicator"] | None = None
    missing_values: tuple[str, ...] | None = None
    rare: int | None = None
    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None

    def __post_init__(self):
        for name, cuts in self.cuts.items():
            ascending = list(cuts) == sorted(set(cuts))
            require(ascending, f"table.groups.{name}", cuts, "ascending cut points")
        for name, style in (self.dates or {}).items():
            ok = "%" in style and _is_format(style)
            require(ok, f"table.dates.{name}", repr(style), "a format of strptime, like %d.%m.%Y")
        rare = self.rare
        require(rare is None or rare >= 1, "table.rare", rare, "1 or more rows")
        ok = self.separator in (None, *SEPARATORS)
        require(ok, "table.separator", repr(self.separator), f"one of {' '.join(SEPARATORS)}")
        ok = self.decimal in (None, ".", ",")
        require(ok, "table.decimal", repr(self.decimal), "one of . ,")
        ok = self.thousands in (None, *THOUSANDS) and self.thousands != self.notation.decimal
        expected = "one of , . ' _ or a space, another than the decimal sign"
        require(ok, "table.thousands", repr(self.thousands), expected)
        reader = SEPARATORS.get(self.separator or "")
        ok = reader is None or reader not in (self.notation.decimal, self.thousands)
        require(ok, "table.separator", repr(self.separator), "a sign that is in no number")

    @property
    def cuts(self) -> dict[str, tuple[float, ...]]:
        """The protected attributes and their cut points, () for categories."""
        if isinstance(self.groups, Mapping):
            return dict(self.groups)
        return {name: () for name in self.groups or ()}

    @property
    def notation(self) -> Notation:
        """How values are written as text."""
        missing = MISSING_VALUES if self.missing_values is None else self.missing_values
        return Notation(self.decimal or ".", self.thousands or "", missing)

    @property
    def given(self) -> dict:
        """The keys that say something."""
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def _is_format(style: str) -> bool:
    try:
        pd.to_datetime(pd.Series(["0"]), format=style, errors="coerce")
    except ValueError:
        return False
    return True


def beside(path: pathlib.Path, said: TableConfig) -> TableConfig:
    """What the TOML file at `path` says, if there is one, and `said`, which goes before it.

    Raises:
      UserError: the file cannot be read, or a key in it is unknown or of another type.
    """
    try:
        values = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        return said
    except OSError as error:
        raise UserError(f"{path}: found {error.strerror}, expected a TOML file") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise UserError(f"{path}: found no TOML ({error}), expected keys and values") from error
    if values.get("separator") == "\t":
        values["separator"] = "tab"
    try:
        stored = build(TableConfig, values)
    except SettingError as error:
        key = error.key.removeprefix("table.")
        raise UserError(
            f"{path}: key {key}: found {error.found}, expected {error.expected}"
        ) from error
    return dataclasses.replace(stored, **said.given)
