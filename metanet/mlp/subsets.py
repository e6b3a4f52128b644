"""Predicates of specs, by which models are left out of an editor's training or reported apart.

A config names them by their dotted paths; any function of an `MLPSpec` does.
"""

import dataclasses

from metanet.mlp.spec import MLPSpec
from metanet.storage import digest


def held_out(spec: MLPSpec) -> bool:
    """About a fifth of all specs, by a hash of what they are."""
    return int(digest(dataclasses.asdict(spec)), 16) % 5 == 0


def wide(spec: MLPSpec) -> bool:
    """Specs with a hidden layer of more than 16 neurons."""
    return max(spec.widths[1:-1]) > 16


def deep(spec: MLPSpec) -> bool:
    """Specs of more than three hidden layers."""
    return spec.n_layers > 4


def skips(spec: MLPSpec) -> bool:
    """Specs with several skip connections."""
    return len(spec.skips) > 1
