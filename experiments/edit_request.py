"""What the command experiments.edit was asked for."""

import contextlib
import dataclasses
import pathlib
import sys
import warnings
from collections.abc import Iterator

from metanet.core import UserError
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
    return {"file": path.name, "sha256": digest_of(path)}


@contextlib.contextmanager
def said(model: pathlib.Path) -> Iterator[None]:
    """A block whose warnings are lines on stderr, and its errors about arguments the user's.

    Raises:
      UserError: the block raised a ValueError.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield
    except ValueError as error:
        about_model = str(error).startswith(("model", "stack"))
        raise UserError(f"{model}: {error}" if about_model else str(error)) from error
    for one in dict.fromkeys(str(one.message) for one in caught):
        print(f"warning: {one}", file=sys.stderr)
