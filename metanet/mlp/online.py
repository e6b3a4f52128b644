"""An online population: MLPs in training, each replaced by a fresh one when it is done.

Nothing is stored. The first members of a family leave at staggered times, so that after a `burn_in`
there are members of every age at any time.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metanet.core import require, stream
from metanet.data.tabular import Table
from metanet.mlp.network import ACTIVATIONS, MLPParams
from metanet.mlp.population import OUTSIZED
from metanet.mlp.sampling import Family, PopulationConfig
from metanet.mlp.trainer import folded, init_member, member_step

Seed = int | jax.Array  # [] int32 where it is traced


@dataclasses.dataclass(frozen=True)
class OnlineConfig:
    """The number and the speed of MLPs that train beside an editor.

    Attributes:
      members: of each family;  sgd_steps: of every member per step of the editor.
    """

    members: int = 4
    sgd_steps: int = 2

    def __post_init__(self):
        for key in ("members", "sgd_steps"):
            value = getattr(self, key)
            require(value >= 1, f"online.{key}", value, "at least 1")


@dataclasses.dataclass(frozen=True)
class OnlinePopulation:
    """MLPs that train beside an editor.

    Attributes:
      families: architectures and batch sizes;  config: the distribution of all else.
      members: of each family;  sgd_steps: of every member per step of the editor.
      rows: of the data that they train on.
    """

    families: tuple[Family, ...]
    config: PopulationConfig
    members: int
    sgd_steps: int
    rows: int


class OnlineMembers(struct.PyTreeNode):
    """M members of one family; every leaf has a leading axis [M].

    Attributes:
      number, generation: int32, the member's index in its family and how many it replaced; with the
        seed and the family they determine all else.
      age, horizon: int32, SGD steps done, and after which the member is replaced.
      drawn: activation, dropout, learning_rate, weight_decay.
      state: the member in training, as in mlp.trainer.
    """

    number: jax.Array
    generation: jax.Array
    age: jax.Array
    horizon: jax.Array
    drawn: dict[str, jax.Array]
    state: tuple


def _keys(seed: Seed, family: int, number: jax.Array, generation: jax.Array) -> jax.Array:
    """The random keys [3] of one member: hyperparameters, first parameters, steps."""
    key = jax.random.fold_in(stream(seed, "resident", family), number)
    return jax.random.split(jax.random.fold_in(key, generation), 3)


def _fresh(
    population: OnlinePopulation,
    family: int,
    seed: Seed,
    number: jax.Array,
    generation: jax.Array,
) -> tuple[dict[str, jax.Array], tuple]:
    """One member before its first step: (its hyperparameters, its state)."""
    config = population.config
    drawn_key, initial, _ = _keys(seed, family, number, generation)
    uniform = jax.random.uniform(drawn_key, (4,))  # one generator: each takes a second to compile
    choices = jnp.asarray([ACTIVATIONS.index(name) for name in config.activations], jnp.int32)

    # u is uniform in [0, 1).
    def one_of(values, u):
        # u times the length may round up to the length.
        return values[jnp.minimum((u * len(values)).astype(jnp.int32), len(values) - 1)]

    def log_uniform(pair, u):
        low, high = np.log(pair)
        return jnp.exp(low + u * (high - low))

    drawn = {
        "activation": one_of(choices, uniform[0]),
        "dropout": one_of(jnp.asarray(config.dropouts, jnp.float32), uniform[1]),
        "learning_rate": log_uniform(config.learning_rate, uniform[2]),
        "weight_decay": log_uniform(config.weight_decay, uniform[3]),
    }
    return drawn, init_member(population.families[family].spec, initial)


def _full_horizon(population: OnlinePopulation, family: int) -> int:
    """The SGD steps of a member: as many epochs as in a stored population."""
    return population.config.epochs * (population.rows // population.families[family].batch_size)


def start(population: OnlinePopulation, seed: Seed) -> tuple[OnlineMembers, ...]:
    """The first members of every family, whose horizons are staggered."""
    members, count = [], len(population.families)
    for family in range(count):
        number = jnp.arange(population.members, dtype=jnp.int32)  # [M]
        generation = jnp.zeros_like(number)
        fresh = functools.partial(_fresh, population, family, seed)
        drawn, state = jax.vmap(fresh)(number, generation)
        # Members of one family leave a life / M apart, those of different families in between.
        part = (number + (family + 1) / count) / population.members  # of a life, (0, 1]
        horizon = jnp.ceil(part * _full_horizon(population, family)).astype(jnp.int32)
        members.append(
            OnlineMembers(number, generation, jnp.zeros_like(number), horizon, drawn, state)
        )
    return tuple(members)


def burn_in(
    population: OnlinePopulation,
    family: int,
    members: OnlineMembers,
    train: Table,
    seed: Seed,
) -> OnlineMembers:
    """The members of one family when all except the last of the first ones have left.

    Then the oldest has lived (M - 1) / M of a life, and the youngest has begun.
    """
    life = _full_horizon(population, family)
    # Steps of an editor, each of `sgd_steps`, rounded up.
    steps = -(-life * (population.members - 1) // (population.members * population.sgd_steps))

    def body(step, members):
        return _advance_family(population, family, members, train, seed, step)[0]

    # Negative numbers: rows are drawn by the step, and an editor's steps count from 0.
    return jax.lax.fori_loop(-steps, 0, body, members)


def advance(
    population: OnlinePopulation,
    members: tuple[OnlineMembers, ...],
    train: Table,
    seed: Seed,
    step: jax.Array,
) -> tuple[tuple[OnlineMembers, ...], list[tuple[MLPParams, jax.Array]]]:
    """`sgd_steps` steps of all members; those that are done, or diverged, are replaced.

    Args:
      step: [] int32, how often this was done before, since the burn-in.

    Returns:
      The members after it, and of each family their inference parameters and activations [M].
    """
    pairs = [
        _advance_family(population, family, of_family, train, seed, step)
        for family, of_family in enumerate(members)
    ]
    return tuple(after for after, _ in pairs), [snapshot for _, snapshot in pairs]


def _diverged(params: MLPParams) -> jax.Array:
    """Which of M members are not to be edited: [M] bool, as population.diverged of stored ones.

    Fresh parameters are at most 1; there are too few members for a median.
    """
    leaves = [leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(params)]
    square = jnp.stack([(leaf**2).sum(1) for leaf in leaves]).sum(0)  # [M]
    # Where a parameter is not finite, or its square is not, the comparison is false.
    return ~(square <= OUTSIZED**2 * sum(leaf.shape[1] for leaf in leaves))


def _advance_family(
    population: OnlinePopulation,
    family: int,
    members: OnlineMembers,
    train: Table,
    seed: Seed,
    step: jax.Array,
) -> tuple[OnlineMembers, tuple[MLPParams, jax.Array]]:
    """`advance` for one family: its members after it; their parameters and activations [M]."""
    spec, batch_size = population.families[family].spec, population.families[family].batch_size
    key = jax.random.fold_in(stream(seed, "resident rows", step), family)
    rows = jax.random.randint(key, (population.sgd_steps, batch_size), 0, len(train.y))
    every = jax.vmap(functools.partial(_keys, seed, family))
    member_keys = every(members.number, members.generation)[:, 2]  # [M]
    update = jax.vmap(functools.partial(member_step, spec), in_axes=(0, 0, 0, None, None))

    def one_step(carry, rows):
        state, age = carry
        # By age, so that dropout does not depend on when in the editor's training a member lives.
        keys = jax.vmap(jax.random.fold_in)(member_keys, age)
        # All members of a family see the same batches: rows are gathered once for all of them.
        return (update(state, members.drawn, keys, train.x[rows], train.y[rows]), age + 1), None

    (state, age), _ = jax.lax.scan(one_step, (members.state, members.age), rows)
    done = (age >= members.horizon) | _diverged(state[0])
    generation = members.generation + done

    def renewed(kept):
        fresh = jax.vmap(functools.partial(_fresh, population, family, seed))

        def choose(new, old):  # [M, ...] each
            return jnp.where(done.reshape(done.shape + (1,) * (old.ndim - 1)), new, old)

        return jax.tree.map(choose, fresh(members.number, generation), kept)

    # Most steps replace nobody, and drawing a member's first weights takes a while.
    drawn, state = jax.lax.cond(done.any(), renewed, lambda kept: kept, (members.drawn, state))
    horizon = jnp.where(done, _full_horizon(population, family), members.horizon)
    after = OnlineMembers(members.number, generation, age * ~done, horizon, drawn, state)
    return after, (jax.vmap(functools.partial(folded, spec))(state), drawn["activation"])
