"""Rankings of features: which to drop first (paper A.4.1 and stronger ones)."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from metanet.data.moments import Moments
from metanet.data.tabular import Table
from metanet.devices import each_model
from metanet.graphs.batch import to_template
from metanet.graphs.elimination import eliminated
from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.padded import PaddedMLP, apply_rows
from metanet.graphs.topology import Template
from metanet.mlp.network import js_divergence

Measure = Literal["accuracy", "divergence"]


def permutation_importance(
    template: Template,
    model: PaddedMLP,
    table: Table,
    key: jax.Array,
    repeats: int = 5,
    measure: Measure = "accuracy",
) -> jax.Array:
    """Permutation feature importance (Breiman 2001): [features] float32.

    The mean over `repeats` random permutations of one feature's column in `table`.

    Args:
      measure: "accuracy": the drop of accuracy, which sklearn.inspection.permutation_importance
        estimates too; "divergence": the JS divergence (nats) to the outputs on the table as it is.
    """
    x = jnp.asarray(table.x)  # [rows, features]
    logits = apply_rows(template, model, x)

    def cost(x):
        after = apply_rows(template, model, x)
        if measure == "divergence":
            return js_divergence(logits, after).mean()
        return (logits.argmax(-1) == table.y).mean() - (after.argmax(-1) == table.y).mean()

    def of_feature(feature):  # [] -> []
        def once(repeat_key):
            column = jax.random.permutation(repeat_key, x[:, feature])
            return cost(x.at[:, feature].set(column))

        feature_keys = jax.random.split(jax.random.fold_in(key, feature), repeats)
        # The mean of differences [repeats], so that a feature without influence has exactly 0.
        return jax.lax.map(once, feature_keys).mean()

    # One feature after another: all at once would hold `features` copies of the table.
    return jax.lax.map(of_feature, jnp.arange(template.n_in))


def greedy_importance(
    template: Template,
    model: PaddedMLP,
    table: Table,
    *,
    moments: Moments | None = None,
    damping: float = 0.0,
    rows: int = 1024,
) -> jax.Array:
    """Backward elimination (Kohavi and John 1997): [features] float32, turns of removal from 0.

    The feature whose removal, besides those removed before it, moves the outputs least by JS
    divergence goes first. On the first `rows` rows of the table: features^2 forward passes.

    Args:
      moments, damping: removed features are replaced by their conditional means, see `completion`;
        without them by 0.
    """
    return eliminated(template, model, jnp.asarray(table.x[:rows]), moments, damping).turn


def ranked_mask(importance: jax.Array, count: jax.Array) -> jax.Array:
    """1 for the `count` features of highest importance, first ones of ties: [features] float32."""
    rank = jnp.argsort(jnp.argsort(-importance, stable=True), stable=True)  # [features], from 0
    return (rank < count).astype(jnp.float32)


def importances(template: Template, measure: Measure = "accuracy") -> Callable:
    """A function for program.map_models: models' permutation importance [G, features].

    The context is the table.
    """

    def of_batch(table, graph: GraphsTuple, keys):
        models = to_template(template, graph)
        return each_model(
            lambda m, k: permutation_importance(template, m, table, k, measure=measure)
        )(models, keys)

    return of_batch
