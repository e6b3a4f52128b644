"""Fewer features, then fewer weights, without an editor (paper A.7)."""

import jax
import jax.numpy as jnp
import numpy as np

from metanet.baselines.data_minimisation import selection_retrained
from metanet.baselines.distil import RetrainConfig, jsd_loss, retrain
from metanet.baselines.pruning import keep_best, snip
from metanet.editor.edit import Method
from metanet.graphs.template import apply_padded
from metanet.graphs.topology import Template


def selected_pruned(
    template: Template, config: RetrainConfig, counts: np.ndarray, distil: RetrainConfig | None
) -> Method:
    """FS & Retrain, then SNIP on the student; with `distil`, what is kept is trained again.

    The context is (the importance of every feature [features], the table), the setting (number of
    features to keep, one of `counts`; fraction of all weights to keep). The second training too
    imitates the original model.
    """
    selected = selection_retrained(template, "global", config, "fresh")

    def edit(context, graph, keys):
        _, table = context
        students = jax.lax.map(selected(context, graph, keys), jnp.asarray(counts, jnp.float32))

        def prune(edit, fraction, key):
            score_key, train_key = jax.random.split(key)
            score = snip(template, edit.after, table, score_key)
            keep = keep_best(edit.before, score, fraction) * edit.keep
            after = edit.after.replace(weight=edit.after.weight * keep)
            if distil is not None:
                teacher = apply_padded(template, edit.before, table.x)
                after = retrain(
                    template, after, keep, table.x, teacher, jsd_loss, distil, train_key
                )
            return edit.replace(after=after, keep=keep)

        def at(setting):
            chosen = jnp.argmin(jnp.abs(jnp.asarray(counts) - setting[0]))
            student = jax.tree.map(lambda leaf: leaf[chosen], students)
            return jax.vmap(prune, in_axes=(0, None, 0))(student, setting[1], keys)

        return at

    return edit
