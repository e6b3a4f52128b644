"""Recomputes what a report of experiments.edit says, from the files that it names.

python -m experiments.verify REPORT.json --model=EDITED --data=TABLE [--original=FILE]
    [--editor=DIR|NAME]

The digests of the files have to be those of the report. Then every number of its findings is
computed anew from the two networks and the rows, without the editor. With --editor the edit itself
is repeated: its order, its lambda and its weights. Exit status 0 if all is as the report says; 1 at
the first difference, which is printed; 2 if a file cannot be read.
"""

import pathlib
import sys

import numpy as np
from absl import flags

from experiments import launch
from metanet.certificates import report
from metanet.certificates.chosen import edit_certified
from metanet.core import UserError, read_json
from metanet.data.encoding import Encoding
from metanet.data.files import read_like
from metanet.editing.places import digest_of
from metanet.editor.release import load_editor, release_digest
from metanet.interop import files
from metanet.interop.imported import Imported

_MODEL = flags.DEFINE_string("model", None, "File of the edited network.")
_ORIGINAL = flags.DEFINE_string(
    "original", None, "File of the network before the edit; by default looked for by its name."
)
_DATA = flags.DEFINE_string("data", None, "Table of the rows that the report is of.")
_EDITOR = flags.DEFINE_string("editor", None, "Folder or name of the editor, to repeat the edit.")
SAME = 1e-3  # relative: how far weights of a repeated edit may be, as on another device


def _path(flag: flags.FlagHolder[str | None]) -> pathlib.Path:
    if flag.value is None:
        raise UserError(f"--{flag.name}: found nothing, expected {flags.FLAGS[flag.name].help}")
    return pathlib.Path(flag.value)


def _original(name: str, places: list[pathlib.Path]) -> pathlib.Path:
    """The file called `name` in the first of the folders that has it."""
    if _ORIGINAL.value is not None:
        return pathlib.Path(_ORIGINAL.value)
    for place in places:
        if (place / name).is_file():
            return place / name
    found = ", ".join(str(one) for one in dict.fromkeys(places))
    raise UserError(f"--original: found nothing, and no {name} in {found}, expected the network "
                    "before the edit")  # fmt: skip


def _different(what: str) -> None:
    print(f"different: {what}", file=sys.stderr)
    raise SystemExit(1)


def _main(argv: list[str]) -> None:
    arguments = launch.parse_flags(argv, 1)
    if not arguments:
        raise UserError("command line: found no file, expected report.json of experiments.edit")
    launch.setup_jax(1)
    path = pathlib.Path(arguments[0])
    stored = read_json(path, "ask for the file again")
    report.check(stored, path)
    model, data = _path(_MODEL), _path(_DATA)
    original = _original(stored["files"]["original"]["file"], [path.parent, model.parent])
    for what, file in (("original", original), ("edited", model), ("data", data)):
        digest, expected = digest_of(file), stored["files"][what]["sha256"]
        if digest is None:
            raise UserError(f"{file}: found no file to read, expected the report's {what}")
        if digest != expected:
            _different(f"files.{what}: the report is of a file with SHA-256 {expected}, {file} has "
                       f"{digest}")  # fmt: skip
    activation = stored["asked"]["activation"]
    before, after = (files.read(one, activation) for one in (original, model))
    rows = read_like(data, Encoding.from_json(stored["encoding"], str(path)))
    try:
        found = report.recomputed(stored, before, after, rows)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    said = report.difference({name: stored[name] for name in found}, found)
    if said:
        _different(said)
    print(f"the same: {', '.join(one['name'] for one in found['findings']['bounds'])}; rates of "
          f"{', '.join(found['findings']['groups'])}; layers and features")  # fmt: skip
    if _EDITOR.value is None:
        print("not repeated without --editor: lambda, alternatives, tests")
    else:
        _repeat(_EDITOR.value, stored, before, after, rows)
    print(f"{path}: {stored['findings']['verdict']}: {stored['asked']['require']}, confidence "
          f"{stored['asked']['confidence']:g}")  # fmt: skip


def _repeat(place: str, stored: dict, before: Imported, after: Imported, rows) -> None:
    """Edits the original again and compares the order of edits, lambda and weights."""
    release, asked = load_editor(place), stored["asked"]
    digest = release_digest(place)
    if digest != stored["editor"]["sha256"]:
        _different(f"editor: the report is of one with SHA-256 {stored['editor']['sha256']}, "
                   f"{place} has {digest}")  # fmt: skip
    steps = {name: asked[name] for name in ("reads", "newton", "refine")}
    try:
        found = edit_certified(
            release, before, rows, require=asked["require"], confidence=asked["confidence"],
            groups=asked["groups"], seed=stored["rows"]["seed"], **steps,
        )  # fmt: skip
    except ValueError as error:
        raise UserError(f"--editor: {error}") from error
    values = report.edit_values(release, found)
    said = report.difference({name: stored[name] for name in values}, values, tolerance=SAME)
    if said:
        _different(said)
    for old, new in zip(
        after.network.params.weights, found.edited.network.params.weights, strict=True
    ):
        if not np.allclose(old, new, rtol=SAME, atol=SAME * float(np.abs(old).max())):
            _different("weights: the editor makes others of the original")
    print("the same: lambda, alternatives, tests and weights of the repeated edit")


if __name__ == "__main__":
    sys.exit(launch.status(_main, sys.argv))
