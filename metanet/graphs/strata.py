"""Batches of models, stratified by size so that one budget fits them all.

Models are sorted by size and cut into as many strata as a batch has graphs; every batch takes one
model of each stratum. The padding needed is then nearly the same for every batch: one compiled
program, little waste, and every model is seen once per epoch.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from metanet.graphs.packing import Models

PARTS = ("nodes", "edges")  # of a graph, in tiles


@dataclasses.dataclass(frozen=True)
class Strata:
    """Models by size, for batches of one model of each stratum.

    Attributes:
      table: [batch, longest stratum] int32 rows of Models, -1 past a stratum's end. Each of
        `n_devices` equal runs of rows is one device's part of a batch.
      number: [batch] int32, a row's stratum; random draws are keyed by it, so that they do not
        depend on the number of devices.
      per_epoch: batches in an epoch, the length of the shortest stratum.
      budget: (node tiles, edge tiles) that hold any device's part.
    """

    table: np.ndarray
    number: np.ndarray
    per_epoch: int
    budget: tuple[int, int]


def stratify(models: Models, ids: np.ndarray, batch: int, n_devices: int) -> Strata:
    """Strata of the models `ids` for batches of `batch` graphs on `n_devices` devices.

    Raises:
      ValueError: `batch` is not a multiple of `n_devices`.
    """
    spec = np.asarray(models.spec)[ids]  # [models]
    nodes, edges = (np.asarray(getattr(models.topologies, f"n_{one}"))[spec] for one in PARTS)
    return stratify_sizes(nodes, edges, ids, batch, n_devices)


def stratify_sizes(
    nodes: np.ndarray, edges: np.ndarray, ids: np.ndarray, batch: int, n_devices: int
) -> Strata:
    """`stratify` for models of so many tiles of nodes and of edges, [models] each.

    Raises:
      ValueError: as `stratify`.
    """
    if batch % n_devices:
        raise ValueError(f"batch: found {batch}, expected a multiple of {n_devices} devices")
    # By edges, which cost most; ties by nodes, then by id, so that the order is unique.
    order = np.lexsort((ids, nodes, edges))
    parts = np.array_split(order, batch)
    table = np.full((batch, max(map(len, parts))), -1, np.int32)
    largest = np.zeros((batch, 2), np.int64)
    for stratum, part in enumerate(parts):
        table[stratum, : len(part)] = ids[part]
        if len(part):
            largest[stratum] = nodes[part].max(), edges[part].max()
    # Deal the strata out like cards, turning round after each pass, to level the devices' loads.
    turn = np.arange(batch).reshape(-1, n_devices)
    turn[1::2] = turn[1::2, ::-1]
    rows = turn.T.reshape(-1)  # [batch] strata, those of the first device first
    # The largest model of each stratum, summed over a device's strata; the fullest device's.
    budget = largest[rows].reshape(n_devices, -1, 2).sum(1).max(0)
    return Strata(
        table=table[rows],
        number=rows.astype(np.int32),
        per_epoch=len(ids) // batch,
        budget=(int(budget[0]), int(budget[1])),
    )


def draw(
    table: jax.Array, number: jax.Array, per_epoch: jax.Array, key: jax.Array, step: jax.Array
) -> jax.Array:
    """The models of batch `step`: [rows] int32 from rows of `Strata.table` and their numbers.

    Every epoch of `per_epoch` batches is a fresh permutation of each stratum; the batch is a
    function of the arguments, so there is no position to store. Strata that hold one model more
    leave a random one out per epoch.
    """
    epoch, position = step // per_epoch, step % per_epoch

    def one(row, stratum):  # [longest stratum], [] -> []
        stratum_key = jax.random.fold_in(jax.random.fold_in(key, stratum), epoch)
        # The order of random ranks is a permutation; what is not there comes last, after 1.
        rank = jnp.where(row < 0, 2.0, jax.random.uniform(stratum_key, row.shape))
        return row[jnp.argsort(rank)[position]]

    return jax.vmap(one)(table, number)
