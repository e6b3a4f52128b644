"""Applies an editor: theta' = mask * (theta + gamma * delta), in one forward pass."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from flax import struct

from metanet.editor.model import Editor, TrainedEditor
from metanet.editor.relax import keep_mask
from metanet.graphs.convert import edge_matrix, gather, graph_of, pack, to_template, unpack
from metanet.graphs.template import PaddedMLP
from metanet.graphs.topology import TILE
from metanet.mlp.population import Stack


@struct.dataclass
class Edit:
    """The edits of G models in their template; every leaf has a leading axis [G].

    Attributes:
      before, after: the models; pruned weights of `after` are 0.
      keep: [G, sources, targets] float32, 1 where a weight is kept; straight-through in training.
    """

    before: PaddedMLP
    after: PaddedMLP
    keep: jax.Array


# method(context, graph, keys [G], setting []) -> the edits of the batch's G graphs. `context` is
# any pytree, `setting` the number that a front is swept over.
Method = Callable[[object, jraph.GraphsTuple, jax.Array, jax.Array], Edit]


def logistic_noise(graph: jraph.GraphsTuple, keys: jax.Array) -> jax.Array:
    """Standard logistic noise for every edge: [E] float32.

    An edge's value depends on its graph's key ([G]) and its place in that graph alone, so neither
    padding nor the number of devices changes it.
    """
    sizes = graph.n_edge // TILE**2
    total = len(graph.senders) // TILE**2
    owner = graph_of(sizes, total)
    local = jnp.arange(total) - (jnp.cumsum(sizes) - sizes)[owner]
    real = keys[jnp.minimum(owner, len(keys) - 1)]
    tile_keys = jax.vmap(jax.random.fold_in)(real, local)
    return jax.vmap(lambda key: jax.random.logistic(key, (TILE**2,)))(tile_keys).reshape(-1)


def edit_graph(
    editor: TrainedEditor,
    graph: jraph.GraphsTuple,
    noise: jax.Array | float = 0.0,
    temperature: float = 1.0,
    dropout_key: jax.Array | None = None,
) -> tuple[jraph.GraphsTuple, jax.Array]:
    """The edited batch, and its mask.

    Args:
      graph: from `graphs.convert.gather`, with the preferences in its globals.
      noise: added to the mask's logits, [E]; 0 for a deterministic edit.
      temperature: of the mask's relaxation, which only gradients see.
      dropout_key: turns the editor's dropout on.

    Returns:
      The edited batch and the mask [E], 0 or 1 with straight-through gradients.
    """
    rngs = {} if dropout_key is None else {"dropout": dropout_key}
    proposal = Editor(editor.config, editor.template).apply(
        {"params": editor.params}, graph, editor.scales, dropout_key is None, rngs=rngs
    )
    keep = jnp.ones_like(graph.edges["weight"])
    if proposal.keep is not None:
        keep = keep_mask(proposal.keep + noise, temperature)
    weight = (graph.edges["weight"] + proposal.weight) * keep
    deltas = {name: getattr(proposal, name) for name in ("bias", "scale", "shift")}
    nodes = graph.nodes | {name: graph.nodes[name] + delta for name, delta in deltas.items()}
    return graph._replace(nodes=nodes, edges=graph.edges | {"weight": weight}), keep


def as_edit(
    editor: TrainedEditor, graph: jraph.GraphsTuple, edited: jraph.GraphsTuple, keep: jax.Array
) -> Edit:
    """A batch before and after editing, in its template."""
    before = to_template(editor.template, graph)
    return Edit(
        before=before,
        after=to_template(editor.template, edited),
        keep=edge_matrix(editor.template, graph, keep) * before.edge,
    )


@functools.partial(jax.jit, static_argnames="budget")
def _edit_packed(editor, models, ids, preference, budget):
    graph = gather(models, ids, preference, budget)
    edited, keep = edit_graph(editor, graph)
    nodes = {k: edited.nodes[k].reshape(-1, TILE)[:-1] for k in ("bias", "scale", "shift")}
    weight = edited.edges["weight"].reshape(-1, TILE, TILE)
    return models.replace(weight=weight, **nodes), models.replace(
        weight=keep.reshape(-1, TILE, TILE)
    )


def edit_stack(editor: TrainedEditor, stack: Stack, preference: float) -> tuple[Stack, tuple]:
    """Edits M models of one spec.

    Args:
      preference: lambda, the requirement's weight.

    Returns:
      The edited models, and the mask: one [M, n_source, n_target] float32 0/1 array per block.

    Raises:
      ValueError: the spec does not fit the editor's template.
    """
    models = pack([stack], editor.template)
    count = len(stack.activation)
    budget = tuple(
        count * int(n[0]) for n in (models.topologies.n_nodes, models.topologies.n_edges)
    )
    preferences = jnp.full((count, 1), np.log10(preference), jnp.float32)
    edited, keep = _edit_packed(editor, models, jnp.arange(count), preferences, budget)
    (edited,), (mask,) = unpack(edited, [stack.spec]), unpack(keep, [stack.spec])
    return edited, mask.params.weights
