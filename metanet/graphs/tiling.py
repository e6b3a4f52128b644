"""Dense blocks and layers of stacked models to tiles and back; features come last.

To tiles from numpy arrays, on the host, or from jax's, inside jit.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from metanet.graphs.topology import TILE, tiles

Array = TypeVar("Array", np.ndarray, jax.Array)


def to_tiles(block: Array) -> Array:
    """[M, rows, columns, ...] -> [M, tiles, TILE, TILE, ...], zero-padded."""
    count, rows, columns, *rest = block.shape
    more = (0, -rows % TILE, -columns % TILE, *[0] * len(rest))
    padded = _padded(block, more, 0.0)
    grid = padded.reshape(count, tiles(rows), TILE, tiles(columns), TILE, *rest)
    # Tiles row by row, as topology_of numbers them.
    return grid.swapaxes(2, 3).reshape(count, -1, TILE, TILE, *rest)


def from_tiles(block: Array, rows: int, columns: int) -> Array:
    """The inverse of `to_tiles`, without features."""
    grid = block.reshape(len(block), tiles(rows), tiles(columns), TILE, TILE)
    full = grid.swapaxes(2, 3).reshape(len(block), tiles(rows) * TILE, -1)
    return full[:, :rows, :columns]


def layer_tiles(values: Array, fill: float = 0.0) -> Array:
    """A layer's values [M, n, ...] -> [M, tiles, TILE, ...], padded with `fill`."""
    count, width, *rest = values.shape
    more = (0, -width % TILE, *[0] * len(rest))
    return _padded(values, more, fill).reshape(count, -1, TILE, *rest)


def _padded(values: Array, more: tuple[int, ...], fill: float) -> Array:
    """`values` in float32, with `more` entries of `fill` after each axis."""
    if isinstance(values, jax.Array):
        return jnp.pad(values.astype(np.float32), [(0, n) for n in more], constant_values=fill)
    # np.pad takes ten times as long, and was a third of a single edit.
    shape = [size + n for size, n in zip(values.shape, more, strict=True)]
    whole = np.full(shape, fill, np.float32)
    whole[tuple(slice(size) for size in values.shape)] = values
    return whole
