"""Models of many specs in flat arrays of tiles, and back, bit for bit; on the host."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metanet.graphs.tiling import from_tiles, layer_tiles, to_tiles
from metanet.graphs.topology import TILE, Template, template_of, tiles, topology_of
from metanet.mlp.network import MLPParams
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec
from metanet.probes.statistics import Probe


class ProbeTiles(struct.PyTreeNode):
    """The statistics of probes.statistics.Probe, one model after the other; 0 for padding.

    Attributes:
      node: [node tiles, TILE, features] float32.
      edge: [edge tiles, TILE, TILE, features] float32.
      graph: [M, features] float32.
    """

    node: jax.Array
    edge: jax.Array
    graph: jax.Array


class Topologies(struct.PyTreeNode):
    """The topologies of S specs, one after the other; fields as in topology.Topology.

    Attributes:
      n_edges, n_nodes: [S] int32, in tiles.
      edge_start, node_start: [S] int32, where a spec's tiles begin.
      source, target: [edge tiles] int32;  skip: [edge tiles] bool.
      slot: [node tiles] int32;  exists: [node tiles, TILE] bool.
      norm: [S] int32.
    """

    n_edges: jax.Array
    n_nodes: jax.Array
    edge_start: jax.Array
    node_start: jax.Array
    source: jax.Array
    target: jax.Array
    skip: jax.Array
    slot: jax.Array
    exists: jax.Array
    norm: jax.Array


class Models(struct.PyTreeNode):
    """The parameters of M models of S specs, one model after the other.

    Attributes:
      weight: [edge tiles, TILE, TILE] float32, source by target.
      bias, scale, shift: [node tiles, TILE] float32; scale is 1 and shift 0 without a layer norm.
      spec: [M] int32, into `topologies`.
      activation: [M] int32.
      edge_start, node_start: [M] int32, where a model's tiles begin.
      probe: what the models do on a probe table, or None.
    """

    weight: jax.Array
    bias: jax.Array
    scale: jax.Array
    shift: jax.Array
    spec: jax.Array
    activation: jax.Array
    edge_start: jax.Array
    node_start: jax.Array
    topologies: Topologies
    template: Template = struct.field(pytree_node=False)
    probe: ProbeTiles | None = None


def pack(stacks: list[Stack], template: Template | None = None) -> Models:
    """All models of `stacks`, in their order; the template is theirs unless one is given.

    Raises:
      ValueError: the stacks do not share outputs, or do not fit `template`.
    """
    return jax.tree.map(jnp.asarray, pack_on_host(stacks, template))


def pack_on_host(
    stacks: list[Stack], template: Template | None = None, specs: tuple[MLPSpec, ...] = ()
) -> Models:
    """`pack`, with numpy arrays: a program that gets them moves them faster than `pack` does.

    Args:
      specs: those that `topologies` are of, different ones, among which are those of the stacks;
        by default one for each stack.
    """
    index = [specs.index(s.spec) if specs else place for place, s in enumerate(stacks)]
    specs = specs or tuple(stack.spec for stack in stacks)
    needed = template_of(list(specs))
    template = template or needed
    larger = [getattr(needed, k) > getattr(template, k) for k in ("n_in", "depth", "width")]
    if needed.n_out != template.n_out or any(larger):
        raise ValueError(f"stacks: found models that need {needed}, expected to fit {template}")
    topologies = _topologies(specs, template)
    parts = [parameter_tiles(s.spec, jax.tree.map(np.asarray, s.params)) for s in stacks]
    spec_of = np.repeat(index, [len(s.activation) for s in stacks])
    fields: dict[str, Any] = {
        "spec": spec_of.astype(np.int32),
        "activation": np.concatenate([s.activation for s in stacks]).astype(np.int32),
        "edge_start": _starts(np.asarray(topologies.n_edges)[spec_of]),
        "node_start": _starts(np.asarray(topologies.n_nodes)[spec_of]),
    }
    fields |= {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Models(topologies=topologies, template=template, **fields)


@functools.lru_cache(maxsize=256)
def _topologies(specs: tuple[MLPSpec, ...], template: Template) -> Topologies:
    """Of numpy arrays, which are shared: not to be written to."""
    parts = [topology_of(spec, template) for spec in specs]
    sizes = {"edge": [len(part.source) for part in parts], "node": [len(p.slot) for p in parts]}
    fields: dict[str, Any] = {"norm": np.array([part.norm for part in parts], np.int32)}
    for kind, counts in sizes.items():
        fields[f"n_{kind}s"] = np.array(counts, np.int32)
        fields[f"{kind}_start"] = _starts(fields[f"n_{kind}s"])
    for name in ("source", "target", "skip", "slot", "exists"):
        fields[name] = np.concatenate([getattr(part, name) for part in parts])
    return Topologies(**fields)


def _starts(sizes: np.ndarray) -> np.ndarray:
    return (np.cumsum(sizes) - sizes).astype(np.int32)


def parameter_tiles(spec: MLPSpec, params: MLPParams) -> dict[str, jax.Array]:
    """`weight`, `bias`, `scale` and `shift` of Models for M models of one spec; may be traced."""
    xp, count = params.weights[0].__array_namespace__(), len(params.weights[0])
    blocks = [to_tiles(leaf) for leaf in params.weights]
    # [M, edge tiles of a model, TILE, TILE], then one model's tiles after another's.
    arrays = {"weight": xp.concatenate(blocks, axis=1).reshape(-1, TILE, TILE)}
    for name, leaves, fill in (
        ("bias", params.biases, 0.0),
        ("scale", params.scales, 1.0),
        ("shift", params.shifts, 0.0),
    ):
        # Scales and shifts end before the outputs, or are (); inputs have no parameter at all.
        by_layer = dict(zip(range(1, spec.n_layers + 1), leaves, strict=False))
        parts = [
            layer_tiles(by_layer.get(k, xp.full((count, width), fill)), fill)
            for k, width in enumerate(spec.widths)
        ]
        arrays[name] = xp.concatenate(parts, axis=1).reshape(-1, TILE)
    return arrays


def unpack(models: Models, specs: list[MLPSpec]) -> list[Stack]:
    """The inverse of `pack`; `specs` in the order of the stacks that were packed."""
    arrays = {k: np.asarray(getattr(models, k)) for k in ("weight", "bias", "scale", "shift")}
    spec_of, activation = np.asarray(models.spec), np.asarray(models.activation)
    stacks, edge, node = [], 0, 0
    for index, spec in enumerate(specs):
        count = int((spec_of == index).sum())
        n_edges = int(models.topologies.n_edges[index])
        n_nodes = int(models.topologies.n_nodes[index])
        grid = arrays["weight"][edge : edge + count * n_edges]
        grid = grid.reshape(count, n_edges, TILE, TILE)
        weights: list[Any] = []  # numpy arrays, as all leaves on the host
        position = 0
        for s, t in spec.blocks:
            rows, columns = spec.widths[s], spec.widths[t]
            size = tiles(rows) * tiles(columns)
            weights.append(from_tiles(grid[:, position : position + size], rows, columns))
            position += size

        def by_layer(name, layers, node=node, count=count, n_nodes=n_nodes, spec=spec):
            flat = arrays[name][node : node + count * n_nodes].reshape(count, -1)
            # The first node of every layer: layers fill whole tiles.
            first = np.cumsum([0, *[tiles(width) * TILE for width in spec.widths]])
            return tuple(flat[:, first[k] : first[k] + spec.widths[k]] for k in layers)

        normed = spec.hidden if spec.norm == "layer" else ()
        params = MLPParams(
            weights=tuple(weights),
            biases=by_layer("bias", range(1, spec.n_layers + 1)),
            scales=by_layer("scale", normed),
            shifts=by_layer("shift", normed),
        )
        stacks.append(Stack(spec, params, activation[spec_of == index]))
        edge, node = edge + count * n_edges, node + count * n_nodes
    return stacks


def pack_probes(probes: list[Probe]) -> ProbeTiles:
    """The statistics of stacks, in the order in which `pack` gets them."""
    node: list[np.ndarray] = []
    edge: list[np.ndarray] = []
    for probe in probes:
        layers = [layer_tiles(np.asarray(leaf)) for leaf in probe.node]
        blocks = [to_tiles(np.asarray(leaf)) for leaf in probe.edge]
        for parts, out in ((layers, node), (blocks, edge)):
            joined = np.concatenate(parts, axis=1)  # [M, tiles of a model, TILE, ...]
            out.append(joined.reshape(-1, *joined.shape[2:]))
    return ProbeTiles(
        node=jnp.asarray(np.concatenate(node)),
        edge=jnp.asarray(np.concatenate(edge)),
        graph=jnp.asarray(np.concatenate([np.asarray(probe.graph) for probe in probes])),
    )
