"""Recipes, by which a config's methods become Methods.

A recipe is any function (testbed, editors, *, option=default, ...) -> Method, named by its dotted
path. Its options are converted by their annotations: numbers, dataclasses from dicts, callables
from dotted paths. What it cannot do it says in an attribute `check`, see `checked`.
"""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from metanet.core import SettingError, raised, require
from metanet.data.tabular import TabularData
from metanet.dotted import resolve_function
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.pipeline.config import SETTINGS, EditorPlan, ExperimentConfig, RecipeConfig
from metanet.settings import convert, plain, refuse_unknown


class Recipe(Protocol):
    """Makes a method for a testbed from as many editors as the config names, and options."""

    def __call__(self, testbed: Any, editors: Sequence[TrainedEditor], **options: Any) -> Method:
        """The method; `testbed` is a pipeline.testbed.Testbed."""
        ...


# check(experiment, plans of the recipe's editors, the recipe's config key, options) -> None; raises
# UserError about what the recipe cannot do.
Check = Callable[[ExperimentConfig, Sequence[EditorPlan], str, dict[str, Any]], None]
# check_data(data, the recipe's config key, options) -> None; raises UserError about data that the
# recipe cannot work on.
DataCheck = Callable[[TabularData, str, dict[str, Any]], None]
F = TypeVar("F", bound=Callable)


def checked(*checks: Check) -> Callable[[F], F]:
    """A decorator of recipes: `check` is to call all of `checks`, before anything is trained."""

    def check(experiment, plans, key, options):
        for one in checks:
            one(experiment, plans, key, options)

    def decorate(recipe: F) -> F:
        vars(recipe)["check"] = check
        return recipe

    return decorate


def checked_on_data(check: DataCheck) -> Callable[[F], F]:
    """A decorator of recipes: `check_data` is called once the data are loaded, before training."""

    def decorate(recipe: F) -> F:
        vars(recipe)["check_data"] = check
        return recipe

    return decorate


def identified(identity: Callable[[dict[str, Any]], dict]) -> Callable[[F], F]:
    """A decorator of recipes that read files: `identity` of the options is of their contents.

    Its settings, flat and for JSON, are among those that the method's entry depends on.
    """

    def decorate(recipe: F) -> F:
        vars(recipe)["identity"] = identity
        return recipe

    return decorate


def one_editor(
    experiment: ExperimentConfig, plans: Sequence[EditorPlan], key: str, options: dict
) -> None:
    """The check of a recipe that takes one editor."""
    require(len(plans) == 1, f"{key}.editors", f"{len(plans)} editors", "one")


def no_editors(
    experiment: ExperimentConfig, plans: Sequence[EditorPlan], key: str, options: dict
) -> None:
    """The check of a recipe that takes no editors."""
    require(not plans, f"{key}.editors", f"{len(plans)} editors", "none: the recipe uses no editor")


def count_options(*names: str) -> Check:
    """The check of options that are None or counts: of settings, rounds, steps between settings."""

    def check(experiment, plans, key, options):
        for name in names:
            value = options.get(name)
            ok = value is None or 1 <= value <= SETTINGS
            require(ok, f"{key}.{name}", value, f"1 to {SETTINGS}")

    return check


def damping_above_0(
    experiment: ExperimentConfig, plans: Sequence[EditorPlan], key: str, options: dict
) -> None:
    """The check of a recipe's option `damping`, without which Hessians have no inverse."""
    damping = options.get("damping", 1.0)
    require(damping > 0, f"{key}.damping", damping, "a number above 0")


def no_requirement(
    experiment: ExperimentConfig, plans: Sequence[EditorPlan], key: str, options: dict
) -> None:
    """The check of the option `newton` of a recipe without lambda, which a requirement needs."""
    newton = options.get("newton")
    expected = "False: only methods that are swept over lambda have it"
    require(newton is None or not newton.requirement, f"{key}.newton.requirement", True, expected)


def bound(config: RecipeConfig, key: str) -> tuple[Callable[..., Method], dict[str, Any]]:
    """The recipe's function, and its options converted by the annotations of its parameters.

    Raises:
      SettingError: there is no such function, or an option is unknown, missing or of another type.
    """
    expected = "a recipe: a function (testbed, editors, *, options) -> Method"
    function = resolve_function(config.recipe, f"{key}.recipe", expected, 2, True)
    return function, keyword_options(function, config.options, key, f"{key}.recipe", expected)


def keyword_options(
    function: Callable, values: Mapping[str, Any], key: str, function_key: str, expected: str
) -> dict[str, Any]:
    """`values` converted by the annotations of the function's keyword-only parameters.

    Args:
      key: of the values in the config;  function_key: of the function;  expected: what it is to be.

    Raises:
      SettingError: an option is unknown, missing or of another type.
    """
    parameters = inspect.signature(function).parameters.values()
    known = {one.name: one for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}
    refuse_unknown(values, known, key)
    try:
        annotations = typing.get_type_hints(function)
    except Exception as error:  # an annotation of a user's may not be one
        refused = f"{plain(function)!r}, whose annotations raise {raised(error)}"
        raise SettingError(function_key, refused, expected) from error
    for name, parameter in known.items():
        given = name in values or parameter.default is not inspect.Parameter.empty
        require(given, f"{key}.{name}", "nothing", f"an option of {plain(function)}")
    return {
        name: convert(annotations.get(name, Any), value, f"{key}.{name}")
        for name, value in values.items()
    }


def check_recipes(experiment: ExperimentConfig) -> None:
    """Refuses recipes that cannot run, before anything is trained; their options, used or not.

    Raises:
      SettingError: see `bound`; or what the checks of a recipe that is used say.
    """
    options = {
        name: bound(config, f"recipes.{name}") for name, config in experiment.recipes.items()
    }
    for name in experiment.method_names:
        config, key = experiment.recipe(name), f"recipes.{name}"
        function, given = options.get(name) or bound(config, key)
        alone = config.seeds is not None and not config.editors
        require(not alone, f"{key}.seeds", config.seeds, "nothing: only editors have seeds")
        plans = [experiment.editors[editor] for editor in config.editors]
        check = getattr(function, "check", None)
        if check is not None:
            check(experiment, plans, key, given)


def check_recipes_on_data(experiment: ExperimentConfig, data: TabularData) -> None:
    """Refuses recipes that cannot work on the data, before anything is trained.

    Raises:
      SettingError: what the data checks of a recipe that is used say, and how to run the others.
    """
    names, refused = experiment.method_names, dict[str, SettingError]()
    for name in names:
        key = f"recipes.{name}"
        function, options = bound(experiment.recipe(name), key)
        check = getattr(function, "check_data", None)
        try:
            if check is not None:
                check(data, key, options)
        except SettingError as error:
            refused[name] = error
    if not refused:
        return
    first, able = next(iter(refused.values())), tuple(one for one in names if one not in refused)
    if not able:
        raise first
    flags = f'--config.methods="{able}" --config.evaluation.main_methods="()"'
    expected = f"{first.expected}; without {', '.join(refused)}: {flags}"
    raise SettingError(first.key, first.found, expected) from first
