"""Networks of any shapes as chunks that share their compiled programs.

A chunk is packed as a population is: its batches have one network of each size class of all
networks, and its arrays are filled up to the same shapes.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metanet.devices import models_mesh
from metanet.graphs.packing import Models, pack_on_host, pack_probes
from metanet.graphs.strata import stratify_sizes
from metanet.graphs.topology import TILE, Template, topology_of
from metanet.interop.network import Network, stack_networks
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec
from metanet.probes.rows import Points
from metanet.probes.statistics import Probe
from metanet.probes.store import filled_up, probe_stack

BATCH = 16  # networks of a batch, and that are probed in one call
CHUNK = 8  # batches
ROOM = 2**29  # bytes of a batch's edits at all settings, at most


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a set of networks is edited, and what its chunks share.

    Attributes:
      template: the editor's.
      specs: of all networks, each once.
      batch: networks of a batch;  budget: (node tiles, edge tiles) that hold one device's part.
      tiles: (node tiles, edge tiles) that hold the networks of a chunk.
      chunks: the indices of each chunk's networks.
    """

    template: Template
    specs: tuple[MLPSpec, ...]
    batch: int
    budget: tuple[int, int]
    tiles: tuple[int, int]
    chunks: tuple[np.ndarray, ...]


def layout_of(template: Template, settings: int, specs: Sequence[MLPSpec]) -> Layout:
    """The layout of networks of these specs, which are edited at up to so many settings."""
    batch = min(_batch(template, settings), len(specs))
    known = {spec: number for number, spec in enumerate(dict.fromkeys(specs))}
    topologies = [topology_of(spec, template) for spec in known]
    index = np.array([known[spec] for spec in specs])
    nodes, edges = (
        np.array([len(getattr(one, name)) for one in topologies])[index]
        for name in ("slot", "source")
    )
    devices = models_mesh(batch).size
    strata = stratify_sizes(nodes, edges, np.arange(len(specs)), batch, devices)
    chunks = []
    for begin in range(0, strata.table.shape[1], CHUNK):
        rows = strata.table[:, begin : begin + CHUNK]
        chunks.append(np.sort(rows[rows >= 0]))
    node_tiles, edge_tiles = (CHUNK * devices * one for one in strata.budget)
    tiles = node_tiles, edge_tiles
    return Layout(template, tuple(known), batch, strata.budget, tiles, tuple(chunks))


def _batch(template: Template, settings: int) -> int:
    """The networks of a batch whose edits at so many settings have room."""
    weights = template.n_sources * template.n_targets * TILE**2
    most = ROOM // (9 * weights * settings)  # bytes: of weight, existence and mask
    return max(1, min(BATCH, 2 ** (most.bit_length() - 1) if most else 1))


def packed(
    layout: Layout, networks: Sequence[Network], points: Points | None
) -> tuple[Models, np.ndarray]:
    """The networks in arrays of the same shapes for all chunks, and the row of each: [M].

    Args:
      networks: of (a part of) one chunk.
      points: the rows that they are probed on; None: they are not.
    """
    by_spec: dict[MLPSpec, list[int]] = {}
    for number, network in enumerate(networks):
        by_spec.setdefault(network.spec, []).append(number)
    stacks = [stack_networks([networks[one] for one in rows]) for rows in by_spec.values()]
    ids = np.argsort(np.concatenate([*by_spec.values()]), kind="stable").astype(np.int32)
    models = pack_on_host(stacks, layout.template, layout.specs)
    node_tiles, edge_tiles = layout.tiles
    whole = dict.fromkeys(("spec", "activation", "edge_start", "node_start"), CHUNK * layout.batch)
    whole |= dict.fromkeys(("bias", "scale", "shift"), node_tiles) | {"weight": edge_tiles}
    models = models.replace(
        **{name: _filled(getattr(models, name), size) for name, size in whole.items()}
    )
    if points is not None:
        probe = pack_probes([_probed(stack, points) for stack in stacks])
        sizes = {"node": node_tiles, "edge": edge_tiles, "graph": CHUNK * layout.batch}
        fields = {name: _filled(getattr(probe, name), size) for name, size in sizes.items()}
        models = models.replace(probe=probe.replace(**fields))
    return jax.tree.map(jnp.asarray, models), ids


def _filled(leaf, size: int) -> np.ndarray:
    """`leaf` [n, ...] and zeros up to [size, ...]."""
    whole = np.zeros((size, *leaf.shape[1:]), leaf.dtype)
    whole[: len(leaf)] = leaf
    return whole


def _probed(stack: Stack, points: Points) -> Probe:
    """The statistics of a stack, of BATCH models per call: one program for each spec."""
    count, whole = len(stack.activation), filled_up(stack, BATCH)
    parts = []
    for begin in range(0, len(whole.activation), BATCH):
        of = slice(begin, begin + BATCH)
        params = jax.tree.map(lambda leaf, of=of: leaf[of], whole.params)
        parts.append(probe_stack(Stack(stack.spec, params, whole.activation[of]), points))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)
