"""Pruning: keep few weights (paper eq. 10-11)."""

import jax

from metanet.objectives.base import EditView


def weights_kept(view: EditView) -> jax.Array:
    """The fraction of weights that are kept, skip connections included; biases do not count."""
    return view.keep.sum() / view.before.edge.sum()


weights_kept.label = "weights kept (fraction of all weights)"
