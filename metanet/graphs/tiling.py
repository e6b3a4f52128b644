"""Dense blocks and layers of stacked models to tiles and back; features come last.

To tiles from numpy arrays, on the host, or from jax's, inside jit.
"""

from typing import TypeVar

import jax
import numpy as np

from metanet.graphs.topology import TILE, tiles

Array = TypeVar("Array", np.ndarray, jax.Array)


def to_tiles(block: Array) -> Array:
    """[M, rows, columns, ...] -> [M, tiles, TILE, TILE, ...], zero-padded."""
    count, rows, columns, *rest = block.shape
    ends = ((0, 0), (0, -rows % TILE), (0, -columns % TILE), *[(0, 0)] * len(rest))
    padded = block.__array_namespace__().pad(block.astype(np.float32), ends)
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
    ends = ((0, 0), (0, -width % TILE), *[(0, 0)] * len(rest))
    pad = values.__array_namespace__().pad
    padded = pad(values.astype(np.float32), ends, constant_values=fill)
    return padded.reshape(count, -1, TILE, *rest)
