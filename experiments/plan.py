"""What a config asks for: every editor's settings, which editors a method uses, and the checks."""

import dataclasses
import importlib.util

import numpy as np
from ml_collections import ConfigDict

from metanet.core import UserError, digest, require
from metanet.editor.model import EditorConfig
from metanet.methods.fairness.table import LIBRARIES
from metanet.methods.refine import RefineConfig
from metanet.mlp.sampling import Family, PopulationConfig, sample_catalogue
from metanet.mlp.spec import MLPSpec
from metanet.objectives.base import resolve
from metanet.probes.rows import ProbeConfig
from metanet.training.config import TrainingConfig
from metanet.training.loop import check_lambda_range

OPTIMUM = "Per-model optimum"
SHIFT_ON_PROBE = "Group shift (probe points)"
# Baselines that take something from an editor: its name, and what.
BORROWED = {"FS (GMN)": ("GMN", "masks"), SHIFT_ON_PROBE: ("GMN + probe", "points")}
# Kinds of specs that an editor may be kept from in training: `editor.unseen`. "held out" are about
# a fifth, by a hash of what they are: how much an editor loses on specs that it has not seen.
# Stored editors are found by a kind's name, so one that is changed needs another.
KINDS = {
    "held out": lambda spec: int(digest(dataclasses.asdict(spec)), 16) % 5 == 0,
    "wide": lambda spec: max(spec.widths[1:-1]) > 16,
    "deep": lambda spec: spec.n_layers > 4,
    "skips": lambda spec: len(spec.skips) > 1,
}


def tuples(value):
    """Sequences as tuples, at all depths: a config read back from JSON has lists."""
    return tuple(map(tuples, value)) if isinstance(value, (tuple, list)) else value


def fields(cls, values: dict):
    """An instance of the dataclass `cls` from those of `values` that it has."""
    names = {field.name for field in dataclasses.fields(cls)}
    return cls(**{key: value for key, value in values.items() if key in names})


def catalogue_of(config: ConfigDict, data) -> tuple[PopulationConfig, tuple[Family, ...]]:
    """What the config's population is drawn from, and its families; data: tabular."""
    drawn = fields(PopulationConfig, config.population.to_dict())
    return drawn, sample_catalogue(config.seed, drawn, data.n_features, data.n_classes)


def slug(name: str) -> str:
    """The folder of the method or editor called `name`."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def editor_settings(config: ConfigDict, name: str) -> dict:
    """The keys of `config.editor`, with what the editor called `name` changes."""
    general = {key: tuples(config[key]) for key in ("lambda_range", "requirement")}
    own = {key: tuples(value) for key, value in config.editors[name].to_dict().items()}
    return config.editor.to_dict() | general | own


def editor_plan(config: ConfigDict, name: str) -> tuple[EditorConfig, TrainingConfig]:
    """The editor called `name`, and how it is trained."""
    settings = editor_settings(config, name)
    if settings["probe"] is not None:
        settings["probe"] = ProbeConfig(**settings["probe"])
    return fields(EditorConfig, settings), fields(TrainingConfig, settings)


def editors_of(config: ConfigDict, name: str) -> tuple[str, ...]:
    """The editors that the method called `name` is or uses, whose seeds are its own."""
    for key in ("composed", "united"):
        if name in config[key]:
            return tuple(config[key][name])
    for key in ("variants", "refined"):
        if name in config[key]:
            return (config[key][name].editor,)
    return (name,) if name in config.editors else ()


def method_names(config: ConfigDict) -> list[str]:
    """All methods of a run, in the order of its results."""
    used = (config[key] for key in ("editors", "variants", "composed", "united", "refined"))
    return [*(name for group in used for name in group), *config.baselines]


def training_ids(
    ids: np.ndarray,
    experiment: np.ndarray,
    specs: list[MLPSpec],
    share: float,
    unseen: str | None,
    control: bool,
) -> np.ndarray:
    """Those of the training models `ids` that an editor is trained on.

    Args:
      experiment, specs: of each of `ids`; the models of one experiment stay together.
      share: of the experiments that are left without `unseen`; a smaller share is part of a larger.
      unseen: a kind of specs (see KINDS) that is left out.
      control: nothing is left out, but there are as few experiments, drawn from all.
    """
    count = len(np.unique(experiment))
    if unseen is not None:
        kept = np.array([not KINDS[unseen](spec) for spec in specs], bool)
        count = len(np.unique(experiment[kept]))
        if not control:
            ids, experiment = ids[kept], experiment[kept]
    order = np.random.default_rng(0).permutation(np.unique(experiment))
    return ids[np.isin(experiment, order[: round(share * count)])]


def check(config: ConfigDict, baselines: dict[str, tuple[str, ...]]) -> None:
    """Refuses bad values before anything is trained; baselines: the known ones of every task.

    Raises:
      UserError: a value is unusable, or a library is missing.
    """
    resolve(tuples(config.requirement))
    require(config.task in baselines, "task", config.task, ", ".join(baselines))
    unknown = set(config.baselines) - set(baselines[config.task])
    known = f"some of {', '.join(baselines[config.task])}"
    require(not unknown, "baselines", sorted(unknown), known)
    mode = config.population.mode
    require(mode in ("offline", "online"), "population.mode", mode, "offline or online")
    needed = [library for name, library in LIBRARIES.items() if name in config.baselines]
    missing = [library for library in needed if importlib.util.find_spec(library) is None]
    if missing:
        raise UserError(
            f"config key baselines: they need {', '.join(missing)}, which is not installed; "
            "pip install 'metanet[baselines]'"
        )
    counts = ("n_lambdas", "refinements", "refined_seeds", "descents")
    for key in (*counts, "validation_models", "test_models"):
        count = config.evaluation[key]
        require(count >= 1, f"evaluation.{key}", count, "at least 1")
    known = f"one of {', '.join(config.editors)}"
    for key in ("variants", "composed", "united", "refined"):
        for name in config[key]:
            for found in editors_of(config, name):
                require(found in config.editors, f"{key}.{name}", found, known)
    for name, (editor, uses) in BORROWED.items():
        ready = name not in config.baselines or editor in config.editors
        require(ready, "baselines", name, f"an editor called {editor}, whose {uses} it uses")
    for settings in config.refined.values():
        RefineConfig(**{key: value for key, value in settings.items() if key != "editor"})
    for name in config.editors:
        _check_editor(config, name)
    for name in config.variants:
        _check_points(config, name)
    for name in config.composed:
        probes = [one for one in editors_of(config, name) if editor_plan(config, one)[0].probe]
        require(not probes, f"composed.{name}", probes, "editors without probes")


def _check_editor(config: ConfigDict, name: str) -> None:
    settings = editor_settings(config, name)
    resolve(settings["requirement"])
    check_lambda_range(settings["requirement"], editor_plan(config, name)[1])
    require(settings["seeds"] >= 1, "editor.seeds", settings["seeds"], "at least 1")
    share = settings["share"]
    require(0 < share <= 1, "editor.share", share, "a fraction above 0, at most 1")
    known = f"none, or one of {', '.join(KINDS)}"
    require(settings["unseen"] in (None, *KINDS), "editor.unseen", settings["unseen"], known)
    ready = settings["unseen"] is not None or not settings["control"]
    require(ready, "editor.control", True, "editor.unseen, whose number of experiments it takes")
    datasets, known = settings["datasets"], (config.dataset, *config.others)
    expected = f"some of {', '.join(known)}"
    require(set(datasets) <= set(known), "editor.datasets", datasets, expected)
    if config.population.mode == "online":
        plain = not datasets and not settings["probe"] and settings["unseen"] is None
        ready = plain and settings["share"] == 1
        known = "editors without probe, datasets, share and unseen"
        require(ready, "population.mode", f"online for {name}", known)
    # Masks of inputs and probes are of the dataset's own features.
    ready = not datasets or (settings["mask"] in ("none", "edges") and not settings["probe"])
    require(ready, "editor.datasets", datasets, "an editor without probes and masks of inputs")


def _check_points(config: ConfigDict, name: str) -> None:
    settings = config.variants[name]
    if "probe" not in settings:
        return
    own, other = editor_plan(config, settings.editor)[0].probe, ProbeConfig(**settings.probe)
    known = "a probe with labels where its editor's has them, and only there"
    same = own is not None and own.labelled == other.labelled
    require(same, f"variants.{name}.probe", settings.probe.to_dict(), known)
