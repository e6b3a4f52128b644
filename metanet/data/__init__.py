"""Datasets: Adult and Bank Marketing of UCI, coded in two ways, a synthetic one, and your own."""

from collections.abc import Callable

from metanet.core import SettingError, UserError, raised, require
from metanet.data import files, own_table, synthetic, tabular, uci, uci121
from metanet.data.table import Table
from metanet.data.table_config import TableConfig
from metanet.data.tabular import Raw, TabularData
from metanet.dotted import resolve_function

__all__ = ["Raw", "Table", "TableConfig", "TabularData", "load"]

# Short names; any other dataset is named by its file, or by the dotted path of its function.
SOURCES: dict[str, Callable[[], Raw]] = {
    "adult": uci.adult,
    "bank": uci.bank,
    "adult_uci121": uci121.adult,
    "bank_uci121": uci121.bank,
    "synthetic": synthetic.synthetic,
}


def load(name: str, group: str | None, seed: int, table: TableConfig | None = None) -> TabularData:
    """The dataset called `name`, split by `seed`; the rows as a whole do not depend on `seed`.

    Args:
      name: one of SOURCES, a file (see `files.is_file`), or the dotted path of a function that
        returns Raw.
      group: the protected attribute, of a file any column; None is the dataset's first, if it has
        any.
      table: how a file is read, see `own_table.load`; of no use for other datasets.

    Raises:
      UserError: no such dataset or group, or its files are neither on disk nor to be downloaded.
    """
    if files.is_file(name):
        return tabular.split(own_table.load(name, table or TableConfig(), group), group, seed)
    known = (
        f"one of {', '.join(SOURCES)}, a file, or the dotted path of a function that returns Raw"
    )
    require(name in SOURCES or "." in name, "dataset", repr(name), known)
    raw = _raw(name, known)
    require(
        isinstance(raw, Raw), "dataset", f"{name!r}, which returns a {type(raw).__name__}", known
    )
    return tabular.split(raw, group, seed)


def _raw(name: str, expected: str) -> Raw:
    if name in SOURCES:
        return SOURCES[name]()
    source = resolve_function(name, "dataset", "a function without arguments that returns Raw", 0)
    try:
        return source()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        raise SettingError(
            "dataset", f"{name!r}, which raises {raised(error)}", expected
        ) from error
