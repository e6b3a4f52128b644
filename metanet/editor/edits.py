"""Edits, and the functions that propose them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from metanet.devices import each_model
from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.padded import PaddedMLP
from metanet.graphs.topology import Template


class Edit(struct.PyTreeNode):
    """The edits of G models in their template; every leaf has a leading axis [G].

    Masks are 0 or 1; straight-through in training.

    Attributes:
      before, after: the models; weights of `after` that are not kept are 0.
      keep: [G, sources, targets] float32, 1 where a weight is kept, 0 where there is none.
      input_keep: [G, features] float32, 1 where an input feature may be read.
    """

    before: PaddedMLP
    after: PaddedMLP
    keep: jax.Array
    input_keep: jax.Array


def whole_edit(template: Template, before: PaddedMLP, after: PaddedMLP) -> Edit:
    """Edits of G models that keep all weights and features."""
    everything = jnp.ones((len(before.activation), template.n_in))
    return Edit(before, after, before.edge.astype(jnp.float32), everything)


# method(context, graph, keys [G]) -> (setting [] -> the edits of the batch's G graphs). `context`
# is any pytree, `setting` the number that a front is swept over; what does not depend on it is
# computed once. Editors take several numbers too, and an own setting of each graph: see `each_at`.
EditFn = Callable[[Any, GraphsTuple, jax.Array], Callable[[jax.Array], Edit]]


def each_at(function: Callable[[Edit, jax.Array], Edit], edits: Edit, setting: jax.Array) -> Edit:
    """function(edit, setting) of every one of G edits.

    Args:
      setting: of all edits, [] or [numbers], or of each, [G, numbers].
    """
    if jnp.ndim(setting) == 2:
        return each_model(function)(edits, setting)
    return each_model(lambda edit: function(edit, setting))(edits)


class Masks(struct.PyTreeNode):
    """Values per edge [E] and per node [V] of a batch: masks, or noise on their logits."""

    edges: jax.Array
    inputs: jax.Array


class MaskPath(struct.PyTreeNode):
    """Points at which the masks of a batch's graphs are evaluated (see relax.keep_mask): [G + 1].

    Attributes:
      alpha: float32, the value that stands for 0.
      learns: bool, whether the masks have gradients.
    """

    alpha: jax.Array
    learns: jax.Array
