"""Parameters of a target MLP and its forward pass, for one model; vmap gives many."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metanet.mlp.spec import MLPSpec

# gelu is its tanh form, gelu_erf the exact one; populations have the first five by default.
ACTIVATIONS = ("relu", "leaky_relu", "gelu", "silu", "tanh", "gelu_erf")
NORM_EPSILON = 1e-5

# One formula with one transcendental function serves every activation, so that a vmapped model can
# choose its own without computing all of them: with t = tanh(x (ODD[0] + ODD[1] x^2 + ...)), an
# activation is x or SLOPE x by its sign, x (1 + t) / 2 or t, according to its FORM.
_RECTIFIER, _GATE, _TANH = 0, 1, 2
_FORM = (_RECTIFIER, _RECTIFIER, _GATE, _GATE, _TANH, _GATE)
_SLOPE = (0.0, 0.01, 0.0, 0.0, 0.0, 0.0)
# Of gelu_erf: a minimax fit of atanh(erf(x / sqrt(2))) / x, so that x (1 + t) / 2 is exact to 1e-7.
_ERF = (0.797884216, 0.0363342835, -3.31299946e-5, -5.52401583e-5, 3.96910945e-6, -1.33446409e-7,
        1.80561643e-9)  # fmt: skip
_ODD = (
    (0.0,) * 7,
    (0.0,) * 7,
    (0.7978845608, 0.7978845608 * 0.044715, *(0.0,) * 5),
    (0.5, *(0.0,) * 6),
    (1.0, *(0.0,) * 6),
    _ERF,
)
_LARGEST = 36.0  # of x^2 in the polynomial: beyond, every gate is open or shut in float32


class MLPParams(struct.PyTreeNode):
    """Parameters of one MLP (of M, with a leading axis, where they are stacked).

    Attributes:
      weights: one [n_source, n_target] float32 per block, in the order of `spec.blocks`.
      biases: one [n_l] per layer 1 to L.
      scales: one [n_l] per hidden layer where a normalisation has parameters, else ().
      shifts: as `scales`.
    """

    weights: tuple[jax.Array, ...]
    biases: tuple[jax.Array, ...]
    scales: tuple[jax.Array, ...] = ()
    shifts: tuple[jax.Array, ...] = ()


def activate(index: jax.Array, x: jax.Array) -> jax.Array:
    """The activation ACTIVATIONS[index] of x; `index` may be traced."""
    form, odd, slope = (jnp.asarray(table)[index] for table in (_FORM, _ODD, _SLOPE))
    square = jnp.minimum(x * x, _LARGEST)
    gain = odd[..., -1]
    for power in range(len(_ERF) - 2, -1, -1):
        gain = gain * square + odd[..., power]
    t = jnp.tanh(x * gain)
    smooth = jnp.where(form == _GATE, 0.5 * x * (1.0 + t), t)
    # Not a maximum, whose gradient at 0 would be half of either side's.
    return jnp.where(form == _RECTIFIER, jnp.where(x > 0, x, slope * x), smooth)


def init(spec: MLPSpec, key: jax.Array) -> MLPParams:
    """Fresh training parameters: uniform in +-1/sqrt(fan-in), scales 1, shifts 0.

    Returns:
      float32 parameters; scales and shifts for both normalisations (see `fold`).
    """
    bounds = {
        target: sum(spec.widths[s] for s, t in spec.blocks if t == target) ** -0.5
        for target in range(1, spec.n_layers + 1)
    }
    shapes: list[tuple[int, ...]] = [(spec.widths[s], spec.widths[t]) for s, t in spec.blocks]
    shapes += [(spec.widths[layer],) for layer in bounds]
    targets = [t for _, t in spec.blocks] + list(bounds)
    # A generator takes a second to compile, so there is one for all blocks, which draws as many for
    # each as the largest has.
    sizes, reach = [math.prod(shape) for shape in shapes], np.array([bounds[t] for t in targets])
    rows = jax.vmap(lambda k, b: jax.random.uniform(k, (max(sizes),), jnp.float32, -b, b))(
        jax.random.split(key, len(shapes)), reach.astype(np.float32)
    )  # [blocks and layers, largest size]
    drawn = [row[:n].reshape(s) for row, n, s in zip(rows, sizes, shapes, strict=True)]
    normed = [spec.widths[layer] for layer in spec.hidden if spec.norm != "none"]
    return MLPParams(
        weights=tuple(drawn[: len(spec.blocks)]),
        biases=tuple(drawn[len(spec.blocks) :]),
        scales=tuple(jnp.ones(width, jnp.float32) for width in normed),
        shifts=tuple(jnp.zeros(width, jnp.float32) for width in normed),
    )


def shapes_of(spec: MLPSpec) -> dict[str, list[tuple[int, ...]]]:
    """The shapes of one model's inference parameters, by the fields of `MLPParams`."""
    normed: list[tuple[int, ...]] = [
        (spec.widths[layer],) for layer in spec.hidden if spec.norm == "layer"
    ]
    return {
        "weights": [(spec.widths[s], spec.widths[t]) for s, t in spec.blocks],
        "biases": [(width,) for width in spec.widths[1:]],
        "scales": normed,
        "shifts": normed,
    }


def forward(
    spec: MLPSpec,
    params: MLPParams,
    activation: jax.Array,
    x: jax.Array,
    normalise: Callable[[int, jax.Array], jax.Array],
    drop: Callable[[int, jax.Array], jax.Array],
) -> jax.Array:
    """Logits [rows, classes] of x [rows, features].

    `normalise(layer, z)` and `drop(layer, a)` are applied to hidden layers before and after the
    activation: the trainer's differ from inference's, the rest is the same.
    """
    outputs = [x]  # of every layer, [rows, n_l]: skip connections read earlier ones
    for layer in range(1, spec.n_layers + 1):
        z = params.biases[layer - 1][None]
        for (source, target), weight in zip(spec.blocks, params.weights, strict=True):
            if target == layer:
                z = z + outputs[source] @ weight
        if layer < spec.n_layers:
            z = drop(layer, activate(activation, normalise(layer, z)))
        outputs.append(z)
    return outputs[-1]


def layer_norm(z: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    """Layer normalisation of z [rows, n] with scale and shift [n]."""
    centred = z - z.mean(-1, keepdims=True)
    std = jnp.sqrt((centred**2).mean(-1, keepdims=True) + NORM_EPSILON)
    return centred / std * scale[None] + shift[None]


def apply(spec: MLPSpec, params: MLPParams, activation: jax.Array, x: jax.Array) -> jax.Array:
    """Inference: logits [rows, classes] of x [rows, features]; batch normalisation is folded."""

    def normalise(layer, z):
        return inference_norm(spec, params, layer, z)

    return forward(spec, params, activation, x, normalise, drop=lambda layer, a: a)


def inference_norm(spec: MLPSpec, params: MLPParams, layer: int, z: jax.Array) -> jax.Array:
    """The values z [rows, n] of a hidden layer as its activation reads them: after a layer norm."""
    if spec.norm != "layer":
        return z
    return layer_norm(z, params.scales[layer - 1], params.shifts[layer - 1])


def fold(
    spec: MLPSpec, params: MLPParams, means: tuple[jax.Array, ...], variances: tuple[jax.Array, ...]
) -> MLPParams:
    """Inference parameters from training parameters.

    Batch normalisation with running `means` and `variances` (one [n_l] per hidden layer) is affine
    in inference and goes into weights and biases exactly; other norms change nothing.
    """
    if spec.norm != "batch":
        return params
    gains = [
        scale / jnp.sqrt(variance + NORM_EPSILON)
        for scale, variance in zip(params.scales, variances, strict=True)
    ]
    weights = tuple(
        weight * gains[target - 1][None] if target < spec.n_layers else weight
        for (_, target), weight in zip(spec.blocks, params.weights, strict=True)
    )
    hidden = tuple(
        (bias - mean) * gain + shift
        for bias, mean, gain, shift in zip(
            params.biases[:-1], means, gains, params.shifts, strict=True
        )
    )
    return MLPParams(weights=weights, biases=(*hidden, params.biases[-1]))


def js_divergence(logits_p: jax.Array, logits_q: jax.Array) -> jax.Array:
    """Jensen-Shannon divergence in nats of two softmax distributions: [...] from [..., classes].

    KL(p, m)/2 + KL(q, m)/2 with m = (p + q)/2, from log-softmax; between 0 and ln 2.
    """
    log_p = jax.nn.log_softmax(logits_p, axis=-1)
    log_q = jax.nn.log_softmax(logits_q, axis=-1)
    log_m = jnp.logaddexp(log_p, log_q) - jnp.log(2.0)
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    return 0.5 * (p * (log_p - log_m) + q * (log_q - log_m)).sum(-1)
