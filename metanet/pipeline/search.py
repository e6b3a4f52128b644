"""Searches a method's free options on validation models: the same number of trials for all."""

import dataclasses
import json
import logging
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from metanet.core import Diverged, SettingError, UserError, require, versions
from metanet.data.files import label_of
from metanet.devices import forget_programs
from metanet.pipeline.config import ExperimentConfig
from metanet.pipeline.editors import train_editors
from metanet.pipeline.entries import validation_hypervolume
from metanet.pipeline.evaluate import ends_of, make_method, settings_of
from metanet.pipeline.locks import hold
from metanet.pipeline.provenance import about_this_process
from metanet.pipeline.recipes import check_recipes
from metanet.pipeline.spaces import EDITOR, Range, Values, alone, space_of, with_values
from metanet.pipeline.testbed import Testbed, build_testbed, never
from metanet.report.searches import SCHEMA
from metanet.settings import flat, plain
from metanet.storage import digest, match_settings, read_json, slug, write_json

logger = logging.getLogger(__name__)

TRIALS = 20  # of every method
MOST = 10_000
# Of a study's identity: trials of another objective are not comparable.
OBJECTIVE = "hypervolume on validation models with the ends, of mixtures if of one requirement"
_PARTS = ("editor", "training")  # of an EditorPlan


@dataclasses.dataclass(frozen=True)
class Search:
    """A search of one method.

    Attributes:
      experiment: with this method alone, its editors of one seed.
      method: its name.
      space: the ranges of its options, by path.
      own: the config's values of them, the first trial's.
    """

    experiment: ExperimentConfig
    method: str
    space: dict[str, Range]
    own: Values


def prepare(experiment: ExperimentConfig, method: str, spaces: Mapping[str, Range]) -> Search:
    """The search of a method in those of `spaces` that are of its options.

    Raises:
      UserError: there is no such method, or `spaces` has nothing of it (see `space_of`).
    """
    experiment = alone(experiment, method)
    return Search(experiment, method, *space_of(experiment, method, spaces))


def run(
    experiment: ExperimentConfig,
    folder: str | pathlib.Path,
    method: str,
    spaces: Mapping[str, Range],
    *,
    trials: int = TRIALS,
    about: dict | None = None,
    should_stop: Callable[[], bool] = never,
) -> dict:
    """Searches a method in `folder` and returns the content of search/NAME.json.

    Args:
      folder: perhaps that of a run, whose population is shared.
      spaces: ranges by option name, see `space_of`.
      trials: of the study in all, those of earlier calls included.
      about: see `pipeline.run`.

    Raises:
      UserError: a setting is unusable, or the study in `folder` is of other settings.
      Stopped: `should_stop()` became true; what is done is stored.
    """
    search, folder = prepare(experiment, method, spaces), pathlib.Path(folder)
    testbed = testbed_of(search, folder, should_stop)
    work(search, testbed, folder, trials)
    return results(search, testbed, folder, about_this_process() if about is None else about)


def testbed_of(search: Search, folder: pathlib.Path, should_stop: Callable[[], bool]) -> Testbed:
    """The testbed, which one process builds and the others load.

    Raises:
      UserError, Stopped: see `build_testbed`; or the study in `folder` is of other settings.
    """
    with hold(folder / "search" / "locks" / "testbed", should_stop):
        testbed = build_testbed(search.experiment, folder, should_stop=should_stop)
        match_settings(_home(search, folder), _identity(search, testbed))
    return testbed


def work(search: Search, testbed: Testbed, folder: pathlib.Path, trials: int) -> None:
    """Goes on with the study until it has so many trials; several processes may do that at once.

    Raises:
      UserError, Stopped: see `study.work`.
    """
    require(1 <= trials <= MOST, "trials", trials, f"1 to {MOST}")
    _study().work(
        _home(search, folder),
        _name(search, testbed),
        search.space,
        search.own,
        search.experiment.seed,
        trials,
        lambda values: _measured(search, testbed, folder, values),
        testbed.should_stop,
    )


def results(search: Search, testbed: Testbed, folder: pathlib.Path, about: dict) -> dict:
    """The study's trials and the best of them, which search/NAME.json holds from then on.

    Args:
      about: the command and the machine; those of an earlier command stay if no trial is new.
    """
    name, experiment = _name(search, testbed), search.experiment
    trials = _study().trials_of(_home(search, folder), name)
    best = max(trials, key=lambda one: one["hypervolume"])  # the first of equal ones
    path = _home(search, folder).with_suffix(".json")
    if path.exists():
        before = read_json(path)
        if before.get("trials") == trials:
            about = {key: before.get(key, value) for key, value in about.items()}
    content = {
        "schema": SCHEMA,
        "kind": "search",
        "study": name,
        "method": search.method,
        "task": experiment.task,
        "dataset": label_of(experiment.dataset),
        "seed": experiment.seed,
        "reference_point": list(experiment.evaluation.reference_point),
        "validation_models": len(testbed.split("validation")[0]),
        "space": _plain(search.space),
        "trials": trials,
        "best": best["number"],
        "lines": _lines(search, best["values"], name),
        "settings": plain(_identity(search, testbed)),
        **about,
        "versions": about["versions"] | versions(["optuna"]),
    }
    write_json(path, content)
    return content


def _study():
    """The module that needs Optuna.

    Raises:
      UserError: it is not installed.
    """
    try:
        from metanet.pipeline import study
    except ModuleNotFoundError as error:
        raise UserError(f"search: {error.name} not found; pip install -e '.[search]'") from error
    return study


def _home(search: Search, folder: pathlib.Path) -> pathlib.Path:
    """The folder of the study."""
    return folder / "search" / slug(search.method)


def _name(search: Search, testbed: Testbed) -> str:
    """The study's id: equal settings, data and spaces have the same."""
    return f"{slug(search.method)}-{digest(_identity(search, testbed))}"


def _plain(space: dict[str, Range]) -> dict:
    """A space for JSON, with the kind of each range."""
    return {path: {type(one).__name__: plain(one)} for path, one in space.items()}


def _identity(search: Search, testbed: Testbed) -> dict:
    """All settings that trials depend on, flat, for JSON: what is searched by its range."""
    settings = settings_of(testbed, search.method)
    for path in search.space:
        section, _, key = path.rpartition(".")
        names = {f"recipe.options.{path}"}
        if section == EDITOR:
            count = range(len(search.experiment.recipe(search.method).editors))
            names = {f"{EDITOR}.{n}.{part}.{key}" for n in count for part in _PARTS} & set(settings)
        settings |= dict.fromkeys(names, "searched")
    return settings | {"objective": OBJECTIVE} | flat(_plain(search.space), "space")


def _measured(
    search: Search, testbed: Testbed, folder: pathlib.Path, values: Values
) -> tuple[float, str | None]:
    """The hypervolume of one trial, 0 if it has no result, and why it has none.

    Of mixtures with the ends, where there is one requirement; on validation models and `select`
    data, no test model and no test data is looked at.
    """
    logger.info("search: %s", values)
    try:
        experiment = with_values(search.experiment, search.method, values)
        check_recipes(experiment)
        changed = dataclasses.replace(testbed, experiment=experiment)
        editors = _editors(changed, folder)
        recipe = experiment.recipe(search.method)
        chosen = [editors[name][0] for name in recipe.editors]
        method = make_method(changed, recipe, f"recipes.{search.method}", chosen)
        volume = validation_hypervolume(changed, method, ends_of(changed))
    except (Diverged, SettingError) as error:
        if isinstance(error, SettingError) and values == search.own:
            raise  # the config is unusable, not the trial
        logger.info("search: no result (%s)", error)
        return 0.0, str(error)
    finally:
        forget_programs()
    logger.info("search: hypervolume %.4f", volume)
    return volume, None


def _editors(testbed: Testbed, folder: pathlib.Path) -> dict[str, Any]:
    """The trial's editors, stored by their settings: those of a killed trial go on, and an editor
    that is not searched is trained once."""
    experiment = testbed.experiment
    if not experiment.used_editors:
        return {}
    plans = {name: plain(experiment.editors[name]) for name in experiment.used_editors}
    with hold(folder / "search" / "locks" / digest(plans), testbed.should_stop):
        return train_editors(
            testbed, folder / "search", store=testbed.folder, should_stop=testbed.should_stop
        )


def _lines(search: Search, values: Values, study: str) -> list[str]:
    """What is to be written into the config for these values."""
    by_editor = any(path.startswith(f"{EDITOR}.") for path in values)
    names = search.experiment.recipe(search.method).editors if by_editor else (search.method,)
    lines = []
    for name in names:
        owner = f"config.{'editors' if by_editor else 'recipes'}[{json.dumps(name)}]"
        pairs = {path.removeprefix(f"{EDITOR}."): value for path, value in values.items()}
        lines += [
            f"{owner}.{path} = {value!r}" for path, value in (pairs | {"study": study}).items()
        ]
    return lines
