"""Fewer features, then fewer weights, without an editor (paper A.7)."""

import jax
import jax.numpy as jnp
import numpy as np

from metanet.devices import each_model
from metanet.editor.edits import EditFn
from metanet.graphs.padded import apply_rows
from metanet.graphs.topology import Template
from metanet.methods.data_minimisation import selection_retrained
from metanet.methods.pruning import keep_best, snip
from metanet.methods.retrain import RetrainConfig, jsd_loss, retrain


def selected_pruned(
    template: Template, config: RetrainConfig, counts: np.ndarray, distil: RetrainConfig | None
) -> EditFn:
    """FS & Retrain, then SNIP on the student; with `distil`, what is kept is trained again.

    The context is (the importance of every feature [features], the table), the setting (number of
    features to keep, one of `counts`; fraction of all weights to keep). The second training too
    imitates the original model.
    """
    selected = selection_retrained(template, "global", config, "fresh")

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
