"""The rows that a certificate is about, as networks read them."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from metanet.data.columns import canonical, texts
from metanet.data.encoding import Encoding
from metanet.data.table import Table
from metanet.editor.checks import expect
from metanet.interop.imported import Imported
from metanet.mlp.sampling import READS

MISSING = "(missing)"
MOST_GROUPS = 30  # intersections: more are values of something else than a group


@dataclasses.dataclass(frozen=True)
class Sample:
    """Independent rows of one population.

    Attributes:
      x: [rows, features] float32, as the networks read them.
      y: [rows] int, codes of `classes`; None without labels.
      group: [rows] int, codes of `groups`.
      classes, groups: names; one group where there are none.
    """

    x: np.ndarray
    y: np.ndarray | None
    group: np.ndarray
    classes: tuple[str, ...]
    groups: tuple[str, ...]


def check_names(sources: dict[str, Imported], encoding: Encoding | None) -> None:
    """Refuses networks whose classes or features have another order than the rows.

    Args:
      sources: by the name of the argument; without an encoding they have to agree.

    Raises:
      ValueError: names the argument.
    """
    known = {"classes": (), "features": ()} if encoding is None else {
        "classes": encoding.classes, "features": tuple(one.name for one in encoding.features)
    }  # fmt: skip
    for kind, expected in known.items():
        for name, source in sources.items():
            own = getattr(source, kind)
            # Other names of the same classes, as 0 and 1, say nothing about their order.
            other = own and expected and sorted(own) == sorted(expected) and own != expected
            other = other or (kind == "features" and own and expected and own != expected)
            expect(not other, name, f"{kind} {', '.join(own)}", f"{', '.join(expected)}")
            expected = expected or own


def sample_of(
    rows,
    widths: Sequence[int],
    encoding: Encoding | None,
    groups: Sequence[str],
    reads: str,
    whole=None,
) -> Sample:
    """The rows as `certificate.certify` gets them.

    Args:
      widths: of the networks' layers: inputs first, outputs last.
      whole: the table that `rows` are a part of, whose values name the groups; they themselves.

    Raises:
      ValueError: they are no rows of such networks; names what was found.
      UserError: a DataFrame does not fit the encoding.
    """
    expect(reads in READS, "reads", repr(reads), f"one of {', '.join(READS)}")
    needed = encoding is not None or (isinstance(rows, Table) and reads == "standardised")
    expect(needed, "encoding", "none", "that of the rows, such as an editor's")
    expect(not groups or isinstance(rows, pd.DataFrame), "groups", f"{list(groups)}",
           "none: a Table has its own")  # fmt: skip
    if isinstance(rows, Table):
        table, has_labels = rows, True
        even = np.allclose(np.asarray(rows.weight), 1.0)
        expect(even, "rows.weight", "other numbers", "1 everywhere: rows drawn evenly")
        names = tuple(f"group {code}" for code in range(rows.n_groups))
        codes = np.asarray(rows.group)
    else:
        expect(isinstance(rows, pd.DataFrame), "rows", type(rows).__name__, "a DataFrame or Table")
        assert encoding is not None
        table = encoding.encode(rows, "rows")
        frame = rows.rename(columns=canonical)
        has_labels = encoding.tells_label(frame)
        every = frame if whole is None else whole.rename(columns=canonical)
        codes, names = _groups(frame, every, encoding, tuple(map(canonical, groups)), table)
    classes = encoding.classes if encoding else tuple(f"class {n}" for n in range(widths[-1]))
    x = np.asarray(table.x, np.float32)
    fits = x.ndim == 2 and x.shape[1] == widths[0] and len(x) > 0
    expect(fits, "rows", f"shape {x.shape}", f"[rows, {widths[0]}], as the networks read them")
    expect(bool(np.isfinite(x).all()), "rows", "NaN or infinity", "finite numbers")
    expect(len(classes) == widths[-1], "encoding", f"{len(classes)} classes", f"{widths[-1]}")
    for name, column, most in (("y", table.y, len(classes)), ("group", codes, len(names))):
        found = np.asarray(column)
        inside = found.shape == (len(x),) and found.min() >= 0 and found.max() < most
        expect(inside, f"rows.{name}", "other codes", f"{len(x)} from 0, below {most}")
    if reads == "numbers":
        assert encoding is not None
        mean, std = (np.array([getattr(one, key) for one in encoding.features])
                     for key in ("mean", "std"))  # fmt: skip
        x = (x * std[None] + mean[None]).astype(np.float32)
    return Sample(x, np.asarray(table.y) if has_labels else None, codes, classes, names)


def _groups(
    frame: pd.DataFrame,
    every: pd.DataFrame,
    encoding: Encoding,
    columns: tuple[str, ...],
    table: Table,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The group of every row, and all groups' names: of columns' intersections if any are named.

    Args:
      every: rows whose values are all that there are.
    """
    if columns:
        absent = [name for name in columns if name not in frame]
        expect(not absent, "groups", f"no column {', '.join(absent)}", "columns of the rows")
        twice = sorted({name for name in columns if columns.count(name) > 1})
        expect(not twice, "groups", f"{', '.join(twice)} twice", "every column once")
        values, codes = [], []
        for name in columns:
            known = sorted(set(_texts(every[name], encoding)))
            values.append(known)
            codes.append(np.searchsorted(known, _texts(frame[name], encoding)))
        # All that values could come together, also what no row has: its gap may be anything.
        names = tuple(", ".join(one) for one in itertools.product(*values))
        expect(2 <= len(names) <= MOST_GROUPS, "groups", f"{len(names)} intersections",
               f"2 to {MOST_GROUPS}")  # fmt: skip
        return np.asarray(np.ravel_multi_index(codes, tuple(map(len, values)))), names
    group = encoding.group
    if group is None or group.column not in frame:
        return np.zeros(len(frame), int), ("all",)
    by_code: dict[int, list[str]] = {}
    for name, code in zip(group.categories or _intervals(group.cuts), group.codes, strict=True):
        by_code.setdefault(code, []).append(name)
    names = tuple(" or ".join(by_code.get(code, ["?"])) for code in range(group.n_groups))
    return np.asarray(table.group), names


def _texts(column: pd.Series, encoding: Encoding) -> np.ndarray:
    """The values of a column as text; MISSING where there is none."""
    codes, names = texts(column, encoding.notation)
    return np.array([name or MISSING for name in [*names, ""]])[codes]


def _intervals(cuts: Sequence[float]) -> list[str]:
    ends = [f"{cut:g}" for cut in cuts]
    return [f"below {ends[0]}", *map(" to ".join, itertools.pairwise(ends)),
            f"from {ends[-1]}"]  # fmt: skip
