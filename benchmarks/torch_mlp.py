"""Target MLPs as one writes them with PyTorch, for the benchmarks."""

import functools

import torch
from torch import nn

from metanet.mlp.spec import MLPSpec

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# In the order of metanet.mlp.network.ACTIVATIONS, with its formulas.
ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, lambda: nn.GELU(approximate="tanh"), nn.SiLU, nn.Tanh, nn.GELU,
)  # fmt: skip


class MLP(nn.Module):
    """One MLP of a spec: logits [rows, classes] of x [rows, features].

    Args:
      activation: into ACTIVATIONS.
      running: whether batch normalisation keeps running statistics, which vmap cannot update.
    """

    def __init__(
        self, spec: MLPSpec, activation: int = 0, dropout: float = 0.0, running: bool = True
    ):
        super().__init__()
        self.spec = spec
        self.blocks = nn.ModuleList(
            nn.Linear(spec.widths[source], spec.widths[target], bias=source == target - 1)
            for source, target in spec.blocks
        )
        norms = {
            "none": lambda width: nn.Identity(),
            "batch": lambda width: nn.BatchNorm1d(width, track_running_stats=running),
            "layer": nn.LayerNorm,
        }
        self.norms = nn.ModuleList(norms[spec.norm](spec.widths[layer]) for layer in spec.hidden)
        self.activation, self.dropout = ACTIVATIONS[activation](), nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = [x]
        for layer in range(1, self.spec.n_layers + 1):
            blocks = zip(self.spec.blocks, self.blocks, strict=True)
            parts = [block(outputs[s]) for (s, target), block in blocks if target == layer]
            z = functools.reduce(torch.add, parts)
            if layer < self.spec.n_layers:
                z = self.dropout(self.activation(self.norms[layer - 1](z)))
            outputs.append(z)
        return outputs[-1]


def finish() -> None:
    """Waits for the device's queue, where it has one."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
