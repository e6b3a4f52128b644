"""Preservation: the edited model should behave as the original (paper eq. 1)."""

import jax

from metanet.mlp.network import js_divergence
from metanet.objectives.base import EditView


def mean_jsd(view: EditView) -> jax.Array:
    """Mean JS divergence between original and edited outputs over the batch (eq. 1): [], nats.

    Rows count by their weight, so that a sample with equal parts of rare groups still estimates it
    for the data as they are.
    """
    return (view.batch.weight * js_divergence(view.logits_before, view.logits_after)).mean()
