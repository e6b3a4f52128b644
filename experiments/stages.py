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

from experiments import methods
from metanet import data as datasets
from metanet.core import Stopped, claim, require, write_json
from metanet.data.tabular import TabularData
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.evaluation.pareto import hypervolume
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
    require(config.task in methods.BASELINES, "task", config.task, ", ".join(methods.BASELINES))
    unknown = set(config.baselines) - set(methods.BASELINES[config.task])
    known = f"some of {', '.join(methods.BASELINES[config.task])}"
    require(not unknown, "baselines", sorted(unknown), known)
    ready = "FS (GMN)" not in config.baselines or "GMN" in config.editors
    require(ready, "baselines", "FS (GMN)", "an editor called GMN, whose masks it uses")
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
        entries = _evaluate_all(this, editors, requirement, should_stop)
    results = _results(this, entries, about)
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
    names = [*editors, *config.baselines]
    study = methods.Study(config, this.models, this.population, this.data, requirement)
    entries = {}
    for name in names:
        folder = this.workdir / "evaluation" / _slug(name)
        claim(folder, _evaluation_settings(this, name))
        path = folder / "entry.json"
        if not path.exists():
            if should_stop():
                raise Stopped(f"evaluation: {len(entries)} of {len(names)} methods stored")
            logger.info("evaluation: %s", name)
            swept = methods.swept(name, study, editors)
            write_json(path, _evaluate(this, swept))
        entries[name] = json.loads(path.read_text())
    return entries


def _evaluation_settings(this: Run, name: str) -> dict:
    config = this.config
    part = {f"evaluation.{k}": v for k, v in config.evaluation.to_dict().items()}
    name = "GMN" if name == "FS (GMN)" else name  # whose editor it uses
    if name in config.editors:
        part |= {f"editor.{k}": v for k, v in _editor_settings(config, name).items()}
    return this.identity | part | {"requirement": config.requirement, "seed": config.seed}


def _mean(values: np.ndarray) -> float | None:
    """Over the models that have a result."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else None


def _evaluate(this: Run, swept: methods.Swept) -> dict:
    """Chooses settings on validation models and `select` data, reports those on the test split."""
    chosen = swept.run("validation", np.arange(len(swept.settings))).selected
    test = swept.run("test", chosen)
    stage = this.population.table["stage"].to_numpy()[this.population.ids("test")]
    points = []
    for i, index in enumerate(chosen):
        if np.isnan(test.jsd[i]).all():
            continue  # a method without a result on any test model
        point = {}
        for name in ("requirement", "jsd"):
            values = getattr(test, name)[i]
            point |= {name: _mean(values), f"{name}_std": float(np.nanstd(values))}
        for name in ("jsd_label", "accuracy", "accuracy_original"):
            point[name] = _mean(getattr(test, name)[i])
        point["infeasible"] = int(np.isnan(test.jsd[i]).sum())
        point["by_stage"] = {
            name: {
                "requirement": _mean(test.requirement[i, stage == name]),
                "jsd": _mean(test.jsd[i, stage == name]),
            }
            for name in populations.STAGES
        }
        points.append(point | {"setting": swept.settings[index]})
    reference = tuple(this.config.evaluation.reference_point)
    return {
        "front": points,
        "hypervolume": hypervolume(test.points, reference),
        "seconds_per_model": swept.seconds(int(chosen[len(chosen) // 2])) if len(chosen) else None,
        "points_evaluated": len(swept.settings),
    }


def _results(this: Run, entries: dict, about: dict) -> dict:
    return {
        "schema": SCHEMA,
        "task": this.config.task,
        "dataset": this.config.dataset,
        "seed": this.config.seed,
        "reference_point": list(this.config.evaluation.reference_point),
        "methods": entries,
        "models_evaluated": len(this.population.ids("test")),
        "samples_evaluated": len(this.data.test.y),
        "wall_seconds": json.loads((this.workdir / "wall_seconds.json").read_text()),
        **about,
    }
