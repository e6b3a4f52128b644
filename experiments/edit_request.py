"""What the command experiments.edit was asked for."""

import contextlib
import dataclasses
import pathlib
import re
import sys
import warnings
from collections.abc import Iterator

from metanet.core import UserError, one_line
from metanet.editing.places import digest_of
from metanet.editor.release import Release


@dataclasses.dataclass(frozen=True)
class Request:
    """The command's flags.

    Attributes:
      place: the folder or name of the editor, which is `release`.
      confidence: None: no certificate is asked for.
    """

    place: str
    release: Release
    model: pathlib.Path
    table: pathlib.Path
    out: pathlib.Path
    require: tuple[str, ...]
    reads: str
    newton: int
    refine: int
    activation: str | None
    confidence: float | None
    groups: tuple[str, ...]
    report: bool
    report_by: tuple[str, ...]
    purpose: str

    @property
    def steps(self) -> dict:
        """The arguments that all edits share."""
        return {"reads": self.reads, "newton": self.newton, "refine": self.refine}

    @property
    def about(self) -> dict:
        """The part of edit.json about the editor and what is asked of it."""
        return {
            "editor": self.release.about | {"requirement": list(self.release.requirement)},
            "require": list(self.require),
            "newton": self.newton,
            "refine": self.refine,
        }


def named(path: pathlib.Path) -> dict[str, str | None]:
    """A file's name and SHA-256."""
    return {"file": one_line(path.name), "sha256": digest_of(path)}


@contextlib.contextmanager
def said(model: pathlib.Path, data: pathlib.Path | None = None) -> Iterator[None]:
    """A block whose warnings are lines on stderr, and its errors about arguments the user's.

    Args:
      model, data: the files that errors about the model, or the rows, are about.

    Raises:
      UserError: the block raised a ValueError.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield
    except ValueError as error:
        text = str(error)
        about = {"model": model, "stack": model, "rows": data, "data": data, "encoding": data}
        place = about.get(re.split(r"[:.]", text, maxsplit=1)[0])
        raise UserError(f"{place}: {text}" if place is not None else text) from error
    for one in dict.fromkeys(str(one.message) for one in caught):
        print(f"warning: {one}", file=sys.stderr)
