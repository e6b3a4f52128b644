"""Data minimisation without an editor: rank the features, keep the best (paper A.4.1)."""

import functools
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from metanet.data.tabular import Table
from metanet.devices import each_model
from metanet.editor.edits import Edit, EditFn
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.evaluation.program import map_models
from metanet.graphs.batch import to_template
from metanet.graphs.padded import PaddedMLP, apply_rows
from metanet.graphs.topology import Template
from metanet.methods.compiled import compiled
from metanet.methods.retrain import RetrainConfig, fresh, input_edges, jsd_loss, retrain
from metanet.mlp.network import js_divergence
from metanet.pipeline.recipes import checked, count_options, no_editors
from metanet.pipeline.testbed import Testbed

RANKING_MODELS = 200  # whose mean importance ranks the features of a dataset
Ranking = Literal["global", "model", "greedy"]
Start = Literal["fresh", "original"]
# Importance(context, models [G], keys [G]) -> [G, features], higher is kept longer.
Importance = Callable[[object, PaddedMLP, jax.Array], jax.Array]


def permutation_importance(
    template: Template, model: PaddedMLP, table: Table, key: jax.Array, repeats: int = 5
) -> jax.Array:
    """Permutation feature importance (Breiman 2001): [features] float32.

    The mean drop of accuracy on `table` over `repeats` random permutations of one feature's column,
    which sklearn.inspection.permutation_importance estimates too.
    """
    x = jnp.asarray(table.x)  # [rows, features]

    def accuracy(x):
        return (apply_rows(template, model, x).argmax(-1) == table.y).mean()

    def drop(feature):  # [] -> []
        def once(repeat_key):
            column = jax.random.permutation(repeat_key, x[:, feature])
            return accuracy(x.at[:, feature].set(column))

        feature_keys = jax.random.split(jax.random.fold_in(key, feature), repeats)
        # The mean of differences [repeats], so that a feature without influence has exactly 0.
        return (accuracy(x) - jax.lax.map(once, feature_keys)).mean()

    # One feature after another: all at once would hold `features` copies of the table.
    return jax.lax.map(drop, jnp.arange(template.n_in))


def greedy_importance(
    template: Template, model: PaddedMLP, table: Table, rows: int = 1024
) -> jax.Array:
    """Backward elimination (Kohavi and John 1997): [features] float32, turns of removal from 0.

    The feature whose removal, besides those removed before it, moves the outputs least by JS
    divergence goes first. On the first `rows` rows of the table: features^2 forward passes.
    """
    x = jnp.asarray(table.x[:rows])  # [rows, features]
    logits = apply_rows(template, model, x)  # [rows, classes]

    def remove(kept, _):  # kept [features], 1 for those not removed yet
        def cost(feature):
            without = kept * (jnp.arange(template.n_in) != feature)
            after = apply_rows(template, model, x * without[None])
            return js_divergence(logits, after).mean()  # [], nats

        costs = jax.lax.map(cost, jnp.arange(template.n_in))  # [features]
        # Those removed before cost nothing more: they are not to be removed again.
        worst = jnp.where(kept > 0, costs, jnp.inf).argmin()
        return kept.at[worst].set(0.0), worst

    _, order = jax.lax.scan(remove, jnp.ones(template.n_in), None, length=template.n_in)
    return jnp.zeros(template.n_in).at[order].set(jnp.arange(template.n_in, dtype=jnp.float32))


def ranked_mask(importance: jax.Array, count: jax.Array) -> jax.Array:
    """1 for the `count` features of highest importance, first ones of ties: [features] float32."""
    rank = jnp.argsort(jnp.argsort(-importance, stable=True), stable=True)  # [features], from 0
    return (rank < count).astype(jnp.float32)


def importances(template: Template) -> Callable:
    """A function for program.map_models: models' permutation importance [G, features].

    The context is the table.
    """

    def of_batch(table, graph: jraph.GraphsTuple, keys):
        models = to_template(template, graph)
        return each_model(lambda m, k: permutation_importance(template, m, table, k))(models, keys)

    return of_batch


def selection_fn(template: Template, ranking: Ranking) -> EditFn:
    """FS: the original model without the features of least importance.

    The setting is the number of features to keep.

    Args:
      ranking: "global": the context is one importance [features] for all models, as in the paper;
        "model", "greedy": the context is the table on which each model's own permutation
        importance, or turn in greedy backward selection, is computed.
    """

    def select(context, graph, keys):
        before = to_template(template, graph)
        importance = _importance(template, ranking, context, before, keys)  # [G, features]

        def edit_at(count):
            input_keep = jax.vmap(ranked_mask, in_axes=(0, None))(importance, count)
            keep = jax.vmap(lambda m, i: input_edges(template, m, i))(before, input_keep)
            return Edit(before, before.replace(weight=before.weight * keep), keep, input_keep)

        return edit_at

    return select


def selection_retrained_fn(
    template: Template, ranking: Ranking, config: RetrainConfig, start: Start
) -> EditFn:
    """FS & Retrain: a student on the kept features, distilled from the original by JSD.

    The context is (that of `selection_fn`, the table to distil on).

    Args:
      start: "fresh", random weights as in the paper, or "original", the original ones, which is
        stronger.
    """
    plain = selection_fn(template, ranking)

    def select(context, graph, keys):
        ranked, table = context
        selected = plain(ranked, graph, keys)

        def edit_at(count):
            edit = selected(count)

            def student(model, keep, key):
                teacher = apply_rows(template, model, table.x)
                start_key, train_key = jax.random.split(key)
                first = fresh(model, start_key) if start == "fresh" else model
                return retrain(template, first, keep, table.x, teacher, jsd_loss, config, train_key)

            return edit.replace(after=each_model(student)(edit.before, edit.keep, keys))

        return edit_at

    return select


def _importance(template: Template, ranking: Ranking, context, models: PaddedMLP, keys: jax.Array):
    """Every model's importance of every feature, see `selection_fn`: [G, features]."""
    if ranking == "global":
        return jnp.broadcast_to(context, (keys.shape[0], template.n_in))
    if ranking == "greedy":
        return each_model(lambda m: greedy_importance(template, m, context))(models)
    return each_model(lambda m, k: permutation_importance(template, m, context, k))(models, keys)


def global_importance(testbed: Testbed) -> jax.Array:
    """One importance for each feature of the dataset (paper A.4.1): [features] float32.

    The mean permutation importance over RANKING_MODELS training models on the `edit` data; online,
    when none are stored, over validation models.
    """

    def compute() -> jax.Array:
        ids = testbed.population.ids("validation" if testbed.online else "train")
        ids = ids[:: -(-len(ids) // RANKING_MODELS)]
        of_batch, seed = importances(testbed.models.template), testbed.experiment.seed
        per_model = map_models(of_batch, testbed.edit_table, testbed.models, ids, seed)
        return jnp.asarray(per_model.mean(0).astype(np.float32))

    return testbed.cached("importance", compute)


@checked(no_editors)
def selection(
    testbed: Testbed, editors: Sequence[TrainedEditor], *, ranking: Ranking = "global"
) -> Method:
    """FS: features are dropped from the least important on; no editors.

    Args:
      ranking: see `selection_fn`.
    """
    counts = np.arange(1.0, testbed.data.n_features)
    context = _ranking_context(testbed, ranking)
    make = functools.partial(selection_fn, ranking=ranking)
    return compiled(testbed, make, context, "features", counts)


@checked(no_editors, count_options("every"))
def selection_retrained(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    retrain: RetrainConfig,
    ranking: Ranking = "global",
    start: Start = "fresh",
    every: int = 1,
) -> Method:
    """FS & Retrain: a student on the kept features, distilled from the original; no editors.

    Args:
      ranking, start: see `selection_retrained_fn`.
      every: at every so many numbers of features, from the most on.
    """
    counts = np.arange(1.0, testbed.data.n_features)[::-1][::every]
    context = _ranking_context(testbed, ranking), testbed.edit_table
    make = functools.partial(selection_retrained_fn, ranking=ranking, config=retrain, start=start)
    return compiled(testbed, make, context, "features", counts, testbed.by_depth())


def _ranking_context(testbed: Testbed, ranking: Ranking):
    """The context of `selection_fn`."""
    return global_importance(testbed) if ranking == "global" else testbed.edit_table
