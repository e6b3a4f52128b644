"""Gauss-Newton steps after any edit: an editor's, or that of a mask by a score."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from metanet.data.moments import moments_of
from metanet.data.table import Table
from metanet.editor.edits import Edit, EditFn, each_at
from metanet.editor.newton import NewtonConfig, newton
from metanet.editor.relax import soft_decisions
from metanet.graphs.padded import PaddedMLP, apply_padded
from metanet.graphs.topology import Template
from metanet.objectives.base import EditView, Objective
from metanet.training.inputs import sampling_pool


def stepped_in(
    edit_fn_in: Callable[[Template], EditFn], config: NewtonConfig, requirement: Objective
) -> Callable[[Template], EditFn]:
    """`edit_fn_in`, whose edits are followed by `newton`; the context is (its own, the rows)."""

    def stepped(template: Template) -> EditFn:
        method = edit_fn_in(template)

        def apply(context, graph, keys):
            inner, batch = context
            edit_at = method(inner, graph, keys)

            def stepped_at(setting):
                def of_model(edit, weight):
                    required = None
                    if config.requirement:
                        required = _required(template, edit, batch, weight, requirement, config)
                    return newton(template, edit, batch, config, required)

                return each_at(of_model, edit_at(setting), setting)

            return stepped_at

        return apply

    return stepped


def _required(
    template: Template,
    edit: Edit,
    batch: Table,
    weight: jax.Array,
    requirement: Objective,
    config: NewtonConfig,
) -> Callable[[PaddedMLP, jax.Array], jax.Array]:
    """lambda * requirement of one edit, as `newton` asks for it; weight: lambda, [] or several."""
    before = apply_padded(template, edit.before, jnp.asarray(batch.x))
    decide = functools.partial(soft_decisions, temperature=config.decision_temperature)

    def required(after: PaddedMLP, logits: jax.Array) -> jax.Array:
        view = EditView(
            edit.before, after, edit.keep, edit.input_keep, before, logits, decide(logits), batch
        )
        return jnp.sum(weight * requirement(view))

    return required


def sample_rows(table: Table, config: NewtonConfig, seed: int) -> Table:
    """The rows that steps are made on, the same for all models: [points] of each leaf, or all.

    Drawn from `moments`, they have no labels or groups: zeros.
    """
    if config.moments:
        known = jax.tree.map(np.asarray, moments_of(table, table.x.shape[1]))
        rng = np.random.default_rng(seed)
        # Of columns that are sums of others eigenvalues are a little below 0: unchecked.
        x = rng.multivariate_normal(
            known.mean, known.covariance, config.points, "ignore", method="eigh"
        )
        none, ones = jnp.zeros(len(x), jnp.int32), jnp.ones(len(x), jnp.float32)
        return Table(jnp.asarray(x, jnp.float32), none, none, ones, n_groups=1)
    weighted, pool = sampling_pool(table, config.balanced)
    rows = np.random.default_rng(seed).permutation(pool)[: config.points]
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[rows]), weighted)
