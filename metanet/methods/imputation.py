"""Features that are dropped, replaced by their linear conditional means given those kept."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metanet.data.tabular import Table
from metanet.graphs.padded import PaddedMLP
from metanet.graphs.topology import Template


class Moments(struct.PyTreeNode):
    """What imputation knows of a table: no rows.

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


def completion(moments: Moments, keep: jax.Array, damping: float) -> tuple[jax.Array, jax.Array]:
    """The map x -> x @ A + c that keeps some features and puts conditional means for the others.

    E[x_dropped | x_kept] = mean_d + S_dk (S_kk + damping diag(S_kk))^-1 (x_k - mean_k), exact for
    Gaussian inputs and the best linear guess for all others.

    Args:
      keep: [features] 0/1.
      damping: relative to the variances, for covariances without full rank.

    Returns:
      A [features, features], whose rows of dropped features are 0, and c [features].
    """
    covariance, mean = moments.covariance, moments.mean
    both = keep[:, None] * keep[None]
    # The block of kept features, and the identity for the rest, which keeps it regular; a column
    # without variance among the kept ones tells nothing of the others.
    ridge = jnp.where(keep > 0, damping * jnp.diag(covariance) + 1e-6, 1.0)
    root = jax.scipy.linalg.cho_factor(covariance * both + jnp.diag(ridge), lower=True)
    gain = jax.scipy.linalg.cho_solve(root, covariance * keep[:, None])
    guess = gain * (keep[:, None] * (1.0 - keep)[None])  # [kept, dropped]
    offset = (mean - mean @ guess) * (1.0 - keep)
    return jnp.diag(keep) + guess, offset


def imputed(
    template: Template, model: PaddedMLP, moments: Moments, keep: jax.Array, damping: float
) -> PaddedMLP:
    """One model that reads the kept features alone, and guesses the others from them.

    The guess is linear, so that it goes into the weights of all edges that leave an input, skips
    included, and into the biases: the outputs are exactly those of the model on completed rows.
    """
    matrix, offset = completion(moments, keep, damping)
    weight = model.weight[: template.n_in]  # [features, targets]
    return model.replace(
        weight=model.weight.at[: template.n_in].set(matrix @ weight),
        bias=model.bias + offset @ weight,
    )
