"""Recipes: how a config's methods become Methods.

A recipe is any function (testbed, editors, *, option=default, ...) -> Method, named by its dotted
path. Its options are converted by their annotations: numbers, dataclasses from dicts, callables
from dotted paths. What it cannot do it says in an attribute `check`, a function (experiment, plans,
options) that raises UserError; `plans` are those of its editors.
"""

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from metanet.core import require
from metanet.dotted import resolve
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.pipeline.config import ExperimentConfig, RecipeConfig
from metanet.settings import convert, refuse_unknown


class Recipe(Protocol):
    """Makes a method for a testbed from as many editors as the config names, and options."""

    def __call__(self, testbed: Any, editors: Sequence[TrainedEditor], **options: Any) -> Method:
        """The method; `testbed` is a pipeline.testbed.Testbed."""
        ...


def bound(config: RecipeConfig, key: str) -> tuple[Callable, dict]:
    """The recipe's function, and its options converted by the annotations of its parameters.

    Raises:
      UserError: there is no such function, or an option is unknown, missing or of another type.
    """
    function = resolve(config.recipe, f"{key}.recipe", "a recipe")
    parameters = inspect.signature(function).parameters.values()
    known = {one.name: one for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}
    refuse_unknown(config.options, known, key)
    annotations = typing.get_type_hints(function)
    for name, parameter in known.items():
        given = name in config.options or parameter.default is not inspect.Parameter.empty
        require(given, f"{key}.{name}", "nothing", f"an option of {config.recipe}")
    options = {
        name: convert(annotations.get(name, Any), value, f"{key}.{name}")
        for name, value in config.options.items()
    }
    return function, options


def check_recipes(experiment: ExperimentConfig) -> None:
    """Refuses recipes that cannot run, before anything is trained; their options, used or not.

    Raises:
      UserError: see `bound`; or what the own check of a recipe that is used says.
    """
    options = {
        name: bound(config, f"recipes.{name}") for name, config in experiment.recipes.items()
    }
    for name in experiment.method_names:
        config = experiment.recipe(name)
        function, given = options.get(name) or bound(config, f"recipes.{name}")
        plans = [experiment.editors[editor] for editor in config.editors]
        check = getattr(function, "check", None)
        if check is not None:
            check(experiment, plans, f"recipes.{name}", given)
