"""Layouts of an MLP's neurons and weights: in its graph, and in the template of all specs.

Both layouts are made of tiles. A layer's neurons fill whole tiles of TILE nodes (the rest of the
last one is padding), and a dense block fills whole tiles of TILE x TILE edges. Gathering node
states for edges and summing messages at nodes then move tiles, not single edges.
"""

import dataclasses

import numpy as np

from metanet.mlp.spec import NORMS, MLPSpec

TILE = 8


def tiles(width: int) -> int:
    """The number of tiles that `width` neurons fill."""
    return -(-width // TILE)


@dataclasses.dataclass(frozen=True)
class Template:
    """The smallest layered network that every MLP of a family of specs fits into.

    Its layers are the inputs, `depth` hidden layers of `width` neurons, and the outputs. A spec's
    hidden layer l takes the template's hidden layer l, its outputs the template's outputs. A slot
    is the index of a node tile in the template: inputs first, outputs last.
    """

    n_in: int
    depth: int
    width: int
    n_out: int

    @property
    def layer_of_slot(self) -> np.ndarray:
        """[slots] int32: 0 for inputs, 1 to depth for hidden layers, depth + 1 for outputs."""
        counts = [tiles(self.n_in), *[tiles(self.width)] * self.depth, tiles(self.n_out)]
        return np.repeat(np.arange(self.depth + 2, dtype=np.int32), counts)

    @property
    def n_slots(self) -> int:
        return tiles(self.n_in) + self.depth * tiles(self.width) + tiles(self.n_out)

    @property
    def n_sources(self) -> int:
        """The slots that edges may leave: all but the outputs'."""
        return self.n_slots - tiles(self.n_out)

    @property
    def n_targets(self) -> int:
        """The slots that edges may enter: all but the inputs'."""
        return self.n_slots - tiles(self.n_in)

    @property
    def n_positions(self) -> int:
        """The number of positional types: every input, every hidden layer, every output."""
        return self.n_in + self.depth + self.n_out

    @property
    def position(self) -> np.ndarray:
        """[slots, TILE] int32: the positional type of every node (paper A.3.1).

        Inputs and outputs have one each; the neurons of a hidden layer share theirs, so that they
        may be permuted. Padding repeats its layer's last one.
        """
        hidden = [np.full(tiles(self.width) * TILE, self.n_in + i) for i in range(self.depth)]
        inputs = np.minimum(np.arange(tiles(self.n_in) * TILE), self.n_in - 1)
        outputs = np.minimum(np.arange(tiles(self.n_out) * TILE), self.n_out - 1)
        flat = np.concatenate([inputs, *hidden, outputs + self.n_in + self.depth])
        return flat.reshape(-1, TILE).astype(np.int32)


def template_of(specs: list[MLPSpec]) -> Template:
    """The smallest template for `specs`, which share their outputs.

    A spec's inputs are the first of the template's.
    """
    outputs = {spec.widths[-1] for spec in specs}
    if len(outputs) != 1:
        raise ValueError(f"specs: found {sorted(outputs)} outputs, expected one number")
    n_in, (n_out,) = max(spec.widths[0] for spec in specs), outputs
    width = max(max(spec.widths[1:-1]) for spec in specs)
    return Template(n_in, max(spec.n_layers - 1 for spec in specs), width, n_out)


@dataclasses.dataclass(frozen=True)
class Topology:
    """The graph of one spec, in tiles: E edge tiles in block order, V node tiles in layer order.

    Attributes:
      source, target: [E] int32, the node tiles that an edge tile leaves and enters.
      skip: [E] bool, whether the edge tile belongs to a skip connection.
      slot: [V] int32, the node tile's slot in the template.
      exists: [V, TILE] bool, False for padding.
      norm: the functional type, an index into NORMS.
    """

    source: np.ndarray
    target: np.ndarray
    skip: np.ndarray
    slot: np.ndarray
    exists: np.ndarray
    norm: int


def topology_of(spec: MLPSpec, template: Template) -> Topology:
    """The graph of `spec`, whose edges, types and slices all come from this one loop."""
    slots = template.layer_of_slot
    layers = [*range(spec.n_layers), template.depth + 1]  # in the template
    first: list[int] = []  # every layer's first node tile in the graph
    slot: list[np.ndarray] = []
    exists = []
    for layer, width in zip(layers, spec.widths, strict=True):
        first.append(sum(len(part) for part in slot))
        slot.append(np.flatnonzero(slots == layer)[: tiles(width)])
        exists.append(np.arange(tiles(width) * TILE) < width)
    source, target, skip = [], [], []
    for s, t in spec.blocks:
        shape = (tiles(spec.widths[s]), tiles(spec.widths[t]))
        row, column = (index.reshape(-1) for index in np.indices(shape))  # [edge tiles of a block]
        source.append(first[s] + row)
        target.append(first[t] + column)
        skip.append(np.full(row.size, s != t - 1))
    return Topology(
        source=np.concatenate(source).astype(np.int32),
        target=np.concatenate(target).astype(np.int32),
        skip=np.concatenate(skip),
        slot=np.concatenate(slot).astype(np.int32),
        exists=np.concatenate(exists).reshape(-1, TILE),
        norm=NORMS.index(spec.norm),
    )
