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
from metanet.core import UserError, one_line
from metanet.data.encoding import Encoding
from metanet.editing.demands import JSD, parse_demand
from metanet.editor.checks import expect
from metanet.editor.release import Release
from metanet.interop.imported import Imported

SCHEMA = pathlib.Path(__file__).with_name("report.schema.json")
SEED = 0  # of the two parts of the rows
ROUNDING = 1e-6


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


def content(
    editor: Release, asked: Asked, found: CertifiedEdit, rows: pd.DataFrame, places: dict[str, Any]
) -> dict:
    """report.json, but for the command and the machine.

    Args:
      rows: all that the edit was given.
      places: "files" (original, edited, data: file and sha256) and "editor" (its name and digest).
    """
    claim, edited = found.claim, found.edited
    _, second = parted(rows, SEED)
    shared = second, claim.network.spec.widths, editor.encoding, asked.report_by, asked.reads
    planned, features = len(found.order), editor.features
    return {
        "schema": 1,
        "kind": "edit report",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "asked": dataclasses.asdict(asked)
        | {"requirement": claim.requirement, "level": claim.level},
        **places,
        "rows": {
            "total": count_of(rows),
            "chosen_on": found.chosen_on,
            "tested_on": count_of(second),
            "seed": SEED,
        },
        "findings": findings(claim, edited.network, planned, parts_of(*shared), features),
        **edit_values(editor, found),
        "measured": editor.names[0],
        "encoding": editor.encoding.to_json(),
    }  # fmt: skip


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


def check(stored: dict, source: pathlib.Path) -> None:
    """Refuses what is not of the report's schema.

    Raises:
      UserError: names the place.
    """
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for error in validator.iter_errors(stored):
        said = error.message if len(error.message) < 200 else f"{error.message[:200]}..."
        raise UserError(f"{source}: found {error.json_path}: {one_line(said)}, expected a report "
                        "of experiments.edit")  # fmt: skip


def recomputed(stored: dict, original: Imported, edited: Imported, rows: pd.DataFrame) -> dict:
    """The parts of a report that follow from the networks and rows: asked, rows and findings.

    Args:
      stored: a report that passed `check`.

    Raises:
      ValueError, UserError: the files are none that it can be of.
    """
    asked = stored["asked"]
    encoding = Encoding.from_json(stored["encoding"], "encoding")
    first, second = parted(rows, stored["rows"]["seed"])
    claim = claim_of(
        original, second, requirement=asked["requirement"], level=asked["level"],
        confidence=asked["confidence"], encoding=encoding, groups=asked["groups"],
        reads=asked["reads"],
    )  # fmt: skip
    widths = claim.network.spec.widths
    features = [one.name for one in encoding.features]
    expect(len(features) == widths[0], "original", f"{widths[0]} inputs", f"{len(features)}")
    parts = parts_of(second, widths, encoding, asked["report_by"], asked["reads"])
    network = claim.edited(edited, encoding)
    demand = parse_demand(asked["require"], len(features))
    return {
        "asked": asked | {"requirement": demand.name, "level": demand.limit},
        "rows": {
            "total": count_of(rows),
            "chosen_on": count_of(first),
            "tested_on": count_of(second),
            "seed": stored["rows"]["seed"],
        },
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
        every = (difference(stored[key], found[key], f"{place}.{key}" if place else key,
                            tolerance)
                 for key in found)  # fmt: skip
        return next(filter(None, every), "")
    if isinstance(found, list) and isinstance(stored, list):
        if len(stored) != len(found):
            return f"{place}: found {len(stored)} entries in the report, computed {len(found)}"
        every = (difference(*pair, f"{place}[{index}]", tolerance)
                 for index, pair in enumerate(zip(stored, found, strict=True)))  # fmt: skip
        return next(filter(None, every), "")
    if type(found) is float and type(stored) in (int, float):
        return "" if np.isclose(stored, found, rtol=tolerance, atol=1e-3 * tolerance) else said
    return "" if type(stored) is type(found) and stored == found else said


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
