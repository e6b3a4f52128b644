"""Edits trained networks so that they meet what is demanded of them.

python -m experiments.edit --editor=DIR|NAME --model=FILE|FOLDER --data=TABLE
    --require="features<=6" --out=DIR [--newton=3] [--refine=100] [--reads=numbers]
    [--activation=relu] [--imports=MODULE]

Of one network writes DIR/model.EXT in the format of FILE, DIR/edit.json and DIR/front.png. Exit
status as of experiments.run; 2 too if the demand cannot be met: then nothing is written, and the
line says by how much.

Of a folder edits every file, also in sub-folders, and writes DIR/NAME in its format, a row of
DIR/edits.jsonl (see metanet.editing.summary) and at last DIR/edit.json. What is no network for the
editor, or cannot meet the demand, is named on stderr and in its row. The same command goes on after
a stop. Status 2 if a file was not edited, 0 if all were.
"""

import contextlib
import dataclasses
import importlib
import pathlib
import sys
import warnings
from collections.abc import Iterator

from absl import flags

from experiments import launch
from metanet.core import UserError, raised, write_json
from metanet.data.files import read_like
from metanet.editing.demands import JSD, missed
from metanet.editing.edit import Edited, edit
from metanet.editing.folder import Job, Report, edit_folder
from metanet.editing.many import task_of
from metanet.editing.places import check_places, digest_of, files_of
from metanet.editing.summary import EDITED, SUMMARY
from metanet.editor.release import Release, load_editor, release_digest
from metanet.interop import files
from metanet.mlp.sampling import READS
from metanet.objectives.base import labels_of
from metanet.report import edit as picture

_EDITOR = flags.DEFINE_string("editor", None, "Folder of a trained editor, or the name of one.")
_MODEL = flags.DEFINE_string(
    "model", None, "File of a network, in a format of metanet.interop, or a folder of such files."
)
_DATA = flags.DEFINE_string("data", None, "Table of rows like those of the editor's training.")
_REQUIRE = flags.DEFINE_multi_string("require", [], "NAME<=NUMBER; may be given several times.")
_OUT = flags.DEFINE_string("out", None, "Output folder.")
_NEWTON = flags.DEFINE_integer("newton", 0, "Gauss-Newton steps after the edit.")
_REFINE = flags.DEFINE_integer("refine", 0, "Steps of gradient descent after the edit.")
_READS = flags.DEFINE_enum("reads", READS[0], list(READS), "What the network reads.")
_IMPORTS = flags.DEFINE_list(
    "imports", [], "Modules to import first: of a requirement or layer that is not metanet's."
)
_ACTIVATION = flags.DEFINE_string("activation", None, "Of a file that does not say it.")


def _given(flag: flags.FlagHolder[str | None]) -> str:
    if flag.value is None:
        raise UserError(f"--{flag.name}: found nothing, expected {flags.FLAGS[flag.name].help}")
    return flag.value


def _import(name: str) -> None:
    """Imports a module, so that an editor may name what is in it."""
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a user's module may do anything when it is imported
        raise UserError(f"--imports: found {name} ({raised(error)}), expected a module") from error


def _named(path: pathlib.Path) -> dict[str, str | None]:
    return {"file": path.name, "sha256": digest_of(path)}


@contextlib.contextmanager
def _said(model: pathlib.Path) -> Iterator[None]:
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
    for one in caught:
        print(f"warning: {one.message}", file=sys.stderr)


def _main(argv: list[str]) -> None:
    launch.parse_flags(argv)
    for name in _IMPORTS.value:
        _import(name)
    release, out = load_editor(_given(_EDITOR)), pathlib.Path(_given(_OUT))
    model, table = pathlib.Path(_given(_MODEL)), pathlib.Path(_given(_DATA))
    if not _REQUIRE.value:
        raise UserError("--require: found nothing, expected NAME<=NUMBER, as features<=6")
    if model.is_dir():
        _edit_folder(release, model, table, out)
        return
    launch.setup_jax(1)
    written = out / f"model{model.suffix}"
    paths = {"model": model, "data": table}
    for path in paths.values():
        if written.resolve() == path.resolve():
            raise UserError(f"--out: found the folder of {path}, expected one where no input of "
                            f"the command is called {written.name}")  # fmt: skip
    source = files.read(model, _ACTIVATION.value)
    rows = read_like(table, release.encoding)
    inputs = {name: _named(path) for name, path in paths.items()}
    with _said(model):
        edited = edit(
            release, source, require=_REQUIRE.value, data=rows, reads=_READS.value,
            newton=_NEWTON.value, refine=_REFINE.value,
        )  # fmt: skip
    if edited.unmet:
        found = missed(edited.demands, edited.after)
        raise UserError(f"--require: found {found} out of this editor's reach; nothing is written")
    launch.writable(out)
    # edit.json names the other files by their digests: it is written last, and never is of others.
    (out / "edit.json").unlink(missing_ok=True)
    files.write(dataclasses.replace(source, network=edited.network), written)
    _draw(release, edited, out / "front.png")
    content = (
        _content(release, edited)
        | inputs
        | {
            "edited": {"file": written.name, "sha256": digest_of(written)},
            "rows": len(rows),
            **launch.about("experiments.edit"),
        }
    )
    write_json(out / "edit.json", content)
    print(_text(release, edited))
    for path in (written, out / "edit.json", out / "front.png"):
        print(f"written: {path}")


def _edit_folder(
    release: Release, folder: pathlib.Path, table: pathlib.Path, out: pathlib.Path
) -> None:
    """Edits all networks of a folder.

    Raises:
      UserError: an argument is unusable; or a file was not edited, at last.
    """
    launch.setup_jax()
    check_places(folder, out, table)
    files_of(folder)  # there are some
    rows = read_like(table, release.encoding)
    with _said(folder):
        task = task_of(
            release, require=_REQUIRE.value, data=rows, reads=_READS.value,
            newton=_NEWTON.value, refine=_REFINE.value,
        )  # fmt: skip
    launch.writable(out)
    settings = {
        "model": str(folder.resolve()),
        "editor": release_digest(_given(_EDITOR)),
        "data": digest_of(table),
        "require": list(_REQUIRE.value),
        "reads": _READS.value,
        "activation": _ACTIVATION.value,
        "newton": _NEWTON.value,
        "refine": _REFINE.value,
    }
    job = Job(task, folder, out, _ACTIVATION.value, launch.on_sigterm())
    found = edit_folder(job, settings)
    edited, total = found.count(EDITED), len(found.rows)
    if found.tried or not (out / "edit.json").exists():
        counts = {"files": total, "edited": edited, "rows": len(rows)}
        content = {"schema": 1, **_asked(release), "model": folder.name, "data": _named(table)}
        write_json(out / "edit.json", content | counts | launch.about("experiments.edit"))
    if not found.tried:
        print(f"nothing to do: all files of {folder} are in {out / SUMMARY}")
    print("\n".join(_means(release, found)))
    print(f"edited: {edited} of {total} files; their rows are in {out / SUMMARY}")
    if edited < total:
        raise UserError(f"{folder}: found {total - edited} of {total} files that are not edited, "
                        f"expected none; {out / SUMMARY} says why")  # fmt: skip


def _means(release: Release, found: Report) -> list[str]:
    """What edits did, on average, in a few lines."""
    rows = [row for row in found.rows.values() if row["status"] == EDITED]
    lines = []
    for name in rows[0]["after"] if rows else ():
        before, after = (sum(row[when][name] for row in rows) / len(rows)
                         for when in ("before", "after"))  # fmt: skip
        unit = " nats" if name == JSD else ""
        lines.append(f"{name}, mean: {before:.4g} -> {after:.4g}{unit}")
    return lines


def _asked(release: Release) -> dict:
    """The part of edit.json about the editor and what is asked of it."""
    return {
        "editor": release.about | {"requirement": list(release.requirement)},
        "require": list(_REQUIRE.value),
        "newton": _NEWTON.value,
        "refine": _REFINE.value,
    }


def _content(release: Release, edited: Edited) -> dict:
    """edit.json, except for files, command and machine."""
    gone = [name for name in release.features if name not in edited.features]
    kept = sum(float(block.sum()) for block in edited.mask)
    return {
        "schema": 1,
        **_asked(release),
        "lambda": list(edited.lam),
        "before": edited.before,
        "after": edited.after,
        "features_read": list(edited.features),
        "features_removed": gone,
        "weights_left": int(kept),
        "weights": edited.network.spec.n_weights,
    }


def _draw(release: Release, edited: Edited, path: pathlib.Path) -> None:
    names = (*release.names, JSD)
    asked = {one.name: one.limit for one in edited.demands}
    paths = release.requirement
    picture.front(
        edited.tried,
        [edited.after[name] for name in names],
        [asked.get(name) for name in names],
        labels_of(paths if len(paths) > 1 else paths[0]),
        path,
    )


def _text(release: Release, edited: Edited) -> str:
    """What the edit did, in a few lines."""
    lines = [
        f"{name}: {edited.before[name]:.4g} -> {edited.after[name]:.4g}"
        + (" nats" if name == JSD else "")
        for name in edited.after
    ]
    gone = [name for name in release.features if name not in edited.features]
    lines.append(f"reads: {', '.join(edited.features) or 'nothing'}")
    lines.append(f"no longer reads: {', '.join(gone) or 'nothing'}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(launch.status(_main, sys.argv))
