"""The methods of each task, by the names that configs and results use."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.study import Study
from metanet.baselines import data_minimisation as dm
from metanet.baselines import fairness, pruning
from metanet.baselines.distil import RetrainConfig
from metanet.core import stream
from metanet.data.tabular import Table
from metanet.editor.edit import Method, with_template
from metanet.editor.model import TrainedEditor
from metanet.evaluation.postprocess import postprocess, postprocess_seconds
from metanet.evaluation.sweep import (
    Sweep,
    editor_method,
    evaluate,
    masked_method,
    seconds_of,
    timed,
)
from metanet.graphs.convert import Models
from metanet.graphs.topology import Template
from metanet.mlp.probe import Points, ProbeConfig
from metanet.mlp.probing import probe_stack
from metanet.training.refine import RefineConfig, Sample, refined, unedited
from metanet.training.step import preference_pairs, sampling_pool

OPTIMUM = "Per-model optimum"
SHIFT_ON_PROBE = "Group shift (probe points)"
# Baselines that take something from an editor: its name, and what.
BORROWED = {"FS (GMN)": ("GMN", "masks"), SHIFT_ON_PROBE: ("GMN + probe", "points")}
BASELINES = {
    "pruning": (
        "Random",
        "Magnitude",
        "Magnitude (layer-normalised)",
        "Grad Importance",
        "SNIP",
        "Lottery Ticket",
        "SNIP & Distil",
        "OBD",
        "OBD & Distil",
        OPTIMUM,
    ),
    "dm": (
        "FS",
        "FS (per model)",
        "FS (GMN)",
        "FS & Retrain",
        "FS & Retrain (from original)",
        "Greedy & Retrain",
        OPTIMUM,
    ),
    "fairness": (*fairness.SETTINGS, OPTIMUM),
    "joint": (),
}


@dataclasses.dataclass(frozen=True)
class Swept:
    """A method with the settings that its front is swept over.

    Attributes:
      settings: what each setting is, for results.json.
      run: (model split, indices of settings) -> their Sweep, on the data of that split.
      seconds: (models, index of a setting) -> wall seconds of editing them: (first call, warm).
    """

    settings: tuple[dict, ...]
    run: Callable[[str, np.ndarray], Sweep]
    seconds: Callable[[np.ndarray, int], tuple[float, float]]


def swept(name: str, study: Study, editors: dict[str, TrainedEditor]) -> Swept:
    """The method called `name`: one of `editors`, or a baseline of the task.

    What a baseline fits or measures uses the `edit` data.
    """
    config = study.config
    table = jax.tree.map(jnp.asarray, study.data.edit)
    if name in editors:
        return _edited(study, editor_method, editors, name)
    if name in config.variants:
        return _edited(study, editor_method, editors, **config.variants[name].to_dict())
    if name in config.refined:
        return _refined(study, editors, **config.refined[name].to_dict())
    if name == "FS (GMN)":
        return _edited(study, masked_method, editors, "GMN")
    if name == OPTIMUM:
        return _optimum(study)
    if config.task == "fairness":
        return _postprocessed(study, name)
    if config.task == "pruning":
        fractions = np.array(config.evaluation.fractions)
        recipe = functools.partial(_pruning, name, config)
        if not name.startswith("OBD"):
            return _compiled(study, recipe, table, "fraction", fractions)
        probe = ProbeConfig(points=len(table.y))
        models = study.probed(probe)
        swept = _compiled(study, recipe, table, "fraction", fractions, [_all(models)])
        return _probing(study, probe, swept)
    counts = np.arange(1.0, study.data.n_features)
    if name in ("FS", "FS (per model)"):
        ranking, context = ("global", study.ranking) if name == "FS" else ("model", table)
        recipe = functools.partial(dm.selection, ranking=ranking)
        return _compiled(study, recipe, context, "features", counts)
    greedy = name == "Greedy & Retrain"
    recipe = functools.partial(_retrained, name, config)
    context = (table if greedy else study.ranking, table)
    counts = counts[::-1][:: config.evaluation.retrain_every]
    return _compiled(study, recipe, context, "features", counts, study.by_depth())


def _edited(
    study: Study,
    method: Method,
    editors: dict[str, TrainedEditor],
    editor: str,
    probe: dict | None = None,
    preferences: int | None = None,
) -> Swept:
    """A method that applies one of `editors`, which is its context.

    It looks at the points of `probe`, by default at those that it was trained with, and is swept
    over so many preferences, by default the config's number.
    """
    trained = editors[editor]
    shown = ProbeConfig(**probe) if probe else trained.config.probe
    count = preferences or study.config.evaluation.preferences
    values, groups = _preferences(study.config, count, editor), [_all(study.probed(shown))]
    swept = _compiled(study, lambda _: method, trained, "lambda", values, groups)
    return _probing(study, shown, swept)


def _refined(study: Study, editors: dict, editor: str, **settings) -> Swept:
    """The editor called `editor`, then gradient descent on every model."""

    def recipe(template):
        def edit(editor, graph, keys):
            return editor_method(with_template(editor, template), graph, keys)

        return refined(edit, template, study.requirement, RefineConfig(**settings))

    preferences = _preferences(study.config, study.config.evaluation.descents, editor)
    probe = editors[editor].config.probe
    swept = _descended(study, recipe, editors[editor], preferences, probe)
    return _probing(study, probe, swept)


def _optimum(study: Study) -> Swept:
    """Gradient descent on every model from its own parameters, masks included."""
    config = RefineConfig(**study.config.evaluation.optimum)

    def recipe(template):
        return refined(unedited(template), template, study.requirement, config)

    preferences = _preferences(study.config, study.config.evaluation.descents)
    return _descended(study, recipe, None, preferences, None)


def _descended(study: Study, recipe, start, preferences, probe: ProbeConfig | None) -> Swept:
    """A method that trains every model at every lambda, from what it makes of the context `start`.

    In a template per depth.
    """
    table, pool = sampling_pool(study.data.edit, study.config.editor.balanced)
    key = stream(study.config.seed, "refinement")
    sample = Sample(*jax.tree.map(jnp.asarray, (table, pool)), key)
    groups = study.by_depth(probe)
    return _compiled(study, recipe, (start, sample), "lambda", preferences, groups)


def _probing(study: Study, probe: ProbeConfig | None, swept: Swept) -> Swept:
    """`swept`, whose seconds hold those of probing the models too."""
    if probe is None:
        return swept
    points = study.points(probe)

    def seconds(ids, index):
        return tuple(np.add(swept.seconds(ids, index), _probe_seconds(study, ids, points)))

    return dataclasses.replace(swept, seconds=seconds)


def _probe_seconds(study: Study, ids: np.ndarray, points: Points) -> tuple[float, float]:
    """Wall seconds of probing the models `ids`: (first call, warm)."""
    first = np.cumsum([0, *[len(stack.activation) for stack in study.population.stacks]])
    spec = np.asarray(study.models.spec)[ids]
    total = np.zeros(2)
    for number in np.unique(spec):
        stack, rows = study.population.stacks[number], ids[spec == number] - first[number]
        params = jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf[rows]), stack.params)
        part = dataclasses.replace(stack, params=params, activation=stack.activation[rows])
        total += timed(lambda part=part: jax.block_until_ready(probe_stack(part, points)))
    return tuple(total.tolist())


def _retrained(name: str, config: ConfigDict, template: Template) -> Method:
    fresh = name == "FS & Retrain"
    settings = config.evaluation.retrain if fresh else config.evaluation.retrain_original
    start = "fresh" if fresh else "original"
    ranking = "greedy" if name == "Greedy & Retrain" else "global"
    return dm.selection_retrained(template, ranking, RetrainConfig(**settings), start)


def _preferences(config: ConfigDict, count: int, editor: str = "") -> np.ndarray:
    """`count` values of lambda: [S], or [S, requirements], a grid, where there are several.

    Over the range that the editor called `editor` was trained on.
    """
    own = config.editors.get(editor) or {}
    axes = [np.geomspace(*pair, 1 if pair[0] == pair[1] else count)
            for pair in preference_pairs(own.get("preference", config.preference))]  # fmt: skip
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    return grid[:, 0] if len(axes) == 1 else grid


def _split(study: Study, split: str):
    """The models of a split and the data that they are evaluated on.

    Settings are chosen on `evaluation.validation_models` of the validation models.
    """
    ids = study.population.ids(split)
    if split == "test":
        return ids, study.data.test
    ids = ids[~study.degenerate[ids]]
    size = min(study.config.evaluation.validation_models, len(ids))
    rng = np.random.default_rng(study.config.seed)
    return np.sort(rng.choice(ids, size, replace=False)), study.data.select


def _all(models: Models) -> tuple[np.ndarray, Models]:
    """All models as one group, see `_compiled`."""
    return np.arange(len(models.spec)), models


def _compiled(
    study: Study,
    recipe: Callable[[Template], Method],
    context,
    label: str,
    values: np.ndarray,
    groups: list[tuple[np.ndarray, Models]] | None = None,
) -> Swept:
    """A method that runs in compiled programs, one per group of models.

    Args:
      recipe: the method in a template.
      groups: (rows of `study.models`, the same models in a template of theirs) that together are
        all models; by default one group.
    """
    seed, batch_size = study.config.seed, study.config.evaluation.batch_size
    groups = groups or [_all(study.models)]

    def parts(ids):
        """(where in `ids`, method, models, their numbers there) of every group that `ids` has."""
        for rows, models in groups:
            where = np.flatnonzero(np.isin(ids, rows))
            if where.size:
                yield where, recipe(models.template), models, np.searchsorted(rows, ids[where])

    def run(split, indices):
        ids, table = _split(study, split)
        order, sweeps = [], []
        for where, method, models, local in parts(ids):
            order.append(where)
            sweeps.append(evaluate(method, context, models, local, values[indices], table,
                                   study.requirement, seed, batch_size))  # fmt: skip
        place = np.argsort(np.concatenate(order))
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves, 1)[:, place],
                              *map(dataclasses.asdict, sweeps))  # fmt: skip
        return Sweep(**joined)

    def seconds(ids, index):
        total = np.zeros(2)
        for _, method, models, local in parts(ids):
            size = min(batch_size, len(local))
            total += seconds_of(method, context, models, local, values[index], size)
        return tuple(total.tolist())

    return Swept(tuple({label: value.tolist()} for value in values), run, seconds)


def _postprocessed(study: Study, name: str) -> Swept:
    fit = study.data.edit
    if name == SHIFT_ON_PROBE:
        editor, _ = BORROWED[name]
        fit = _labelled(study, ProbeConfig(**study.config.editors[editor].probe))

    def run(split, indices):
        ids, table = _split(study, split)
        return postprocess(name, study.models, ids, indices, fit, table)

    def seconds(ids, index):
        return postprocess_seconds(name, study.models, ids, index, fit, study.data.test)

    return Swept(fairness.SETTINGS[name][1], run, seconds)


def _labelled(study: Study, probe: ProbeConfig) -> Table:
    """What an editor with the labelled `probe` is shown of the `edit` data."""
    points, groups = study.points(probe), study.data.edit.n_groups
    label, group = points.cell // groups, points.cell % groups
    return Table(*map(np.asarray, (points.x, label, group, points.weight)), n_groups=groups)


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
    start, _, distil = name.partition(" & ")
    damage = start == "OBD"
    plain = pruning.brain_damage(template) if damage else pruning.one_shot(scores[start], template)
    if not distil:
        return plain
    return pruning.distilled(plain, template, RetrainConfig(**config.evaluation.distil))
