"""Evaluates an experiment's methods; every method's entry is stored and computed once."""

import functools
import logging
import pathlib
import time
from collections.abc import Callable, Sequence

from metanet.core import Stopped, require
from metanet.devices import device_name, forget_programs, wait_for_all
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.evaluation.values import ENDS, Values, load_values, save_values, values_path
from metanet.pipeline.config import EDITED, ENDS_RECIPE, RecipeConfig
from metanet.pipeline.entries import INFEASIBLE, ends_entry, evaluate, levels_reached
from metanet.pipeline.locks import divided
from metanet.pipeline.recipes import bound
from metanet.pipeline.testbed import Testbed, never
from metanet.settings import flat
from metanet.storage import match_settings, read_json, slug, write_json

logger = logging.getLogger(__name__)


def evaluate_methods(
    testbed: Testbed,
    editors: dict[str, list[TrainedEditor]],
    folder: str | pathlib.Path,
    *,
    should_stop: Callable[[], bool] = never,
) -> tuple[dict[str, dict], dict[str, Values]]:
    """The entry of every method in results.json, in the experiment's order, and their values.

    The first is that of the ends, see `methods.ends`.

    Raises:
      UserError: a method's folder holds results of other settings, or is damaged.
      Stopped: `should_stop()` became true.
    """
    folder = pathlib.Path(folder)
    names = (ENDS, *testbed.experiment.method_names)

    def measure(name: str) -> dict:
        began = time.perf_counter()
        entry, values = _entry(testbed, editors, name)
        save_values(values_path(folder, name), values)
        seconds = round(time.perf_counter() - began, 2)
        return entry | {"wall_seconds": seconds, "device": device_name()}

    def whole(name: str) -> bool:
        return values_path(folder, name).exists()

    entries = stored(testbed, folder / "evaluation", names, measure, should_stop, whole=whole)
    return entries, {name: load_values(values_path(folder, name)) for name in names}


def make_method(
    testbed: Testbed, recipe: RecipeConfig, key: str, editors: Sequence[TrainedEditor]
) -> Method:
    """The method of a recipe, with one trained editor for each that the recipe names.

    Raises:
      SettingError: see `recipes.bound`; or the recipe returns something else.
    """
    function, options = bound(recipe, key)
    method = function(testbed, editors, **options)
    kind = f"{recipe.recipe!r}, which returns a {type(method).__name__}"
    require(isinstance(method, Method), f"{key}.recipe", kind, "a function that returns a Method")
    return method


def _entry(
    testbed: Testbed, editors: dict[str, list[TrainedEditor]], name: str
) -> tuple[dict, Values]:
    """The entry and the values of the method called `name`."""
    recipe, ends = testbed.experiment.recipe(name), ends_of(testbed)
    if name == ENDS:
        return ends_entry(testbed, ends)
    make = functools.partial(make_method, testbed, recipe, f"recipes.{name}")
    if not recipe.editors:
        entry, values = evaluate(testbed, [make(())], ends)
        del entry["seeds"]
        return entry, values
    count = min(len(editors[one]) for one in recipe.editors)
    count = min(count, recipe.seeds or count)
    methods = [make([editors[one][seed] for one in recipe.editors]) for seed in range(count)]
    entry, values = evaluate(testbed, methods, ends)
    first = editors[recipe.editors[0]][0].lambda_range[0]
    if testbed.experiment.levels and recipe.recipe == EDITED and first[0] < first[1]:
        entry["levels"] = levels_reached(testbed, methods[0], first)
    return entry, values


def ends_of(testbed: Testbed) -> Method:
    """The method of constant outputs and no edit, whose settings are on every front."""
    return testbed.cached("ends", lambda: make_method(testbed, RecipeConfig(ENDS_RECIPE), ENDS, ()))


def stored(
    testbed: Testbed,
    folder: pathlib.Path,
    names: Sequence[str],
    measure: Callable[[str], dict],
    should_stop: Callable[[], bool],
    more: dict | None = None,
    whole: Callable[[str], bool] = lambda name: True,
) -> dict[str, dict]:
    """measure(name) for each of the methods, from its file below `folder` if that exists.

    Processes that do this for the same folder divide the methods among them.

    Args:
      more: settings besides those of the experiment that entries depend on.
      whole: whether all that `measure` writes besides is there; else it is measured again.

    Raises:
      UserError: a method's folder holds results of other settings.
      Stopped: `should_stop()` became true.
    """

    def missing(name: str) -> bool:
        return not (entry_path(folder, name).exists() and whole(name))

    for name in names:
        match_settings(folder / slug(name), settings_of(testbed, name) | (more or {}))

    def work(name: str) -> None:
        if not missing(name):
            return
        if should_stop():
            done = len(names) - sum(map(missing, names))
            raise Stopped(f"{folder.name}: {done} of {len(names)} methods stored")
        logger.info("%s: %s", folder.name, name)
        write_json(entry_path(folder, name), measure(name))
        wait_for_all(f"{folder.name}: {name}")
        forget_programs()

    todo = [name for name in names if missing(name)]
    divided(todo, lambda name: folder / slug(name) / ".lock", work, should_stop)
    return {name: read_json(entry_path(folder, name), keys=("front",)) for name in names}


def entry_path(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The file that holds the entry of the method called `name`."""
    return folder / slug(name) / "entry.json"


def settings_of(testbed: Testbed, name: str) -> dict:
    """All settings that the entry of the method called `name` depends on, flat, for JSON."""
    experiment = testbed.experiment
    recipe = experiment.recipe(name)
    settings = testbed.identity | flat(recipe, "recipe") | flat(experiment.evaluation, "evaluation")
    for key in ("report_levels", "main_methods"):  # of the report
        del settings[f"evaluation.{key}"]
    settings["infeasible"] = INFEASIBLE
    del settings["recipe.study"]  # as of editors, where settings are from
    for index, editor in enumerate(recipe.editors):
        plan = experiment.editors[editor]
        settings |= flat(plan, f"editor.{index}")
        settings[f"editor.{index}.requirement"] = experiment.requirement_of(plan)
        del settings[f"editor.{index}.study"]
    function, options = bound(recipe, f"recipes.{name}")
    settings |= getattr(function, "identity", lambda _: {})(options)
    settings |= flat(experiment.shifts, "shifts")
    shared = ("requirement", "lambda_range", "levels", "seed")
    return settings | {key: getattr(experiment, key) for key in shared}
