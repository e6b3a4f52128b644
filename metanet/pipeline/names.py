"""Names of methods, editors and shifts, and predicates of specs by name."""

from collections.abc import Callable, Iterable

import numpy as np

from metanet.core import SettingError, raised, require
from metanet.dotted import resolve_function
from metanet.mlp.spec import MLPSpec
from metanet.storage import slug

LONGEST = 100  # characters of a name
LONGEST_FOLDER = 200  # bytes of its folder: file systems have 255, for temporary names too


def check_names(names: Iterable[str], key: str, taken: tuple[str, ...] = ()) -> None:
    """Refuses names that no folder can have, or two would share.

    Args:
      key: the config key that they stand below.
      taken: names that something else has.

    Raises:
      SettingError: a name is empty, long, taken, or its folder that of another.
    """
    folders: dict[str, str] = {}
    for name in names:
        ok = name.isprintable() and bool(slug(name)) and len(name) <= LONGEST
        expected = f"a name with a letter or digit, of at most {LONGEST} characters in one line"
        require(ok, key, repr(name), expected)
        size = len(slug(name).encode())
        expected = f"a name whose folder is of at most {LONGEST_FOLDER} bytes"
        require(size <= LONGEST_FOLDER, key, f"{name!r}, {size} bytes", expected)
        require(name not in taken, key, name, "another name, which nothing else has")
        other = folders.setdefault(slug(name), name)
        require(other == name, key, name, f"another name: its folder is that of {other}")


def predicate(path: str, key: str) -> Callable[[MLPSpec], bool]:
    """The predicate of a spec that a config names by its dotted path (see mlp.subsets).

    Raises:
      SettingError: there is no such function, or it does not say True or False of a spec.
    """
    expected = "a predicate of a spec: a function of an MLPSpec that returns True or False"
    function = resolve_function(path, key, expected, 1)
    try:
        value = function(MLPSpec((8, 16, 16, 2), skips=((0, 2),)))
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        raise SettingError(key, f"{path!r}, which raises {raised(error)}", expected) from error
    is_bool = isinstance(value, (bool, np.bool_))
    require(is_bool, key, f"{path!r}, which returns {value!r}", expected)
    return function
