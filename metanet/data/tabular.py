"""Tabular data: a raw dataset, and its standardised splits for one group and one seed."""

import dataclasses
import hashlib

import jax
import numpy as np
from scipy.optimize import brentq

from metanet.core import UserError, require
from metanet.data.columns import Notation, quoted
from metanet.data.encoding import Encoding, Feature, Group
from metanet.data.table import Array, Table

__all__ = ["ROWS", "Array", "Raw", "Table", "TabularData", "covariate_shift", "split"]

_STEEPEST = 20.0  # of the exponents that are tried for a shift
ROWS = 10  # samples of the smallest dataset, so that every table has one


@dataclasses.dataclass(frozen=True)
class Raw:
    """A dataset as published: categories are integer codes, nothing is scaled or split.

    Attributes:
      name: a label.
      x: [rows, features] float64.
      y: [rows] int, an index into `classes`.
      groups: the possible protected attributes by name, each [rows] int from 0; the first is the
        default. {}: all rows are of one group.
      features, classes: their names.
      columns: how every feature is read from its column; () are numbers in columns of their names.
      group_columns: how groups are, by name; one without is in a column of its name, as numbers.
      label: the column of the class, which has the names in `classes`.
      notation: how values are written as text.
      impute: NaN in `x` is a missing value, which becomes the median of the training rows, or
        their most frequent one for booleans and categories.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    groups: dict[str, np.ndarray]
    features: tuple[str, ...]
    classes: tuple[str, ...]
    columns: tuple[Feature, ...] = ()
    group_columns: dict[str, Group] = dataclasses.field(default_factory=dict)
    label: str = "label"
    notation: Notation = Notation()
    impute: bool = False


@dataclasses.dataclass(frozen=True)
class TabularData:
    """A dataset with one protected attribute, in four disjoint tables.

    Attributes:
      name, features, classes: see `Raw`.
      group: the attribute's name, or None.
      digest: of the content, 12 hexadecimal digits.
      encoding: how a later table is encoded as this one was.
      mean, std: [features] float64, of `train` before it was standardised.
      train: for target MLPs;  edit: for editors and other methods.
      select: for the choice of settings;  test: for reports only.
    """

    name: str
    features: tuple[str, ...]
    classes: tuple[str, ...]
    group: str | None
    digest: str
    encoding: Encoding
    mean: np.ndarray
    std: np.ndarray
    train: Table
    edit: Table
    select: Table
    test: Table

    @property
    def n_features(self) -> int:
        return len(self.features)

    @property
    def n_classes(self) -> int:
        return len(self.classes)


def split(raw: Raw, group: str | None, seed: int) -> TabularData:
    """Splits at random into 60% train, 10% edit, 10% select, 20% test and standardises.

    The rows of each table depend on the seed and the number of rows alone, not on the group. All
    tables are standardised with the mean and standard deviation of `train`; a constant column
    becomes 0. What stands for missing values is of `train` too.

    Args:
      group: None is the first protected attribute, or one group of all rows without any.

    Raises:
      UserError: `raw` has no such group, its arrays do not fit, a feature cannot be standardised,
        or the seed is negative.
    """
    _check(raw)
    if group is None:
        group = next(iter(raw.groups), None)
    else:
        known = f"{group!r}, but {raw.name} has {', '.join(raw.groups) or 'none'}"
        require(group in raw.groups, "group", known, "one of them")
    require(seed >= 0, "seed", seed, "0 or more")
    rows = len(raw.y)
    order = np.random.default_rng(seed).permutation(rows)
    parts = np.split(order, [rows * 6 // 10, rows * 7 // 10, rows * 8 // 10])
    member = raw.groups[group] if group else np.zeros(rows, np.int64)
    fill = _fill(raw, parts[0]) if raw.impute else None
    x = raw.x if fill is None else np.where(np.isnan(raw.x), fill, raw.x)
    x_train = x[parts[0]]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # which is refused below
        mean = x_train.mean(axis=0)
        # The computed standard deviation of a constant column can be a rounding error, not 0.
        std = np.where(np.ptp(x_train, axis=0) == 0, 1.0, x_train.std(axis=0))
        largest = np.abs((x - mean) / std).max(axis=0).astype(np.float32)
    ok = np.isfinite(largest) & np.isfinite(std) & (std > 0)
    strange = np.array(raw.features)[~ok]
    if len(strange):
        raise UserError(f"dataset {raw.name}: found numbers too large or too small to standardise "
                        f"in {quoted(strange)}, expected some of another unit")  # fmt: skip
    train, edit, select, test = (
        Table(
            x=((x[part] - mean) / std).astype(np.float32),
            y=raw.y[part].astype(np.int32),
            group=member[part].astype(np.int32),
            weight=np.ones(len(part), np.float32),
            n_groups=int(member.max()) + 1,
        )
        for part in parts
    )
    return TabularData(
        name=raw.name,
        features=raw.features,
        classes=raw.classes,
        group=group,
        digest=_digest(raw, member),
        encoding=_encoding(raw, group, member, fill, mean, std),
        mean=mean,
        std=std,
        train=train,
        edit=edit,
        select=select,
        test=test,
    )


def _fill(raw: Raw, rows: np.ndarray) -> np.ndarray:
    """What stands for a missing value of every feature: [features] float64, of some rows."""
    fill = np.zeros(len(raw.features))
    for index, name in enumerate(raw.features):
        column = raw.x[rows, index]
        known = column[~np.isnan(column)]
        if not len(known):
            raise UserError(f'dataset {raw.name}: found no value of "{name}" in the training rows, '
                            "expected some; leave it out")  # fmt: skip
        if raw.columns and raw.columns[index].kind in ("boolean", "category"):
            distinct, count = np.unique(known, return_counts=True)
            fill[index] = distinct[count.argmax()]
        else:
            with np.errstate(over="ignore"):  # an infinite one is refused as too large
                fill[index] = np.median(known)
    return fill


def _encoding(
    raw: Raw,
    group: str | None,
    member: np.ndarray,
    fill: np.ndarray | None,
    mean: np.ndarray,
    std: np.ndarray,
) -> Encoding:
    """How a later table is encoded."""
    read = raw.columns or tuple(Feature(name, name) for name in raw.features)
    fitted = tuple(
        dataclasses.replace(
            feature,
            fill=None if fill is None or feature.kind == "missing" else float(fill[index]),
            mean=float(mean[index]),
            std=float(std[index]),
        )
        for index, feature in enumerate(read)
    )
    attribute = None
    if group is not None:
        codes = tuple(range(int(member.max()) + 1))
        numbers = Group(group, group, tuple(map(str, codes)), (), codes)
        attribute = raw.group_columns.get(group, numbers)
    return Encoding(fitted, raw.label, raw.classes, attribute, raw.notation)


def _check(raw: Raw) -> None:
    """Raises UserError unless the arrays of `raw` have its shapes and types."""

    def expect(ok: bool, what: str, found, expected: str) -> None:
        if not ok:
            raise UserError(f"dataset {raw.name}: found {what} {found}, expected {expected}")

    arrays = {"x": raw.x, "y": raw.y, **raw.groups}
    for what, values in arrays.items():
        kind = type(values).__name__
        expect(isinstance(values, np.ndarray), what, f"of type {kind}", "a numpy array")
    rows, width = raw.y.size, len(raw.features)
    shape = f"({rows}, {width}), samples by features"
    expect(np.shape(raw.x) == (rows, width), "x of shape", np.shape(raw.x), shape)
    expect(rows >= ROWS, "samples:", rows, f"at least {ROWS}")
    expect(np.issubdtype(raw.x.dtype, np.number), "x of type", raw.x.dtype, "numbers")
    finite = np.isfinite(raw.x) | (np.isnan(raw.x) if raw.impute else False)
    expect(bool(finite.all()), "x", "that is not finite", "finite numbers")
    read = tuple(feature.name for feature in raw.columns)
    expect(read in ((), raw.features), "columns of", read, f"those of {raw.features}")
    for what, names in (("features", raw.features), ("classes", raw.classes)):
        ok = all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
        expect(ok, what, names, "text, every name once")
    expect(len(raw.classes) >= 2, "classes", raw.classes, "two or more")
    del arrays["x"]
    for what, codes in arrays.items():
        below = len(raw.classes) if what == "y" else rows
        ok = np.shape(codes) == (rows,) and np.issubdtype(codes.dtype, np.integer)
        ok = ok and 0 <= codes.min() and codes.max() < below
        expect(ok, what, "of other numbers", f"{rows} whole numbers from 0, below {below}")


def _digest(raw: Raw, member: np.ndarray) -> str:
    """A short name for the content (values, labels, groups, names): 12 hexadecimal digits."""
    content = hashlib.sha256(repr((raw.features, raw.classes)).encode())
    for values in (raw.x.astype(np.float64), raw.y.astype(np.int64), member.astype(np.int64)):
        content.update(np.ascontiguousarray(values).tobytes())
    return content.hexdigest()[:12]


def covariate_shift(table: Table, column: int, mean_shift: float, seed: int) -> Table:
    """As many rows of `table`, drawn with replacement so that x[:, column] has another mean.

    Weights are exp(c x[:, column]) with the c that moves the mean by `mean_shift` (standard
    deviations): covariate shift, in which p(y, group | x) stays.

    Raises:
      SettingError: no weights move it so far.
    """
    x = np.asarray(table.x[:, column], np.float64)  # [rows]

    def weights(c):
        unscaled = np.exp(c * x - (c * x).max())  # the largest is 1, whatever c
        return unscaled / unscaled.sum()

    def excess(c):
        return weights(c) @ x - x.mean() - mean_shift

    ends = [excess(-_STEEPEST), excess(_STEEPEST)]
    reach = f"{ends[0] + mean_shift:.2f} to {ends[1] + mean_shift:.2f}, which weights reach"
    require(ends[0] <= 0 <= ends[1], "mean_shift", mean_shift, reach)
    c = brentq(excess, -_STEEPEST, _STEEPEST)
    rng = np.random.default_rng([seed, 4])
    rows = rng.choice(len(table.y), len(table.y), p=weights(c))
    return jax.tree.map(lambda leaf: leaf[rows], table)
