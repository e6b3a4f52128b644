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
    check_selection,
    global_importance,
    selection_retrained_fn,
)
from metanet.methods.pruning import keep_best, snip
from metanet.methods.retrain import RetrainConfig, jsd_loss, retrain
from metanet.pipeline.testbed import Testbed


def selected_pruned_fn(
    template: Template, config: RetrainConfig, counts: np.ndarray, distil: RetrainConfig | None
) -> EditFn:
    """FS & Retrain, then SNIP on the student; with `distil`, what is kept is trained again.

    The context is (the importance of every feature [features], the table), the setting (number of
    features to keep, one of `counts`; fraction of all weights to keep). The second training too
    imitates the original model.
    """
    selected = selection_retrained_fn(template, "global", config, "fresh")

    def edit(context, graph, keys):
        _, table = context
        students = jax.lax.map(selected(context, graph, keys), jnp.asarray(counts, jnp.float32))

        def prune(edit, key, fraction):
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

        def at(setting):
            chosen = jnp.argmin(jnp.abs(jnp.asarray(counts) - setting[0]))
            student = jax.tree.map(lambda leaf: leaf[chosen], students)
            return each_model(lambda edit, key: prune(edit, key, setting[1]))(student, keys)

        return at

    return edit


def selected_pruned(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    retrain: RetrainConfig,
    distil: RetrainConfig | None = None,
    every: int = 1,
) -> Method:
    """FS & Retrain, then SNIP, at all pairs of features and `evaluation.fractions`; no editors.

    Args:
      every: at every so many numbers of features, from one on.
    """
    counts = np.arange(1.0, testbed.data.n_features)[::every]
    context = global_importance(testbed), testbed.edit_table
    make = functools.partial(selected_pruned_fn, config=retrain, counts=counts, distil=distil)
    pairs = grid(counts, np.array(testbed.experiment.evaluation.fractions))
    return compiled(testbed, make, context, "features, fraction", pairs, testbed.by_depth())


selected_pruned.check = check_selection
