"""experiments.edit of the file of one network."""

import dataclasses
import pathlib

import numpy as np
import pandas as pd

from experiments import launch
from experiments.edit_request import Request, named, said
from metanet.certificates import report
from metanet.certificates.chosen import CertifiedEdit, edit_certified
from metanet.core import UserError, one_line
from metanet.data.files import read_like
from metanet.editing.demands import JSD, missed, parse_demand
from metanet.editing.edit import Edited, edit
from metanet.editing.places import digest_of, staged
from metanet.editor.release import release_digest
from metanet.interop import files
from metanet.objectives.base import labels_of
from metanet.report import edit as picture
from metanet.report.audit.page import render
from metanet.storage import atomic_path, write_json


def run(request: Request) -> None:
    """Edits the network and writes what came of it.

    Raises:
      UserError: an argument or file is unusable, or the demand out of reach: nothing is written.
      SystemExit: status 1: the demand is not certified; all is written.
    """
    launch.setup_jax(1)
    release, out, model = request.release, request.out, request.model
    written = out / f"model{model.suffix}"
    inputs = {"model": model, "data": request.table}
    for path in inputs.values():
        if written.resolve() == path.resolve():
            raise UserError(f"--out: found the folder of {path}, expected one where no input of "
                            f"the command is called {written.name}")  # fmt: skip
    source = files.read(model, request.activation)
    rows = read_like(request.table, release.encoding)
    certified = None
    digests = {name: named(path) for name, path in inputs.items()}
    with said(model, request.table):
        if request.confidence is None:
            edited = edit(release, source, require=request.require, data=rows, **request.steps)
        else:
            (demand,) = request.require
            widths = source.network.spec.widths
            if request.report:  # before the edit, which takes time
                report.parts_asked(_asked(request), release.encoding, rows, rows, widths)
            certified = edit_certified(
                release, source, rows, require=demand, confidence=request.confidence,
                groups=request.groups, seed=report.SEED, **request.steps,
            )  # fmt: skip
            edited = certified.edited
    if edited.unmet:
        found = missed(edited.demands, edited.after)
        raise UserError(f"--require: found {found} out of this editor's reach; nothing is written")
    launch.writable(out)
    # edit.json names the other files by their digests: it is put there last.
    with staged(out, "edit.json", ("report.json", "report.html")) as place:
        files.write(dataclasses.replace(source, network=edited.network), place / written.name)
        _draw(request, edited, place / "front.png")
        digests |= {"edited": named(place / written.name)}
        about = launch.about("experiments.edit")
        content = {"schema": 1, **request.about, **_content(request, edited), **digests,
                   "rows": len(rows), **about}  # fmt: skip
        made = [written.name, "edit.json", "front.png"]
        if certified is not None:
            content["certificate"] = dataclasses.asdict(certified.certificate)
            if request.report:
                made += _write_report(request, certified, rows, digests, about, place)
        write_json(place / "edit.json", content)
    print(_text(request, edited))
    for name in made:
        print(f"written: {out / name}")
    if certified is not None:
        print(f"{request.require[0]}, confidence {request.confidence:g}: "
              f"{certified.certificate.verdict}")  # fmt: skip
        if not certified.certificate.certified:
            raise SystemExit(1)


def _asked(request: Request) -> report.Asked:
    assert request.confidence is not None
    return report.Asked(
        request.require[0], request.confidence, request.groups,
        request.report_by or request.groups, request.reads, request.newton, request.refine,
        request.activation, request.purpose,
    )  # fmt: skip


def _write_report(
    request: Request,
    certified: CertifiedEdit,
    rows: pd.DataFrame,
    digests: dict,
    about: dict,
    place: pathlib.Path,
) -> list[str]:
    """Writes report.json and report.html in `place`; their names."""
    asked, release = _asked(request), request.release
    places = {
        "files": {"original" if name == "model" else name: one for name, one in digests.items()},
        "editor": {
            "name": one_line(pathlib.Path(request.place).name),
            "sha256": release_digest(request.place),
        },
    }
    content = report.content(release, asked, certified, rows, places) | about
    path = place / "report.json"
    write_json(path, content)
    digest = digest_of(path)
    assert digest is not None
    with atomic_path(place / "report.html") as temporary:
        temporary.write_text(render(content, digest), encoding="utf-8")
    return ["report.json", "report.html"]


def _content(request: Request, edited: Edited) -> dict:
    """The part of edit.json about the edit."""
    gone = [name for name in request.release.features if name not in edited.features]
    kept = sum(float(block.sum()) for block in edited.mask)
    return {
        "lambda": list(edited.lam),
        "before": edited.before,
        "after": edited.after,
        "features_read": list(edited.features),
        "features_removed": gone,
        "weights_left": int(kept),
        "weights": edited.network.spec.n_weights,
    }


def _draw(request: Request, edited: Edited, path: pathlib.Path) -> None:
    release = request.release
    names, paths = (*release.names, JSD), release.requirement
    demands = [parse_demand(one, len(release.features)) for one in request.require]
    asked = {one.name: one.limit for one in demands}
    picture.front(
        np.concatenate([edited.tried, [[edited.after[name] for name in names]]]),
        [edited.after[name] for name in names],
        [asked.get(name) for name in names],
        labels_of(paths if len(paths) > 1 else paths[0]),
        path,
    )


def _text(request: Request, edited: Edited) -> str:
    """What the edit did, in a few lines."""
    lines = [
        f"{name}: {edited.before[name]:.4g} -> {edited.after[name]:.4g}"
        + (" nats" if name == JSD else "")
        for name in edited.after
    ]
    gone = [name for name in request.release.features if name not in edited.features]
    lines.append(f"reads: {', '.join(edited.features) or 'nothing'}")
    lines.append(f"no longer reads: {', '.join(gone) or 'nothing'}")
    return "\n".join(lines)
