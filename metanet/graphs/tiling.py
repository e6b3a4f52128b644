"""Dense blocks and layers of stacked models to tiles and back; features come last.

To tiles from numpy arrays, on the host, or from jax's, inside jit.
"""

import numpy as np

from metanet.graphs.topology import TILE, tiles


def to_tiles(block: np.ndarray) -> np.ndarray:
    """[M, rows, columns, ...] -> [M, tiles, TILE, TILE, ...], zero-padded."""
    count, rows, columns, *rest = block.shape
    ends = ((0, 0), (0, -rows % TILE), (0, -columns % TILE), *[(0, 0)] * len(rest))
    padded = block.__array_namespace__().pad(block.astype(np.float32), ends)
    grid = padded.reshape(count, tiles(rows), TILE, tiles(columns), TILE, *rest)
    return grid.swapaxes(2, 3).reshape(count, -1, TILE, TILE, *rest)


def from_tiles(block: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The inverse of `to_tiles`, without features."""
    grid = block.reshape(len(block), tiles(rows), tiles(columns), TILE, TILE)
    full = grid.swapaxes(2, 3).reshape(len(block), tiles(rows) * TILE, -1)
    return full[:, :rows, :columns]


def layer_tiles(values: np.ndarray, fill: float = 0.0) -> np.ndarray:
    """A layer's values [M, n, ...] -> [M, tiles, TILE, ...], padded with `fill`."""
    count, width, *rest = values.shape
    ends, pad = (
        ((0, 0), (0, -width % TILE), *[(0, 0)] * len(rest)),
        values.__array_namespace__().pad,
    )
    padded = pad(values.astype(np.float32), ends, constant_values=fill)
    return padded.reshape(count, -1, TILE, *rest)
