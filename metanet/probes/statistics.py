"""Statistics of an MLP on a few rows of data, which an editor may see beside parameters."""

import jax
import jax.numpy as jnp
from flax import struct

from metanet.mlp.network import MLPParams, forward, inference_norm
from metanet.mlp.spec import MLPSpec
from metanet.probes.rows import Points

MEAN, LOG_STD, VALUE_LOG_STD = 0, 1, 3  # features of Probe.node
SALIENCY = 1  # and in Probe.edge, with mean replacement
_TINY = 1e-6  # added in logarithms, which zero has none of


class Probe(struct.PyTreeNode):
    """The statistics of one MLP (of M, with a leading axis, where they are stacked); float32.

    Means are over rows by weight, v is a neuron's value before its norm and activation (of an
    input: the input), a after them, and m the derivative with respect to v of the second logit less
    the first:

    Attributes:
      node: one [n_l, 7 + cells] per layer 0 to L: mean of a; log standard deviation of a; asinh of
        the mean of v; log standard deviation of v; mean of m; half the log of the mean Fisher
        information (see `_fisher`) about v; log divergence of an input that is set to 0 (see
        `_dropped`), else 0; then the mean of a in every cell, from that of all rows, in standard
        deviations.
      edge: one [n_source, n_target, 3] per block: log divergence, to second order, of setting the
        weight to 0, and of replacing it by its mean effect in the bias (Optimal Brain Damage, LeCun
        et al. 1990, diagonal); the latter from the mean over the model's weights, in standard
        deviations.
      graph: [cells * (2 C - 1)]: mean probability and fraction of decisions for each class except
        the first, and mean over rows of the sum of p (1 - p) over classes, of every cell.
    """

    node: tuple[jax.Array, ...]
    edge: tuple[jax.Array, ...]
    graph: jax.Array


def _log(x: jax.Array) -> jax.Array:
    return jnp.log(x + _TINY)


def _fisher(p: jax.Array, slopes: jax.Array) -> jax.Array:
    """The variance over the classes of margins' derivatives: [rows, n].

    p: [rows, C];  slopes: [C - 1, rows, n], derivatives of every logit except the first, less the
    first's. Times delta^2 / 8 it is the JS divergence (nats) that a small change delta makes.
    """
    weight = p.T[1:, :, None]  # [C - 1, rows, 1]; the first class's margin is 0
    return (weight * slopes**2).sum(0) - (weight * slopes).sum(0) ** 2


def statistics(spec: MLPSpec, params: MLPParams, activation: jax.Array, points: Points) -> Probe:
    """The probe statistics of one model with inference parameters; vmap gives many."""
    row_weight = points.weight / points.weight.sum()  # [rows], sums to 1
    cell_weight = jax.nn.one_hot(points.cell, points.n_cells) * points.weight[:, None]
    # [rows, cells], columns sum to 1, or to 0 where a cell has no rows.
    cell_weight = cell_weight / jnp.maximum(cell_weight.sum(0), _TINY)[None]

    def run(x, nudges):
        """Logits, and every layer's (v, a); the derivative by a nudge [rows, n_l] is that by v."""
        before, after = {}, {}

        def normalise(layer, z):
            before[layer] = z + nudges[layer - 1]
            return inference_norm(spec, params, layer, before[layer])

        def keep(layer, a):
            after[layer] = a
            return a

        logits = forward(spec, params, activation, x, normalise, keep) + nudges[-1]
        values = [x, *[before[layer] for layer in spec.hidden], logits]
        return logits, (values, [x, *[after[layer] for layer in spec.hidden], logits])

    rows = points.x.shape[0]
    nudges = [jnp.zeros((rows, width)) for width in spec.widths[1:]]
    # One forward pass, and C - 1 backward passes for the derivatives of all neurons at once.
    logits, pull, (values, outputs) = jax.vjp(run, points.x, nudges, has_aux=True)
    n_classes, p = logits.shape[-1], jax.nn.softmax(logits, axis=-1)  # p: [rows, C]
    margins = jnp.eye(n_classes)[1:] - jnp.eye(n_classes)[:1]  # [C - 1, C]
    # Rows do not mix, so that one backward pass has the derivatives of each row's margin.
    by_inputs, by_neurons = jax.vmap(pull)(jnp.tile(margins[:, None], (1, rows, 1)))
    slopes = [by_inputs, *by_neurons]  # [C - 1, rows, n_l] per layer
    fisher = [_fisher(p, slope) for slope in slopes]  # [rows, n_l] per layer

    def moments(values):
        """Mean [n_l], squared distances from it [rows, n_l] and variance [n_l], over the rows."""
        mean = row_weight @ values
        centred = (values - mean[None]) ** 2
        return mean, centred, row_weight @ centred

    node, centred_of, square_of = [], [], []
    for layer, (value, output) in enumerate(zip(values, outputs, strict=True)):
        mean, centred, variance = moments(output)
        value_mean, _, value_variance = moments(value)
        dropped = jnp.zeros_like(mean)
        if layer == 0:
            dropped = _log(jnp.maximum(row_weight @ _dropped(points.x, p, by_inputs), 0.0))
        std = jnp.sqrt(variance)
        shift = (cell_weight.T @ output - mean[None]) / (std + _TINY)[None]  # [cells, n_l]
        node.append(jnp.stack([
            mean, _log(std), jnp.arcsinh(value_mean), _log(jnp.sqrt(value_variance)),
            row_weight @ slopes[layer][0], 0.5 * _log(row_weight @ fisher[layer]), dropped, *shift,
        ], axis=-1))  # fmt: skip
        centred_of.append(centred)
        square_of.append(output**2)

    saliencies = []
    for (source, target), weight in zip(spec.blocks, params.weights, strict=True):
        # Setting w to 0 changes v by w a: a divergence of w^2 a^2 F / 8 (see `_fisher`). Its mean
        # over rows is one product [n_source, rows] @ [rows, n_target]; with a from its mean where
        # the bias takes the mean effect.
        steep = row_weight[:, None] * fisher[target]
        both = [square_of[source].T @ steep, centred_of[source].T @ steep]
        saliencies.append(jnp.log(jnp.stack([weight**2 * s / 8 for s in both]) + 1e-3 * _TINY))
    # [weights of the model], by which an edge can be compared with edges it never meets.
    flat = jnp.concatenate([s[SALIENCY].reshape(-1) for s in saliencies])
    middle, spread = flat.mean(), flat.std() + _TINY
    edge = [jnp.stack([*s, (s[SALIENCY] - middle) / spread], axis=-1) for s in saliencies]

    decided = jax.nn.one_hot(logits.argmax(-1), n_classes)  # [rows, C]
    doubt = (p * (1 - p)).sum(-1, keepdims=True)  # [rows, 1]
    # [cells, 2 C - 1]; the first class follows from the others.
    graph = cell_weight.T @ jnp.concatenate([p[:, 1:], decided[:, 1:], doubt], axis=-1)
    return Probe(tuple(node), tuple(edge), graph.reshape(-1))


def _dropped(x: jax.Array, p: jax.Array, slopes: jax.Array) -> jax.Array:
    """About the JS divergence (nats) when an input is set to 0: [rows, features].

    The logits change linearly, so that it costs no forward pass per input. A quarter of the
    triangular discrimination is less than the divergence, by a factor of at most 2 ln 2 (Topsoe
    2000), and takes a third of its time.
    """
    p = p.T[:, :, None]  # [C, rows, 1], classes first: a short axis is slow where it is innermost
    # Of every logit less the first's, [C, rows, features]; its exponential must not overflow.
    change = jnp.pad(jnp.clip(-x[None] * slopes, -30.0, 30.0), ((1, 0), (0, 0), (0, 0)))
    q = p * jnp.exp(change)
    q = q / q.sum(0)[None]  # the distribution after the change
    return ((p - q) ** 2 / (p + q + _TINY)).sum(0) / 4
