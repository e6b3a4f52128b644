"""Search spaces: the ranges of a method's free options, as data."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from metanet.core import UserError, keys_below, require
from metanet.pipeline.config import EditorPlan, ExperimentConfig, RecipeConfig
from metanet.pipeline.recipes import bound

EDITOR = "editor"  # what the path of an editor's setting begins with
Unless = tuple[str, Any] | None
Values = dict[str, Any]  # by path: OPTION, OPTION.FIELD or editor.KEY


@dataclasses.dataclass(frozen=True)
class Log:
    """Numbers from `low` to `high`, uniform in the logarithm.

    Attributes:
      unless: (another key of the same section, a value of it) with which the option has no effect,
        so that it is not searched.
    """

    low: float
    high: float
    unless: Unless = None

    def __post_init__(self):
        ok = _numbers(self.low, self.high) and 0 < self.low < self.high
        require(ok, "space", (self.low, self.high), "low and high with 0 < low < high")

    def including(self, value) -> "Log":
        """The range with `value`, which must be positive, in it."""
        require(_numbers(value) and value > 0, "space", repr(value), "a positive number")
        return dataclasses.replace(self, low=min(self.low, value), high=max(self.high, value))


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Numbers from `low` to `high`, uniform; `unless` as of `Log`."""

    low: float
    high: float
    unless: Unless = None

    def __post_init__(self):
        ok = _numbers(self.low, self.high) and self.low < self.high
        require(ok, "space", (self.low, self.high), "low and high with low < high")

    def including(self, value) -> "Uniform":
        """The range with `value`, a number, in it."""
        require(_numbers(value), "space", repr(value), "a number")
        return dataclasses.replace(self, low=min(self.low, value), high=max(self.high, value))


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values: numbers, text or truth values; `unless` as of `Log`."""

    values: tuple[Any, ...]
    unless: Unless = None

    def __post_init__(self):
        known = isinstance(self.values, tuple) and len(self.values) > 0
        known = known and all(isinstance(one, (bool, int, float, str)) for one in self.values)
        once = known and len(set(self.values)) == len(self.values)
        require(once, "space", repr(self.values), "a tuple of numbers or text, every one once")

    def including(self, value) -> "Choice":
        """The choice with `value` in it."""
        if value in self.values:
            return self
        values = (*self.values, value)
        return dataclasses.replace(
            self, values=tuple(sorted(values)) if _numbers(*values) else values
        )


Range = Log | Uniform | Choice
RANGES = (Log, Uniform, Choice)


def _numbers(*values) -> bool:
    return all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in values)


def check(spaces, source: str) -> dict[str, Range]:
    """`spaces`, if it is ranges by option name.

    Args:
      source: where they are from, for the message.

    Raises:
      UserError: it is something else.
    """
    if not isinstance(spaces, Mapping) or not all(isinstance(name, str) for name in spaces):
        raise UserError(f"{source}: found {type(spaces).__name__}, expected ranges by option name")
    for name, one in spaces.items():
        if not isinstance(one, RANGES):
            kinds = ", ".join(kind.__name__ for kind in RANGES)
            raise UserError(f"{source}: found {name} = {one!r}, expected one of {kinds}")
    return dict(spaces)


def alone(experiment: ExperimentConfig, method: str) -> ExperimentConfig:
    """The experiment with one method, its editors of one seed; nothing is reported.

    Raises:
      UserError: there is no such method.
    """
    names = (*experiment.editors, *(n for n in experiment.recipes if n not in experiment.editors))
    if method not in names:
        raise UserError(f"--method: found {method!r}, expected one of {', '.join(names)}")
    evaluation = dataclasses.replace(experiment.evaluation, main_methods=(), subsets={})
    editors = {
        name: dataclasses.replace(experiment.editors[name], seeds=1, study=None)
        for name in experiment.recipe(method).editors
        if name in experiment.editors
    }
    recipes = {method: experiment.recipes[method]} if method in experiment.recipes else {}
    recipes = {name: dataclasses.replace(one, study=None) for name, one in recipes.items()}
    return dataclasses.replace(
        experiment, methods=(method,), editors=editors, recipes=recipes, evaluation=evaluation,
        levels=(), shifts={},
    )  # fmt: skip


def space_of(
    experiment: ExperimentConfig, method: str, spaces: Mapping[str, Range]
) -> tuple[dict[str, Range], Values]:
    """What is searched for a method: the range of each option, by path, and the config's values.

    An option is searched if its path, or the end of it after a dot, is in `spaces`; of several
    names the longest counts. Names of editors' settings begin with "editor.". These are searched
    only for a method without searched options of its own: one that refines editors takes them as
    they are. A range that does not hold the config's own value is extended to it.

    Args:
      spaces: ranges by name: "learning_rate", "distil.learning_rate", "editor.learning_rate".

    Raises:
      UserError: nothing of the method is in `spaces`, or its editors differ in what is.
    """
    recipe = experiment.recipe(method)
    sections = _options(recipe, method)
    space, own = _searched(sections, spaces)
    if not space:
        plans = [experiment.editors[name] for name in recipe.editors]
        mine = {name: one for name, one in spaces.items() if name.startswith(f"{EDITOR}.")}
        found = [_searched({f"{EDITOR}.": _settings(plan)}, mine) for plan in plans]
        for name, other in zip(recipe.editors, found, strict=True):
            same, first = other[1] == found[0][1], recipe.editors[0]
            expected = f"those of {first}, {found[0][1]}: they are searched together"
            require(same, f"editors.{name}", other[1], expected)
        space, own = found[0] if found else ({}, {})
    if not space:
        paths = [f"{section}{name}" for section, part in sections.items() for name in part]
        raise UserError(
            f"--spaces: found no range for {method}, expected one for some of its options: "
            f"{', '.join(paths) or 'it has none'}"
        )
    return space, own


def _options(recipe: RecipeConfig, method: str) -> dict[str, Values]:
    """A recipe's options, with their defaults, by section: "" or "OPTION." of a dataclass."""
    function, options = bound(recipe, f"recipes.{method}")
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            options.setdefault(name, parameter.default)
    sections: dict[str, Values] = {"": {}}
    for name, value in options.items():
        if dataclasses.is_dataclass(value):
            sections[f"{name}."] = _fields(value)
        else:
            sections[""][name] = value
    return sections


def _settings(plan: EditorPlan) -> Values:
    """The settings of an editor and its training, by key."""
    return _fields(plan.editor) | _fields(plan.training)


def _fields(value) -> Values:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _searched(
    sections: dict[str, Values], spaces: Mapping[str, Range]
) -> tuple[dict[str, Range], Values]:
    """The ranges and values of those options of `sections` that `spaces` names."""
    space: dict[str, Range] = {}
    own: Values = {}
    for section, values in sections.items():
        for key, value in values.items():
            path = f"{section}{key}"
            names = [name for name in spaces if path == name or path.endswith(f".{name}")]
            if not names or not isinstance(value, (bool, int, float, str)):
                continue
            one = spaces[max(names, key=len)]
            if one.unless is not None and values.get(one.unless[0]) == one.unless[1]:
                continue
            with keys_below(path):
                space[path], own[path] = one.including(value), value
    return space, own


def with_values(experiment: ExperimentConfig, method: str, values: Values) -> ExperimentConfig:
    """The experiment with other values of a method's options, or of its editors' settings.

    Raises:
      SettingError: they do not go together.
    """
    changes: dict[str, Values] = {}
    for path, value in values.items():
        section, _, key = path.rpartition(".")
        changes.setdefault(section, {})[key] = value
    recipe = experiment.recipe(method)
    editors, mine = dict(experiment.editors), changes.pop(EDITOR, {})
    for name in recipe.editors:
        editors[name] = _replaced(editors[name], mine)
    recipes = dict(experiment.recipes)
    if changes:
        options = dict(recipe.options) | changes.pop("", {})
        given = bound(recipe, f"recipes.{method}")[1]
        defaults = inspect.signature(bound(recipe, f"recipes.{method}")[0]).parameters
        for section, part in changes.items():
            before = given[section] if section in given else defaults[section].default
            options[section] = dataclasses.replace(before, **part)
        recipes[method] = dataclasses.replace(recipe, options=options)
    return dataclasses.replace(experiment, editors=editors, recipes=recipes)


def _replaced(plan: EditorPlan, values: Values) -> EditorPlan:
    """The plan with other settings of the editor and its training."""
    shape = {field.name for field in dataclasses.fields(plan.editor)}
    editor = dataclasses.replace(plan.editor, **{k: v for k, v in values.items() if k in shape})
    rest = {k: v for k, v in values.items() if k not in shape}
    return dataclasses.replace(
        plan, editor=editor, training=dataclasses.replace(plan.training, **rest)
    )
