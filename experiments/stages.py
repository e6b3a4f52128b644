"""The stages of a run: population, editors, evaluation, report. Each resumes or is skipped."""

import contextlib
import dataclasses
import importlib.util
import json
import logging
import pathlib
import time
from collections.abc import Callable, Iterator

from ml_collections import ConfigDict

from experiments import methods
from experiments.entry import evaluate, summary
from experiments.study import Study
from metanet import data as datasets
from metanet import report
from metanet.baselines.fairness import LIBRARIES
from metanet.core import Stopped, UserError, claim, require, write_json
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.evaluation.postprocess import one_hot_floor
from metanet.graphs.convert import pack
from metanet.mlp import population as populations
from metanet.mlp.probe import ProbeConfig
from metanet.mlp.sampling import PopulationConfig
from metanet.objectives.base import resolve
from metanet.report.comparison import by_budget, compare
from metanet.training.loop import check_preference, train_editor
from metanet.training.refine import RefineConfig
from metanet.training.step import TrainingConfig

logger = logging.getLogger(__name__)

SCHEMA = 1


def tuples(value):
    """Sequences as tuples, at all depths: a config read back from JSON has lists."""
    return tuple(map(tuples, value)) if isinstance(value, (tuple, list)) else value


def _fields(cls, values: dict):
    """An instance of the dataclass `cls` from those of `values` that it has."""
    names = {field.name for field in dataclasses.fields(cls)}
    return cls(**{key: value for key, value in values.items() if key in names})


def slug(name: str) -> str:
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


def prepare(config: ConfigDict, workdir: pathlib.Path, should_stop: Callable[[], bool]) -> Study:
    """Checks the config, and trains the population or loads it from `workdir`.

    Raises:
      UserError: something in the config, the data or `workdir` is unusable.
      Stopped: `should_stop()` became true; what is done is saved.
    """
    requirement = resolve(tuples(config.requirement))
    require(config.task in methods.BASELINES, "task", config.task, ", ".join(methods.BASELINES))
    unknown = set(config.baselines) - set(methods.BASELINES[config.task])
    known = f"some of {', '.join(methods.BASELINES[config.task])}"
    require(not unknown, "baselines", sorted(unknown), known)
    needed = [library for name, library in LIBRARIES.items() if name in config.baselines]
    missing = [library for library in needed if importlib.util.find_spec(library) is None]
    if missing:
        raise UserError(
            f"config key baselines: they need {', '.join(missing)}, which is not installed; "
            "pip install 'metanet[baselines]'"
        )
    known = f"one of {', '.join(config.editors)}"
    for key in ("variants", "refined"):
        for name, settings in config[key].items():
            found = settings.editor
            require(found in config.editors, f"{key}.{name}.editor", found, known)
    for name, (editor, uses) in methods.BORROWED.items():
        ready = name not in config.baselines or editor in config.editors
        require(ready, "baselines", name, f"an editor called {editor}, whose {uses} it uses")
    wanted = _fields(PopulationConfig, config.population.to_dict())
    # Bad values are refused before anything is trained.
    for settings in config.refined.values():
        RefineConfig(**{key: value for key, value in settings.items() if key != "editor"})
    for name, settings in config.variants.items():
        if "probe" not in settings:
            continue
        own, other = _plan(config, settings.editor)[0].probe, ProbeConfig(**settings.probe)
        known = "a probe with labels where its editor's has them, and only there"
        same = own is not None and own.labelled == other.labelled
        require(same, f"variants.{name}.probe", settings.probe.to_dict(), known)
    for name in config.editors:
        check_preference(tuples(config.requirement), _plan(config, name)[1])
        seeds = _editor_settings(config, name)["seeds"]
        require(seeds >= 1, "editor.seeds", seeds, "at least 1")
    for key in ("preferences", "validation_models"):
        count = config.evaluation[key]
        require(count >= 1, f"evaluation.{key}", count, "at least 1")
    data = datasets.load(config.dataset, config.group, config.seed)
    with _timed(workdir, "population"):
        folder = workdir / "population"
        population = populations.build(folder, wanted, data, config.seed, should_stop)
    return Study(config, workdir, pack(list(population.stacks)), population, data, requirement)


def train(
    study: Study, workdir: pathlib.Path, should_stop: Callable[[], bool]
) -> dict[str, list[TrainedEditor]]:
    """The config's editors, of each one per seed, counted from the config's.

    Raises:
      UserError, Stopped, Diverged: see training.loop.
    """
    config, editors = study.config, {}

    def one(name, seed):
        logger.info("editor: %s, seed %d", name, seed)
        shape, training = _plan(config, name)
        return train_editor(
            folder=workdir / "checkpoints" / slug(name) / f"seed-{seed}",
            editor=shape,
            config=training,
            requirement=tuples(config.requirement),
            models=study.probed(shape.probe),
            ids=study.population.ids("train"),
            table=study.data.edit,
            seed=seed,
            identity=study.identity,
            checkpoint_every=config.editor.checkpoint_every,
            should_stop=should_stop,
        )

    for name in config.editors:
        seeds = _editor_settings(config, name)["seeds"]
        with _timed(workdir, name):
            editors[name] = [one(name, config.seed + number) for number in range(seeds)]
    return editors


def run(config: ConfigDict, workdir: pathlib.Path, about: dict, should_stop: Callable[[], bool]):
    """Runs all stages in `workdir` and returns results.json's content.

    Args:
      about: what results.json says of the command and the machine.

    Raises:
      UserError, Stopped, Diverged: see the stages.
    """
    study = prepare(config, workdir, should_stop)
    editors = train(study, workdir, should_stop)
    with _timed(workdir, "evaluation"):
        entries = _evaluate(study, workdir, editors, should_stop)
        results = _results(study, entries)
    results |= {"wall_seconds": json.loads((workdir / "wall_seconds.json").read_text()), **about}
    write_json(workdir / "config.json", {"config": json.loads(config.to_json()), **about})
    write_json(workdir / "results.json", results)
    report.write(results, workdir)
    return results


def _editor_settings(config: ConfigDict, name: str) -> dict:
    """The keys of `config.editor`, with what the editor called `name` changes."""
    own = config.editors[name].to_dict()
    return config.editor.to_dict() | {"preference": tuples(config.preference)} | own


def _plan(config: ConfigDict, name: str) -> tuple[EditorConfig, TrainingConfig]:
    settings = _editor_settings(config, name)
    if settings["probe"] is not None:
        settings["probe"] = ProbeConfig(**settings["probe"])
    return _fields(EditorConfig, settings), _fields(TrainingConfig, settings)


def _evaluate(study: Study, workdir, editors: dict[str, list[TrainedEditor]], should_stop) -> dict:
    """Every method's entry in results.json."""

    def measure(name):
        first = {key: trained[0] for key, trained in editors.items()}
        entry = evaluate(study, methods.swept(name, study, first))
        editor = _editor_of(study.config, name)
        if editor is not None:
            seeds = [{editor: other} for other in editors[editor][1:]]
            others = [evaluate(study, methods.swept(name, study, seed)) for seed in seeds]
            entry["seeds"] = [summary(one) for one in (entry, *others)]
        return entry

    config = study.config
    names = [*editors, *config.variants, *config.refined, *config.baselines]
    return stored(study, workdir / "evaluation", names, measure, should_stop)


def _editor_of(config: ConfigDict, name: str) -> str | None:
    """The editor that the method called `name` is, or uses."""
    using = config.variants.to_dict() | config.refined.to_dict()
    if name in using:
        return using[name]["editor"]
    return name if name in config.editors else None


def stored(study: Study, folder: pathlib.Path, names: list[str], measure, should_stop) -> dict:
    """measure(name) for each of the methods, from its file below `folder` where it was done before.

    Raises:
      UserError: a method's folder holds results of other settings.
      Stopped: `should_stop()` became true.
    """
    entries = {}
    for name in names:
        claim(folder / slug(name), _evaluation_settings(study, name))
        path = folder / slug(name) / "entry.json"
        if not path.exists():
            if should_stop():
                raise Stopped(f"{folder.name}: {len(entries)} of {len(names)} methods stored")
            logger.info("%s: %s", folder.name, name)
            write_json(path, measure(name))
        entries[name] = json.loads(path.read_text())
    return entries


def _evaluation_settings(study: Study, name: str) -> dict:
    config = study.config
    part = {f"evaluation.{k}": v for k, v in config.evaluation.to_dict().items()}
    editor, _ = methods.BORROWED.get(name, (_editor_of(config, name), None))
    if editor is not None:
        part |= {f"editor.{k}": v for k, v in _editor_settings(config, editor).items()}
    for key in ("variants", "refined"):
        part |= {f"{key}.{k}": v for k, v in config[key].to_dict().get(name, {}).items()}
    return study.identity | part | {"requirement": config.requirement, "seed": config.seed}


def _results(study: Study, entries: dict) -> dict:
    config, ids = study.config, study.population.ids("test")
    kept = ids[~study.degenerate[ids]]
    extra = {}
    if config.task == "fairness":
        floor = one_hot_floor(study.models, kept, study.data.test)
        extra |= {"degenerate_models": len(ids) - len(kept), "one_hot_floor": floor}
    if config.task == "joint":
        extra["requirements"] = [path.rpartition(".")[2] for path in config.requirement]
    else:
        extra |= {"comparison": compare(entries), "by_budget": by_budget(entries)}
    return {
        "schema": SCHEMA,
        "task": config.task,
        "dataset": config.dataset,
        "seed": config.seed,
        "reference_point": list(config.evaluation.reference_point),
        "methods": entries,
        "models_evaluated": len(kept),
        "samples_evaluated": len(study.data.test.y),
        **extra,
    }
