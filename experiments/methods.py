"""The methods of each task, by the names that configs and results use."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from metanet.baselines import data_minimisation as dm
from metanet.baselines import fairness, pruning

from experiments.plan import BORROWED, OPTIMUM, SHIFT_ON_PROBE
from experiments.study import Study
from experiments.swept import Swept, all_models, compiled, grid, lambdas_of, probing
from metanet.core import stream
from metanet.data.tabular import Table
from metanet.editor.apply import with_template
from metanet.editor.edits import EditFn
from metanet.editor.model import TrainedEditor
from metanet.evaluation.postprocess import postprocess, postprocess_seconds
from metanet.evaluation.sweep import Sweep, composed_method, editor_method, masked_method
from metanet.graphs.topology import Template
from metanet.methods.composition import selected_pruned
from metanet.methods.refine import RefineConfig, Sample, refined, unedited
from metanet.methods.retrain import RetrainConfig
from metanet.probes.rows import ProbeConfig
from metanet.training.inputs import sampling_pool

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
    "compose": ("FS & Retrain, then SNIP", "FS & Retrain, then SNIP & Distil"),
}


def swept(name: str, study: Study, editors: dict[str, TrainedEditor]) -> Swept:
    """The method called `name`: one of `editors`, what uses them, or a baseline of the task.

    What a baseline fits or measures uses the `edit` data.
    """
    config = study.config
    table = jax.tree.map(jnp.asarray, study.data.edit)
    if name in editors:
        return edited(study, editors, name)
    if name in config.variants:
        return edited(study, editors, **config.variants[name].to_dict())
    if name in config.composed:
        return _composed(study, [editors[one] for one in config.composed[name]], name)
    if name in config.united:
        return _front_union([swept(one, study, editors) for one in config.united[name]])
    if name in config.refined:
        return _refined(study, editors, **config.refined[name].to_dict())
    if name == "FS (GMN)":
        return edited(study, editors, "GMN", method=masked_method)
    if name == OPTIMUM:
        return _optimum(study)
    if config.task == "fairness":
        return _postprocessed(study, name)
    if config.task == "pruning":
        fractions = np.array(config.evaluation.fractions)
        recipe = functools.partial(_pruning, name, config)
        if not name.startswith("OBD"):
            return compiled(study, recipe, table, "fraction", fractions)
        probe = ProbeConfig(points=len(table.y))
        models = study.probed(probe)
        damage = compiled(study, recipe, table, "fraction", fractions, [all_models(models)])
        return probing(study, probe, damage)
    counts = np.arange(1.0, study.data.n_features)
    if config.task == "compose":
        counts = counts[:: config.evaluation.retrain_every]
        recipe = functools.partial(_selected_pruned, name, config, counts)
        pairs = grid(counts, np.array(config.evaluation.fractions))
        return compiled(study, recipe, (study.ranking, table), "features, fraction", pairs,
                        study.by_depth())  # fmt: skip
    if name in ("FS", "FS (per model)"):
        ranking, context = ("global", study.ranking) if name == "FS" else ("model", table)
        recipe = functools.partial(dm.selection, ranking=ranking)
        return compiled(study, recipe, context, "features", counts)
    greedy = name == "Greedy & Retrain"
    recipe = functools.partial(_retrained, name, config)
    context = (table if greedy else study.ranking, table)
    counts = counts[::-1][:: config.evaluation.retrain_every]
    return compiled(study, recipe, context, "features", counts, study.by_depth())


def edited(
    study: Study,
    editors: dict[str, TrainedEditor],
    editor: str,
    probe: dict | None = None,
    n_lambdas: int | None = None,
    values: Sequence[float] | None = None,
    method: EditFn = editor_method,
) -> Swept:
    """A method that applies one of `editors`, which is its context.

    It looks at the points of `probe`, by default at those that it was trained with, and is swept
    over `values` of lambda, by default `n_lambdas`, or the config's number, of its own range.
    """
    trained = editors[editor]
    shown = ProbeConfig(**probe) if probe else trained.config.probe
    if values is None:
        values = lambdas_of(study.config, n_lambdas, editor)
    groups = [all_models(study.probed(shown))]
    swept = compiled(study, lambda _: method, trained, "lambda", np.asarray(values), groups)
    return probing(study, shown, swept)


def _composed(study: Study, editors: list[TrainedEditor], name: str) -> Swept:
    """Editors one after another, at every combination of their preferences."""
    config = study.config
    axes = [lambdas_of(config, None, editor) for editor in config.composed[name]]
    context = tuple(editors)
    return compiled(study, lambda _: composed_method, context, "lambda", grid(*axes))


def _front_union(parts: list[Swept]) -> Swept:
    """Several methods as one whose settings are all of theirs."""
    first = np.cumsum([0, *(len(part.settings) for part in parts)])

    def run(ids, table, indices):
        owner = np.searchsorted(first, indices, side="right") - 1
        sweeps = [
            dataclasses.asdict(part.run(ids, table, indices[owner == number] - first[number]))
            for number, part in enumerate(parts)
            if (owner == number).any()
        ]
        place = np.argsort(np.argsort(owner, kind="stable"))
        return Sweep(**jax.tree.map(lambda *leaves: np.concatenate(leaves)[place], *sweeps))

    def seconds(ids, index):
        owner = int(np.searchsorted(first, index, side="right")) - 1
        return parts[owner].seconds(ids, index - first[owner])

    return Swept(sum((part.settings for part in parts), ()), run, seconds)


def _refined(study: Study, editors: dict, editor: str, **settings) -> Swept:
    """The editor called `editor`, then gradient descent on every model."""

    def recipe(template):
        def edit(editor, graph, keys):
            return editor_method(with_template(editor, template), graph, keys)

        return refined(edit, template, study.requirement, RefineConfig(**settings))

    preferences = lambdas_of(study.config, study.config.evaluation.refinements, editor)
    probe = editors[editor].config.probe
    swept = _descended(study, recipe, editors[editor], preferences, probe)
    return probing(study, probe, swept)


def _optimum(study: Study) -> Swept:
    """Gradient descent on every model from its own parameters, masks included."""
    config = RefineConfig(**study.config.evaluation.optimum)

    def recipe(template):
        return refined(unedited(template), template, study.requirement, config)

    preferences = lambdas_of(study.config, study.config.evaluation.descents)
    return _descended(study, recipe, None, preferences, None)


def _descended(study: Study, recipe, start, preferences, probe: ProbeConfig | None) -> Swept:
    """A method that trains every model at every lambda, from what it makes of the context `start`.

    In a template per depth.
    """
    table, pool = sampling_pool(study.data.edit, study.config.editor.balanced)
    key = stream(study.config.seed, "refinement")
    sample = Sample(*jax.tree.map(jnp.asarray, (table, pool)), key)
    groups = study.by_depth(probe)
    return compiled(study, recipe, (start, sample), "lambda", preferences, groups)


def _retrained(name: str, config, template: Template) -> EditFn:
    fresh = name == "FS & Retrain"
    settings = config.evaluation.retrain if fresh else config.evaluation.retrain_original
    start = "fresh" if fresh else "original"
    ranking = "greedy" if name == "Greedy & Retrain" else "global"
    return dm.selection_retrained(template, ranking, RetrainConfig(**settings), start)


def _postprocessed(study: Study, name: str) -> Swept:
    fit = study.data.edit
    if name == SHIFT_ON_PROBE:
        editor, _ = BORROWED[name]
        fit = _labelled(study, ProbeConfig(**study.config.editors[editor].probe))

    def run(ids, table, indices):
        return postprocess(name, study.models, ids, indices, fit, table, study.go_on)

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


def _selected_pruned(name, config, counts, template):
    retrain = RetrainConfig(**config.evaluation.retrain)
    distil = RetrainConfig(**config.evaluation.distil) if name.endswith("Distil") else None
    return selected_pruned(template, retrain, counts, distil)
