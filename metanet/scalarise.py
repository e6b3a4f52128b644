"""Scalarisations: several objectives into the one loss of an edit."""

import jax


def linear(preservation: jax.Array, requirement: jax.Array, weight: jax.Array) -> jax.Array:
    """preservation + sum of weight * requirement (paper eq. 12): [models].

    Args:
      preservation: [models];  requirement: [models], or [models, requirements].
      weight: [models, requirements], lambda.
    """
    return preservation + (weight * requirement.reshape(weight.shape)).sum(-1)
