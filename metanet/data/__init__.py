"""Datasets: Adult and Bank Marketing of the UCI repository, and a synthetic one."""

from metanet.core import UserError
from metanet.data import synthetic, tabular, uci
from metanet.data.tabular import Raw, Table, TabularData
from metanet.dotted import resolve

__all__ = ["Raw", "Table", "TabularData", "load"]

# Short names; any other dataset is named by the dotted path of its function.
SOURCES = {"adult": uci.adult, "bank": uci.bank, "synthetic": synthetic.synthetic}


def load(name: str, group: str | None, seed: int) -> TabularData:
    """The dataset called `name`, split by `seed`; the rows as a whole do not depend on `seed`.

    Args:
      name: one of SOURCES, or the dotted path of a function that returns Raw.
      group: the protected attribute; None is the dataset's first, if it has any.

    Raises:
      UserError: no such dataset or group, or the data's files cannot be had.
    """
    known = f"one of {', '.join(SOURCES)}, or the dotted path of a function that returns Raw"
    if name not in SOURCES and "." not in name:
        raise UserError(f"config key dataset: found {name!r}, expected {known}")
    source = SOURCES[name] if name in SOURCES else resolve(name, "dataset", "a function of Raw")
    raw = source()
    if not isinstance(raw, Raw):
        raise UserError(f"config key dataset: found {name!r}, which returns a "
                        f"{type(raw).__name__}, expected {known}")  # fmt: skip
    return tabular.split(raw, group, seed)
