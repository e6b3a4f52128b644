"""Preservation: the edited model should behave as the original (paper eq. 1)."""

import jax
import jax.numpy as jnp

from metanet.objectives.base import EditView


def js_divergence(logits_p: jax.Array, logits_q: jax.Array) -> jax.Array:
    """Jensen-Shannon divergence in nats of two softmax distributions: [...] from [..., classes].

    KL(p, m)/2 + KL(q, m)/2 with m = (p + q)/2, from log-softmax; between 0 and ln 2.
    """
    log_p = jax.nn.log_softmax(logits_p, axis=-1)
    log_q = jax.nn.log_softmax(logits_q, axis=-1)
    log_m = jnp.logaddexp(log_p, log_q) - jnp.log(2.0)
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    return 0.5 * (p * (log_p - log_m) + q * (log_q - log_m)).sum(-1)


def mean_jsd(view: EditView) -> jax.Array:
    """Mean JS divergence (nats) between original and edited outputs over the batch (eq. 1).

    Rows count by their weight, so a sample with equal shares of rare groups still estimates it for
    the data as they are.
    """
    return (view.batch.weight * js_divergence(view.logits_before, view.logits_after)).mean()
