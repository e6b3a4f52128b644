"""Fewer features, then fewer weights, without an editor (paper A.7)."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metanet.devices import each_model
from metanet.editor.edits import EditFn
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.graphs.padded import apply_rows
from metanet.graphs.topology import Template
from metanet.methods.compiled import compiled, grid
from metanet.methods.data_minimisation import (
    check_counts,
    counts_of,
    knowledge,
    selection_fn,
    selection_retrained_fn,
)
from metanet.methods.pruning import keep_best, snip
from metanet.methods.retrain import RetrainConfig, jsd_loss, retrain, retraining
from metanet.pipeline.recipes import checked, no_editors
from metanet.pipeline.testbed import Testbed


def selected_pruned_fn(
    template: Template, config: RetrainConfig, counts: np.ndarray, distil: RetrainConfig | None
) -> EditFn:
    """FS & Retrain, then SNIP on the student; with `distil`, kept weights are trained again.

    The context is (Knowledge, Retraining), the setting, [2], the number of features to keep, one of
    `counts`, and the fraction of all weights to keep. The second training too imitates the original
    model.
    """
    selected = selection_retrained_fn(template, selection_fn(template, "global"), config, "fresh")

    def edit(context, graph, keys):
        table = context[1].table
        keys, prune_keys = jax.vmap(jax.random.split)(keys).T  # [G] each
        # Every student, leaves [counts, G, ...], is trained once for all fractions of weights.
        students = jax.lax.map(selected(context, graph, keys), jnp.asarray(counts, jnp.float32))

        def prune(edit, key, fraction):  # of one model
            score_key, train_key = jax.random.split(key)
            score = snip(template, edit.after, table, score_key)
            keep = keep_best(edit.before, score, fraction) * edit.keep
            after = edit.after.replace(weight=edit.after.weight * keep)
            if distil is not None:
                teacher = apply_rows(template, edit.before, table.x)
                after = retrain(
                    template, after, keep, table.x, teacher, jsd_loss, distil, train_key
                )
            return edit.replace(after=after, keep=keep)

        def edit_at(setting):
            index = jnp.argmin(jnp.abs(jnp.asarray(counts) - setting[0]))
            student = jax.tree.map(lambda leaf: leaf[index], students)  # leaves [G, ...]
            return each_model(lambda edit, key: prune(edit, key, setting[1]))(student, prune_keys)

        return edit_at

    return edit


def _check(experiment, plans, key: str, options: dict) -> None:
    check_counts(key, options.get("counts", ()))


@checked(no_editors, _check)
def selected_pruned(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    retrain: RetrainConfig,
    distil: RetrainConfig | None = None,
    counts: tuple[int, ...] = (),
) -> Method:
    """FS & Retrain, then SNIP, at all pairs of features and `evaluation.fractions`; no editors.

    Args:
      counts: see `data_minimisation.counts_of`.
    """
    kept = counts_of(testbed.data.n_features, counts)
    training = retraining(testbed.edit_table, retrain)
    context = knowledge(testbed, "global", "accuracy"), training
    make = functools.partial(selected_pruned_fn, config=retrain, counts=kept, distil=distil)
    pairs = grid(kept, np.array(testbed.experiment.evaluation.fractions))
    return compiled(testbed, make, context, "features, fraction", pairs, testbed.by_depth())
