"""Retraining the kept parameters of one model, for baselines that train per model."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metanet.core import require
from metanet.data.tabular import Table
from metanet.graphs.padded import PaddedMLP, apply_padded, fold_batch_norm, n_hidden
from metanet.graphs.topology import Template
from metanet.mlp.network import js_divergence
from metanet.mlp.spec import NORMS
from metanet.training.descent import descend

# loss(logits [rows, classes], target [rows, ...]) -> []
Loss = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class RetrainConfig:
    """Adam with cosine decay.

    Attributes:
      steps: of gradient descent.
      batch_size: rows per step.
      learning_rate: the first.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 1e-3

    def __post_init__(self):
        for key in ("steps", "batch_size"):
            value = getattr(self, key)
            require(value >= 1, key, value, "at least 1")
        rate = self.learning_rate
        require(rate >= 0, "learning_rate", rate, "0 or more")


class Retraining(struct.PyTreeNode):
    """The part of a method's context that its training needs.

    Attributes:
      table: that it trains on.
      learning_rate: [], the first.
    """

    table: Table
    learning_rate: jax.Array


def retraining(table: Table, config: RetrainConfig) -> Retraining:
    """Training on `table` at the config's rate."""
    return Retraining(table, jnp.float32(config.learning_rate))


def jsd_loss(logits: jax.Array, teacher: jax.Array) -> jax.Array:
    """Mean JS divergence (nats) to the teacher's logits [rows, classes]."""
    return js_divergence(logits, teacher).mean()


def label_loss(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Mean cross-entropy (nats) with labels [rows]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def retrain(
    template: Template,
    model: PaddedMLP,
    keep: jax.Array,
    x: jax.Array,
    target: jax.Array,
    loss: Loss,
    config: RetrainConfig,
    key: jax.Array,
    batch_norm: jax.Array | None = None,
    learning_rate: jax.Array | None = None,
) -> PaddedMLP:
    """`model` with its kept weights, biases, scales and shifts trained on (x, target).

    What has a higher loss on all rows in the end than it began with stays as it was: at a rate that
    is good for models of few weights, those of many get worse.

    Args:
      keep: [sources, targets] 0/1; weights that are not kept stay 0.
      x: [rows, features];  target: [rows, ...]; every step samples `batch_size` rows.
      batch_norm: [] bool, whether the model is trained with batch normalisation, which is folded
        in the end with the statistics of all rows of `x`; None is never.
      learning_rate: [], instead of the config's: an argument of the compiled program, which a
        search then compiles once.
    """
    neuron = model.node.astype(x.dtype)  # [targets]
    params = {
        "weight": model.weight * keep,
        "bias": model.bias,
        "scale": model.scale,
        "shift": model.shift,
    }
    allowed = {"weight": keep, "bias": neuron, "scale": neuron, "shift": neuron}
    if batch_norm is not None:
        # Without effect before batch normalisation: their gradient is rounding noise.
        hidden = jnp.arange(len(neuron)) < n_hidden(template)
        allowed["bias"] = jnp.where(batch_norm & hidden, 0.0, neuron)
    rate = config.learning_rate if learning_rate is None else learning_rate
    rates = dict.fromkeys(params, rate)

    def batch_loss(params, step_key, _):
        rows = jax.random.randint(step_key, (config.batch_size,), 0, x.shape[0])
        student = model.replace(**params)
        logits = apply_padded(template, student, x[rows], batch_norm)  # [batch_size, classes]
        return loss(logits, target[rows])

    trained = model.replace(**descend(batch_loss, params, rates, allowed, config.steps, key))
    start = model.replace(**params)
    if batch_norm is not None:
        start, trained = (fold_batch_norm(template, one, x, batch_norm) for one in (start, trained))
    before, after = (loss(apply_padded(template, one, x), target) for one in (start, trained))
    better = (after <= before) | jnp.isnan(before)
    return jax.tree.map(lambda old, new: jnp.where(better, new, old), start, trained)


def batch_normed(model: PaddedMLP) -> jax.Array:
    """Whether a model was trained with batch normalisation, which is folded in it: [] bool."""
    return model.norm == NORMS.index("batch")


def fresh(model: PaddedMLP, key: jax.Array) -> PaddedMLP:
    """Random parameters in the model's architecture, distributed as those of `mlp.network.init`."""
    fan_in = jnp.maximum(model.edge.sum(0), 1).astype(jnp.float32)  # [targets]
    bound = 1.0 / jnp.sqrt(fan_in)
    weight_key, bias_key = jax.random.split(key)
    weight = jax.random.uniform(weight_key, model.weight.shape, minval=-1.0) * bound[None]
    bias = jax.random.uniform(bias_key, model.bias.shape, minval=-1.0) * bound
    return model.replace(
        weight=jnp.where(model.edge, weight, 0.0),
        bias=jnp.where(model.node, bias, 0.0),
        scale=jnp.ones_like(model.scale),
        shift=jnp.zeros_like(model.shift),
    )
