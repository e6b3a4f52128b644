"""Masks of inputs that imitate backward elimination while an editor is trained."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metanet.core import require
from metanet.data.moments import moments_of
from metanet.data.tabular import Table
from metanet.devices import each_model
from metanet.editor.edits import Edit
from metanet.editor.imputation import DAMPING, imputed
from metanet.editor.model import EditorConfig
from metanet.editor.relax import hard_decisions
from metanet.graphs.batch import gather, to_template
from metanet.graphs.elimination import eliminated
from metanet.graphs.packing import Models
from metanet.graphs.padded import PaddedMLP, input_edges
from metanet.objectives.base import Objective, paths_of, view_of
from metanet.training.config import TrainingConfig

ROWS = 256  # of the table, on which features are removed
BATCH = 16  # models


class Removal(struct.PyTreeNode):
    """How backward elimination removes the features of M models.

    Attributes:
      turn: [M, features] float32, of a feature's removal, from 0.
      cost, requirement: [M, features + 1] float32, the JS divergence (nats) and the requirement
        after no turn, one, and so on, with removed features' conditional means in their place.
    """

    turn: jax.Array
    cost: jax.Array
    requirement: jax.Array


def check_imitation(
    requirement: str | tuple[str, ...], editor: EditorConfig, config: TrainingConfig, key: str
) -> None:
    """Refuses imitation by editors that have more to do than to remove features."""
    fits = editor.mask == "inputs" and len(paths_of(requirement)) == 1
    fits &= config.scalarisation == "linear"
    expected = '0, or mask "inputs", one requirement and linear scalarisation'
    require(fits or not config.imitation, f"{key}.imitation", config.imitation, expected)


def removal_of(
    models: Models,
    ids: np.ndarray,
    table: Table,
    requirement: Objective,
    between: Callable[[], None] = lambda: None,
) -> Removal:
    """The features of the models `ids` removed one after another, see `graphs.elimination`.

    Args:
      between: called between batches of models; may raise.

    Returns:
      numpy leaves with a row for every one of `models`; those not among `ids` are zeros.
    """
    moments = moments_of(table, models.template.n_in)
    batches = np.pad(ids, (0, -len(ids) % BATCH), constant_values=-1).reshape(-1, BATCH)
    largest = models.topologies.n_nodes, models.topologies.n_edges
    sizes = tuple(BATCH * int(counts.max()) for counts in largest)
    rows = jax.tree.map(lambda leaf: jnp.asarray(leaf[:ROWS]), table)
    parts = []
    for batch in batches.astype(np.int32):
        found = _removal_of(models, batch, rows, moments, requirement, sizes)
        parts.append(jax.tree.map(np.asarray, found))
        between()

    def by_row(*leaves):
        every = np.zeros((len(models.spec), leaves[0].shape[-1]), np.float32)
        every[ids] = np.concatenate(leaves)[: len(ids)]
        return every

    return jax.tree.map(by_row, *parts)


@functools.partial(jax.jit, static_argnums=(4, 5))
def _removal_of(models, ids, rows, moments, requirement, sizes):
    template = models.template

    def of_model(model: PaddedMLP) -> Removal:
        found = eliminated(template, model, rows.x, moments, DAMPING)

        def after(turn):  # the requirement of what is left then
            keep = (found.turn >= turn).astype(jnp.float32)
            guessing = imputed(template, model, moments, keep, DAMPING)
            edit = Edit(model, guessing, input_edges(template, model, keep), keep)
            return requirement(view_of(template, edit, rows, hard_decisions))

        required = jax.lax.map(after, jnp.arange(template.n_in + 1))
        return Removal(found.turn, jnp.pad(found.cost, (1, 0)), required)

    graph = gather(models, ids, jnp.zeros((BATCH, 1), jnp.float32), sizes)
    return each_model(of_model)(to_template(template, graph))


def imitation_loss(logits: jax.Array, removal: Removal, weight: jax.Array) -> jax.Array:
    """Cross-entropies (nats, means over features) of masks and those that elimination ends with.

    It ends where JSD + lambda * requirement is least along its path.

    Args:
      logits: of the masks of G models, [G, features];  removal: of these models.
      weight: lambda of each, [G].

    Returns:
      [G].
    """
    turns = (removal.cost + weight[:, None] * removal.requirement).argmin(1)  # [G]
    keep = removal.turn >= turns[:, None]
    return (jax.nn.softplus(logits) - keep * logits).mean(1)
