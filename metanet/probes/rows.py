"""The rows of the `edit` data on which networks are probed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metanet.core import require
from metanet.data.tabular import Table


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """The rows that networks are probed on.

    Attributes:
      points: their number.
      seed: of the draw.
      labelled: whether cells of (label, group) are drawn equally and have separate statistics;
        without, neither labels nor groups are read.
      tilt: a row is preferred by exp(tilt * its first feature): 0 is the data's distribution.
    """

    points: int = 64
    seed: int = 0
    labelled: bool = False
    tilt: float = 0.0

    def __post_init__(self):
        require(self.points >= 1, "editor.probe.points", self.points, "at least 1")
        require(self.seed >= 0, "editor.probe.seed", self.seed, "0 or more")


class Points(struct.PyTreeNode):
    """The probe table.

    Attributes:
      x: [rows, features] float32, in random order.
      cell: [rows] int32, label * groups + group; 0 without labels.
      weight: [rows] float32 with mean 1; undoes that rare cells were drawn more often.
      n_cells: the number of cells; static.
    """

    x: jax.Array
    cell: jax.Array
    weight: jax.Array
    n_cells: int = struct.field(pytree_node=False)


def points_of(config: ProbeConfig, table: Table, n_classes: int) -> Points:
    """Draws the probe table from `table`; a cell with too few rows repeats them."""
    rng = np.random.default_rng([config.seed, 3])
    # Gumbel noise on log-probabilities sorts as drawing without replacement does.
    rows = np.argsort(-config.tilt * table.x[:, 0] - rng.gumbel(size=len(table.y)))
    if not config.labelled:
        rows = rows[: config.points]
        ones = jnp.ones(len(rows), jnp.float32)
        return Points(jnp.asarray(table.x[rows]), jnp.zeros(len(rows), jnp.int32), ones, 1)
    cell = np.asarray(table.y) * table.n_groups + np.asarray(table.group)  # [rows of the table]
    members = [rows[cell[rows] == one] for one in range(n_classes * table.n_groups)]
    present = [part for part in members if len(part)]
    counts = [len(part) for part in np.array_split(np.arange(config.points), len(present))]
    drawn = [np.resize(part, count) for part, count in zip(present, counts, strict=True)]
    # A drawn row stands for (size of its cell / rows drawn of the cell) rows of the data.
    weight = np.repeat([len(part) for part in present] / np.maximum(counts, 1), counts)
    # In random order, so that any first rows are a sample of all cells.
    order = rng.permutation(config.points)
    rows, weight = np.concatenate(drawn)[order], weight[order]
    return Points(
        x=jnp.asarray(table.x[rows]),
        cell=jnp.asarray(cell[rows], jnp.int32),
        weight=jnp.asarray(weight / weight.mean(), jnp.float32),
        n_cells=len(members),
    )
