"""Apply an editor inside jit: theta' = mask * (theta + gamma * delta), in one forward pass."""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from metanet.editor.edits import Edit, MaskPath, Masks
from metanet.editor.imputation import guesses
from metanet.editor.layers import at_sources, sum_at_targets, tiles_of
from metanet.editor.model import Editor, Proposal, TrainedEditor
from metanet.editor.noise import Dropout
from metanet.editor.relax import keep_mask
from metanet.graphs.batch import edge_matrix, graph_of, input_vector, to_template
from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.topology import TILE, Template
from metanet.probes.statistics import MEAN


def with_template(editor: TrainedEditor, template: Template) -> TrainedEditor:
    """The same editor for models in a template of fewer hidden layers: it proposes the same edits.

    Methods that train models in their template are faster in a small one.
    """
    large = editor.template
    positions = np.arange(large.n_positions)
    hidden = large.n_in + template.depth
    # Inputs and the first hidden layers, then the outputs, whose positions come last.
    rows = np.concatenate([positions[:hidden], positions[large.n_in + large.depth :]])
    table = {"embedding": editor.params["position"]["embedding"][rows]}
    return editor.replace(params=editor.params | {"position": table}, template=template)


def propose(editor: TrainedEditor, graph: GraphsTuple, dropout: Dropout | None = None) -> Proposal:
    """Changes of all parameters, and logits of masks, of a batch as in `edit_graph`."""
    network = Editor(editor.config, editor.template)
    applied = network.apply({"params": editor.params}, graph, editor.scales, dropout)
    return cast(Proposal, applied)


def edit_graph(editor: TrainedEditor, graph: GraphsTuple) -> tuple[GraphsTuple, Masks]:
    """The edited batch, and its masks; see `apply_proposal`.

    Args:
      graph: from `graphs.batch.gather`, with log10 of lambda in its globals.
    """
    return apply_proposal(editor, graph, propose(editor, graph))


def apply_proposal(
    editor: TrainedEditor,
    graph: GraphsTuple,
    proposal: Proposal,
    noise: Masks | None = None,
    temperature: float = 1.0,
    path: MaskPath | None = None,
) -> tuple[GraphsTuple, Masks]:
    """The batch with proposed changes and masks, and these masks.

    Args:
      noise: added to the masks' logits; none for a deterministic edit.
      temperature: of the masks' relaxation, which only gradients see.
      path: where masks are evaluated; by default at 0 and 1, with gradients.

    Returns:
      The edited batch and its masks, 0 or 1 with straight-through gradients. An edge is kept if
      its own mask and that of the input it leaves, where there are such masks, both are 1.
    """
    edges = jnp.ones_like(graph.edges["weight"])  # [E]
    inputs = jnp.ones_like(graph.nodes["bias"])  # [V]

    def mask_of(logits, sizes):
        if path is None:
            return keep_mask(logits, temperature)
        graph_index = graph_of(sizes, len(logits))
        return keep_mask(logits, temperature, path.alpha[graph_index], path.learns[graph_index])

    if proposal.keep is not None:
        edges = mask_of(proposal.keep + (0.0 if noise is None else noise.edges), graph.n_edge)
    if proposal.input_keep is not None:
        logits = proposal.input_keep + (0.0 if noise is None else noise.inputs)
        inputs = mask_of(logits, graph.n_node)
        leaving = at_sources(tiles_of(graph), inputs[:, None])[..., 0]  # [T, TILE, 1]
        edges = (edges.reshape(-1, TILE, TILE) * leaving).reshape(-1)
    # Before masking: the mean effect is of the edited weights that the mask removes.
    if editor.config.mean_replacement:
        removed = (graph.edges["weight"] + proposal.weight) * (1.0 - edges)
        proposal = proposal.replace(bias=proposal.bias + _mean_effect(graph, removed))
    changed, masks = unmasked(graph, proposal), Masks(edges, inputs)
    return _masked(editor, graph, changed, masks), masks


def _masked(
    editor: TrainedEditor, graph: GraphsTuple, changed: GraphsTuple, masks: Masks
) -> GraphsTuple:
    """The changed batch with its masks, and with what dropped features are replaced by.

    Args:
      graph: the batch before its edit, whose weights make the guesses: a guess is of the model
        that is to be preserved, and changes come on top.
    """
    weight, bias = changed.edges["weight"] * masks.edges, changed.nodes["bias"]
    if editor.config.imputation:
        weights, biases = guesses(editor, graph, masks.inputs)
        weight, bias = weight + weights, bias + biases
    return changed._replace(
        nodes=changed.nodes | {"bias": bias}, edges=changed.edges | {"weight": weight}
    )


def unmasked(graph: GraphsTuple, proposal: Proposal) -> GraphsTuple:
    """The batch with the proposed changes, theta + gamma * delta."""
    deltas = {name: getattr(proposal, name) for name in ("bias", "scale", "shift")}
    nodes = graph.nodes | {name: graph.nodes[name] + delta for name, delta in deltas.items()}
    weight = graph.edges["weight"] + proposal.weight
    return graph._replace(nodes=nodes, edges=graph.edges | {"weight": weight})


def _mean_effect(graph: GraphsTuple, weight: jax.Array) -> jax.Array:
    """The mean over the probe table of what weights [E] add to their targets: [V]."""
    tiles, mean = tiles_of(graph), graph.nodes["probe"][:, MEAN, None]  # [V, 1]
    effect = weight.reshape(-1, TILE, TILE, 1) * at_sources(tiles, mean)
    return sum_at_targets(tiles, effect, len(mean))[:, 0]


def as_edit(editor: TrainedEditor, graph: GraphsTuple, edited: GraphsTuple, masks: Masks) -> Edit:
    """A batch before and after editing, in its template; leaves have a leading axis [G]."""
    before = to_template(editor.template, graph)
    return Edit(
        before=before,
        after=to_template(editor.template, edited),
        # Times what exists: masks are 1 in padding, and there are no weights to keep.
        keep=edge_matrix(editor.template, graph, masks.edges) * before.edge,
        input_keep=input_vector(editor.template, graph, masks.inputs),
    )
