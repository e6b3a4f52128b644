"""Pruning without an editor: score every weight, keep the best ones, change nothing else."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from metanet.editor.edit import Edit, Method
from metanet.graphs.convert import to_template
from metanet.graphs.template import PaddedMLP
from metanet.graphs.topology import TILE, Template

# score(template, model, key) -> [sources, targets], higher is kept; written for one model.
Score = Callable[[Template, PaddedMLP, jax.Array], jax.Array]


def random(template: Template, model: PaddedMLP, key: jax.Array) -> jax.Array:
    """Uniform scores (paper section 5, Random)."""
    return jax.random.uniform(key, model.weight.shape)


def magnitude(template: Template, model: PaddedMLP, key: jax.Array) -> jax.Array:
    """|w|, one threshold for the whole model (Han et al. 2015)."""
    return jnp.abs(model.weight)


def layer_magnitude(template: Template, model: PaddedMLP, key: jax.Array) -> jax.Array:
    """|w| over the root mean square of its block, one threshold for the whole model.

    Blocks of different scale are pruned alike: the strongest one-shot score that uses no data.
    """
    layer = jnp.repeat(jnp.asarray(template.layer_of_slot), TILE)
    source = jax.nn.one_hot(layer[: model.weight.shape[0]], template.depth + 2)
    target = jax.nn.one_hot(layer[-model.weight.shape[1] :], template.depth + 2)
    square = source.T @ model.weight**2 @ target
    count = source.T @ model.edge.astype(jnp.float32) @ target
    rms = jnp.sqrt(square / jnp.maximum(count, 1.0))
    return jnp.abs(model.weight) / jnp.maximum(source @ rms @ target.T, 1e-12)


def keep_best(model: PaddedMLP, score: jax.Array, fraction: jax.Array) -> jax.Array:
    """The mask [sources, targets] float32 of the round(fraction x weights) highest scores."""
    flat = jnp.where(model.edge, score, -jnp.inf).reshape(-1)
    count = jnp.round(fraction * model.edge.sum()).astype(jnp.int32)
    order = jnp.argsort(flat, descending=True, stable=True)
    keep = jnp.zeros(flat.shape, jnp.float32).at[order].set(jnp.arange(flat.size) < count)
    return keep.reshape(score.shape)


SCORES = {
    "Random": random,
    "Magnitude": magnitude,
    "Magnitude (layer-normalised)": layer_magnitude,
}


def method(score: Score, template: Template) -> Method:
    """Pruning by `score` as a method whose setting is the fraction of weights to keep."""

    def prune(context, graph, keys, setting):
        before = to_template(template, graph)
        scores = jax.vmap(functools.partial(score, template))(before, keys)
        keep = jax.vmap(keep_best, in_axes=(0, 0, None))(before, scores, setting)
        return Edit(before, before.replace(weight=before.weight * keep), keep)

    return prune
