"""Edits of all networks in a folder: resumable, and one bad file is not the end of the others.

The summary has a row per file. It is written after the files of every chunk, so that a process that
is killed loses one chunk at most; what has no row is edited again, to the same bytes.
"""

import dataclasses
import logging
import os
import pathlib
import time
from collections.abc import Callable

from metanet.core import Stopped, UserError, one_line
from metanet.editing import summary
from metanet.editing.chunks import Layout, layout_of
from metanet.editing.demands import settings_of
from metanet.editing.many import Outcome, Task, edit_chunk, network_for
from metanet.editing.places import digest_of, files_of, in_use, is_model
from metanet.editing.summary import EDITED, MISSED, SKIPPED, Row
from metanet.interop import files
from metanet.interop.imported import Imported
from metanet.interop.network import Network
from metanet.mlp.spec import MLPSpec
from metanet.storage import match_settings, refused, remove

logger = logging.getLogger(__name__)

PAUSE = 15.0  # seconds between two lines of progress while files are read


@dataclasses.dataclass(frozen=True)
class Job:
    """Where the networks come from and go to.

    Attributes:
      folder: of the networks;  out: of what they become.
      activation: of files that do not say it.
      should_stop: asked before every file that is read and every batch.
    """

    task: Task
    folder: pathlib.Path
    out: pathlib.Path
    activation: str | None = None
    should_stop: Callable[[], bool] = lambda: False


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of the files.

    Attributes:
      rows: of every file, by name; see metanet.editing.summary.
      tried: how many of them this call has edited, or tried to.
    """

    rows: dict[str, Row]
    tried: int

    def count(self, status: str) -> int:
        """The number of files of that status."""
        return sum(row["status"] == status for row in self.rows.values())


def edit_folder(job: Job, settings: dict) -> Report:
    """Edits every file of `job.folder` into `job.out`, under its name and in its format.

    A file whose row is of its present content, and whose edited model is there as it was written,
    is not edited again. Nothing is written for networks that do not meet the demands at any lambda.

    Args:
      settings: what edits depend on beside the files, flat, for JSON.

    Raises:
      UserError: `out` is another process's, or has edits of other settings or files of others.
      Stopped: `should_stop()` became true; the same call goes on.
    """
    names, out = files_of(job.folder), job.out
    with in_use(out):
        present = [name for name in names if is_model(name) and os.path.lexists(out / name)]
        if present and not (out / "settings.json").exists():
            raise UserError(f"{out / present[0]}: found a file of others, expected a folder in "
                            "which no file is called as one of the models")  # fmt: skip
        match_settings(out, settings, "command", "--out")
        known = summary.read(out)
        digests = {name: digest_of(job.folder / name) for name in names}
        rows = {
            name: row
            for name, row in known.items()
            if name not in digests or _finished(row, digests[name], out)
        }
        specs = {name: summary.spec_of(rows[name]) for name in names if name in rows}
        finished = set(specs)
        fresh, bad = _survey(job, [name for name in names if name not in finished], digests)
        specs |= fresh
        rows |= bad
        if rows != known:
            summary.write(out, rows)
        if fresh:
            remove(out / "edit.json")  # it is of a folder that is finished
            _log_survey(specs, fresh, bad)
            _edit_all(job, specs, fresh, digests, rows, len(names))
        return Report({name: rows[name] for name in names}, len(fresh))


def _finished(row: Row, digest: str | None, out: pathlib.Path) -> bool:
    """Whether a row is of the file's content, and says all that there will be to say.

    What was refused is looked at again: reasons go away, as that of a package that is missing.
    """
    if row["status"] == SKIPPED or row["model_sha256"] != digest:
        return False
    if row["status"] == MISSED:
        return True
    found = digest_of(out / row["file"])
    if found is not None and found != row["edited_sha256"]:
        logger.warning("%s is not as it was written: it is written anew", out / row["file"])
    return found is not None and found == row["edited_sha256"]


def _survey(
    job: Job, names: list[str], digests: dict[str, str | None]
) -> tuple[dict[str, MLPSpec], dict[str, Row]]:
    """The specs of files that can be edited, and the rows of the others."""
    specs, bad = {}, {}
    said = time.monotonic()
    for number, name in enumerate(names):
        if job.should_stop():
            raise Stopped(f"{job.out}: {number} of {len(names)} files are read, none is edited")
        try:
            specs[name] = _read(job, name)[1].spec
        except UserError as error:
            bad[name] = _unread(job, name, digests[name], error)
        if time.monotonic() - said > PAUSE:
            said = time.monotonic()
            logger.info("%d of %d files are read", number + 1, len(names))
    return specs, bad


def _read(job: Job, name: str) -> tuple[Imported, Network]:
    """What is in a file, and its network on standardised features.

    Raises:
      UserError: it is no network, or does not fit the editor; names it.
    """
    path = job.folder / name
    source = files.read(path, job.activation)
    try:
        return source, network_for(job.task, source)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def _unread(job: Job, name: str, digest: str | None, error: UserError) -> Row:
    """The row of a file that is not edited, since it cannot be used, or not now."""
    if refused(error) is None:
        return _skipped(job, name, digest, str(error))
    # An edit that is there may be one of what the file still is.
    logger.warning("%s: %s", SKIPPED, error)
    return summary.row(file=name, model_sha256=digest, error=str(error), status=SKIPPED)


def _skipped(job: Job, name: str, digest: str | None, reason: str, **values) -> Row:
    """The row of a file that is not edited; an edit of what it was before is removed."""
    if is_model(name):  # others, as settings.json, may be called as files of ours
        remove(job.out / name)
    values = {"status": SKIPPED} | values
    logger.warning("%s: %s", values["status"], one_line(reason))
    return summary.row(file=name, model_sha256=digest, error=one_line(reason), **values)


def _edit_all(
    job: Job,
    specs: dict[str, MLPSpec],
    fresh: dict[str, MLPSpec],
    digests: dict[str, str | None],
    rows: dict[str, Row],
    total: int,
) -> None:
    """Edits the files of `fresh` chunk by chunk; their rows are put into `rows` and written."""
    # Of all networks, finished ones too: a chunk has the same bytes whenever it is edited.
    names = sorted(specs)
    editor = job.task.editor
    settings = settings_of(len(editor.requirement))
    layout = layout_of(editor.editor.template, settings, [specs[name] for name in names])
    start, tried = time.monotonic(), 0

    def between() -> None:
        if job.should_stop():
            done = total - len(fresh) + tried
            raise Stopped(f"{job.out}: {done} of {total} files are done")

    for chunk in layout.chunks:
        part = [names[place] for place in chunk if names[place] in fresh]
        if not part:
            continue
        rows |= _edit_part(job, layout, part, digests, between)
        summary.write(job.out, rows)
        tried += len(part)
        each = (time.monotonic() - start) / tried
        left = each * (len(fresh) - tried) / 60
        logger.info(
            "%d of %d files are done, %.2f s each, %.0f min left",
            total - len(fresh) + tried, total, each, left,
        )  # fmt: skip


def _edit_part(
    job: Job,
    layout: Layout,
    names: list[str],
    digests: dict[str, str | None],
    between: Callable[[], None],
) -> dict[str, Row]:
    """Edits files of one chunk and writes what they become; their rows."""
    rows: dict[str, Row] = {}
    found: dict[str, tuple[Imported, Network]] = {}
    for name in names:
        try:
            found[name] = _read(job, name)
            if digest_of(job.folder / name) != digests[name]:
                raise UserError(f"{job.folder / name}: found another content than before, expected "
                                "files that do not change meanwhile")  # fmt: skip
        except UserError as error:
            found.pop(name, None)
            rows[name] = _unread(job, name, None, error)
    if not found:
        return rows
    outcomes = edit_chunk(job.task, layout, [network for _, network in found.values()], between)
    for (name, (source, _)), outcome in zip(found.items(), outcomes, strict=True):
        rows[name] = _written(job, name, source, outcome, digests[name])
    return rows


def _written(job: Job, name: str, source: Imported, outcome: Outcome, digest: str | None) -> Row:
    """Writes an edited model, if there is one; the row of its file."""
    spec, path = dataclasses.asdict(source.network.spec), job.out / name
    values = {"before": outcome.before, "weights": source.network.spec.n_weights, "spec": spec}
    if outcome.network is None:
        return _skipped(job, name, digest, f"{job.folder / name}: {outcome.error}", **values)
    assert outcome.lam is not None and outcome.features is not None
    values |= {"lambda": list(outcome.lam), "after": outcome.after}
    if outcome.error:
        reason = f"{job.folder / name}: found {outcome.error} out of this editor's reach"
        return _skipped(job, name, digest, reason, **values, status=MISSED)
    try:
        files.write(dataclasses.replace(source, network=outcome.network), path)
    except ValueError as error:
        return _skipped(job, name, digest, f"{job.folder / name}: {error}", **values)
    return summary.row(
        file=name, model_sha256=digest, status=EDITED, edited_sha256=digest_of(path), **values,
        weights_left=outcome.weights_left, features_read=list(outcome.features),
    )  # fmt: skip


def _log_survey(specs: dict[str, MLPSpec], fresh: dict[str, MLPSpec], bad: dict[str, Row]) -> None:
    logger.info(
        "%d networks of %d shapes, %d of them to be edited; %d files are skipped",
        len(specs), len(set(specs.values())), len(fresh), len(bad),
    )  # fmt: skip
