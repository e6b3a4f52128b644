"""Data minimisation: use few input features (paper eq. 4-5)."""

import jax

from metanet.objectives.base import EditView, labelled


@labelled("input features kept (fraction of all features)", of_edit=True)
def inputs_kept(view: EditView) -> jax.Array:
    """The fraction of input features that the edited model may read (eq. 4): [] float32, 0 to 1."""
    # Of the model's own features: a template of several datasets may have more inputs.
    return view.input_keep[: view.batch.x.shape[1]].mean()
