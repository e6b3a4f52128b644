"""Masked Adam with cosine decay, on one model's parameters: for retraining and refinement."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

# loss(params, key of the step, ramp []) -> scalar
StepLoss = Callable[[dict[str, jax.Array], jax.Array, jax.Array], jax.Array]


def descend(
    loss: StepLoss,
    params: dict[str, jax.Array],
    learning_rates: Mapping[str, float | jax.Array],
    allowed: dict[str, jax.Array],
    steps: int,
    key: jax.Array,
    ramp: float = 0.0,
) -> dict[str, jax.Array]:
    """The parameters after `steps` of Adam, each at a learning rate that falls to 0 as a cosine.

    Args:
      loss: called once per step, with that step's own key and a factor that rises linearly to 1.
      params: arrays of any shape by name.
      learning_rates: by the same names, those of the first step.
      allowed: by the same names, 0/1 arrays that broadcast to `params`; what is 0 is not changed.
      ramp: the fraction of steps over which the factor rises; with 0 it is always 1.
    """
    adam = optax.scale_by_adam()

    def step(state, scheduled):
        params, moments = state
        step_key, decay, factor = scheduled
        gradient = jax.grad(loss)(params, step_key, factor)
        # The moments see what is not allowed too: it changes no other entry's update.
        update, moments = adam.update(gradient, moments)
        params = {
            name: value - decay * learning_rates[name] * update[name] * allowed[name]
            for name, value in params.items()
        }
        return (params, moments), None

    index = jnp.arange(steps)
    decays = optax.cosine_decay_schedule(1.0, steps)(index)  # [steps], from 1
    factors = jnp.minimum((index + 1) / max(ramp * steps, 1), 1.0)  # [steps]
    keys = jax.random.split(key, steps)
    (params, _), _ = jax.lax.scan(step, (params, adam.init(params)), (keys, decays, factors))
    return params
