"""What every importer returns, and what all importers share."""

import dataclasses
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from metanet.core import LONGEST, UserError, one_line
from metanet.interop.network import Network

MAX_WEIGHTS = 20_000_000  # of one network, biases and normalisations counted: files claim any size
MAX_LAYERS = 1_000


@dataclasses.dataclass(frozen=True)
class Imported:
    """A network, and the way back to where it came from.

    Attributes:
      network: what was read.
      restore: of an edited `network` (its spec and activation are the same), the model as it was
        read: same structure and dtypes, in a new object. Parameters that the edit left alone have
        their bits. Raises ValueError for another spec or activation, and where a number does not
        fit the model's dtype.
      classes: their names in the order of the logits, () where the model has none.
      features: as `classes`, in the order of the inputs.
    """

    network: Network
    restore: Callable[[Network], Any]
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


def framework(name: str) -> ModuleType:
    """The module called `name`, imported here so that metanet does without it.

    Raises:
      UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise UserError(
            f"{package} is not installed: pip install -e '.[interop]' ({error})"
        ) from error


class Refused(ValueError):
    """A model, or a part of one, that no network is like; one line."""


def refused(name: str, found: str, expected: str) -> Refused:
    """The error about the part of a model that is called `name`."""
    return Refused(f"{short(name)}: found {short(found)}, expected {short(expected)}")


def short(text: str) -> str:
    """The beginning of a text that a model or a file may have written, in one line."""
    line = one_line(text[: LONGEST + 1])
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
