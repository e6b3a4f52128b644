"""experiments.edit of a folder of networks."""

import math

from experiments import launch
from experiments.edit_request import Request, named, said
from metanet.certificates.family import certify_family
from metanet.core import UserError
from metanet.data.files import read_like
from metanet.editing.demands import JSD
from metanet.editing.folder import Job, Report, edit_folder
from metanet.editing.many import task_of
from metanet.editing.places import check_places, digest_of, files_of
from metanet.editing.summary import EDITED, MISSED, SUMMARY
from metanet.editor.release import release_digest
from metanet.storage import write_json


def run(request: Request) -> None:
    """Edits all networks of a folder.

    Raises:
      UserError: an argument is unusable; or a file was not edited, at last.
    """
    launch.setup_jax()
    folder, table, out = request.model, request.table, request.out
    check_places(folder, out, table)
    files_of(folder)  # there are some
    rows = read_like(table, request.release.encoding)
    with said(folder, table):
        task = task_of(request.release, require=request.require, data=rows, **request.steps)
    launch.writable(out)
    settings = {
        "model": str(folder.resolve()),
        "editor": release_digest(request.place),
        "data": digest_of(table),
        "require": list(request.require),
        "activation": request.activation,
        **request.steps,
    }
    job = Job(task, folder, out, request.activation, launch.on_sigterm())
    found = edit_folder(job, settings)
    edited, total = found.count(EDITED), len(found.rows)
    tried = edited + found.count(MISSED)
    family = None
    if tried:
        # Whether an edit meets the demand, as a number: 0 does, 1 does not.
        whole = certify_family([0.0] * edited + [1.0] * (tried - edited), 0.0)
        family = {"models": tried, "met": edited, "at_least": whole.at_least,
                  "confidence": whole.confidence}  # fmt: skip
    if found.tried or not (out / "edit.json").exists():
        counts = {"files": total, "edited": edited, "rows": len(rows), "family": family}
        content = {"schema": 1, **request.about, "model": folder.name, "data": named(table)}
        write_json(out / "edit.json", content | counts | launch.about("experiments.edit"))
    if not found.tried:
        print(f"nothing to do: all files of {folder} are in {out / SUMMARY}")
    print("\n".join(_means(found)))
    if family is not None:
        share = math.floor(1000 * family["at_least"]) / 10  # a bound is not rounded up
        print(f"of networks like these at least {share:.1f}% meet the demand so, with confidence "
              f"{family['confidence']:.0%}")  # fmt: skip
    print(f"edited: {edited} of {total} files; their rows are in {out / SUMMARY}")
    if edited < total:
        raise UserError(f"{folder}: found {total - edited} of {total} files that are not edited, "
                        f"expected none; {out / SUMMARY} says why")  # fmt: skip


def _means(found: Report) -> list[str]:
    """What edits did, on average, in a few lines."""
    rows = [row for row in found.rows.values() if row["status"] == EDITED]
    lines = []
    for name in rows[0]["after"] if rows else ():
        before, after = (sum(row[when][name] for row in rows) / len(rows)
                         for when in ("before", "after"))  # fmt: skip
        unit = " nats" if name == JSD else ""
        lines.append(f"{name}, mean: {before:.4g} -> {after:.4g}{unit}")
    return lines
