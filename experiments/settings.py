"""The strict boundary between config files and settings: ConfigDict to ExperimentConfig.

In a config, `config.editor` has the settings that all editors share, flat, and
`config.editors[name]` what one of them changes.
"""

import dataclasses
import typing

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from metanet.core import require
from metanet.pipeline.config import (
    EditorConfig,
    EditorPlan,
    EvaluationConfig,
    ExperimentConfig,
    OnlineConfig,
    PopulationConfig,
    RecipeConfig,
    TrainingConfig,
)
from metanet.pipeline.timing import TimingConfig
from metanet.settings import build, convert, join, refuse_unknown

# Each of an editor's keys belongs to one of these.
_PARTS = (EditorConfig, TrainingConfig, EditorPlan)
_NESTED = ("editor", "training")  # of EditorPlan
_LAUNCH = ("num_cpu_devices",)  # of the command, not of the experiment
_TIMED = ("seed", "dataset", "group", "population")  # of all experiments of a timing run
_RECIPE = ("recipe", "editors", "seeds")


def defaults(dataset: str) -> ConfigDict:
    """A config with every default of the dataclasses, which an experiment's config changes."""
    config = _config_dict(ExperimentConfig, skip=("editors", "recipes", "requirement"))
    config.dataset = dataset
    config.num_cpu_devices = 0  # host devices on CPU; 0 is one per core
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
            value = field.default
            if value is dataclasses.MISSING:
                value = field.default_factory()
            if value is None:
                alternatives = typing.get_args(annotations[field.name])
                kind = next(one for one in alternatives if one is not type(None))
                value = placeholder(dict if dataclasses.is_dataclass(kind) else kind)
            config[field.name] = value
    return config


def parse(config: ConfigDict) -> ExperimentConfig:
    """The settings of an experiment; every key is consumed once.

    Raises:
      UserError: a key is unknown, or its value unusable; the message has its full name.
    """
    values = config.to_dict()
    for key in _LAUNCH:
        values.pop(key, None)
    shared, editors = values.pop("editor", {}), values.pop("editors", {})
    recipes = values.pop("recipes", {})
    for key, found in (("editor", shared), ("editors", editors), ("recipes", recipes)):
        require(isinstance(found, dict), key, found, "keys and values")
    refuse_unknown(shared, _annotations(), "editor")
    for name, value in shared.items():
        convert(_annotations()[name], value, join("editor", name))
    general = {"lambda_range": values["lambda_range"]} if "lambda_range" in values else {}
    plans = {name: _plan(name, general | shared, own) for name, own in editors.items()}
    methods = {name: _recipe(name, own) for name, own in recipes.items()}
    return build(ExperimentConfig, values | {"editors": plans, "recipes": methods})


def _annotations() -> dict:
    """The types of an editor's keys, by name."""
    found = {}
    for cls in _PARTS:
        found |= typing.get_type_hints(cls)
    return {name: kind for name, kind in found.items() if name not in _NESTED}


def _plan(name: str, shared: dict, own: dict) -> EditorPlan:
    """The editor called `name`: the shared settings with what it changes."""
    key = f"editors.{name}"
    require(isinstance(own, dict), key, own, "keys and values")
    refuse_unknown(own, _annotations(), key)
    merged, parts = shared | own, []
    for cls in _PARTS:
        names = {field.name for field in dataclasses.fields(cls)} - set(_NESTED)
        parts.append({k: v for k, v in merged.items() if k in names})
    shape, training, plan = parts
    nested = {
        "editor": build(EditorConfig, shape, key),
        "training": build(TrainingConfig, training, key),
    }
    return build(EditorPlan, plan | nested, key)


def _recipe(name: str, own: dict) -> RecipeConfig:
    """The recipe called `name`."""
    key = f"recipes.{name}"
    require(isinstance(own, dict), key, own, "keys and values")
    options = {k: v for k, v in own.items() if k not in _RECIPE}
    reserved = {k: v for k, v in own.items() if k in _RECIPE}
    return build(RecipeConfig, reserved | {"options": options}, key)


def parse_timing(config: ConfigDict) -> TimingConfig:
    """The settings of a timing run: those of every experiment with the shared ones.

    Editors are trained for `steps` only: how long an edit takes does not depend on how good it is.

    Raises:
      UserError: see `parse`.
    """
    values = config.copy_and_resolve_references()
    experiments = {}
    for name, part in values.experiments.items():
        for key in _TIMED:
            part[key] = values[key]
        part.editor.steps, part.editor.seeds = values.steps, 1
        for own in part.editors.values():
            with own.unlocked():
                for key in {"steps", "seeds"} & set(own):
                    del own[key]
        experiments[name] = parse(part)
    rest = {k: v for k, v in values.to_dict().items() if k not in (*_TIMED, "steps")}
    rest.pop("num_cpu_devices", None)
    return build(TimingConfig, rest | {"experiments": experiments})
