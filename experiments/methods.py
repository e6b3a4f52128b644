"""The methods of each task, by the names that configs and results use."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from metanet.baselines import data_minimisation as dm
from metanet.baselines import fairness, pruning
from metanet.baselines.distil import RetrainConfig
from metanet.data.tabular import TabularData
from metanet.editor.edit import Method
from metanet.editor.model import TrainedEditor
from metanet.evaluation.postprocess import postprocess, postprocess_seconds
from metanet.evaluation.sweep import (
    Sweep,
    editor_method,
    evaluate,
    map_models,
    masked_method,
    seconds_per_model,
)
from metanet.graphs.convert import Models
from metanet.mlp.population import Population
from metanet.objectives.base import Objective

BASELINES = {
    "pruning": (
        "Random",
        "Magnitude",
        "Magnitude (layer-normalised)",
        "Grad Importance",
        "SNIP",
        "Lottery Ticket",
        "SNIP & Distil",
    ),
    "dm": ("FS", "FS (per model)", "FS (GMN)", "FS & Retrain", "FS & Retrain (from original)"),
    "fairness": tuple(fairness.SETTINGS),
}

RANKING_MODELS = 200  # training models whose mean importance ranks the features of a dataset


@dataclasses.dataclass(frozen=True)
class Study:
    """What all methods are applied to."""

    config: ConfigDict
    models: Models
    population: Population
    data: TabularData
    requirement: Objective

    @functools.cached_property
    def ranking(self) -> jax.Array:
        """One importance for each feature of the dataset, for all models: [features] float32."""
        table = jax.tree.map(jnp.asarray, self.data.edit)
        ids = self.population.ids("train")
        ids = ids[:: -(-len(ids) // RANKING_MODELS)]
        importances = dm.importances(self.models.template)
        per_model = map_models(importances, table, self.models, ids, self.config.seed)
        return jnp.asarray(dm.global_importance(per_model))


@dataclasses.dataclass(frozen=True)
class Swept:
    """A method with the settings that its front is swept over.

    Attributes:
      settings: what each setting is, for results.json.
      run: (model split, indices of settings) -> their Sweep, on the data of that split.
      seconds: index of a setting -> wall seconds per test model.
    """

    settings: tuple[dict, ...]
    run: Callable[[str, np.ndarray], Sweep]
    seconds: Callable[[int], float]


def swept(name: str, study: Study, editors: dict[str, TrainedEditor]) -> Swept:
    """The method called `name`: one of `editors`, or a baseline of the task.

    What a baseline fits or measures uses the `edit` data.
    """
    config, template = study.config, study.models.template
    table = jax.tree.map(jnp.asarray, study.data.edit)
    low, high = config.preference
    preferences = np.geomspace(low, high, 1 if low == high else config.evaluation.preferences)
    if name in editors:
        return _compiled(study, editor_method, editors[name], "lambda", preferences)
    if name == "FS (GMN)":
        return _compiled(study, masked_method, editors["GMN"], "lambda", preferences)
    if config.task == "fairness":
        return _postprocessed(study, name)
    if config.task == "pruning":
        method = _pruning(name, config, template)
        return _compiled(study, method, table, "fraction", np.array(config.evaluation.fractions))
    counts = np.arange(1.0, study.data.n_features)
    if name == "FS (per model)":
        return _compiled(study, dm.selection(template, "model"), table, "features", counts)
    if name == "FS":
        return _compiled(study, dm.selection(template, "global"), study.ranking, "features", counts)
    start = "fresh" if name == "FS & Retrain" else "original"
    retrain = RetrainConfig(**config.evaluation.retrain)
    method = dm.selection_retrained(template, "global", retrain, start)
    return _compiled(study, method, (study.ranking, table), "features", counts)


def _split(study: Study, split: str):
    """The models of a split and the data that they are evaluated on."""
    table = {"validation": study.data.select, "test": study.data.test}[split]
    return study.population.ids(split), table


def _compiled(study: Study, method: Method, context, label: str, values: np.ndarray) -> Swept:
    seed, batch_size = study.config.seed, study.config.evaluation.batch_size

    def run(split, indices):
        ids, table = _split(study, split)
        settings = values[indices]
        return evaluate(
            method, context, study.models, ids, settings, table, study.requirement, seed, batch_size
        )

    def seconds(index):
        ids = study.population.ids("test")
        return seconds_per_model(method, context, study.models, ids, values[index], batch_size)

    return Swept(tuple({label: float(value)} for value in values), run, seconds)


def _postprocessed(study: Study, name: str) -> Swept:
    fit = study.data.edit

    def run(split, indices):
        ids, table = _split(study, split)
        return postprocess(name, study.models, ids, indices, fit, table)

    def seconds(index):
        ids, table = _split(study, "test")
        return postprocess_seconds(name, study.models, ids[:16], index, fit, table)

    return Swept(fairness.SETTINGS[name][1], run, seconds)


def _pruning(name, config, template):
    scores = {
        "Random": pruning.random,
        "Magnitude": pruning.magnitude,
        "Magnitude (layer-normalised)": pruning.layer_magnitude,
        "Grad Importance": pruning.gradient,
        "SNIP": pruning.snip,
    }
    if name == "Lottery Ticket":
        rounds = config.evaluation.lottery_rounds
        return pruning.lottery_ticket(template, rounds, RetrainConfig(**config.evaluation.lottery))
    if name == "SNIP & Distil":
        return pruning.distilled(pruning.snip, template, RetrainConfig(**config.evaluation.distil))
    return pruning.one_shot(scores[name], template)
