"""Tabular data: a raw dataset, and its standardised splits for one group and one seed."""

import dataclasses
import hashlib

import flax.struct
import numpy as np
from scipy.optimize import brentq

from metanet.core import UserError, require

_STEEPEST = 20.0  # of the exponents that are tried for a shift


@flax.struct.dataclass
class Table:
    """One split, or a sample of it; a pytree.

    x: [rows, features] float32, standardised. y: [rows] int32, the class. group: [rows] int32.
    weight: [rows] float32 with mean 1, what a row counts in means over the data: 1 unless rows were
    sampled unevenly. n_groups: how many groups there are, static.
    """

    x: np.ndarray
    y: np.ndarray
    group: np.ndarray
    weight: np.ndarray
    n_groups: int = flax.struct.field(pytree_node=False)


@dataclasses.dataclass(frozen=True)
class Raw:
    """A dataset as published: categories are integer codes, nothing is scaled or split.

    x: [rows, features] float64. y: [rows] int, an index into `classes`. groups: the possible
    protected attributes by name, each [rows] int from 0; the first is the default. {}: all rows are
    of one group.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    groups: dict[str, np.ndarray]
    features: tuple[str, ...]
    classes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class TabularData:
    """A dataset with one protected attribute, in four disjoint tables.

    Target MLPs are trained on `train`, the editor on `edit`; `select` chooses among editors and
    `test` is for reporting only. group: the attribute's name, None where there is none. digest: of
    the content, 12 hexadecimal digits.
    mean, std: [features] float64, of `train` before it was standardised.
    """

    name: str
    features: tuple[str, ...]
    classes: tuple[str, ...]
    group: str | None
    digest: str
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
    becomes 0. group: None is the first protected attribute, or one group of all rows where there is
    none. Raises UserError if `raw` has no such group or the seed is negative.
    """
    if group is None:
        group = next(iter(raw.groups), None)
    elif group not in raw.groups:
        known = ", ".join(raw.groups) or "none"
        raise UserError(
            f"config key group: found {group!r}, but {raw.name} has {known}; choose one of them"
        )
    if seed < 0:
        raise UserError(f"config key seed: found {seed}, expected 0 or more; choose another")
    rows = len(raw.y)
    order = np.random.default_rng(seed).permutation(rows)
    parts = np.split(order, [rows * 6 // 10, rows * 7 // 10, rows * 8 // 10])
    member = raw.groups[group] if group else np.zeros(rows, np.int64)
    x_train = raw.x[parts[0]]
    mean = x_train.mean(axis=0)
    # The computed deviation of a constant column can be a rounding error instead of 0.
    std = np.where(np.ptp(x_train, axis=0) == 0, 1.0, x_train.std(axis=0))
    train, edit, select, test = (
        Table(
            x=((raw.x[part] - mean) / std).astype(np.float32),
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
        mean=mean,
        std=std,
        train=train,
        edit=edit,
        select=select,
        test=test,
    )


def _digest(raw: Raw, member: np.ndarray) -> str:
    """A short name for the content: values, labels, groups and names."""
    content = hashlib.sha256(repr((raw.features, raw.classes)).encode())
    for values in (raw.x.astype(np.float64), raw.y.astype(np.int64), member.astype(np.int64)):
        content.update(np.ascontiguousarray(values).tobytes())
    return content.hexdigest()[:12]


def covariate_shift(table: Table, column: int, mean_shift: float, seed: int) -> Table:
    """As many rows of `table`, drawn with replacement so that x[:, column] has another mean.

    Weights are exp(c x[:, column]) with the c that moves the mean by `mean_shift` (standard
    deviations): covariate shift, in which p(y, group | x) stays.

    Raises:
      UserError: no weights move it so far.
    """
    x = table.x[:, column].astype(np.float64)

    def weights(c):
        unscaled = np.exp(c * x - (c * x).max())
        return unscaled / unscaled.sum()

    def excess(c):
        return weights(c) @ x - x.mean() - mean_shift

    ends = [excess(-_STEEPEST), excess(_STEEPEST)]
    reach = f"{ends[0] + mean_shift:.2f} to {ends[1] + mean_shift:.2f}, which weights reach"
    require(ends[0] <= 0 <= ends[1], "shifts", f"a mean shift of {mean_shift}", reach)
    c = brentq(excess, -_STEEPEST, _STEEPEST)
    rng = np.random.default_rng([seed, 4])
    rows = rng.choice(len(table.y), len(table.y), p=weights(c))
    return Table(
        *(leaf[rows] for leaf in (table.x, table.y, table.group, table.weight)), table.n_groups
    )
