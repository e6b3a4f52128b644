"""Gaps between groups with intervals, from the counts of every cell of (label, group)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from metanet.certificates.bounds import share_interval

KINDS = ("equalised_odds", "equal_opportunity", "demographic_parity")


@dataclasses.dataclass(frozen=True)
class Cell:
    """The rows of one group with one label, and how many of them a class is decided for.

    Attributes:
      decided: the class whose decisions are counted;  label: "is X", "is not X" or "any".
      group: its name.
      rows, count: of the cell, and of its rows with that decision.
      low, high: of the rate in the population: an interval that misses in one of all cells of a
        `Gap` with probability delta at most; (0, 1) of a cell without rows.
    """

    decided: str
    label: str
    group: str
    rows: int
    count: int
    low: float
    high: float

    @property
    def name(self) -> str:
        return f"(label {self.label}, {self.group})"

    @property
    def rate(self) -> float | None:
        """The share of rows with the decision; None without rows."""
        return self.count / self.rows if self.rows else None


@dataclasses.dataclass(frozen=True)
class Gap:
    """The largest difference between two groups' rates.

    Attributes:
      estimate: of the rows themselves; None where fewer than two groups of any label have rows.
      upper: above the true one but with probability delta.
      cells: all that are compared.
    """

    estimate: float | None
    upper: float
    cells: tuple[Cell, ...]


def decided_codes(classes: Sequence[str]) -> range:
    """The classes whose decisions are counted: of two, one says it all."""
    return range(1, 2) if len(classes) == 2 else range(len(classes))


def gap(
    kind: str,
    decisions: np.ndarray,
    y: np.ndarray | None,
    group: np.ndarray,
    classes: Sequence[str],
    groups: Sequence[str],
    delta: float,
) -> Gap:
    """The gap of one of KINDS between groups: as `objectives.fairness` has it, and a bound of it.

    A gap is no mean. Every cell's rate gets an interval of its own by Clopper and Pearson, and by
    the union bound all hold at once but with probability `delta`: then the gap is at most the
    largest upper end minus the lowest lower end of another group.

    Args:
      decisions, y, group: [rows] int, codes of `classes` and of `groups`; y: not of parity.
    """
    parts: list[tuple[str, str, np.ndarray, np.ndarray]] = []  # decided, label, members, decided so
    for code in decided_codes(classes):
        name, decided = classes[code], decisions == code
        if kind == "demographic_parity":
            parts.append((name, "any", np.ones(len(decisions), bool), decided))
        elif kind == "equalised_odds" or code == len(classes) - 1:
            assert y is not None
            parts.append((name, f"is {name}", y == code, decided))
            if kind == "equalised_odds":
                parts.append((name, f"is not {name}", y != code, decided))
    each = delta / (len(parts) * len(groups))
    estimates, uppers, cells = [], [], []
    for name, label, members, decided in parts:
        own = []
        for code, group_name in enumerate(groups):
            inside = members & (group == code)
            rows, count = int(inside.sum()), int((inside & decided).sum())
            low, high = share_interval(count, rows, each)
            own.append(Cell(name, label, group_name, rows, count, low, high))
        rates = [cell.rate for cell in own if cell.rate is not None]
        if len(rates) > 1:
            estimates.append(max(rates) - min(rates))
        uppers.append(_widest(own))
        cells += own
    return Gap(max(estimates, default=None), max(uppers), tuple(cells))


def _widest(cells: Sequence[Cell]) -> float:
    """The largest upper end minus the lower end of another cell; 0 of one cell."""
    gaps = (one.high - two.low for one in cells for two in cells if one is not two)
    return min(max(gaps, default=0.0), 1.0)


def scaled(cells: Sequence[Cell], factor: float, delta: float) -> float:
    """The upper bound that `factor` times the rows would give, at the rates seen so far.

    Args:
      cells: of one `Gap`, all with rows.
    """
    uppers = []
    for key in dict.fromkeys((cell.decided, cell.label) for cell in cells):
        own = [cell for cell in cells if (cell.decided, cell.label) == key]
        larger = []
        for cell in own:
            rows, count = round(factor * cell.rows), round(factor * cell.count)
            low, high = share_interval(count, rows, delta / len(cells))
            larger.append(dataclasses.replace(cell, rows=rows, count=count, low=low, high=high))
        uppers.append(_widest(larger))
    return max(uppers)
