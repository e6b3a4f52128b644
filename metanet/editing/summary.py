"""The summary of a folder's edits: a file of JSON lines with checksums, one row for each model."""

import json
import pathlib
from typing import Any

from metanet.core import UserError
from metanet.mlp.spec import MLPSpec
from metanet.storage import atomic_path, json_of, sealed

SUMMARY = "edits.jsonl"
EDITED, MISSED, SKIPPED = "edited", "out of reach", "skipped"
# file: relative to the folder. status: one of the three above. model_sha256, edited_sha256: of the
# file before and after. lambda: [requirements]. before, after: as of `edit.Edited`, JSD in nats.
# weights, weights_left: numbers of them. spec: the fields of MLPSpec. error: why it is not edited.
KEYS = (
    "file", "status", "model_sha256", "edited_sha256", "lambda", "before", "after", "weights",
    "weights_left", "features_read", "spec", "error",
)  # fmt: skip
Row = dict[str, Any]


def row(**values) -> Row:
    """A row of these values, as `read` returns it; None where there is none."""
    unknown = values.keys() - set(KEYS)
    assert not unknown, unknown
    return json.loads(json.dumps({key: values.get(key) for key in KEYS}))


def read(folder: pathlib.Path) -> dict[str, Row]:
    """The rows of the summary in a folder by their files, {} where there is no summary.

    Raises:
      UserError: the summary is damaged.
    """
    path = folder / SUMMARY
    rows: dict[str, Row] = {}
    if not path.exists():
        return rows
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        remedy = "remove it"
        found = json_of(line.encode(), f"{path}, line {number}", remedy)
        try:
            if set(found) != set(KEYS) or not isinstance(found["file"], str):
                raise ValueError("other keys")
            if found["status"] != SKIPPED:
                spec_of(found)
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path}: found no row of an edit in line {number} ({error}), expected "
                            f"a file that metanet wrote; {remedy}") from error  # fmt: skip
        rows[found["file"]] = found
    return rows


def write(folder: pathlib.Path, rows: dict[str, Row]) -> None:
    """Writes the summary, sorted by file, atomically.

    Raises:
      UserError: it cannot be written.
    """
    path = folder / SUMMARY
    with atomic_path(path) as temporary:
        lines = (json.dumps(sealed(rows[name])) + "\n" for name in sorted(rows))
        temporary.write_text("".join(lines))


def spec_of(row: Row) -> MLPSpec:
    """The shape of a row's network.

    Raises:
      ValueError, TypeError, KeyError: there is none.
    """
    found = row["spec"]
    skips = tuple((int(begin), int(end)) for begin, end in found["skips"])
    return MLPSpec(tuple(map(int, found["widths"])), skips, found["norm"])
