"""Trains the editors that an experiment's methods use."""

import logging
import pathlib
from collections.abc import Callable

import numpy as np

from metanet.data.files import label_of
from metanet.data.table import Table
from metanet.devices import forget_programs, wait_for_all
from metanet.editor.model import TrainedEditor
from metanet.mlp.online import OnlinePopulation
from metanet.mlp.sampling import sample_catalogue
from metanet.objectives.base import resolve
from metanet.pipeline.clock import clocked_once, record, trained_seconds
from metanet.pipeline.config import EditorPlan
from metanet.pipeline.locks import divided, hold
from metanet.pipeline.testbed import Testbed, never
from metanet.settings import flat
from metanet.storage import digest, match_settings, read_npz, slug, write_npz
from metanet.training.imitation import Removal, removal_of
from metanet.training.loop import OnlineTraining, settings_of, train_editor

logger = logging.getLogger(__name__)


def train_editors(
    testbed: Testbed,
    folder: str | pathlib.Path,
    *,
    store: pathlib.Path | None = None,
    should_stop: Callable[[], bool] = never,
) -> dict[str, list[TrainedEditor]]:
    """The editors that the experiment's methods use, by name, one for every seed.

    Their checkpoints are in `folder`/checkpoints, or in `store`, by their settings. Processes that
    do this for the same folder divide the editors among them.

    Raises:
      UserError, Stopped, Diverged: see training.loop.
    """
    folder, editors = pathlib.Path(folder), {}

    def train(name: str) -> None:
        plan = testbed.experiment.editors[name]
        first = testbed.experiment.seed
        seeds = range(first, first + plan.seeds)
        homes = [_home(testbed, name, plan, seed, folder, store) for seed in seeds]
        editors[name] = [
            _train(testbed, name, plan, seed, home, should_stop)
            for seed, home in zip(seeds, homes, strict=True)
        ]
        record(folder, name, sum(trained_seconds(home) for home in homes))
        forget_programs()

    def lock(name: str) -> pathlib.Path:
        # By its settings: trials of a search train editors of one name in one folder.
        settings = flat(testbed.experiment.editors[name], "editor")
        return folder / ".locks" / f"{slug(name)}-{digest(settings)}"

    used = testbed.experiment.used_editors
    divided(used, lock, train, should_stop)
    return {name: editors[name] for name in used}


def _sources(testbed: Testbed, plan: EditorPlan) -> tuple[str, ...]:
    return plan.datasets or (testbed.experiment.dataset,)


def _identity(testbed: Testbed, plan: EditorPlan) -> dict:
    """The models and data that an editor is trained on, flat, for JSON."""
    chosen = {key: getattr(plan, key) for key in ("share", "unseen", "control", "rows")}
    chosen |= {"datasets": tuple(map(label_of, _sources(testbed, plan)))}
    return testbed.identity | {f"editor.{key}": value for key, value in chosen.items()}


def _removal(testbed: Testbed, plan: EditorPlan, ids: np.ndarray, table: Table) -> Removal | None:
    """What the editor's masks imitate, stored beside the population; None where they do not."""
    if not plan.training.imitation:
        return None
    requirement = testbed.experiment.requirement_of(plan)
    settings = _identity(testbed, plan) | {"requirement": requirement}
    settings |= {"seed": testbed.experiment.seed}
    folder = testbed.folder / "removals" / digest(settings)
    path = folder / "removal.npz"
    with hold(folder / ".lock", testbed.should_stop):
        match_settings(folder, settings)
        missing = not path.exists()
        wait_for_all("missing removal")  # the same in every process
        if missing:
            logger.info("editor: features of %d models are eliminated", len(ids))
            objective = resolve(requirement)
            removal = removal_of(testbed.models, ids, table, objective, testbed.go_on)
            write_npz(path, vars(removal))
        wait_for_all("removal")
        expected = "features in the order of their removal; remove it"
        return Removal(**read_npz(path, expected))


def _home(testbed: Testbed, name: str, plan: EditorPlan, seed: int, folder, store) -> pathlib.Path:
    """The folder of one seed's checkpoints."""
    if store is None:
        return folder / "checkpoints" / slug(name) / f"seed-{seed}"
    requirement = testbed.experiment.requirement_of(plan)
    identity = _identity(testbed, plan)
    every = settings_of(plan.editor, plan.training, requirement, seed, identity)
    return testbed.folder / "editors" / digest(every)


def _train(testbed: Testbed, name: str, plan: EditorPlan, seed: int, home, should_stop):
    logger.info("editor: %s, seed %d", name, seed)
    sources = _sources(testbed, plan)
    (ids, table), *others = (testbed.training_part(plan, source) for source in sources)
    models = testbed.probed(plan.editor.probe)
    # Runs that share the editor train it once: the others wait.
    with hold(home / ".lock", should_stop), clocked_once(home, plan.training.steps):
        return train_editor(
            folder=home,
            editor=plan.editor,
            config=plan.training,
            requirement=testbed.experiment.requirement_of(plan),
            models=models,
            ids=ids,
            table=table,
            seed=seed,
            identity=_identity(testbed, plan),
            others=others,
            removal=_removal(testbed, plan, ids, table),
            online=_online(testbed) if testbed.online else None,
            checkpoint_every=plan.checkpoint_every,
            should_stop=should_stop,
        )


def _online(testbed: Testbed) -> OnlineTraining:
    """Models of the population's families that train beside an editor."""
    experiment, data = testbed.experiment, testbed.data
    config, online = experiment.population, experiment.online
    catalogue = sample_catalogue(experiment.seed, config, data.n_features, data.n_classes)
    families = tuple(catalogue[index] for index in testbed.population.table["family"].unique())
    rows = len(data.train.y)
    population = OnlinePopulation(families, config, online.members, online.sgd_steps, rows)
    return OnlineTraining(population, data.train)
