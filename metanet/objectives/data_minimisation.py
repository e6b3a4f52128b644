"""Data minimisation: use few input features (paper eq. 4-5)."""

import jax

from metanet.objectives.base import EditView


def inputs_kept(view: EditView) -> jax.Array:
    """The fraction of input features that the edited model may read."""
    return view.input_keep.mean()


inputs_kept.label = "input features kept (fraction of all features)"
