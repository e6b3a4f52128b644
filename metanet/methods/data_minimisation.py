"""Data minimisation without an editor: rank the features, keep the best (paper A.4.1)."""

import functools
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metanet.core import require
from metanet.data.moments import Moments, moments_of
from metanet.data.tabular import Table
from metanet.devices import each_model
from metanet.editor.edits import Edit, EditFn
from metanet.editor.imputation import imputed
from metanet.editor.model import TrainedEditor
from metanet.editor.newton import NewtonConfig
from metanet.evaluation.method import Method
from metanet.evaluation.program import map_models
from metanet.graphs.batch import to_template
from metanet.graphs.padded import PaddedMLP, apply_rows, input_edges
from metanet.graphs.topology import Template
from metanet.methods.compiled import compiled
from metanet.methods.rankings import (
    Measure,
    greedy_importance,
    importances,
    permutation_importance,
    ranked_mask,
)
from metanet.methods.retrain import (
    RetrainConfig,
    batch_normed,
    fresh,
    jsd_loss,
    retrain,
    retraining,
)
from metanet.pipeline.recipes import checked, no_editors, no_requirement
from metanet.pipeline.testbed import Testbed

RANKING_MODELS = 200  # whose mean importance ranks the features of a dataset
Ranking = Literal["global", "model", "greedy"]
Start = Literal["fresh", "original"]


class Knowledge(struct.PyTreeNode):
    """What selection knows of the data.

    Attributes:
      importance: [features] float32, of all models together; zeros where the ranking is another.
      table: that each model is ranked on.
      moments: of the table.
    """

    importance: jax.Array
    table: Table
    moments: Moments


def selection_fn(
    template: Template,
    ranking: Ranking,
    measure: Measure = "accuracy",
    impute: bool = False,
    damping: float = 0.0,
) -> EditFn:
    """FS: the original model without the features of least importance.

    The context is a Knowledge, the setting the number of features to keep.

    Args:
      ranking: "global": one importance for all models, as in the paper; "model": each model's own
        permutation importance; "greedy": backward elimination for each model, see
        `greedy_importance`.
      measure: of "model", see `permutation_importance`.
      impute: dropped features are replaced by their conditional means, see `imputed`.
      damping: of these.
    """

    def select(context, graph, keys):
        before = to_template(template, graph)
        # [G, features]
        importance = _importance(template, ranking, measure, impute, damping, context, before, keys)

        def edit_at(count):
            input_keep = jax.vmap(ranked_mask, in_axes=(0, None))(importance, count)
            keep = jax.vmap(lambda m, i: input_edges(template, m, i))(before, input_keep)
            after = before
            if impute:
                fill = functools.partial(imputed, template, damping=damping)
                after = each_model(lambda m, i: fill(m, context.moments, i))(before, input_keep)
            return Edit(before, after.replace(weight=after.weight * keep), keep, input_keep)

        return edit_at

    return select


def selection_retrained_fn(
    template: Template, selection: EditFn, config: RetrainConfig, start: Start
) -> EditFn:
    """FS & Retrain: a student on the kept features, distilled from the original by JSD.

    The context is (Knowledge, Retraining).

    Args:
      selection: which features, see `selection_fn`.
      start: "fresh", random weights and the model's own kind of normalisation, as in the paper, or
        "original", the selection's weights, which is stronger.
    """

    def select(context, graph, keys):
        known, training = context
        rank_keys, student_keys = jax.vmap(jax.random.split)(keys).T  # [G] each
        table, selected = training.table, selection(known, graph, rank_keys)

        def edit_at(count):
            edit = selected(count)

            def student(model, plain, keep, key):
                teacher = apply_rows(template, model, table.x)
                start_key, train_key = jax.random.split(key)
                is_fresh = start == "fresh"
                return retrain(
                    template, fresh(model, start_key) if is_fresh else plain, keep, table.x,
                    teacher, jsd_loss, config, train_key,
                    batch_norm=batch_normed(model) if is_fresh else None,
                    learning_rate=training.learning_rate,
                )  # fmt: skip

            students = each_model(student)(edit.before, edit.after, edit.keep, student_keys)
            return edit.replace(after=students)

        return edit_at

    return select


def _importance(
    template: Template,
    ranking: Ranking,
    measure: Measure,
    impute: bool,
    damping: float,
    context: Knowledge,
    models: PaddedMLP,
    keys: jax.Array,
) -> jax.Array:
    """Every model's importance of every feature, see `selection_fn`: [G, features]."""
    table = context.table
    if ranking == "global":
        return jnp.broadcast_to(context.importance[None], (keys.shape[0], template.n_in))
    if ranking == "model":
        permute = functools.partial(permutation_importance, template, measure=measure)
        return each_model(lambda m, k: permute(m, table, k))(models, keys)
    moments = context.moments if impute else None
    greedy = functools.partial(greedy_importance, template)
    return each_model(lambda m: greedy(m, table, moments=moments, damping=damping))(models)


def global_importance(testbed: Testbed, measure: Measure = "accuracy") -> jax.Array:
    """One importance for each feature of the dataset (paper A.4.1): [features] float32.

    The mean permutation importance over RANKING_MODELS training models on the `edit` data; online,
    when none are stored, over validation models.
    """

    def compute() -> jax.Array:
        ids = testbed.population.ids("validation" if testbed.online else "train")
        ids = ids[:: -(-len(ids) // RANKING_MODELS)]
        of_batch = importances(testbed.models.template, measure)
        seed = testbed.experiment.seed
        per_model = map_models(of_batch, testbed.edit_table, testbed.models, ids, seed)
        return jnp.asarray(per_model.mean(0).astype(np.float32))

    return testbed.cached(("importance", measure), compute)


def knowledge(testbed: Testbed, ranking: Ranking, measure: Measure) -> Knowledge:
    """The context of `selection_fn`, from the `edit` data."""
    size = testbed.models.template.n_in
    of_all = global_importance(testbed, measure) if ranking == "global" else jnp.zeros(size)
    return Knowledge(of_all, testbed.edit_table, moments_of(testbed.data.edit, size))


def counts_of(n_features: int, counts: Sequence[int] = ()) -> np.ndarray:
    """Numbers of features to keep, from the most on: [counts] float64.

    All below `n_features`; or those of `counts` that are below, and 0.
    """
    every = np.arange(n_features)
    some = every[np.isin(every, [0, *counts])] if counts else every
    return some[::-1].astype(float)


def check_counts(key: str, counts: Sequence[int]) -> None:
    """Refuses numbers of features that are negative or stand twice."""
    ok = all(one >= 0 for one in counts) and len(set(counts)) == len(counts)
    require(ok, f"{key}.counts", tuple(counts), "numbers of features from 0 on, every one once")


def _check(experiment, plans, key: str, options: dict) -> None:
    ranking, measure = options.get("ranking", "global"), options.get("measure", "accuracy")
    expected = "no measure: greedy rankings go by divergence"
    require(ranking != "greedy" or measure == "accuracy", f"{key}.measure", measure, expected)
    damping, impute = options.get("damping", 0.0), options.get("impute", False)
    require(damping >= 0, f"{key}.damping", damping, "0 or more")
    require(impute or not damping, f"{key}.damping", damping, f"{key}.impute, which it belongs to")
    check_counts(key, options.get("counts", ()))


@checked(no_editors, no_requirement, _check)
def selection(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    ranking: Ranking = "global",
    measure: Measure = "accuracy",
    impute: bool = False,
    damping: float = 0.0,
    newton: NewtonConfig | None = None,
) -> Method:
    """FS: features are dropped from the least important on, none is kept at last; no editors.

    Args:
      ranking, measure, impute, damping: see `selection_fn`.
      newton: Gauss-Newton steps of what is kept, see NewtonConfig.
    """
    make = functools.partial(
        selection_fn, ranking=ranking, measure=measure, impute=impute, damping=damping
    )
    context, counts = knowledge(testbed, ranking, measure), counts_of(testbed.data.n_features)
    return compiled(testbed, make, context, "features", counts, newton=newton)


@checked(no_editors, _check)
def selection_retrained(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    retrain: RetrainConfig,
    ranking: Ranking = "global",
    measure: Measure = "accuracy",
    impute: bool = False,
    damping: float = 0.0,
    start: Start = "fresh",
    counts: tuple[int, ...] = (),
) -> Method:
    """FS & Retrain: a student on the kept features, distilled from the original; no editors.

    Args:
      ranking, measure, impute, damping: see `selection_fn`;  start: `selection_retrained_fn`.
      counts: see `counts_of`.
    """

    def edit_fn_in(template: Template) -> EditFn:
        plain = selection_fn(template, ranking, measure, impute, damping)
        return selection_retrained_fn(template, plain, retrain, start)

    kept = counts_of(testbed.data.n_features, counts)
    context = knowledge(testbed, ranking, measure), retraining(testbed.edit_table, retrain)
    return compiled(testbed, edit_fn_in, context, "features", kept, testbed.by_depth())
