"""Discrete choices that gradients pass through (paper A.1, A.3.3)."""

import functools

import jax
import jax.numpy as jnp


def straight_through(hard: jax.Array, soft: jax.Array) -> jax.Array:
    """`hard` in the forward pass, the gradient of `soft` in the backward pass (eq. 21-23)."""
    return jax.lax.stop_gradient(hard - soft) + soft


def keep_mask(
    logits: jax.Array,
    temperature: float | jax.Array = 1.0,
    alpha: jax.Array | None = None,
    learns: jax.Array | bool = True,
) -> jax.Array:
    """A 0/1 mask, 1 where the logit of keeping over dropping is positive; straight-through.

    Softmax over {drop, keep} at `temperature` (eq. 15) is the logistic function of the difference
    of the two logits. With logistic noise added to the logits this is a Gumbel-softmax sample.

    Args:
      alpha: in [0, 1], stands for 0 where it is given: the gradient at 0 may have the wrong sign.
        At a uniform alpha it is in the mean what dropping costs, as integrated gradients attribute
        it (Sundararajan et al. 2017).
      learns: with `alpha`, where gradients pass.
    """
    soft = jax.nn.sigmoid(logits / temperature)
    keeps = logits > 0
    if alpha is None:
        return straight_through(keeps.astype(soft.dtype), soft)
    value = jnp.where(keeps, 1.0, alpha).astype(soft.dtype)
    return straight_through(value, jnp.where(learns, soft, jax.lax.stop_gradient(soft)))


def bounded(logits: jax.Array, limit: float | None) -> jax.Array:
    """Logits within +-limit; where they are beyond, only gradients that point back inside pass.

    Further out, noise never turns a mask over, and no gradient would ever correct it: at 5, noise
    does in one step of 150. With None there is no limit.
    """
    return logits if limit is None else _bounded(logits, limit)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _bounded(logits: jax.Array, limit: float) -> jax.Array:
    return jnp.clip(logits, -limit, limit)


def _bounded_forward(logits, limit):
    return _bounded(logits, limit), logits


def _bounded_backward(limit, logits, gradient):
    outward = jnp.where(gradient < 0, logits > limit, logits < -limit)
    return (jnp.where(outward, 0.0, gradient),)


_bounded.defvjp(_bounded_forward, _bounded_backward)


def soft_decisions(logits: jax.Array, temperature: float) -> jax.Array:
    """Soft predictions [rows, classes]: softmax with temperature (eq. 18)."""
    return jax.nn.softmax(logits / temperature, axis=-1)


def hard_decisions(logits: jax.Array) -> jax.Array:
    """One-hot predictions [rows, classes] float32."""
    return jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1])
