"""One forward pass for MLPs of every spec: a model as a zero-padded adjacency matrix."""

import jax
import jax.numpy as jnp
from flax import struct

from metanet.graphs.topology import TILE, Template, tiles
from metanet.mlp.network import NORM_EPSILON, activate
from metanet.mlp.spec import NORMS

BLOCK = 1024  # rows


@struct.dataclass
class PaddedMLP:
    """One MLP in its template (of G, with a leading axis, where they are stacked).

    `sources` are the template's input and hidden nodes in slot order, `targets` its hidden and
    output nodes. Entries that do not exist in the model are zero.

    Attributes:
      weight: [sources, targets] float32.
      edge: [sources, targets] bool, where the model has a weight (from its spec, not its values).
      bias, scale, shift: [targets] float32.
      node: [targets] bool, where the model has a neuron.
      activation: [] int32, into network.ACTIVATIONS.
      norm: [] int32, into spec.NORMS.
    """

    weight: jax.Array
    edge: jax.Array
    bias: jax.Array
    scale: jax.Array
    shift: jax.Array
    node: jax.Array
    activation: jax.Array
    norm: jax.Array


def apply_padded(template: Template, mlp: PaddedMLP, x: jax.Array) -> jax.Array:
    """Logits [rows, classes] of x [rows, features]: `network.apply` for any spec, one program.

    x has the features of the model, which may be fewer than the template's inputs.
    """
    n_inputs, width = tiles(template.n_in) * TILE, tiles(template.width) * TILE
    layer_norm = mlp.norm == NORMS.index("layer")
    outputs = jnp.pad(x, ((0, 0), (0, n_inputs - x.shape[1])))
    for layer in range(template.depth):
        target = slice(layer * width, (layer + 1) * width)
        z = outputs @ mlp.weight[: outputs.shape[1], target] + mlp.bias[None, target]
        z = jnp.where(layer_norm, _masked_layer_norm(mlp, target, z), z)
        hidden = jnp.where(mlp.node[None, target], activate(mlp.activation, z), 0.0)
        outputs = jnp.concatenate([outputs, hidden], axis=1)
    logits = slice(template.depth * width, template.depth * width + template.n_out)
    return outputs @ mlp.weight[:, logits] + mlp.bias[None, logits]


def apply_rows(template: Template, mlp: PaddedMLP, x: jax.Array) -> jax.Array:
    """`apply_padded` for many rows; on CPU in blocks whose activations stay in the cache."""
    rows = len(x)
    if jax.default_backend() != "cpu" or rows <= BLOCK:
        return apply_padded(template, mlp, x)
    blocks = jnp.pad(x, ((0, -rows % BLOCK), (0, 0))).reshape(-1, BLOCK, x.shape[1])
    logits = jax.lax.map(lambda block: apply_padded(template, mlp, block), blocks)
    return logits.reshape(-1, logits.shape[-1])[:rows]


def _masked_layer_norm(mlp, target, z):
    node = mlp.node[None, target].astype(z.dtype)
    count = jnp.maximum(node.sum(), 1.0)
    centred = (z - (z * node).sum(-1, keepdims=True) / count) * node
    deviation = jnp.sqrt((centred**2).sum(-1, keepdims=True) / count + NORM_EPSILON)
    return centred / deviation * mlp.scale[None, target] + mlp.shift[None, target]
