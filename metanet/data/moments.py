"""The mean and covariance of a table, and linear conditional means of features from them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metanet.data.table import Table


class Moments(struct.PyTreeNode):
    """What is known of a table: no rows.

    Attributes:
      mean: [features] float32.
      covariance: [features, features] float32.
    """

    mean: jax.Array
    covariance: jax.Array


def moments_of(table: Table, n_features: int) -> Moments:
    """The mean and covariance of a table's columns, in float64; zeros for features it lacks."""
    x = np.asarray(table.x, np.float64)  # [rows, features of the table]
    mean, covariance = x.mean(0), np.cov(x.T, ddof=0).reshape(x.shape[1], x.shape[1])
    more = n_features - x.shape[1]
    mean, covariance = np.pad(mean, (0, more)), np.pad(covariance, ((0, more), (0, more)))
    return Moments(jnp.asarray(mean, jnp.float32), jnp.asarray(covariance, jnp.float32))


def completion(
    moments: Moments, keep: jax.Array, damping: float | jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The map x -> x @ A + c that keeps some features and puts conditional means for the others.

    E[x_dropped | x_kept] = mean_d + S_dk (S_kk + damping diag(S_kk))^-1 (x_k - mean_k), exact for
    Gaussian inputs and the best linear guess for all others.

    Args:
      keep: [features] 0/1. Between, for gradients: keep of the feature itself, and the rest of its
        conditional mean given the others, each with noise of (1 - keep) / keep of its variance. So
        the path from 0 to 1 is a straight one for the feature, and what it tells of others grows.
      damping: relative to the variances, for covariances without full rank.

    Returns:
      A [features, features], whose rows of dropped features are 0, and c [features].
    """
    covariance, mean = moments.covariance, moments.mean
    variance, there = jnp.diag(covariance), keep > 0
    # Of 0 the square root has no derivative.
    root = jnp.where(there, jnp.sqrt(jnp.where(there, keep, 1.0)), 0.0)
    # The block of kept features, and what keeps the rest regular; a column without variance among
    # the kept ones tells nothing of the others.
    ridge = keep * (damping * variance + 1e-6)
    noise = (1.0 - keep) * jnp.where(variance > 0, variance, 1.0)
    system = covariance * (root[:, None] * root[None]) + jnp.diag(ridge + noise)
    factor = jax.scipy.linalg.cho_factor(system, lower=True)
    gain = jax.scipy.linalg.cho_solve(factor, root[:, None] * covariance)  # [given, guessed]
    # Without the feature itself among the given ones: the inverse of the rest by block inversion.
    inverse = jax.scipy.linalg.cho_solve(factor, jnp.eye(len(mean)))
    gain = gain - inverse * (jnp.diag(gain) / jnp.diag(inverse))[None]
    guess = root[:, None] * gain * (1.0 - keep)[None]
    return jnp.diag(keep) + guess, (mean - mean @ guess) * (1.0 - keep)
