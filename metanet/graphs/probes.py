"""Probe statistics of stacked models in the layout of `convert.Models`."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metanet.graphs.tiling import layer_tiles, to_tiles
from metanet.mlp.probe import Probe


@struct.dataclass
class ProbeTiles:
    """The statistics of mlp.probe.Probe, one model after the other; 0 for padding.

    Attributes:
      node: [node tiles, TILE, features] float32.
      edge: [edge tiles, TILE, TILE, features] float32.
      graph: [M, features] float32.
    """

    node: jax.Array
    edge: jax.Array
    graph: jax.Array


def pack_probes(probes: list[Probe]) -> ProbeTiles:
    """The statistics of stacks, in the order in which `convert.pack` gets them."""
    node, edge = [], []
    for probe in probes:
        layers = [layer_tiles(np.asarray(leaf)) for leaf in probe.node]
        blocks = [to_tiles(np.asarray(leaf)) for leaf in probe.edge]
        for parts, out in ((layers, node), (blocks, edge)):
            joined = np.concatenate(parts, axis=1)
            out.append(joined.reshape(-1, *joined.shape[2:]))
    return ProbeTiles(
        node=jnp.asarray(np.concatenate(node)),
        edge=jnp.asarray(np.concatenate(edge)),
        graph=jnp.asarray(np.concatenate([np.asarray(probe.graph) for probe in probes])),
    )
