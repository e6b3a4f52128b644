"""Trained editors of a run as folders that edit anybody's models."""

import pathlib

from metanet.core import digest, slug
from metanet.data.files import label_of
from metanet.editor.model import TrainedEditor
from metanet.editor.release import Release, write_release
from metanet.mlp import population as populations
from metanet.objectives.base import paths_of
from metanet.pipeline.provenance import about_this_process
from metanet.pipeline.testbed import Testbed

LICENCE = "Apache-2.0, as metanet; of the data see their source"


def write_releases(
    testbed: Testbed,
    editors: dict[str, list[TrainedEditor]],
    folder: str | pathlib.Path,
    about: dict | None = None,
) -> None:
    """Writes `folder`/editors/NAME/seed-N of every editor of the experiment's own dataset.

    What is there stays: a run that is repeated trains nothing.

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
            if (home / "editor.json").exists():
                continue
            release = Release(
                editor=editor,
                requirement=paths_of(experiment.requirement_of(plan)),
                encoding=data.encoding,
                balanced=plan.training.balanced,
                points=plan.training.points,
                about=shared | {"editor": name, "seed": seed, "steps": plan.training.steps},
            )
            write_release(home, release)
