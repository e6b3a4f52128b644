"""Arguments of a compiled training step: the training problem, the state, schedules."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from metanet.data.tabular import Table
from metanet.editor.inputs import Scales
from metanet.graphs.packing import Models
from metanet.graphs.strata import Strata
from metanet.training.config import TrainingConfig, lambda_pairs
from metanet.training.imitation import Removal


class TrainState(struct.PyTreeNode):
    """All that changes from step to step.

    Attributes:
      params: of the editor;  optimiser: its moments.
      step: [] int32, the number of steps done.
      members: models in training (see mlp.online), sharded; () where models are stored.
    """

    params: dict
    optimiser: optax.OptState
    step: jax.Array
    members: tuple = ()


class Numbers(struct.PyTreeNode):
    """Settings of a TrainingConfig by the same names, as arguments of the program: float32 []."""

    weight_decay: jax.Array
    dropout: jax.Array
    mask_noise: jax.Array
    mask_path: jax.Array
    imitation: jax.Array
    lambda_power: jax.Array


NUMBERS = tuple(field.name for field in dataclasses.fields(Numbers))


class Problem(struct.PyTreeNode):
    """All that stays the same: arguments of the compiled program, not constants in it.

    Attributes:
      models: the population;  scales: its units.
      strata, number: [batch, ...], [batch] (see strata.Strata), sharded;  per_epoch: [].
      table: the data that the editor sees, weighted for the way they are sampled.
      pool: int32, the rows that points are drawn from, uniformly; a row may be in it repeatedly.
      log_lambda_range: [requirements, 2], natural logarithms of the ranges of lambda.
      numbers: settings in which editors of one program differ.
      seed: [] int32, of all random draws.
      removal: of all models, what masks imitate; None without imitation.
      train: the data that online members train on; None where models are stored.
    """

    models: Models
    scales: Scales
    strata: jax.Array
    number: jax.Array
    per_epoch: jax.Array
    table: Table
    pool: jax.Array
    log_lambda_range: jax.Array
    numbers: Numbers
    seed: jax.Array
    removal: Removal | None = None
    train: Table | None = None


def problem_of(
    config: TrainingConfig, models: Models, scales: Scales, strata: Strata, table: Table, seed: int
) -> Problem:
    """The training problem as arrays."""
    table, pool = sampling_pool(table, config.balanced)
    numbers = {name: jnp.asarray(getattr(config, name), jnp.float32) for name in NUMBERS}
    return Problem(
        models=models,
        scales=scales,
        strata=jnp.asarray(strata.table),
        number=jnp.asarray(strata.number),
        per_epoch=jnp.asarray(strata.per_epoch, jnp.int32),
        table=jax.tree.map(jnp.asarray, table),
        pool=jnp.asarray(pool, jnp.int32),
        log_lambda_range=jnp.log(jnp.asarray(lambda_pairs(config.lambda_range), jnp.float32)),
        numbers=Numbers(**numbers),
        seed=jnp.asarray(seed, jnp.int32),
    )


def sampling_pool(table: Table, balanced: bool) -> tuple[Table, np.ndarray]:
    """The table with importance weights, and the pool of rows that points are drawn from.

    The balanced pool repeats the rows of every cell of (label, group) up to the size of the largest
    cell; weights undo exactly what the pool does.
    """
    rows = np.arange(len(table.y))
    if not balanced:
        return table, rows
    cell = np.asarray(table.y) * table.n_groups + np.asarray(table.group)  # [rows]
    cells = [rows[cell == one] for one in np.unique(cell)]
    pool = np.concatenate([np.resize(members, max(map(len, cells))) for members in cells])
    chance = np.bincount(pool, minlength=len(rows)) / len(pool)  # of a row in one draw
    weight = (1 / (len(rows) * chance)).astype(np.float32)
    return dataclasses.replace(table, weight=weight), pool


def schedules(config: TrainingConfig) -> tuple[np.ndarray, np.ndarray]:
    """Learning rate and lambda's ramp factor for every step: two float32 [steps]."""
    step = np.arange(config.steps)
    rate = optax.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate,
        min(config.warmup, config.steps // 2),
        config.steps,
        config.learning_rate * config.final_learning_rate,
    )
    ramp = np.minimum((step + 1) / max(config.ramp * config.steps, 1), 1.0)
    return np.asarray(jax.vmap(rate)(step), np.float32), ramp.astype(np.float32)
