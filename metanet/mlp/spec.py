"""The shape of a target MLP: everything about it that changes array shapes or structure."""

import dataclasses

NORMS = ("none", "batch", "layer")


@dataclasses.dataclass(frozen=True)
class MLPSpec:
    """An MLP with dense skip connections (paper A.6). Static and hashable.

    Layers are numbered 0 (input) to L (output, logits). Layer l reads layer l-1 and the sources of
    its skip connections, each through one dense block:

        z_l = b_l + sum over s in sources(l) of a_s W_{s,l};   a_l = act(norm(z_l)) for 0 < l < L

    Attributes:
      widths: (n_0, ..., n_L), L >= 2.
      skips: (source, target) pairs with source < target - 1 and a hidden target.
      norm: "none", "batch" or "layer", for the hidden layers. Batch normalisation is folded into
        weights and bias once training is over; the spec remembers it.
    """

    widths: tuple[int, ...]
    skips: tuple[tuple[int, int], ...] = ()
    norm: str = "none"

    def __post_init__(self):
        last = len(self.widths) - 1
        if last < 2 or min(self.widths) < 1:
            raise ValueError(f"widths: found {self.widths}, expected at least 3 positive integers")
        if self.norm not in NORMS:
            raise ValueError(f"norm: found {self.norm!r}, expected one of {NORMS}")
        for source, target in self.skips:
            if not (0 <= source < target - 1 and target < last):
                raise ValueError(
                    f"skips: found {(source, target)}, expected source < target - 1 and a target "
                    f"among the hidden layers 1 to {last - 1}"
                )
        if len(set(self.skips)) != len(self.skips):
            raise ValueError(f"skips: found a pair twice in {self.skips}")

    @property
    def n_layers(self) -> int:
        """L, the number of layers that have weights."""
        return len(self.widths) - 1

    @property
    def hidden(self) -> range:
        """The hidden layers' numbers."""
        return range(1, self.n_layers)

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(source, target) of every dense block, ordered by target, then source."""
        consecutive = [(layer - 1, layer) for layer in range(1, self.n_layers + 1)]
        return tuple(sorted([*consecutive, *self.skips], key=lambda block: (block[1], block[0])))

    @property
    def n_weights(self) -> int:
        """The number of weights (edges); biases are not counted."""
        return sum(self.widths[source] * self.widths[target] for source, target in self.blocks)
