"""The strict boundary between config files and settings: ConfigDict to ExperimentConfig.

In a config, `config.editor` has the settings that all editors share, flat, and
`config.editors[name]` the changes of one of them.
"""

import dataclasses
import typing

from ml_collections import ConfigDict
from ml_collections.config_dict import RequiredValueError, placeholder

from metanet.core import SettingError, UserError, require
from metanet.pipeline.config import (
    EditorConfig,
    EditorPlan,
    EvaluationConfig,
    ExperimentConfig,
    OnlineConfig,
    PopulationConfig,
    RecipeConfig,
    TableConfig,
    TrainingConfig,
)
from metanet.pipeline.timing import TimingConfig
from metanet.settings import build, convert, join, refuse_unknown

# Each of an editor's keys belongs to one of these.
_PARTS = (EditorConfig, TrainingConfig, EditorPlan)
_NESTED = ("editor", "training")  # of EditorPlan
_LAUNCH = ("num_cpu_devices",)  # of the command, not of the experiment
_TIMED = ("seed", "dataset", "table", "group", "population")  # of all experiments of a timing run
_RECIPE = ("recipe", "editors", "seeds", "study")


def defaults(dataset: str) -> ConfigDict:
    """A config with every default of the dataclasses, which an experiment's config changes."""
    config = _config_dict(ExperimentConfig, skip=("editors", "recipes", "requirement"))
    config.dataset = dataset
    config.num_cpu_devices = 0  # host devices on CPU; 0 is one per core
    config.table = _config_dict(TableConfig)
    config.population = _config_dict(PopulationConfig)
    config.online = _config_dict(OnlineConfig)
    config.evaluation = _config_dict(EvaluationConfig)
    config.editor = _config_dict(*_PARTS, skip=("lambda_range", "requirement"))
    config.editors, config.recipes = ConfigDict(), ConfigDict()
    return config


def _config_dict(*classes, skip: tuple[str, ...] = ()) -> ConfigDict:
    """The defaults of dataclasses; None becomes a placeholder of the type that may stand there."""
    config = ConfigDict()
    for cls in classes:
        annotations = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            if field.name in skip or dataclasses.is_dataclass(annotations[field.name]):
                continue
            made = field.default_factory
            value = field.default if made is dataclasses.MISSING else made()
            config[field.name] = _placeholder(annotations[field.name]) if value is None else value
    return config


def _placeholder(annotation):
    """What stands for None in a config, and takes a value of the type that may be there instead."""
    kinds = [one for one in typing.get_args(annotation) if one is not type(None)]
    if len(kinds) > 1 or typing.get_origin(kinds[0]) is dict:
        return placeholder(object)  # flags have no type for it
    if dataclasses.is_dataclass(kinds[0]):
        return placeholder(dict)
    if typing.get_origin(kinds[0]) is typing.Literal:
        return placeholder(str)
    return placeholder(typing.get_origin(kinds[0]) or kinds[0])


def parse(config: ConfigDict) -> ExperimentConfig:
    """The settings of an experiment; every key is consumed once.

    Raises:
      UserError: a key is unknown, or its value unusable; the message has its full name.
    """
    return _experiment(_values(config))


def _values(config: ConfigDict) -> dict:
    """The config as plain values; keys of the command left out."""
    require(isinstance(config, ConfigDict), "config", repr(config), "a ConfigDict")
    try:
        values = config.to_dict()
    except RequiredValueError as error:
        raise UserError(f"config: found {error}, expected a value for it") from error
    return {key: value for key, value in values.items() if key not in _LAUNCH}


def _experiment(values: dict) -> ExperimentConfig:
    """The settings of an experiment from plain values."""
    shared, editors = values.pop("editor", {}), values.pop("editors", {})
    recipes = values.pop("recipes", {})
    for key, section in (("editor", shared), ("editors", editors), ("recipes", recipes)):
        require(isinstance(section, dict), key, repr(section), "keys and values")
    refuse_unknown(shared, _annotations(), "editor")
    for name, value in shared.items():
        convert(_annotations()[name], value, join("editor", name))
    general = {key: values[key] for key in ("lambda_range",) if key in values}
    plans = {name: _plan(name, general, shared, changes) for name, changes in editors.items()}
    methods = {name: _recipe(name, settings) for name, settings in recipes.items()}
    return build(ExperimentConfig, values | {"editors": plans, "recipes": methods})


def _annotations() -> dict:
    """The types of an editor's keys, by name."""
    types: dict[str, typing.Any] = {}
    for cls in _PARTS:
        types |= typing.get_type_hints(cls)
    return {name: kind for name, kind in types.items() if name not in _NESTED}


def _plan(name: str, general: dict, shared: dict, changes: dict) -> EditorPlan:
    """The editor called `name`: general and shared settings, with its changes."""
    key = f"editors.{name}"
    require(isinstance(changes, dict), key, repr(changes), "keys and values")
    refuse_unknown(changes, _annotations(), key)
    merged, parts = general | shared | changes, []
    for cls in _PARTS:
        names = {field.name for field in dataclasses.fields(cls)} - set(_NESTED)
        parts.append({k: v for k, v in merged.items() if k in names})
    shape, training, plan = parts
    try:
        nested = {
            "editor": build(EditorConfig, shape, key),
            "training": build(TrainingConfig, training, key),
        }
        return build(EditorPlan, plan | nested, key)
    except SettingError as error:
        rest = error.key.removeprefix(f"{key}.").removeprefix("editor.")
        first = rest.partition(".")[0]
        section = key if first in changes else "editor"
        whole = first in general and first not in shared | changes
        full = rest if whole else f"{section}.{rest}"
        raise SettingError(full, error.found, error.expected) from error


def _recipe(name: str, settings: dict) -> RecipeConfig:
    """The recipe called `name`."""
    key = f"recipes.{name}"
    require(isinstance(settings, dict), key, repr(settings), "keys and values")
    options = {k: v for k, v in settings.items() if k not in _RECIPE}
    reserved = {k: v for k, v in settings.items() if k in _RECIPE}
    try:
        return build(RecipeConfig, reserved | {"options": options}, key)
    except SettingError as error:  # in a config, options stand beside the other keys
        full = error.key.replace(f"{key}.options", key, 1)
        raise SettingError(full, error.found, error.expected) from error


def parse_timing(config: ConfigDict) -> TimingConfig:
    """The settings of a timing run: those of every experiment with the shared ones.

    Editors are trained for `steps` only: how long an edit takes does not depend on how good it is.

    Raises:
      UserError: see `parse`.
    """
    values = _values(config)
    parts, steps = values.pop("experiments"), values.pop("steps", None)
    require(isinstance(parts, dict), "experiments", repr(parts), "experiments by name")
    require(convert(int, steps, "steps") >= 1, "steps", steps, "at least 1")
    shared = {key: values.pop(key) for key in _TIMED if key in values}
    experiments = {}
    for name, part in parts.items():
        key = f"experiments.{name}"
        require(isinstance(part, dict), key, repr(part), "an experiment's keys and values")
        try:
            experiments[name] = _experiment(_short(part, steps) | shared)
        except SettingError as error:
            full = error.key if error.key.partition(".")[0] in shared else f"{key}.{error.key}"
            raise SettingError(full, error.found, error.expected) from error
    return build(TimingConfig, values | {"experiments": experiments})


def _short(values: dict, steps: int) -> dict:
    """An experiment whose editors are trained for `steps` only, each of one seed."""
    editor, editors = values.get("editor", {}), values.get("editors", {})
    if not (isinstance(editor, dict) and isinstance(editors, dict)):
        return values  # which is refused
    trained = {"steps": steps, "seeds": 1}
    kept = {
        name: {k: v for k, v in changes.items() if k not in trained}
        if isinstance(changes, dict) else changes
        for name, changes in editors.items()
    }  # fmt: skip
    known = {k: v for k, v in values.items() if k not in _LAUNCH}
    return known | {"editor": editor | trained, "editors": kept}
