"""Scalarisations: several objectives into the one loss of an edit."""

import jax


def linear(preservation: jax.Array, requirement: jax.Array, weight: jax.Array) -> jax.Array:
    """preservation + weight * requirement (paper eq. 12); `weight` is lambda."""
    return preservation + weight * requirement
