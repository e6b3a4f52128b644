"""One forward pass for MLPs of every spec: a model as a zero-padded adjacency matrix."""

import jax
import jax.numpy as jnp
from flax import struct

from metanet.graphs.topology import TILE, Template, tiles
from metanet.mlp.network import NORM_EPSILON, MLPParams, activate
from metanet.mlp.spec import NORMS, MLPSpec

BLOCK = 1024  # rows
PARAMETERS = ("weight", "bias", "scale", "shift")  # of PaddedMLP


class PaddedMLP(struct.PyTreeNode):
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


def params_of(template: Template, mlp: PaddedMLP, spec: MLPSpec) -> MLPParams:
    """The parameters of one model out of its template, as `network.apply` takes them."""
    n_inputs, width = tiles(template.n_in) * TILE, tiles(template.width) * TILE
    first = {0: 0} | {layer: n_inputs + (layer - 1) * width for layer in spec.hidden}
    first[spec.n_layers] = n_inputs + template.depth * width

    def part(layer: int, past: int) -> slice:  # of the layer's nodes, counted from `past`
        return slice(first[layer] - past, first[layer] - past + spec.widths[layer])

    targets = [part(layer, n_inputs) for layer in range(1, spec.n_layers + 1)]
    normed = targets[:-1] if spec.norm == "layer" else []
    return MLPParams(
        weights=tuple(mlp.weight[part(s, 0), targets[t - 1]] for s, t in spec.blocks),
        biases=tuple(mlp.bias[target] for target in targets),
        scales=tuple(mlp.scale[target] for target in normed),
        shifts=tuple(mlp.shift[target] for target in normed),
    )


def n_hidden(template: Template) -> int:
    """The number of targets that are hidden nodes, the first ones; the rest are outputs."""
    return template.depth * tiles(template.width) * TILE


def apply_padded(
    template: Template, mlp: PaddedMLP, x: jax.Array, batch_norm: jax.Array | None = None
) -> jax.Array:
    """Logits [rows, classes] of x [rows, features]: `network.apply` for any spec, one program.

    x has the features of the model, which may be fewer than the template's inputs.

    Args:
      batch_norm: [] bool, whether hidden layers are normalised by their statistics over `x`, as
        batch normalisation in training does; None is never.
    """
    return logits_from(template, mlp, source_values(template, mlp, x, batch_norm))


def logits_from(template: Template, mlp: PaddedMLP, sources: jax.Array) -> jax.Array:
    """Logits [rows, classes] from what the weights read, [rows, sources] of `source_values`."""
    logits = slice(n_hidden(template), n_hidden(template) + template.n_out)
    return sources @ mlp.weight[:, logits] + _per_row(mlp.bias, logits)


def source_values(
    template: Template, mlp: PaddedMLP, x: jax.Array, batch_norm: jax.Array | None = None
) -> jax.Array:
    """What the weights of every source read, [rows, sources]: inputs, then hidden neurons' outputs.

    x is [rows, features]; see `apply_padded`. Bias, scale and shift may be [rows, targets] too.
    """
    n_inputs, width = tiles(template.n_in) * TILE, tiles(template.width) * TILE
    layer_norm = mlp.norm == NORMS.index("layer")
    # All sources so far, [rows, n_inputs + layer * width]: a layer may read any earlier one.
    outputs = jnp.pad(x, ((0, 0), (0, n_inputs - x.shape[1])))
    for layer in range(template.depth):
        target = slice(layer * width, (layer + 1) * width)
        z = outputs @ mlp.weight[: outputs.shape[1], target] + _per_row(mlp.bias, target)
        if batch_norm is not None:
            gain, shift = _batch_affine(mlp, target, z)
            z = jnp.where(batch_norm, z * gain[None] + shift[None], z)
        # [rows, width]; both are computed, since the norm is a value of the model.
        z = jnp.where(layer_norm, _masked_layer_norm(mlp, target, z), z)
        hidden = jnp.where(mlp.node[None, target], activate(mlp.activation, z), 0.0)
        outputs = jnp.concatenate([outputs, hidden], axis=1)
    return outputs


def _per_row(values: jax.Array, targets: slice) -> jax.Array:
    """Of parameters [targets] or [rows, targets], those of a layer: [1 or rows, width]."""
    return jnp.atleast_2d(values[..., targets])


def apply_rows(template: Template, mlp: PaddedMLP, x: jax.Array) -> jax.Array:
    """`apply_padded` for many rows; on CPU in blocks whose activations stay in the cache."""
    rows = len(x)
    if jax.default_backend() != "cpu" or rows <= BLOCK:
        return apply_padded(template, mlp, x)
    # [blocks, BLOCK, features]; the last one is filled with zeros, whose logits are cut off.
    blocks = jnp.pad(x, ((0, -rows % BLOCK), (0, 0))).reshape(-1, BLOCK, x.shape[1])
    logits = jax.lax.map(lambda block: apply_padded(template, mlp, block), blocks)
    return logits.reshape(-1, logits.shape[-1])[:rows]


def input_edges(template: Template, model: PaddedMLP, input_keep: jax.Array) -> jax.Array:
    """The edge mask [sources, targets] float32 of a feature mask [features]."""
    rows = jnp.ones(model.weight.shape[0]).at[: template.n_in].set(input_keep)
    return model.edge * rows[:, None]


def fold_batch_norm(
    template: Template, mlp: PaddedMLP, x: jax.Array, batch_norm: jax.Array
) -> PaddedMLP:
    """A model whose hidden layers are normalised by their statistics over x, as one without.

    Its outputs on x are those of `apply_padded` with `batch_norm`: the normalisation is affine
    once its statistics are fixed, and goes into weights and biases. Unchanged where `batch_norm`
    [] bool is False.
    """
    n_inputs, width = tiles(template.n_in) * TILE, tiles(template.width) * TILE
    outputs = jnp.pad(x, ((0, 0), (0, n_inputs - x.shape[1])))
    weight, bias = mlp.weight, mlp.bias
    for layer in range(template.depth):
        target = slice(layer * width, (layer + 1) * width)
        z = outputs @ mlp.weight[: outputs.shape[1], target] + mlp.bias[None, target]
        gain, shift = _batch_affine(mlp, target, z)
        weight = weight.at[:, target].multiply(gain[None])
        bias = bias.at[target].set(bias[target] * gain + shift)
        z = z * gain[None] + shift[None]
        hidden = jnp.where(mlp.node[None, target], activate(mlp.activation, z), 0.0)
        outputs = jnp.concatenate([outputs, hidden], axis=1)
    return mlp.replace(
        weight=jnp.where(batch_norm, weight, mlp.weight), bias=jnp.where(batch_norm, bias, mlp.bias)
    )


def _batch_affine(mlp: PaddedMLP, target: slice, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Batch normalisation of z [rows, width] as z * gain + shift: each [width]."""
    mean = z.mean(0)
    variance = ((z - mean[None]) ** 2).mean(0)
    gain = mlp.scale[target] * jax.lax.rsqrt(variance + NORM_EPSILON)
    return gain, mlp.shift[target] - mean * gain


def _masked_layer_norm(mlp: PaddedMLP, target: slice, z: jax.Array) -> jax.Array:
    """Layer normalisation of z [rows, width] over the neurons that exist."""
    node = mlp.node[None, target].astype(z.dtype)  # [1, width]
    # At least 1: hidden layers that the model does not have are empty, and 0 / 0 has no gradient.
    count = jnp.maximum(node.sum(), 1.0)
    centred = (z - (z * node).sum(-1, keepdims=True) / count) * node
    std = jnp.sqrt((centred**2).sum(-1, keepdims=True) / count + NORM_EPSILON)  # [rows, 1]
    return centred / std * _per_row(mlp.scale, target) + _per_row(mlp.shift, target)
