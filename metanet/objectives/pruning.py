"""Pruning: keep few weights (paper eq. 10-11)."""

import jax

from metanet.objectives.base import EditView, labelled


@labelled("weights kept (fraction of all weights)", of_edit=True)
def weights_kept(view: EditView) -> jax.Array:
    """The fraction of weights that are kept (eq. 10): [] float32 from 0 to 1.

    Weights of skip connections count, biases do not.
    """
    return view.keep.sum() / view.before.edge.sum()
