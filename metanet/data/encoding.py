"""How a table becomes numbers, fitted once: stored with what was trained, for every later table."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator

import numpy as np
import pandas as pd

from metanet.core import UserError
from metanet.data import columns
from metanet.data.columns import NO_VALUE, Kind, Notation, expect, quoted
from metanet.data.table import Table
from metanet.settings import plain

VERSION = 1


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature: the column that it is read from, and how.

    Attributes:
      name, column: of the feature, and of its column.
      kind, categories, date_format: see `columns.values`.
      fill: what stands for a missing value, before standardisation; None: none may be missing.
      mean, std: of the training split.
    """

    name: str
    column: str
    kind: Kind = "number"
    categories: tuple[str, ...] = ()
    date_format: str = ""
    fill: float | None = None
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self):
        expect(self.std > 0, "encoding", f"std {self.std} of {self.name}", "more than 0")
        once = len(set(self.categories)) == len(self.categories)
        expect(
            once,
            "encoding",
            f"categories {quoted(self.categories)} of {self.name}",
            "every one once",
        )
        ok = bool(self.categories) == (self.kind == "category")
        expect(
            ok,
            "encoding",
            f"a {self.kind} with {len(self.categories)} categories",
            "those of a category",
        )


@dataclasses.dataclass(frozen=True)
class Group:
    """The protected attribute: a column's categories, or its intervals between cut points.

    Attributes:
      name, column: of the attribute, and of its column.
      categories: the column's, without `cuts`.
      cuts: ascending; the lower end of every interval but the first belongs to it.
      codes: the group of each category or interval.
    """

    name: str
    column: str
    categories: tuple[str, ...] = ()
    cuts: tuple[float, ...] = ()
    codes: tuple[int, ...] = ()

    def __post_init__(self):
        count = len(self.categories) or len(self.cuts) + 1
        fits = len(self.codes) == count and min(self.codes) >= 0
        # No more groups than values: a damaged file could ask for any number of them.
        fits = fits and max(self.codes) < count
        expected = f"{count} from 0, below {count}"
        expect(fits, "encoding", f"codes {self.codes} of group {self.name}", expected)
        ascending = list(self.cuts) == sorted(set(self.cuts))
        expect(ascending, "encoding", f"cuts {self.cuts} of group {self.name}", "ascending numbers")

    @property
    def n_groups(self) -> int:
        return max(self.codes) + 1

    def members(self, column: pd.Series, notation: Notation) -> tuple[np.ndarray, list[str]]:
        """The group of every row: [rows] int64, and what has none; rows without one are of 0."""
        codes = np.array(self.codes)
        if self.cuts:
            numbers, bad = columns.values(column, "number", notation)
            absent = np.isnan(numbers)
            place = np.digitize(np.where(absent, 0.0, numbers), self.cuts)
        else:
            numbers, bad = columns.values(column, "category", notation, self.categories)
            if NO_VALUE in self.categories:
                numbers = np.where(np.isnan(numbers), self.categories.index(NO_VALUE), numbers)
            absent = np.isnan(numbers)
            place = np.where(absent, 0, numbers).astype(np.int64)
        return codes[place], bad or (["no value"] if absent.any() else [])


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How the columns of a table become a `Table`.

    Attributes:
      features: in their order in `Table.x`.
      label, classes: the column of the class, and its values in the order of their codes.
      group: the protected attribute; None: all rows are of one group.
      notation: how values are written as text.
    """

    features: tuple[Feature, ...]
    label: str
    classes: tuple[str, ...]
    group: Group | None = None
    notation: Notation = Notation()

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns whose values are compared as text, which a reader should not convert."""
        named = [one.column for one in self.features if one.kind in ("category", "date")]
        grouped = [self.group.column] if self.group is not None and self.group.categories else []
        return tuple(dict.fromkeys((*named, self.label, *grouped)))

    def tells_label(self, frame: pd.DataFrame) -> bool:
        """Whether rows tell their class: a column that a feature is read from does not."""
        return self.label in frame and all(self.label != one.column for one in self.features)

    def encode(self, frame: pd.DataFrame, source: str) -> Table:
        """The rows of `frame` as the training data were encoded.

        Columns may be in any order, and others than those of features are not looked at. Without
        the column of the label, or of the group, `y`, or `group`, is 0 in every row.

        Args:
          source: what the frame is, for messages: a file.

        Raises:
          UserError: the frame has no rows, a column is absent, or a value cannot be encoded; the
            message has all of them.
        """
        frame = frame.rename(columns=columns.canonical)
        expect(len(frame) > 0, source, "no rows", "some")
        twice = quoted(list(frame.columns[frame.columns.duplicated()]))
        expect(not twice, source, f"columns {twice} twice", "every column once")
        absent = [f'"{name}"' for name in dict.fromkeys(f.column for f in self.features)
                  if name not in frame]  # fmt: skip
        problems = [f"no column {', '.join(absent)}"] if absent else []
        x = np.zeros((len(frame), len(self.features)), np.float32)
        for index, feature in enumerate(self.features):
            if feature.column not in frame:
                continue
            found, bad = self._numbers(frame[feature.column], feature)
            with np.errstate(over="ignore"):
                x[:, index] = ((found - feature.mean) / feature.std).astype(np.float32)
            if not bad and not np.isfinite(x[:, index]).all():
                bad = ["numbers too large to standardise"]
            problems += [f'in column "{feature.column}" {one}' for one in bad]
        y = group = np.zeros(len(frame), np.int64)
        if self.tells_label(frame):
            codes, names = columns.texts(frame[self.label], self.notation)
            places = {name: place for place, name in enumerate(self.classes)}
            bad = [f"the class {quoted([name])}" for name in names if name not in places]
            bad += ["no class in some rows"] if (codes < 0).any() else []
            problems += [f'in column "{self.label}" {one}' for one in bad]
            y = np.array([places.get(name, 0) for name in names] + [0])[codes]
        if self.group is not None and self.group.column in frame:
            group, bad = self.group.members(frame[self.group.column], self.notation)
            problems += [f'in column "{self.group.column}" {quoted(bad)} of no group'] * bool(bad)
        expected = "a table like the one that this encoding is of"
        expect(not problems, source, "; ".join(problems), expected)
        return Table(
            x=x,
            y=y.astype(np.int32),
            group=group.astype(np.int32),
            weight=np.ones(len(frame), np.float32),
            n_groups=1 if self.group is None else self.group.n_groups,
        )

    def _numbers(self, column: pd.Series, feature: Feature) -> tuple[np.ndarray, list[str]]:
        """A feature's numbers before standardisation, and what is wrong with its column."""
        found, bad = columns.values(
            column, feature.kind, self.notation, feature.categories, feature.date_format
        )
        problems = []
        if bad:
            problems.append(f"{quoted(bad)}, expected {_WORDS[feature.kind]}")
        missing = int(np.isnan(found).sum()) if not bad else 0
        if missing and feature.fill is None:
            problems.append(f"{missing} missing values, and none may be")
        return np.where(np.isnan(found), feature.fill or 0.0, found), problems

    def to_json(self) -> dict:
        """The encoding as dicts, lists, numbers and text."""
        return {"version": VERSION} | plain(self)

    @classmethod
    def from_json(cls, stored, source: str) -> "Encoding":
        """The encoding that `to_json` wrote.

        Args:
          source: what it was read from, for messages: a file.

        Raises:
          UserError: it is of another version, a key is unknown or missing, or a value not its own.
        """
        expect(isinstance(stored, dict), source, f"{stored!r:.40}", "an encoding")
        version = stored.get("version")
        expect(version == VERSION, source, f"an encoding of version {version}", str(VERSION))
        rest = {name: value for name, value in stored.items() if name != "version"}
        try:
            return _made(cls, rest, "encoding")
        except UserError as error:
            raise UserError(f"{source}: {error}") from error


_WORDS = {
    "number": "numbers",
    "boolean": "true or false",
    "date": "dates",
    "category": "known categories",
    "missing": "any value",
}


def _made(annotation, value, where: str):
    """`value` of JSON as a field of type `annotation`; every key of a dataclass has to be there."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is types.UnionType:  # with None
        return None if value is None else _made(arguments[0], value, where)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        expect(isinstance(value, dict), "encoding", f"{where} {value!r:.40}", "keys and values")
        kinds = typing.get_type_hints(annotation)
        fields = [field.name for field in dataclasses.fields(annotation)]
        wrong = list(_differences(fields, value))
        expect(
            not wrong,
            "encoding",
            f"{where} with {', '.join(wrong)}",
            f"the keys {', '.join(fields)}",
        )
        return annotation(**{f: _made(kinds[f], value[f], f"{where}.{f}") for f in fields})
    if origin is tuple:
        expect(isinstance(value, (list, tuple)), "encoding", f"{where} {value!r:.40}", "a list")
        return tuple(_made(arguments[0], one, f"{where}.{i}") for i, one in enumerate(value))
    if origin is typing.Literal:
        expect(
            value in arguments,
            "encoding",
            f"{where} {value!r:.40}",
            f"one of {', '.join(arguments)}",
        )
        return value
    if annotation is float and type(value) is int:
        value = float(value)
    ok = type(value) is annotation and (annotation is not float or math.isfinite(value))
    expect(
        ok,
        "encoding",
        f"{where} {value!r:.40}",
        f"a finite {annotation.__name__}"
        if annotation is float
        else f"a value of type {annotation.__name__}",
    )
    return value


def _differences(fields: list[str], value: dict) -> Iterator[str]:
    yield from (f"no {name}" for name in fields if name not in value)
    yield from (f"an unknown {name}" for name in value if name not in fields)
