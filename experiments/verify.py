"""Recomputes what a report of experiments.edit says, from the files that it names.

python -m experiments.verify REPORT.json --model=EDITED --data=TABLE [--original=FILE]
    [--page=REPORT.html] [--editor=DIR|NAME [--imports=MODULE]]

The digests of the files have to be those of the report. Then every number of its findings is
computed anew from the two networks and the rows, and the page beside it is compared with what it
would be. With --editor the encoding of the table is compared with the editor's, and the edit is
repeated: its order, its lambda and all of its numbers. What is not checked is printed: without
--editor, whether the columns are encoded as they should be.

Exit status 0 if all is as the report says; 1 at the first difference, which is printed; 2 if a file
cannot be read.
"""

import contextlib
import pathlib
import re
import sys
from collections.abc import Iterator

import jax
import numpy as np
import pandas as pd
from absl import flags

from experiments import launch
from experiments.edit_request import said
from metanet.certificates import report
from metanet.certificates.chosen import edit_certified
from metanet.core import UserError, one_line, raised
from metanet.data.encoding import Encoding
from metanet.data.files import read_like
from metanet.editing.places import digest_of
from metanet.editor.release import load_editor, release_digest
from metanet.interop import files
from metanet.interop.imported import Imported
from metanet.report.audit.page import render

_MODEL = flags.DEFINE_string("model", None, "File of the edited network.")
_ORIGINAL = flags.DEFINE_string(
    "original", None, "File of the network before the edit; by default looked for by its name."
)
_DATA = flags.DEFINE_string("data", None, "Table of the rows that the report is of.")
_PAGE = flags.DEFINE_string("page", None, "The report as HTML; by default the one beside it.")
_EDITOR = flags.DEFINE_string("editor", None, "Folder or name of the editor, to repeat the edit.")
_IMPORTS = flags.DEFINE_list(
    "imports", [], "Modules to import first: of a requirement or layer of the editor's."
)
SAME = 1e-3  # relative: how far numbers of a repeated edit may be, as on another device
_SVG = re.compile("<svg.*?</svg>", re.DOTALL)


def _path(flag: flags.FlagHolder[str | None]) -> pathlib.Path:
    if flag.value is None:
        raise UserError(f"--{flag.name}: found nothing, expected {flags.FLAGS[flag.name].help}")
    return pathlib.Path(flag.value)


def _original(stored: dict, places: list[pathlib.Path]) -> pathlib.Path:
    """The file of the original, by its name and digest in one of the folders."""
    if _ORIGINAL.value is not None:
        return pathlib.Path(_ORIGINAL.value)
    name, digest = stored["file"], stored["sha256"]
    for place in places:
        if digest_of(place / name) == digest:
            return place / name
    found = ", ".join(str(one) for one in dict.fromkeys(places))
    raise UserError(f"--original: found nothing, and no {name} with SHA-256 {digest} in {found}, "
                    "expected the network before the edit")  # fmt: skip


def _say(text: str) -> None:
    """Prints a line, whatever a report has for names."""
    print(one_line(text))


def _compare(stored: dict, found: dict, tolerance: float = report.ROUNDING) -> None:
    """Ends the command at the first difference.

    Raises:
      SystemExit: there is one.
    """
    what = report.difference({name: stored[name] for name in found}, found, tolerance=tolerance)
    if what:
        _different(what)


def _different(what: str) -> None:
    print(one_line(f"different: {what}"), file=sys.stderr)
    raise SystemExit(1)


@contextlib.contextmanager
def _of(path: pathlib.Path) -> Iterator[None]:
    """A block whose errors are about a report that may say anything."""
    try:
        yield
    except UserError as error:
        text = str(error).replace("--require:", "asked.require:", 1)
        raise UserError(text if str(path) in text else f"{path}: {text}") from error
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        text = f"found what nothing can be computed with ({raised(error)}), expected a report"
        if isinstance(error, ValueError) and ": found " in str(error):
            text = str(error)
        raise UserError(f"{path}: {text}") from error


def _main(argv: list[str]) -> None:
    arguments = launch.parse_flags(argv, 1)
    if not arguments:
        raise UserError("command line: found no file, expected report.json of experiments.edit")
    if _IMPORTS.value and _EDITOR.value is None:
        raise UserError(f"--imports: found {_IMPORTS.value}, expected it only with --editor")
    launch.import_named(_IMPORTS.value)
    launch.setup_jax(1)
    path = pathlib.Path(arguments[0])
    stored = report.read(path)
    model, data = _path(_MODEL), _path(_DATA)
    original = _original(stored["files"]["original"], [path.parent, model.parent])
    for what, file in (("original", original), ("edited", model), ("data", data)):
        digest, expected = digest_of(file), stored["files"][what]["sha256"]
        if digest is None:
            raise UserError(f"{file}: found no file to read, expected the report's {what}")
        if digest != expected:
            _different(f"files.{what}: the report is of a file with SHA-256 {expected}, {file} has "
                       f"{digest}")  # fmt: skip
    activation = stored["asked"]["activation"]
    before, after = (files.read(one, activation) for one in (original, model))
    with _of(path):
        rows = read_like(data, Encoding.from_json(stored["encoding"], str(path)))
        found = report.recomputed(stored, before, after, rows)
    _compare(stored, found)
    _say(f"the same: {', '.join(one['name'] for one in found['findings']['bounds'])}; rates of "
         f"{', '.join(found['findings']['groups'])}; layers and features")  # fmt: skip
    unchecked = [*report.STATED, *([] if _EDITOR.value else report.OF_EDITOR)]
    if _EDITOR.value is not None:
        _repeat(_EDITOR.value, stored, before, after, rows, path)
    if not _same_page(stored, path):
        unchecked.append("report.html, which is not there")
    _say(f"not checked: {', '.join(unchecked)}")
    _say(f"{path}: {stored['findings']['verdict']}: {stored['asked']['require']}, confidence "
         f"{stored['asked']['confidence']:g}")  # fmt: skip


def _same_page(stored: dict, path: pathlib.Path) -> bool:
    """Compares the page with what it would be, figures too where they are drawn alike; whether
    there is one.

    Raises:
      SystemExit: it differs.
      UserError: the one that was given cannot be read.
    """
    place = path.with_name("report.html") if _PAGE.value is None else pathlib.Path(_PAGE.value)
    if _PAGE.value is None and not place.exists():
        return False
    try:
        page = place.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:
        raise UserError(f"{place}: found {raised(error)}, expected a page to read") from error
    with _of(path):
        expected = render(stored, str(digest_of(path)))
    if page == expected:
        _say(f"the same: {place}")
    elif _SVG.sub("", page) == _SVG.sub("", expected):
        _say(
            f"the same: {place}, but for figures, which other versions of matplotlib draw otherwise"
        )
    else:
        _different(f"{place}: found another page than that of {path}")
    return True


def _repeat(
    place: str,
    stored: dict,
    before: Imported,
    after: Imported,
    rows: pd.DataFrame,
    path: pathlib.Path,
) -> None:
    """Compares what the editor's folder tells, edits the original again and compares the edit.

    Raises:
      SystemExit: there is a difference.
    """
    release, asked = load_editor(place), stored["asked"]
    digest = release_digest(place)
    if digest != stored["editor"]["sha256"]:
        _different(f"editor: the report is of one with SHA-256 {stored['editor']['sha256']}, "
                   f"{place} has {digest}")  # fmt: skip
    known = report.release_values(release)
    known["editor"] = stored["editor"] | known["editor"]
    _compare(stored, known)
    steps = {name: asked[name] for name in ("reads", "newton", "refine")}
    with _of(path), said(path):
        found = edit_certified(
            release, before, rows, require=asked["require"], confidence=asked["confidence"],
            groups=asked["groups"], seed=report.SEED, **steps,
        )  # fmt: skip
    _compare(stored, report.edit_values(release, found), SAME)
    pairs = (jax.tree.leaves(one.params) for one in (after.network, found.edited.network))
    for old, new in zip(*pairs, strict=True):
        if not np.allclose(old, new, rtol=SAME, atol=SAME * float(np.abs(old).max(initial=0))):
            _different("edited: the editor makes another network of the original")
    _say("the same: encoding, lambda, alternatives, tests and all numbers of the repeated edit")


if __name__ == "__main__":
    sys.exit(launch.status(_main, sys.argv))
