"""Trains the editors that an experiment's methods use."""

import logging
import pathlib
from collections.abc import Callable

import jax

from metanet.core import digest
from metanet.editor.model import TrainedEditor
from metanet.mlp.online import OnlinePopulation
from metanet.mlp.sampling import sample_catalogue
from metanet.pipeline.clock import clocked
from metanet.pipeline.config import EditorPlan, slug
from metanet.pipeline.testbed import Testbed, never
from metanet.training.loop import OnlineTraining, settings_of, train_editor

logger = logging.getLogger(__name__)


def train_editors(
    testbed: Testbed,
    folder: str | pathlib.Path,
    *,
    store: pathlib.Path | None = None,
    should_stop: Callable[[], bool] = never,
) -> dict[str, list[TrainedEditor]]:
    """The editors that the experiment's methods use, of each one per seed.

    Their checkpoints are in `folder`/checkpoints, or in `store`, by their settings.

    Raises:
      UserError, Stopped, Diverged: see training.loop.
    """
    folder, editors = pathlib.Path(folder), {}
    for name in testbed.experiment.used_editors:
        plan = testbed.experiment.editors[name]
        with clocked(folder, name):
            editors[name] = [
                _train(testbed, name, plan, testbed.experiment.seed + number, folder, store,
                       should_stop)
                for number in range(plan.seeds)
            ]  # fmt: skip
        jax.clear_caches()  # probing compiles a program per spec: too many memory mappings
    return editors


def _train(testbed, name: str, plan: EditorPlan, seed: int, folder, store, should_stop):
    logger.info("editor: %s, seed %d", name, seed)
    experiment = testbed.experiment
    sources = plan.datasets or (experiment.dataset,)
    (ids, table), *others = (testbed.training_part(plan, source) for source in sources)
    requirement = experiment.requirement_of(plan)
    chosen = {key: getattr(plan, key) for key in ("share", "unseen", "control", "rows")}
    chosen |= {"datasets": sources}
    identity = testbed.identity | {f"editor.{key}": value for key, value in chosen.items()}
    home = folder / "checkpoints" / slug(name) / f"seed-{seed}"
    if store is not None:
        every = settings_of(plan.editor, plan.training, requirement, seed, identity)
        home = testbed.folder / "editors" / digest(every)
    return train_editor(
        folder=home,
        editor=plan.editor,
        config=plan.training,
        requirement=requirement,
        models=testbed.probed(plan.editor.probe),
        ids=ids,
        table=table,
        seed=seed,
        identity=identity,
        others=others,
        online=_online(testbed) if testbed.online else None,
        checkpoint_every=plan.checkpoint_every,
        should_stop=should_stop,
    )


def _online(testbed: Testbed) -> OnlineTraining:
    """Models of the population's families that train beside an editor."""
    experiment, data = testbed.experiment, testbed.data
    config, online = experiment.population, experiment.online
    catalogue = sample_catalogue(experiment.seed, config, data.n_features, data.n_classes)
    families = tuple(catalogue[number] for number in testbed.population.table["family"].unique())
    rows = len(data.train.y)
    population = OnlinePopulation(families, config, online.members, online.sgd_steps, rows)
    return OnlineTraining(population, data.train)
