"""Editors as functions that edit a batch of models: alone, in a row, or their masks alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metanet.editor.apply import as_edit, edit_graph
from metanet.editor.edits import Edit, Masks
from metanet.editor.model import TrainedEditor
from metanet.graphs.graphs_tuple import GraphsTuple


def editor_fn(
    editor: TrainedEditor, graph: GraphsTuple, keys: jax.Array
) -> Callable[[jax.Array], Edit]:
    """The editor as a method: the setting is lambda, see `with_lambda`."""

    def edit(setting):
        asked = with_lambda(graph, setting)
        return as_edit(editor, asked, *edit_graph(editor, asked))

    return edit


def with_lambda(graph: GraphsTuple, setting: jax.Array) -> GraphsTuple:
    """The batch with lambda in the globals of every graph.

    Args:
      setting: lambda of all G graphs, [] or [requirements], or of each, [G, requirements].
    """
    exponents = jnp.log10(jnp.atleast_1d(setting))
    if exponents.ndim == 2:
        log10_lambda = jnp.pad(exponents, ((0, 1), (0, 0)))  # and of the graph of padding
    else:
        log10_lambda = jnp.broadcast_to(exponents[None], (len(graph.n_node), len(exponents)))
    return graph._replace(globals=graph.globals | {"log10_lambda": log10_lambda})


def composed_fn(
    editors: tuple[TrainedEditor, ...], graph: GraphsTuple, keys: jax.Array
) -> Callable[[jax.Array], Edit]:
    """Editors, without probes, of one template one after another (paper A.7).

    The setting is the lambda of each, [editors]. What one removes stays removed.
    """

    def edit(setting):
        edited, kept = graph, Masks(jnp.ones(()), jnp.ones(()))
        for editor, weight in zip(editors, setting, strict=True):
            edited, masks = edit_graph(editor, with_lambda(edited, weight))
            kept = jax.tree.map(jnp.multiply, kept, masks)
            weights = edited.edges["weight"] * kept.edges
            edited = edited._replace(edges=edited.edges | {"weight": weights})
        return as_edit(editors[0], graph, edited, kept)

    return edit


def masks_only_fn(
    editor: TrainedEditor, graph: GraphsTuple, keys: jax.Array
) -> Callable[[jax.Array], Edit]:
    """The editor's masks on the unedited parameters."""
    edit = editor_fn(editor, graph, keys)

    def mask(setting):
        proposed = edit(setting)
        kept = proposed.before.replace(weight=proposed.before.weight * proposed.keep)
        return proposed.replace(after=kept)

    return mask
