"""Runs an experiment: population, editors, evaluation, report. Each phase resumes or is skipped."""

import contextlib
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from metanet import report
from metanet.data.files import label_of
from metanet.devices import wait_for_all
from metanet.evaluation.postprocess import probabilities
from metanet.evaluation.scores import one_hot_jsd
from metanet.evaluation.values import ENDS, Values
from metanet.objectives.base import labels_of, paths_of, resolve
from metanet.pipeline import clock
from metanet.pipeline.clock import clocked, wall_seconds
from metanet.pipeline.config import MAIN_CURVES, ExperimentConfig
from metanet.pipeline.editors import train_editors
from metanet.pipeline.evaluate import entry_path, evaluate_methods
from metanet.pipeline.locks import alone
from metanet.pipeline.provenance import about_this_process
from metanet.pipeline.releases import write_releases
from metanet.pipeline.testbed import Testbed, build_testbed, never
from metanet.report.comparison import EACH, MEAN, analysed
from metanet.report.stored import SCHEMA
from metanet.settings import plain
from metanet.storage import read_json, write_json

SHARES = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9)  # of the box: levels of a config without any


@alone
def run(
    experiment: ExperimentConfig,
    folder: str | pathlib.Path,
    *,
    about: dict | None = None,
    store: pathlib.Path | None = None,
    should_stop: Callable[[], bool] = never,
    beside: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
) -> dict:
    """Runs all phases in `folder` and returns results.json's content.

    Args:
      about: the command and the machine, see `provenance.about_this_process`.
      store: see `build_testbed`.
      beside: a context for what is not stored yet, in which other processes `take_part`.

    Raises:
      UserError, Stopped, Diverged: see the phases.
    """
    folder, settings = pathlib.Path(folder), plain(experiment)
    about = about_this_process() if about is None else about
    done = all_stored(folder / "evaluation", experiment.method_names) and finished(folder, settings)
    seconds = wall_seconds(folder)
    with contextlib.nullcontext() if done else beside():
        testbed = build_testbed(experiment, folder, store=store, should_stop=should_stop)
        editors = train_editors(testbed, folder, store=store, should_stop=should_stop)
        write_releases(testbed, editors, folder, about)
        with clocked(folder, "evaluation"):
            entries, values = evaluate_methods(testbed, editors, folder, should_stop=should_stop)
            content = results(testbed, entries, values)
    wait_for_all("results")
    if done:  # nothing was computed but the report
        about = done
        clock.reset(folder, seconds)
    phases = {"population": testbed.population.seconds} | wall_seconds(folder)
    content |= {"wall_seconds": phases, **about}
    write_json(folder / "config.json", {"config": settings, **about})
    write_json(folder / "results.json", content)
    report.write(content, folder)
    return content


def take_part(
    experiment: ExperimentConfig,
    folder: str | pathlib.Path,
    *,
    store: pathlib.Path | None = None,
    should_stop: Callable[[], bool] = never,
) -> None:
    """Trains editors and evaluates methods of a run that another process does in `folder`."""
    testbed = build_testbed(experiment, folder, store=store, should_stop=should_stop)
    editors = train_editors(testbed, folder, store=store, should_stop=should_stop)
    evaluate_methods(testbed, editors, folder, should_stop=should_stop)


def all_stored(folder: pathlib.Path, names: Iterable[str]) -> bool:
    """Whether `folder` has the entry of every method."""
    return all(entry_path(folder, name).exists() for name in names)


def finished(folder: pathlib.Path, settings: dict) -> dict | None:
    """The command and machine that finished this run, which repeating it does not change."""
    path = folder / "config.json"
    if not path.exists():
        return None
    stored = read_json(path)
    return stored if stored.pop("config", None) == settings else None


def _studies(experiment: ExperimentConfig, name: str) -> dict[str, list[str]]:
    """The ids of the searches that a method's settings are from, if there are any."""
    recipe = experiment.recipe(name)
    found = [recipe.study, *(experiment.editors[editor].study for editor in recipe.editors)]
    ids = [one for one in found if one is not None]
    return {"studies": ids} if ids else {}


def results(testbed: Testbed, entries: dict[str, dict], values: dict[str, Values]) -> dict:
    """The content of results.json, except for the command and the machine.

    Args:
      entries, values: of every method and of the ends, see `evaluate_methods`.
    """
    experiment, ids = testbed.experiment, testbed.split("test")[0]
    evaluation, names = experiment.evaluation, experiment.method_names
    kept = ids[~testbed.constant[ids]]
    one = len(paths_of(experiment.requirement)) == 1
    levels = evaluation.report_levels
    if one and not levels:
        levels = tuple(share * evaluation.reference_point[0] for share in SHARES)
    extra: dict[str, Any] = {}
    if evaluation.exclude_constant:
        extra["constant_models"] = len(ids) - len(kept)
    lost = int((testbed.population.table["split"] == "diverged").sum())
    if lost:
        extra["models_diverged"] = lost  # of the whole population; they are in no split
    extra |= _floors(testbed, kept)
    content = {
        "schema": SCHEMA,
        "kind": "fronts",
        "task": experiment.task,
        "dataset": label_of(experiment.dataset),
        "seed": experiment.seed,
        "requirements": list(paths_of(experiment.requirement)),
        "requirement_labels": list(labels_of(experiment.requirement)),
        "reference_point": list(evaluation.reference_point),
        "report_levels": list(levels),
        "levels_of": levels_of(paths_of(experiment.requirement)),
        "costs": list(evaluation.costs),
        "main_methods": list(evaluation.main_methods or names[:MAIN_CURVES]),
        "ends": entries[ENDS]["front"],
        "methods": {name: entries[name] | _studies(experiment, name) for name in names},
        "models_evaluated": len(kept),
        "models_validated": len(testbed.split("validation")[0]),
        "samples_evaluated": len(testbed.data.test.y),
        **extra,
    }
    return analysed(content, values) if one else content


def levels_of(paths: Sequence[str]) -> str:
    """What is at a level of the requirement with this path, EACH or MEAN; MEAN of several."""
    own = len(paths) == 1 and getattr(resolve(paths[0]), "of_edit", False)
    return EACH if own else MEAN


def _floors(testbed: Testbed, ids: np.ndarray) -> dict[str, float]:
    """What is noise, or paid by every label, on the models `ids` and the test rows.

    `level_floor`, of one requirement: the value below which it is noise, which an objective says in
    its attribute `floor`; 0 where none is known. `one_hot_floor`, where constant models are set
    apart: the JSD (nats) of unedited decisions to outputs.
    """
    experiment, table = testbed.experiment, testbed.data.test
    paths = paths_of(experiment.requirement)
    floor = getattr(resolve(paths[0]), "floor", None) if len(paths) == 1 else None
    apart = experiment.evaluation.exclude_constant
    found = {"level_floor": 0.0} if len(paths) == 1 else {}
    if testbed.data.n_classes != 2 or (floor is None and not apart):
        return found
    outputs = probabilities(testbed.models, ids, table)  # [M, rows]
    if apart:
        found["one_hot_floor"] = one_hot_jsd(outputs)
    if floor is not None:
        found["level_floor"] = float(floor(table, outputs > 0.5))
    return found
