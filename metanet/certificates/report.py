"""The content of a report of an edit: what was asked, found and certified, from which files."""

import dataclasses
import datetime
import json
import pathlib
from typing import Any

import jsonschema
import numpy as np
import pandas as pd

from metanet.certificates.audit import findings, parts_of
from metanet.certificates.certificate import claim_of
from metanet.certificates.chosen import CertifiedEdit, count_of, parted
from metanet.certificates.sample import Sample
from metanet.core import UserError, one_line
from metanet.data.encoding import Encoding
from metanet.editing.demands import JSD, parse_demand
from metanet.editor.checks import expect
from metanet.editor.release import Release
from metanet.interop.imported import Imported
from metanet.storage import read_json

SCHEMA = pathlib.Path(__file__).with_name("report.schema.json")
SEED = 0  # of the two parts of the rows: a choice of it would be a choice of the verdict
ROUNDING = 1e-6
# What no file tells: whoever made the report is taken at their word.
STATED = ("date", "command", "commit", "dirty", "device", "versions", "asked.purpose",
          "editor.name", "names of files")  # fmt: skip
# What follows from the editor's folder, and the edit when it is repeated.
OF_EDITOR = ("encoding", "measured", "editor", "tests", "lambda", "alternatives")


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a certified edit is to be; arguments as of `edit_certified`.

    Attributes:
      require: "NAME<=NUMBER".
      report_by: columns whose groups, and of several their intersections, the report shows; the
        editor's group if there are none.
      purpose: who asked for it and why, in words.
      activation: of a file that does not say it.
    """

    require: str
    confidence: float
    groups: tuple[str, ...] = ()
    report_by: tuple[str, ...] = ()
    reads: str = "standardised"
    newton: int = 0
    refine: int = 0
    activation: str | None = None
    purpose: str = ""


def parts_asked(asked: Asked, encoding: Encoding, rows, whole, widths) -> dict[str, Sample]:
    """The rows in the groups that the report shows; `whole` is the table that they are part of.

    Raises:
      ValueError: there is no such column, or it has too many values; names report_by.
      UserError: the rows do not fit the encoding.
    """
    try:
        return parts_of(rows, widths, encoding, asked.report_by, asked.reads, whole)
    except ValueError as error:
        raise ValueError(str(error).replace("groups:", "report_by:", 1)) from error


def content(
    editor: Release, asked: Asked, found: CertifiedEdit, rows: pd.DataFrame, places: dict[str, Any]
) -> dict:
    """report.json, but for the command and the machine.

    Args:
      rows: all that the edit was given.
      places: "files" (original, edited, data: file and sha256) and "editor" (its name and sha256).

    Raises:
      ValueError, UserError: see `parts_asked`.
    """
    claim, edited = found.claim, found.edited
    second = parted(rows, SEED)[1]
    parts = parts_asked(asked, editor.encoding, second, rows, claim.network.spec.widths)
    known = release_values(editor)
    return {
        "schema": 1,
        "kind": "edit report",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "asked": dataclasses.asdict(asked)
        | {"requirement": claim.requirement, "level": claim.level},
        "files": places["files"],
        **known,
        "editor": places["editor"] | known["editor"],
        "rows": _rows(rows),
        "findings": findings(claim, edited.network, len(found.order), parts, editor.features),
        **edit_values(editor, found),
    }


def _rows(rows: pd.DataFrame) -> dict:
    first, second = map(count_of, parted(rows, SEED))
    return {"total": count_of(rows), "chosen_on": first, "tested_on": second, "seed": SEED}


def release_values(editor: Release) -> dict:
    """The parts of a report that an editor's folder tells, but for its digest."""
    return {
        "editor": {"requirement": list(editor.requirement), "about": editor.about},
        "measured": editor.names[0],
        "encoding": editor.encoding.to_json(),
    }


def edit_values(editor: Release, found: CertifiedEdit) -> dict:
    """The parts of a report that the editor decides: lambda, tests and alternatives."""
    return {
        "tests": {"planned": len(found.order), "tested": found.tested},
        "lambda": found.edited.lam[0],
        "alternatives": [
            {
                "lambda": one.lam[0], "requirement": one.after[editor.names[0]],
                "jsd": one.after[JSD], "this": one is found.edited,
            }
            for one in found.order
        ],
    }  # fmt: skip


def read(path: pathlib.Path) -> dict:
    """A report, whose SHA-256 and schema are verified.

    Raises:
      UserError: it is none; names the place.
    """
    stored = read_json(path, "ask for the file again")
    if b'"sha256"' not in path.read_bytes()[-100:]:
        raise UserError(
            f"{path}: found no sha256 of its own, expected a report of experiments.edit"
        )
    check(stored, path)
    return stored


def check(stored: dict, source: pathlib.Path) -> None:
    """Refuses what is no report.

    Raises:
      UserError: names the place.
    """
    kinds = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: type(value) is int
    )
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=kinds)
    expected = "expected a report of experiments.edit"
    for error in validator(json.loads(SCHEMA.read_text())).iter_errors(stored):
        said = error.message if len(error.message) < 200 else f"{error.message[:200]}..."
        raise UserError(f"{source}: found {error.json_path}: {one_line(said)}, {expected}")
    tests, alternatives = stored["tests"], stored["alternatives"]
    taken = sum(one["this"] for one in alternatives)
    for key, found, ok in (
        ("tests.tested", f"{tests['tested']} of {tests['planned']}",
         tests["tested"] <= tests["planned"]),
        ("tests.planned", f"{tests['planned']}, {len(alternatives)} alternatives",
         tests["planned"] == len(alternatives)),
        ("alternatives", f"{taken} of this edit", taken == 1),
    ):  # fmt: skip
        if not ok:
            raise UserError(f"{source}: found {key}: {found}, {expected}")


def recomputed(stored: dict, original: Imported, edited: Imported, rows: pd.DataFrame) -> dict:
    """The parts of a report that follow from the networks and rows: asked, rows and findings.

    They do so with its encoding, number of edits and columns of groups, as it has them.

    Args:
      stored: a report that passed `check`.

    Raises:
      ValueError, UserError: the files are none that it can be of.
    """
    fields = {field.name for field in dataclasses.fields(Asked)}
    asked = Asked(**{key: value for key, value in stored["asked"].items() if key in fields})
    encoding = Encoding.from_json(stored["encoding"], "encoding")
    features = [one.name for one in encoding.features]
    demand = parse_demand(asked.require, len(features))
    second = parted(rows, SEED)[1]
    claim = claim_of(
        original, second, requirement=demand.name, level=demand.limit,
        confidence=asked.confidence, encoding=encoding, groups=asked.groups, reads=asked.reads,
        whole=rows,
    )  # fmt: skip
    widths = claim.network.spec.widths
    expect(len(features) == widths[0], "original", f"{widths[0]} inputs", f"{len(features)}")
    parts = parts_asked(asked, encoding, second, rows, widths)
    network = claim.edited(edited, encoding)
    return {
        "asked": stored["asked"] | {"requirement": demand.name, "level": demand.limit},
        "rows": _rows(rows),
        "findings": findings(claim, network, stored["tests"]["planned"], parts, features),
    }


def difference(stored, found, place: str = "", tolerance: float = ROUNDING) -> str:
    """The first difference between JSON values, in words; "" if there is none.

    Args:
      place: of the values in the report, for the words.
      tolerance: by how much numbers that are not whole may differ: as a share, or 0.001 of it.
    """
    said = f"{place}: found {_short(stored)} in the report, computed {_short(found)}"
    if isinstance(found, dict) and isinstance(stored, dict):
        if stored.keys() != found.keys():
            return f"{place}: found {', '.join(stored)} in the report, computed {', '.join(found)}"
        every = (
            difference(stored[key], found[key], f"{place}.{key}" if place else key, tolerance)
            for key in found
        )
        return next(filter(None, every), "")
    if isinstance(found, list) and isinstance(stored, list):
        if len(stored) != len(found):
            return f"{place}: found {len(stored)} entries in the report, computed {len(found)}"
        every = (
            difference(*pair, f"{place}[{index}]", tolerance)
            for index, pair in enumerate(zip(stored, found, strict=True))
        )
        return next(filter(None, every), "")
    if type(found) is float and type(stored) in (int, float):
        return "" if np.isclose(stored, found, rtol=tolerance, atol=1e-3 * tolerance) else said
    return "" if type(stored) is type(found) and stored == found else said


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
