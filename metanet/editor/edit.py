"""Applies an editor: theta' = mask * (theta + gamma * delta), in one forward pass."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from flax import struct

from metanet.editor.layers import at_sources, sum_at_targets, tiles_of
from metanet.editor.model import Editor, TrainedEditor
from metanet.editor.relax import keep_mask
from metanet.graphs.convert import (
    edge_matrix,
    gather,
    graph_of,
    input_vector,
    pack,
    to_template,
    unpack,
)
from metanet.graphs.probes import pack_probes
from metanet.graphs.template import PaddedMLP
from metanet.graphs.topology import TILE, Template
from metanet.mlp.population import Stack
from metanet.mlp.probe import MEAN, Points
from metanet.mlp.probing import probe_stack


@struct.dataclass
class Edit:
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


# method(context, graph, keys [G]) -> (setting [] -> the edits of the batch's G graphs). `context`
# is any pytree, `setting` the number that a front is swept over; what does not depend on it is
# computed once.
Method = Callable[[object, jraph.GraphsTuple, jax.Array], Callable[[jax.Array], Edit]]


@struct.dataclass
class Masks:
    """Values per edge [E] and per node [V] of a batch: masks, or noise on their logits."""

    edges: jax.Array
    inputs: jax.Array


@struct.dataclass
class Path:
    """Where the masks of each graph of a batch are evaluated (see relax.keep_mask): [G + 1].

    Attributes:
      place: float32, what stands for 0.
      learns: bool, whether the masks have gradients.
    """

    place: jax.Array
    learns: jax.Array


def logistic_noise(graph: jraph.GraphsTuple, keys: jax.Array) -> Masks:
    """Standard logistic noise for every edge and node.

    A value depends on its graph's key ([G]) and its place in that graph alone, so neither padding
    nor the number of devices changes it.
    """

    def draw(keys, sizes, total, size):
        owner = graph_of(sizes, total)
        local = jnp.arange(total) - (jnp.cumsum(sizes) - sizes)[owner]
        tile_keys = jax.vmap(jax.random.fold_in)(keys[jnp.minimum(owner, len(keys) - 1)], local)
        return jax.vmap(lambda key: jax.random.logistic(key, (size,)))(tile_keys).reshape(-1)

    n_edges, n_nodes = len(graph.senders) // TILE**2, len(graph.nodes["slot"]) // TILE
    node_keys = jax.vmap(lambda key: jax.random.split(key)[1])(keys)
    return Masks(
        edges=draw(keys, graph.n_edge // TILE**2, n_edges, TILE**2),
        inputs=draw(node_keys, graph.n_node // TILE, n_nodes, TILE),
    )


def with_template(editor: TrainedEditor, template: Template) -> TrainedEditor:
    """The same editor for models in a template of fewer hidden layers: it proposes the same edits.

    What trains models in a template is faster in a small one.
    """
    own = editor.template
    positions = np.arange(own.n_positions)
    hidden = own.n_in + template.depth
    rows = np.concatenate([positions[:hidden], positions[own.n_in + own.depth :]])
    table = {"embedding": editor.params["position"]["embedding"][rows]}
    return editor.replace(params=editor.params | {"position": table}, template=template)


def edit_graph(
    editor: TrainedEditor,
    graph: jraph.GraphsTuple,
    noise: Masks | None = None,
    temperature: float = 1.0,
    path: Path | None = None,
) -> tuple[jraph.GraphsTuple, Masks]:
    """The edited batch, and its masks.

    Args:
      graph: from `graphs.convert.gather`, with the preferences in its globals.
      noise: added to the masks' logits; none for a deterministic edit.
      temperature: of the masks' relaxation, which only gradients see.
      path: where masks are evaluated; by default at 0 and 1, with gradients.

    Returns:
      The edited batch and its masks, 0 or 1 with straight-through gradients. An edge is kept if
      its own mask and that of the input it leaves, where there are such masks, both are 1.
    """
    network = Editor(editor.config, editor.template)
    proposal = network.apply({"params": editor.params}, graph, editor.scales)
    edges = jnp.ones_like(graph.edges["weight"])
    inputs = jnp.ones_like(graph.nodes["bias"])

    def masked(logits, sizes):
        if path is None:
            return keep_mask(logits, temperature)
        owner = graph_of(sizes, len(logits))
        return keep_mask(logits, temperature, path.place[owner], path.learns[owner])

    if proposal.keep is not None:
        edges = masked(proposal.keep + (0.0 if noise is None else noise.edges), graph.n_edge)
    if proposal.input_keep is not None:
        logits = proposal.input_keep + (0.0 if noise is None else noise.inputs)
        inputs = masked(logits, graph.n_node)
        leaving = at_sources(tiles_of(graph), inputs[:, None])[..., 0]
        edges = (edges.reshape(-1, TILE, TILE) * leaving).reshape(-1)
    weight = graph.edges["weight"] + proposal.weight
    deltas = {name: getattr(proposal, name) for name in ("bias", "scale", "shift")}
    if editor.config.mean_replacement:
        deltas["bias"] = deltas["bias"] + _mean_effect(graph, weight * (1.0 - edges))
    weight = weight * edges
    nodes = graph.nodes | {name: graph.nodes[name] + delta for name, delta in deltas.items()}
    edited = graph._replace(nodes=nodes, edges=graph.edges | {"weight": weight})
    return edited, Masks(edges, inputs)


def _mean_effect(graph: jraph.GraphsTuple, weight: jax.Array) -> jax.Array:
    """What weights [E] add to their targets in the mean over the probe table: [V]."""
    tiles, mean = tiles_of(graph), graph.nodes["probe"][:, MEAN, None]
    effect = weight.reshape(-1, TILE, TILE, 1) * at_sources(tiles, mean)
    return sum_at_targets(tiles, effect, len(mean))[:, 0]


def as_edit(
    editor: TrainedEditor, graph: jraph.GraphsTuple, edited: jraph.GraphsTuple, masks: Masks
) -> Edit:
    """A batch before and after editing, in its template."""
    before = to_template(editor.template, graph)
    return Edit(
        before=before,
        after=to_template(editor.template, edited),
        keep=edge_matrix(editor.template, graph, masks.edges) * before.edge,
        input_keep=input_vector(editor.template, graph, masks.inputs),
    )


@functools.partial(jax.jit, static_argnames="budget")
def _edit_packed(editor, models, ids, preference, budget):
    graph = gather(models, ids, preference, budget)
    edited, masks = edit_graph(editor, graph)
    nodes = {k: edited.nodes[k].reshape(-1, TILE)[:-1] for k in ("bias", "scale", "shift")}
    weight = edited.edges["weight"].reshape(-1, TILE, TILE)
    keep = masks.edges.reshape(-1, TILE, TILE)
    return models.replace(weight=weight, **nodes), models.replace(weight=keep)


def edit_stack(
    editor: TrainedEditor, stack: Stack, preference, points: Points | None = None
) -> tuple[Stack, tuple]:
    """Edits M models of one spec.

    Args:
      preference: lambda, the requirement's weight; [requirements] where there are several.
      points: the probe table, if the editor was trained with one: any table of such cells.

    Returns:
      The edited models, and the mask: one [M, n_source, n_target] float32 0/1 array per block.

    Raises:
      ValueError: the spec does not fit the editor's template, or the editor needs probe points.
    """
    models = pack([stack], editor.template)
    if editor.config.probe is not None:
        if points is None:
            raise ValueError("points: found None, expected the probe table that the editor reads")
        models = models.replace(probe=pack_probes([probe_stack(stack, points)]))
    count = len(stack.activation)
    budget = tuple(
        count * int(n[0]) for n in (models.topologies.n_nodes, models.topologies.n_edges)
    )
    weights = np.log10(np.atleast_1d(preference)).astype(np.float32)
    preferences = jnp.broadcast_to(weights[None], (count, len(weights)))
    edited, keep = _edit_packed(editor, models, jnp.arange(count), preferences, budget)
    (edited,), (mask,) = unpack(edited, [stack.spec]), unpack(keep, [stack.spec])
    return edited, mask.params.weights
