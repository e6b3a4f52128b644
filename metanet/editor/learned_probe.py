"""Rows that are parameters of an editor, not data: it runs networks on them to see what they do.

A linear generator makes the rows, as in ProbeGen (Kahana et al. 2025); all layers' activations are
read, as in neural graphs (Kofinas et al. 2024), and what neurons do to the outputs too.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from metanet.graphs.batch import edge_values, slot_values, to_template
from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.linearised import linearise
from metanet.graphs.padded import PaddedMLP
from metanet.graphs.topology import TILE, Template, tiles

CODE_WIDTH = 32  # the generator's
SLOPE = 10.0  # derivatives are of the order of a tenth
LARGEST = 1e5  # whose products of squares are finite
_TINY = 1e-6  # added in a logarithm, which zero has none of


class LearnedProbe(nn.Module):
    """What a batch of networks does on learned rows of the template's inputs.

    With C classes, V nodes and T edge tiles, float32:

    Returns:
      Of nodes [V, rows * C]: asinh of what they pass on in every row (an output its logit less the
      first's), and of SLOPE times the derivatives of the outputs by what they are given (see
      `Linearised.bias`). Of edges [T, TILE, TILE, 1]: the logarithm of how much setting the weight
      to 0 costs, to second order, less its mean over the network.
    """

    rows: int
    template: Template

    @nn.compact
    def __call__(self, graph: GraphsTuple) -> tuple[jax.Array, jax.Array]:
        template = self.template
        codes = self.param(
            "codes", nn.initializers.normal(1.0), (self.rows, CODE_WIDTH), jnp.float32
        )
        x = nn.Dense(template.n_in, name="generator")(nn.Dense(CODE_WIDTH, name="hidden")(codes))
        nodes, weights = jax.vmap(lambda model: seen(template, model, x))(
            to_template(template, graph)
        )
        saliency = edge_values(template, graph, weights)  # [E]
        return slot_values(graph, nodes), saliency.reshape(-1, TILE, TILE, 1)


def seen(template: Template, model: PaddedMLP, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What LearnedProbe returns, of one model on x [rows, features] in its template.

    Returns:
      Of nodes [slots * TILE, rows * C], of weights [sources, targets].
    """
    found = linearise(template, model, x)
    n_inputs, n_outputs = tiles(template.n_in) * TILE, tiles(template.n_out) * TILE
    margins = found.logits - found.logits[:, :1]  # [rows, C]
    margins = jnp.pad(margins, ((0, 0), (0, n_outputs - margins.shape[1])))
    passed = jnp.concatenate([found.values, margins], axis=1)  # [rows, slots * TILE]
    # Of an input by all weights that leave it.
    of_inputs = jnp.einsum("rct,st->rcs", found.bias, model.weight[:n_inputs])
    slopes = jnp.concatenate([of_inputs, found.bias], axis=2)  # [rows, C - 1, slots * TILE]
    nodes = jnp.concatenate([passed[:, None], SLOPE * slopes], axis=1)  # [rows, C, slots * TILE]
    # Setting w to 0 changes its target by w a: the square of w a times the derivatives, mean over
    # rows, as in Optimal Brain Damage.
    values, slope, weight = (jnp.clip(leaf, -LARGEST, LARGEST)
                             for leaf in (found.values, found.bias, model.weight))  # fmt: skip
    square = weight**2 * ((values**2).T @ (slope**2).sum(1)) / len(x)
    saliency = jnp.log(square + _TINY)
    mean = (saliency * model.edge).sum() / jnp.maximum(model.edge.sum(), 1)  # an absent model has 0
    of_weights = (saliency - mean) * model.edge
    nodes = jnp.arcsinh(jnp.clip(nodes, -LARGEST, LARGEST))
    return nodes.reshape(-1, nodes.shape[-1]).T, of_weights
