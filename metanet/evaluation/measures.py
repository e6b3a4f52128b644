"""Measures of edits, compiled once for all methods."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from metanet.devices import each_model, over_models
from metanet.editor.relax import hard_decisions
from metanet.evaluation.scores import BINS
from metanet.graphs.padded import apply_rows
from metanet.objectives.base import EditView, Objective, view_of
from metanet.objectives.preservation import mean_jsd


def _accuracy(view: EditView, logits: jax.Array) -> jax.Array:
    return (logits.argmax(-1) == view.batch.y).mean()  # [], from [rows, classes]


def _calibration_error(view: EditView, logits: jax.Array) -> jax.Array:
    """See `scores.calibration_error`; the mean over classes, which are two mirrored ones of two."""
    p = jax.nn.softmax(logits)  # [rows, classes]
    place = jax.nn.one_hot(jnp.minimum((p * BINS).astype(int), BINS - 1), BINS)
    gap = p - jax.nn.one_hot(view.batch.y, p.shape[-1])
    return jnp.abs(jnp.einsum("rc,rcb->cb", gap, place)).sum(1).mean() / len(p)  # []


def _constant(logits: jax.Array) -> jax.Array:
    decided = logits.argmax(-1)  # [rows]
    return (decided == decided[0]).all().astype(jnp.float32)  # []


def _measures(view: EditView, requirement: Objective) -> dict[str, jax.Array]:
    """The fields of a Sweep for one edit of one model: [], or [requirements]; JSD in nats."""
    return {
        "requirement": requirement(view),
        "jsd": mean_jsd(view),
        # Two different one-hot distributions are ln 2 apart.
        "jsd_label": jnp.log(2.0)
        * (view.logits_before.argmax(-1) != view.logits_after.argmax(-1)).mean(),
        "constant": _constant(view.logits_after),
        "calibration": _calibration_error(view, view.logits_after),
        "accuracy": _accuracy(view, view.logits_after),
        "accuracy_original": _accuracy(view, view.logits_before),
    }


@functools.partial(jax.jit, static_argnames=("template", "requirement", "mesh"))
def measured(unedited, edits, count, table, template, requirement, mesh):
    """Measures [S, rows] of the first `count` of the edits [S, rows]; one program for a template.

    Edits are compiled apart: this part is the same for all methods.
    """

    def on_device(unedited, edits, count, table):  # with the device's part of the rows, R
        # [R, rows of the table, classes]; the same for all settings, so computed once.
        original = each_model(lambda model: apply_rows(template, model, table.x))(unedited)

        def one_model(edit, logits):
            view = view_of(template, edit, table, hard_decisions, logits)
            return _measures(view, requirement)

        def one_setting(index):
            edit = jax.tree.map(lambda leaf: leaf[index], edits)  # leaves [R, ...]
            return each_model(one_model)(edit.replace(before=unedited), original)  # [R]

        return _first(one_setting, count, jax.tree.leaves(edits)[0].shape[0])  # [S, R]

    parts = (P("models"), P(None, "models"), P(), P())
    return over_models(on_device, mesh, parts, P(None, "models"))(unedited, edits, count, table)


def _first(function, count: jax.Array, size: int):
    """function(0), ..., function(count - 1), stacked with zeros to leaves [size, ...].

    `count` is traced: one program serves methods of any number of settings up to `size`, at the
    cost of those they have.
    """

    def put(index, stacked):
        return jax.tree.map(lambda all, one: all.at[index].set(one), stacked, function(index))

    shapes = jax.eval_shape(function, 0)
    empty = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), shapes)
    return jax.lax.fori_loop(0, count, put, empty)
