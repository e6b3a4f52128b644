"""Scalarisations: several objectives into one loss, or into one direction of descent."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linprog

LEAST = 1e-12  # fraction of the sum of weighted losses: the formulas take its logarithm


def linear(preservation: jax.Array, requirement: jax.Array, weight: jax.Array) -> jax.Array:
    """preservation + sum of weight * requirement (paper eq. 12): [models].

    Args:
      preservation: [models];  requirement: [models], or [models, requirements].
      weight: [models, requirements], lambda.
    """
    # A single requirement, [models], becomes the [models, 1] of its lambda.
    return preservation + (weight * requirement.reshape(weight.shape)).sum(-1)


def epo_weights(
    losses: jax.Array, gram: jax.Array, preference: jax.Array, balanced: float = 1e-4
) -> jax.Array:
    """Weights of the gradients in a step of exact Pareto optimal search: [m], they sum to 1.

    Descent along m * sum of weight * gradient goes to the point of the Pareto front where
    preference * loss is the same for all objectives, also where the front is concave (paper A.8;
    Mahapatra and Rajan 2020, algorithm 1). While the products differ, the direction is the one
    that evens them out most, though losses may rise; once they are even, all losses fall.

    Args:
      losses: [m], not negative. One that is 0 has no logarithm: it counts as LEAST of the sum, and
        the others fall.
      gram: [m, m], products of the objectives' gradients.
      preference: [m], positive.
      balanced: the non-uniformity (nats) up to which products are even.

    Two objectives are solved in closed form, more by scipy's HiGHS outside the compiled program.
    Weights are NaN where a loss or a product is not finite, so that training ends as diverged.
    """
    m = len(losses)
    weighted = preference * losses  # [m]
    part = jnp.maximum(weighted / jnp.maximum(weighted.sum(), LEAST), LEAST)  # [m], sums to 1
    # The divergence (nats) of the parts from 1 / m each, and its gradient by the losses, [m], up to
    # a positive factor.
    uneven = (part * jnp.log(m * part)).sum()
    anchor = preference * (jnp.log(m * part) - uneven)
    toward = gram @ anchor  # [m]: how much a step along each gradient evens the parts out
    # Balance: losses that even out may do what they like, the largest one may not rise, the others
    # rise no more than by the anchor's own direction.
    free = toward > 0  # [m]
    bound = jnp.where(free, -jnp.inf, toward).at[jnp.argmax(weighted)].set(0.0)
    bound = jnp.where(free.any(), bound, 0.0)
    # Descent: no loss may rise, nor the non-uniformity, except for rounding.
    descend = uneven <= balanced
    rounding = 1e-6 * jnp.abs(gram).max()
    # A linear program in the weights: gram @ weights is how fast each loss falls, toward @ weights
    # how fast the parts even out. Both cases have m + 1 rows, since `descend` is traced.
    value = jnp.where(descend, gram.sum(0), toward)  # [m]
    rows = jnp.concatenate([gram, toward[None]])  # [m + 1, m]
    last = jnp.where(descend, jnp.minimum(0.0, toward.max()) - rounding, -jnp.inf)
    bounds = jnp.append(jnp.where(descend, 0.0, bound), last)  # [m + 1]; -inf: no bound
    # A loss that is not finite is in `toward` too. The solver refuses such a program by raising,
    # which would end the process from within the compiled step.
    finite = jnp.isfinite(rows).all() & jnp.isfinite(value).all()
    program = [jnp.where(finite, each, 0.0) for each in (value, rows, bounds)]
    if m == 2:
        weights = _best_of_two(*program)
    else:
        shape = jax.ShapeDtypeStruct((m,), losses.dtype)
        weights = jax.pure_callback(_best_of_many, shape, *program)
    return jnp.where(finite, weights, jnp.nan)


def _best_of_two(value: jax.Array, rows: jax.Array, bounds: jax.Array) -> jax.Array:
    """The weights (x, 1 - x) of largest value @ weights with rows @ weights >= bounds.

    Every row is slope * x >= least: together an interval, of which one end is best.
    """
    slope, least = rows[:, 0] - rows[:, 1], bounds - rows[:, 1]  # [3] each
    # 1 in place of a slope of 0, whose row bounds nothing: no division by 0.
    end = least / jnp.where(slope == 0, 1.0, slope)
    low = jnp.where(slope > 0, end, 0.0).max()
    high = jnp.where(slope < 0, end, 1.0).min()
    x = jnp.clip(jnp.where(value[0] > value[1], high, low), 0.0, 1.0)
    return jnp.stack([x, 1.0 - x])


def _best_of_many(value: np.ndarray, rows: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """As `_best_of_two` for any number; equal weights where there are none within the bounds."""
    # In float64, as the solver computes: tiny gradients have products near float32's end.
    value, rows, bounds = (np.asarray(each, np.float64) for each in (value, rows, bounds))
    scale = max(np.abs(rows).max(), 1e-300)  # gradients may be tiny
    bounded = np.isfinite(bounds)
    solution = linprog(
        -value / scale,
        A_ub=-rows[bounded] / scale,
        b_ub=-bounds[bounded] / scale,
        A_eq=np.ones((1, len(value))),
        b_eq=[1.0],
    )
    weights = solution.x if solution.success else np.full(len(value), 1 / len(value))
    return np.asarray(weights, np.float32)
