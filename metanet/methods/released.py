"""The recipe of an editor that was trained elsewhere, and is read from a folder."""

from collections.abc import Sequence
from typing import Any

from metanet.core import SettingError, UserError, require
from metanet.data.tabular import TabularData
from metanet.editor.apply import with_template
from metanet.editor.edit_fns import editor_fn
from metanet.editor.model import TrainedEditor
from metanet.editor.newton import NewtonConfig
from metanet.editor.release import Release, load_editor, release_digest
from metanet.evaluation.method import Method
from metanet.methods.editor import applied
from metanet.objectives.base import paths_of
from metanet.pipeline.recipes import (
    checked,
    checked_on_data,
    count_options,
    identified,
    no_editors,
)
from metanet.pipeline.testbed import Testbed


def _load(place: str, key: str) -> Release:
    try:
        return load_editor(place)
    except UserError as error:
        raise SettingError(key, place, str(error)) from error


def _check_requirement(experiment, plans, key: str, options: dict[str, Any]) -> None:
    found, wanted = _load(options["release"], f"{key}.release"), experiment.requirement
    expected = f"an editor for the experiment's requirement {wanted}"
    same = found.requirement == paths_of(wanted)
    require(same, f"{key}.release", f"one for {', '.join(found.requirement)}", expected)


def _check_encoding(data: TabularData, key: str, options: dict[str, Any]) -> None:
    found = _load(options["release"], f"{key}.release")
    own, here = found.encoding, data.encoding
    same = (own.features, own.classes) == (here.features, here.classes)
    expected = f"{data.name} as it is encoded here: the same features, classes, means and units"
    require(same, f"{key}.release", f"an editor for another table than {data.name}", expected)
    probe = found.editor.config.probe
    if probe is not None and probe.labelled:
        seen = f"an editor that sees the group {own.group.name if own.group else None}"
        require(own.group == here.group, f"{key}.release", seen, f"one for the group {data.group}")


def _identity(options: dict[str, Any]) -> dict:
    return {"release": release_digest(options["release"])[:12]}


@identified(_identity)
@checked_on_data(_check_encoding)
@checked(no_editors, count_options("n_lambdas"), _check_requirement)
def released(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    release: str,
    n_lambdas: int | None = None,
    newton: NewtonConfig | None = None,
) -> Method:
    """An editor from a folder, swept over lambda: how good it is on this population.

    Args:
      release: see `editor.release.load_editor`.
      n_lambdas, newton: see `editor.edited`.

    Raises:
      SettingError: a model is larger than those that the editor was trained on.
    """
    editor, needed = load_editor(release).editor, testbed.models.template
    larger = [getattr(needed, k) > getattr(editor.template, k) for k in ("depth", "width")]
    expected = f"an editor for these models: found {needed}, and its own are in {editor.template}"
    require(not any(larger), "release", release, expected)
    editor = with_template(editor, needed)
    return applied(testbed, editor, editor_fn, n_lambdas, newton=newton)
