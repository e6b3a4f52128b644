"""Edit a stack of models with a trained editor."""

import functools

import jax
import numpy as np

from metanet.editor.apply import edit_graph
from metanet.editor.checks import check_lambda, check_points, check_stack
from metanet.editor.model import TrainedEditor
from metanet.graphs.batch import gather
from metanet.graphs.packing import pack_on_host, pack_probes, unpack
from metanet.graphs.topology import TILE
from metanet.mlp.population import Stack
from metanet.probes.rows import Points
from metanet.probes.store import probe_stack


@functools.partial(jax.jit, static_argnames="budget")
def _edit_packed(editor, models, ids, log10_lambda, budget):
    """The edited tiles, fields as in Models, and the mask of the weights."""
    graph = gather(models, ids, log10_lambda, budget)
    edited, masks = edit_graph(editor, graph)
    # Without the node tile of padding; the rest is in the order of `models`.
    tiles = {k: edited.nodes[k].reshape(-1, TILE)[:-1] for k in ("bias", "scale", "shift")}
    weight = edited.edges["weight"].reshape(-1, TILE, TILE)
    return tiles | {"weight": weight}, masks.edges.reshape(-1, TILE, TILE)


def edit_stack(
    editor: TrainedEditor, stack: Stack, lam, points: Points | None = None
) -> tuple[Stack, tuple]:
    """Edits M models of one spec.

    Args:
      lam: lambda, the requirement's weight; [requirements] where there are several. Or one for each
        model, [M, requirements].
      points: the probe table, if the editor was trained with one: any table of such cells.

    Returns:
      The edited models, and the mask: one [M, n_source, n_target] float32 0/1 array per block.

    Raises:
      ValueError: an argument is not what the editor was trained for; see `editor.checks`.
    """
    check_stack(stack, editor.template)
    lam = check_lambda(lam, len(stack.activation), len(editor.lambda_range))
    check_points(points, editor.config, stack.spec.widths[0])
    models = pack_on_host([stack], editor.template)
    if points is not None:
        models = models.replace(probe=pack_probes([probe_stack(stack, points)]))
    count = len(stack.activation)
    # An exact budget: all models are of one spec, so that the batch has no padding but one tile.
    n_nodes, n_edges = models.topologies.n_nodes, models.topologies.n_edges
    budget = (count * int(n_nodes[0]), count * int(n_edges[0]))
    ids, log10_lambda = np.arange(count, dtype=np.int32), np.log10(lam).astype(np.float32)
    packed = _edit_packed(editor, models, ids, log10_lambda, budget)
    found, keep = jax.tree.map(np.asarray, packed)
    (edited,) = unpack(models.replace(**found), [stack.spec])
    (mask,) = unpack(models.replace(weight=keep), [stack.spec])
    return edited, mask.params.weights
