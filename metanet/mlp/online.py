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
from metanet.mlp.sampling import Family, PopulationConfig
from metanet.mlp.trainer import folded, init_member, member_step


@dataclasses.dataclass(frozen=True)
class OnlineConfig:
    """How many MLPs train beside an editor, and how fast.

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
    """Which MLPs train beside an editor, and how fast.

    Attributes:
      families: what they are members of;  config: what the rest of them is drawn from.
      members: of each family;  sgd_steps: of every member per step of the editor.
      rows: of the data that they train on.
    """

    families: tuple[Family, ...]
    config: PopulationConfig
    members: int
    sgd_steps: int
    rows: int


@struct.dataclass
class OnlineMembers:
    """M members of one family; every leaf has a leading axis [M].

    Attributes:
      number, generation: int32, which with the seed and the family determine all else.
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


def _key(seed, family, number, generation):
    key = jax.random.fold_in(stream(seed, "resident", family), number)
    return jax.random.fold_in(key, generation)


def _fresh(population: OnlinePopulation, family: int, seed, number, generation):
    """One member before its first step: (what is drawn, its state)."""
    config = population.config
    own, initial = jax.random.split(_key(seed, family, number, generation))
    uniform = jax.random.uniform(own, (4,))  # one generator: each takes a second to compile
    choices = jnp.asarray([ACTIVATIONS.index(name) for name in config.activations], jnp.int32)

    def one_of(values, share):
        return values[jnp.minimum((share * len(values)).astype(jnp.int32), len(values) - 1)]

    def log_uniform(pair, share):
        low, high = np.log(pair)
        return jnp.exp(low + share * (high - low))

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


def start(population: OnlinePopulation, seed: jax.Array) -> tuple[OnlineMembers, ...]:
    """The first members of every family."""
    found, count = [], len(population.families)
    for family in range(count):
        number = jnp.arange(population.members, dtype=jnp.int32)
        generation = jnp.zeros_like(number)
        fresh = functools.partial(_fresh, population, family, seed)
        drawn, state = jax.vmap(fresh)(number, generation)
        share = (number + (family + 1) / count) / population.members
        horizon = jnp.ceil(share * _full_horizon(population, family)).astype(jnp.int32)
        found.append(
            OnlineMembers(number, generation, jnp.zeros_like(number), horizon, drawn, state)
        )
    return tuple(found)


def burn_in(
    population: OnlinePopulation, family: int, members: OnlineMembers, train: Table, seed
) -> OnlineMembers:
    """The members of one family when all but the last of the first ones have left.

    Then the oldest has lived as long as all but one of M shares of a life, the youngest has begun.
    """
    life = _full_horizon(population, family)
    steps = -(-life * (population.members - 1) // (population.members * population.sgd_steps))

    def body(step, members):
        return _advance_family(population, family, members, train, seed, step)[0]

    return jax.lax.fori_loop(-steps, 0, body, members)  # an editor's own steps count from 0


def advance(
    population: OnlinePopulation,
    members: tuple[OnlineMembers, ...],
    train: Table,
    seed,
    step: jax.Array,
) -> tuple[tuple[OnlineMembers, ...], list[tuple[MLPParams, jax.Array]]]:
    """`sgd_steps` steps of all members; those that are done, or diverged, are replaced.

    Args:
      step: [] int32, how often this was done before, since the burn-in.

    Returns:
      The members after it, and of each family their inference parameters and activations [M].
    """
    found = [
        _advance_family(population, family, own, train, seed, step)
        for family, own in enumerate(members)
    ]
    return tuple(own for own, _ in found), [snapshot for _, snapshot in found]


def _advance_family(population, family, members, train, seed, step):
    spec, batch_size = population.families[family].spec, population.families[family].batch_size
    key = jax.random.fold_in(stream(seed, "resident rows", step), family)
    rows = jax.random.randint(key, (population.sgd_steps, batch_size), 0, len(train.y))
    own = jax.vmap(lambda n, g: _key(seed, family, n, g))(members.number, members.generation)
    update = jax.vmap(functools.partial(member_step, spec), in_axes=(0, 0, 0, None, None))

    def one_step(carry, rows):
        state, age = carry
        keys = jax.vmap(jax.random.fold_in)(own, age)
        # All members of a family see the same batches: rows are gathered once for all of them.
        return (update(state, members.drawn, keys, train.x[rows], train.y[rows]), age + 1), None

    (state, age), _ = jax.lax.scan(one_step, (members.state, members.age), rows)
    finite = [jnp.isfinite(x.reshape(len(x), -1)).all(1) for x in jax.tree.leaves(state[0])]
    done = (age >= members.horizon) | ~jnp.stack(finite).all(0)
    generation = members.generation + done

    def renewed(kept):
        fresh = jax.vmap(functools.partial(_fresh, population, family, seed))

        def choose(new, old):
            return jnp.where(done.reshape(done.shape + (1,) * (old.ndim - 1)), new, old)

        return jax.tree.map(choose, fresh(members.number, generation), kept)

    # Most steps replace nobody, and drawing a member's first weights takes a while.
    drawn, state = jax.lax.cond(done.any(), renewed, lambda kept: kept, (members.drawn, state))
    horizon = jnp.where(done, _full_horizon(population, family), members.horizon)
    after = OnlineMembers(members.number, generation, age * ~done, horizon, drawn, state)
    return after, (jax.vmap(functools.partial(folded, spec))(state), drawn["activation"])
