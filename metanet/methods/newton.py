"""Gauss-Newton steps after any edit: an editor's, or that of a mask by a score."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metanet.devices import each_model
from metanet.editor.edits import EditFn
from metanet.editor.newton import NewtonConfig, newton
from metanet.graphs.topology import Template
from metanet.pipeline.testbed import Testbed


def stepped_in(
    edit_fn_in: Callable[[Template], EditFn], config: NewtonConfig
) -> Callable[[Template], EditFn]:
    """`edit_fn_in`, whose edits are followed by `newton`; the context is (its own, rows)."""

    def stepped(template: Template) -> EditFn:
        method = edit_fn_in(template)

        def apply(context, graph, keys):
            inner, x = context
            edit_at = method(inner, graph, keys)

            def stepped_at(setting):
                edit = edit_at(setting)
                return each_model(lambda one: newton(template, one, x, config))(edit)

            return stepped_at

        return apply

    return stepped


def rows_of(testbed: Testbed, config: NewtonConfig) -> jax.Array:
    """The rows of `edit` on which the divergence is lowered: [points, features]."""
    return jnp.asarray(testbed.data.edit.x[: config.points])
