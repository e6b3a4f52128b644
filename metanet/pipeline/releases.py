"""Trained editors of a run as folders that edit anybody's models."""

import logging
import pathlib

import jax

from metanet.core import UserError
from metanet.data.files import label_of
from metanet.editor.model import TrainedEditor
from metanet.editor.release import Release, load_editor, same_editor, write_release
from metanet.mlp import population as populations
from metanet.objectives.base import paths_of
from metanet.pipeline.provenance import about_this_process
from metanet.pipeline.testbed import Testbed
from metanet.storage import digest, slug

logger = logging.getLogger(__name__)

LICENCE = "Apache-2.0, as metanet; of the data see their source"


def write_releases(
    testbed: Testbed,
    editors: dict[str, list[TrainedEditor]],
    folder: str | pathlib.Path,
    about: dict | None = None,
) -> None:
    """Writes `folder`/editors/NAME/seed-N of every editor of the experiment's own dataset.

    One that is there and the same stays as it is, with the command that trained it.

    Args:
      about: the command and the machine, see `provenance.about_this_process`.
    """
    experiment, data = testbed.experiment, testbed.data
    about = about_this_process() if about is None else about
    settings = populations.settings_of(experiment.population, data, experiment.seed)
    shared = {
        "task": experiment.task,
        "dataset": label_of(experiment.dataset),
        "data": data.digest,
        "population": testbed.population.digest or digest(settings),
        **{key: about[key] for key in ("command", "commit", "dirty", "versions") if key in about},
        "licence": LICENCE,
    }
    for name, seeds in editors.items():
        plan = experiment.editors[name]
        if plan.datasets:
            continue
        for number, editor in enumerate(seeds):
            seed = experiment.seed + number
            home = pathlib.Path(folder) / "editors" / slug(name) / f"seed-{seed}"
            release = Release(
                editor=editor,
                requirement=paths_of(experiment.requirement_of(plan)),
                encoding=data.encoding,
                balanced=plan.training.balanced,
                points=plan.training.points,
                about=shared | {"editor": name, "seed": seed, "steps": plan.training.steps},
            )
            write_changed(home, release)


def write_changed(home: pathlib.Path, release: Release) -> None:
    """`write_release`, unless the folder has an editor that edits alike, wherever it is from."""
    if jax.process_index():
        return  # another one might read what the first is writing
    if (home / "editor.json").exists():
        try:
            if same_editor(load_editor(home), release):
                return
            logger.info("%s: the editor that was trained since takes its place", home)
        except UserError as error:
            logger.warning("%s; it is written anew", error)
    write_release(home, release)
