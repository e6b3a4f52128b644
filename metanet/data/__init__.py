"""Datasets: Adult and Bank Marketing of the UCI repository, and a synthetic one."""

from metanet.core import UserError
from metanet.data import synthetic, tabular, uci
from metanet.data.tabular import Raw, Table, TabularData

__all__ = ["Raw", "Table", "TabularData", "load"]

SOURCES = {"adult": uci.adult, "bank": uci.bank, "synthetic": synthetic.synthetic}


def load(name: str, group: str | None, seed: int) -> TabularData:
    """The dataset called `name`, split by `seed`; the rows as a whole do not depend on `seed`.

    group: the protected attribute; None is the dataset's first. Raises UserError for an unknown
    name or group, or if the data's files cannot be had.
    """
    if name not in SOURCES:
        known = ", ".join(SOURCES)
        raise UserError(f"config key dataset: found {name!r}, expected one of {known}; choose one")
    raw = SOURCES[name]()
    return tabular.split(raw, next(iter(raw.groups)) if group is None else group, seed)
