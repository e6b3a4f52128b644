"""The stages of a run: population, editors, evaluation, report. Each resumes or is skipped."""

import contextlib
import json
import logging
import pathlib
import time
from collections.abc import Callable, Iterator

import jax
from ml_collections import ConfigDict

from experiments import launch, methods
from experiments.entry import evaluate, evaluate_seed, summary
from experiments.plan import (
    OPTIMUM,
    catalogue_of,
    check,
    editor_plan,
    editor_settings,
    editors_of,
    fields,
    method_names,
    slug,
    tuples,
)
from experiments.study import Study
from experiments.targets import reached
from metanet import data as datasets
from metanet import report
from metanet.core import Stopped, digest, match_settings, write_json
from metanet.devices import wait_for_all
from metanet.editor.model import TrainedEditor
from metanet.evaluation.postprocess import one_hot_floor
from metanet.graphs.packing import pack
from metanet.mlp import population as populations
from metanet.mlp.online import OnlinePopulation
from metanet.mlp.sampling import PopulationConfig
from metanet.objectives.base import resolve
from metanet.report.comparison import by_budget, compare
from metanet.training.loop import Online, settings_of, train_editor

logger = logging.getLogger(__name__)

SCHEMA = 1
_SECONDS = "wall_seconds.json"


@contextlib.contextmanager
def _timed(workdir: pathlib.Path, stage: str) -> Iterator[None]:
    """Adds the block's wall seconds to the stage's in wall_seconds.json, over all resumed runs."""
    start = time.monotonic()
    try:
        yield
        logger.info("%s: done, peak memory %.2f GiB", stage, launch.peak_memory())
    finally:
        seconds = _wall_seconds(workdir)
        seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - start, 2)
        write_json(workdir / _SECONDS, seconds)


def _wall_seconds(workdir: pathlib.Path) -> dict[str, float]:
    path = workdir / _SECONDS
    return json.loads(path.read_text()) if path.exists() else {}


def prepare(
    config: ConfigDict,
    workdir: pathlib.Path,
    should_stop: Callable[[], bool],
    store: pathlib.Path | None = None,
) -> Study:
    """Checks the config, and trains the population or loads it from `workdir`, or from `store`.

    Args:
      store: where runs that share them keep populations and editors, by their settings.

    Raises:
      UserError: something in the config, the data or `workdir` is unusable.
      Stopped: `should_stop()` became true; what is done is saved.
    """
    check(config, methods.BASELINES)
    wanted = fields(PopulationConfig, config.population.to_dict())
    splits = populations.SPLITS[1:] if config.population.mode == "online" else populations.SPLITS

    def populated(dataset, group, folder):
        data = datasets.load(dataset, group, config.seed)
        if store is not None:
            settings = populations.settings_of(wanted, data, config.seed, splits)
            folder = store / f"{dataset}-{digest(settings)}"
        with _timed(workdir, "population"):
            return (
                folder,
                data,
                populations.build(
                    folder / "population", wanted, data, config.seed, should_stop, splits
                ),
            )

    folder, data, population = populated(config.dataset, config.group, workdir)
    stacks, others = list(population.stacks), {}
    for dataset in config.others:
        _, other, guests = populated(dataset, None, workdir / dataset)
        first = sum(len(stack.activation) for stack in stacks)
        others[dataset] = (first + guests.ids("train"), other.edit)
        stacks += guests.stacks
    requirement = resolve(tuples(config.requirement))
    models = pack(stacks)
    return Study(config, folder, models, population, data, requirement, others, should_stop)


def train(
    study: Study,
    workdir: pathlib.Path,
    should_stop: Callable[[], bool],
    store: pathlib.Path | None = None,
) -> dict[str, list[TrainedEditor]]:
    """The config's editors, of each one per seed, counted from the config's.

    Their checkpoints are in `workdir`, or in `store`, see `prepare`.

    Raises:
      UserError, Stopped, Diverged: see training.loop.
    """
    config, editors = study.config, {}

    def one(name, seed):
        logger.info("editor: %s, seed %d", name, seed)
        shape, training = editor_plan(config, name)
        settings = editor_settings(config, name)
        chosen = {key: settings[key] for key in ("share", "unseen", "control", "rows")}
        sources = settings["datasets"] or (config.dataset,)
        (ids, table), *others = (study.training_part(source, **chosen) for source in sources)
        requirement = settings["requirement"]
        chosen |= {"datasets": sources}
        identity = study.identity | {f"editor.{key}": value for key, value in chosen.items()}
        folder = workdir / "checkpoints" / slug(name) / f"seed-{seed}"
        if store is not None:
            every = settings_of(shape, training, requirement, seed, identity)
            folder = study.folder / "editors" / digest(every)
        return train_editor(
            folder=folder,
            editor=shape,
            config=training,
            requirement=requirement,
            models=study.probed(shape.probe),
            ids=ids,
            table=table,
            seed=seed,
            identity=identity,
            others=others,
            online=_online(study) if study.online else None,
            checkpoint_every=config.editor.checkpoint_every,
            should_stop=should_stop,
        )

    for name in config.editors:
        seeds = editor_settings(config, name)["seeds"]
        with _timed(workdir, name):
            editors[name] = [one(name, config.seed + number) for number in range(seeds)]
        jax.clear_caches()  # probing compiles a program per spec, see `stored`
    return editors


def _online(study: Study) -> Online:
    """Models of the population's families that train beside an editor."""
    config, data = study.config, study.data
    drawn, catalogue = catalogue_of(config, data)
    families = tuple(catalogue[number] for number in study.population.table["family"].unique())
    members, steps = config.online.members, config.online.sgd_steps
    return Online(OnlinePopulation(families, drawn, members, steps, len(data.train.y)), data.train)


def run(
    config: ConfigDict,
    workdir: pathlib.Path,
    about: dict,
    should_stop: Callable[[], bool],
    store: pathlib.Path | None = None,
) -> dict:
    """Runs all stages in `workdir` and returns results.json's content.

    Args:
      about: what results.json says of the command and the machine.
      store: see `prepare`.

    Raises:
      UserError, Stopped, Diverged: see the stages.
    """
    names = method_names(config)
    done = all_stored(workdir / "evaluation", names) and finished(config, workdir)
    seconds = _wall_seconds(workdir)
    study = prepare(config, workdir, should_stop, store)
    editors = train(study, workdir, should_stop, store)
    with _timed(workdir, "evaluation"):
        entries = _evaluate(study, workdir, editors, should_stop)
        results = _results(study, entries)
    wait_for_all("results")
    if done:  # nothing was computed but the report
        about = done
        write_json(workdir / _SECONDS, seconds)
    results |= {"wall_seconds": seconds if done else _wall_seconds(workdir), **about}
    write_json(workdir / "config.json", {"config": json.loads(config.to_json()), **about})
    write_json(workdir / "results.json", results)
    report.write(results, workdir)
    return results


def all_stored(folder: pathlib.Path, names: list[str]) -> bool:
    """Whether `folder` has the entry of every method, see `stored`."""
    return all((folder / slug(name) / "entry.json").exists() for name in names)


def finished(config: ConfigDict, workdir: pathlib.Path) -> dict | None:
    """What is said of the command that finished this run, which repeating it does not change."""
    path = workdir / "config.json"
    found = json.loads(path.read_text()) if path.exists() else {"config": None}
    return found if found.pop("config") == json.loads(config.to_json()) else None


def _evaluate(study: Study, workdir, editors: dict[str, list[TrainedEditor]], should_stop) -> dict:
    """Every method's entry in results.json."""

    def measure(name):
        used = editors_of(study.config, name)
        if not used:
            first = {key: trained[0] for key, trained in editors.items()}
            return evaluate(study, methods.swept(name, study, first))
        seeds = min(len(editors[one]) for one in used)
        if name in study.config.refined:
            seeds = min(seeds, study.config.evaluation.refined_seeds)
        by_seed = [{one: editors[one][seed] for one in used} for seed in range(seeds)]
        sweeps = [methods.swept(name, study, seed) for seed in by_seed]
        entry = evaluate(study, sweeps[0])
        entry["seeds"] = [summary(entry), *(evaluate_seed(study, swept) for swept in sweeps[1:])]
        if study.config.targets and name in editors and _swept(study.config, name):
            entry["targets"] = reached(study, name, by_seed[0])
        return entry

    folder = workdir / "evaluation"
    return stored(study, folder, method_names(study.config), measure, should_stop)


def _swept(config: ConfigDict, name: str) -> bool:
    """Whether the editor called `name` has a range of lambda, and not one value."""
    low, high = editor_settings(config, name)["lambda_range"]
    return low < high


def stored(study: Study, folder: pathlib.Path, names: list[str], measure, should_stop) -> dict:
    """measure(name) for each of the methods, from its file below `folder` where it was done before.

    Raises:
      UserError: a method's folder holds results of other settings.
      Stopped: `should_stop()` became true.
    """
    entries = {}
    for name in names:
        match_settings(folder / slug(name), _evaluation_settings(study, name))
        path = folder / slug(name) / "entry.json"
        if not path.exists():
            if should_stop():
                raise Stopped(f"{folder.name}: {len(entries)} of {len(names)} methods stored")
            logger.info("%s: %s", folder.name, name)
            write_json(path, measure(name))
            wait_for_all(f"{folder.name}: {name}")
            jax.clear_caches()  # thousands of kernels use up a process's memory mappings
        entries[name] = json.loads(path.read_text())
    return entries


def _evaluation_settings(study: Study, name: str) -> dict:
    config = study.config
    others = set() if name in config.refined else {"refinements", "refined_seeds"}
    others |= set() if name == OPTIMUM else {"descents", "optimum"}
    used = {k: v for k, v in config.evaluation.to_dict().items() if k not in others}
    part = {f"evaluation.{k}": v for k, v in used.items()}
    borrowed = methods.BORROWED.get(name, ())[:1]
    for number, editor in enumerate(editors_of(config, name) or borrowed):
        where = f"editor{number or ''}"
        part |= {f"{where}.{k}": v for k, v in editor_settings(config, editor).items()}
    for key in ("variants", "refined"):
        part |= {f"{key}.{k}": v for k, v in config[key].to_dict().get(name, {}).items()}
    if name == OPTIMUM:
        part |= {"lambda_range": config.lambda_range, "balanced": config.editor.balanced}
    part |= {"shifts": config.shifts.to_dict(), "targets": config.targets}
    return study.identity | part | {"requirement": config.requirement, "seed": config.seed}


def _results(study: Study, entries: dict) -> dict:
    config, ids = study.config, study.split("test")[0]
    kept = ids[~study.degenerate[ids]]
    extra = {}
    if config.task == "fairness":
        floor = one_hot_floor(study.models, kept, study.data.test)
        extra |= {"degenerate_models": len(ids) - len(kept), "one_hot_floor": floor}
    if not isinstance(config.requirement, str):
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
