"""The stages of a run: population, editors, evaluation, report. Each resumes or is skipped."""

import contextlib
import dataclasses
import json
import logging
import pathlib
import time
from collections.abc import Callable, Iterator

import numpy as np
from ml_collections import ConfigDict

from metanet import data as datasets
from metanet.baselines import pruning
from metanet.core import Stopped, claim, require, write_json
from metanet.data.tabular import TabularData
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.evaluation.pareto import hypervolume
from metanet.evaluation.sweep import editor_method, evaluate, seconds_per_model
from metanet.graphs.convert import Models, pack
from metanet.mlp import population as populations
from metanet.mlp.population import Population
from metanet.mlp.sampling import PopulationConfig
from metanet.objectives.base import resolve
from metanet.report import front
from metanet.training.loop import train_editor
from metanet.training.step import TrainingConfig

logger = logging.getLogger(__name__)

SCHEMA = 1


def _fields(cls, values: dict):
    """An instance of the dataclass `cls` from those of `values` that it has."""
    names = {field.name for field in dataclasses.fields(cls)}
    return cls(**{key: value for key, value in values.items() if key in names})


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


@contextlib.contextmanager
def _timed(workdir: pathlib.Path, stage: str) -> Iterator[None]:
    """Adds the block's wall seconds to the stage's in wall_seconds.json, over all resumed runs."""
    path, start = workdir / "wall_seconds.json", time.monotonic()
    try:
        yield
    finally:
        seconds = json.loads(path.read_text()) if path.exists() else {}
        seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - start, 2)
        write_json(path, seconds)


@dataclasses.dataclass(frozen=True)
class Run:
    """What the stages share."""

    config: ConfigDict
    workdir: pathlib.Path
    data: TabularData
    population: Population
    models: Models

    @property
    def identity(self) -> dict:
        """The settings of data and population, flat: what every later result depends on."""
        part = {f"population.{k}": v for k, v in self.config.population.items()}
        return {"dataset": self.config.dataset, "group": self.data.group} | part


def run(config: ConfigDict, workdir: pathlib.Path, about: dict, should_stop: Callable[[], bool]):
    """Runs all stages in `workdir` and returns results.json's content.

    Args:
      about: what results.json says of the command and the machine.

    Raises:
      UserError, Stopped, Diverged: see the stages.
    """
    requirement = resolve(config.requirement)
    unknown = set(config.baselines) - set(pruning.SCORES)
    known = f"some of {', '.join(pruning.SCORES)}"
    require(not unknown, "baselines", sorted(unknown), known)
    wanted = _fields(PopulationConfig, config.population.to_dict())
    plans = {name: _plan(config, name) for name in config.editors}
    count = config.evaluation.preferences
    require(count >= 1, "evaluation.preferences", count, "at least 1")
    data = datasets.load(config.dataset, config.group, config.seed)
    with _timed(workdir, "population"):
        folder = workdir / "population"
        population = populations.build(folder, wanted, data, config.seed, should_stop)
    this = Run(config, workdir, data, population, pack(list(population.stacks)))
    editors = {}
    for name, plan in plans.items():
        with _timed(workdir, name):
            editors[name] = _editor(this, name, *plan, should_stop)
    with _timed(workdir, "evaluation"):
        methods = _evaluate_all(this, editors, requirement, should_stop)
    results = _results(this, methods, about)
    write_json(workdir / "config.json", {"config": json.loads(config.to_json()), **about})
    write_json(workdir / "results.json", results)
    front.write_csv(results, workdir / "front.csv")
    front.plot(results, workdir / "front.png")
    return results


def _editor_settings(config: ConfigDict, name: str) -> dict:
    """The keys of `config.editor`, with what the editor called `name` changes."""
    own = config.editors[name].to_dict()
    return config.editor.to_dict() | {"preference": tuple(config.preference)} | own


def _plan(config: ConfigDict, name: str) -> tuple[EditorConfig, TrainingConfig]:
    settings = _editor_settings(config, name)
    return _fields(EditorConfig, settings), _fields(TrainingConfig, settings)


def _editor(
    this: Run, name: str, editor: EditorConfig, training: TrainingConfig, should_stop
) -> TrainedEditor:
    logger.info("editor: %s", name)
    return train_editor(
        folder=this.workdir / "checkpoints" / _slug(name),
        editor=editor,
        config=training,
        requirement=this.config.requirement,
        models=this.models,
        ids=this.population.ids("train"),
        table=this.data.edit,
        seed=this.config.seed,
        identity=this.identity,
        checkpoint_every=this.config.editor.checkpoint_every,
        should_stop=should_stop,
    )


def _evaluate_all(this: Run, editors: dict[str, TrainedEditor], requirement, should_stop) -> dict:
    """Every method's entry in results.json; each is stored when done."""
    config = this.config
    preferences = np.geomspace(*config.preference, config.evaluation.preferences)
    if config.preference[0] == config.preference[1]:
        preferences = preferences[:1]
    todo = [
        (name, editor_method, editor, "lambda", preferences) for name, editor in editors.items()
    ]
    for name in config.baselines:
        method = pruning.method(pruning.SCORES[name], this.models.template)
        todo.append((name, method, None, "fraction", np.array(config.evaluation.fractions)))

    entries = {}
    for name, method, context, label, settings in todo:
        folder = this.workdir / "evaluation" / _slug(name)
        claim(folder, _evaluation_settings(this, name))
        path = folder / "entry.json"
        if not path.exists():
            if should_stop():
                raise Stopped(f"evaluation: {len(entries)} of {len(todo)} methods stored")
            logger.info("evaluation: %s", name)
            entry = _evaluate(this, method, context, label, settings, requirement)
            write_json(path, entry)
        entries[name] = json.loads(path.read_text())
    return entries


def _evaluation_settings(this: Run, name: str) -> dict:
    config = this.config
    part = {f"evaluation.{k}": v for k, v in config.evaluation.items()}
    if name in config.editors:
        part |= {f"editor.{k}": v for k, v in _editor_settings(config, name).items()}
    return this.identity | part | {"requirement": config.requirement, "seed": config.seed}


def _evaluate(this: Run, method, context, label: str, settings: np.ndarray, requirement) -> dict:
    """Chooses settings on validation models and `select` data, reports those on the test split."""

    def sweep(split, settings, table):
        return evaluate(
            method, context, this.models, this.population.ids(split), settings, table,
            requirement, this.config.seed, this.config.evaluation.batch_size,
        )  # fmt: skip

    selected = sweep("validation", settings, this.data.select).selected
    test = sweep("test", selected, this.data.test)
    points = [
        {
            "requirement": float(test.requirement[i].mean()),
            "requirement_std": float(test.requirement[i].std()),
            "jsd": float(test.jsd[i].mean()),
            "jsd_std": float(test.jsd[i].std()),
            "accuracy": float(test.accuracy[i].mean()),
            "accuracy_original": float(test.accuracy_original[i].mean()),
            "setting": {label: float(setting)},
        }
        for i, setting in enumerate(selected)
    ]
    seconds = seconds_per_model(
        method, context, this.models, this.population.ids("test"), float(np.median(selected)),
        this.config.evaluation.batch_size,
    )  # fmt: skip
    return {
        "front": points,
        "hypervolume": hypervolume(test.points, tuple(this.config.evaluation.reference_point)),
        "seconds_per_model": seconds,
        "points_evaluated": len(settings),
    }


def _results(this: Run, methods: dict, about: dict) -> dict:
    return {
        "schema": SCHEMA,
        "task": this.config.task,
        "dataset": this.config.dataset,
        "seed": this.config.seed,
        "reference_point": list(this.config.evaluation.reference_point),
        "methods": methods,
        "models_evaluated": len(this.population.ids("test")),
        "samples_evaluated": len(this.data.test.y),
        "wall_seconds": json.loads((this.workdir / "wall_seconds.json").read_text()),
        **about,
    }
