"""The recipe by which an editor is trained."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from metanet.core import require

# (low, high) of lambda; with several requirements, one such pair for each.
LambdaRange = tuple[float, float] | tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """The recipe by which an editor is trained (paper A.4 and BUILD_NOTES.md).

    Attributes:
      steps: optimiser steps.
      batch_size: models per step.
      points: data points per step.
      balanced: whether every cell of (label, group) gives equally many of them; preservation is
        weighted back to the data as they are.
      learning_rate: the peak; linear warm-up over `warmup` steps, then cosine to
        `final_learning_rate` times the peak.
      weight_decay: decoupled.
      clip: the gradient's largest global norm; None is no limit.
      dropout: the rate in the editor's rounds, rounded to 1/256 (see editor.noise.drop_change).
      ramp: the fraction of steps over which lambda rises from 0.
      mask_noise: the scale of the logistic noise on mask logits.
      mask_temperature, decision_temperature: of the relaxations.
      mask_path: the chance of a model that its masks learn in a step, from gradients at a random
        point between 0 and 1 (see relax.keep_mask); 0 for gradients at 0 and 1, of all models.
      imitation: how much the cross-entropy of masks and those of backward elimination counts (see
        imitation.imitation_loss), beside a loss in nats; for masks of inputs.
      lambda_range: (low, high) of lambda, drawn log-uniformly per model; low = high is one point.
        With several requirements, one such pair for each.
      scalarisation: "linear": JSD + lambda * requirement; "epo": lambda is drawn per step, and the
        batch's means are led to where JSD = lambda * requirement (see scalarise.epo_weights).
      lambda_power: linear: a model's loss counts (lambda / high)^-power, sums of lambda where
        there are several.
    """

    steps: int = 4000
    batch_size: int = 16
    points: int = 256
    balanced: bool = False
    learning_rate: float = 2e-3
    final_learning_rate: float = 0.02
    warmup: int = 50
    weight_decay: float = 0.0
    clip: float | None = 1.0
    dropout: float = 0.0
    ramp: float = 0.3
    mask_noise: float = 1.0
    mask_temperature: float = 1.0
    decision_temperature: float = 0.2
    mask_path: float = 0.0
    imitation: float = 0.0
    lambda_range: LambdaRange = (0.001, 0.5)
    lambda_power: float = 0.3
    scalarisation: str = "linear"

    def __post_init__(self):
        for key in ("steps", "batch_size", "points"):
            value = getattr(self, key)
            require(value >= 1, f"editor.{key}", value, "at least 1")
        for key in ("clip", "mask_temperature", "decision_temperature"):
            value = getattr(self, key)
            ok = value is None or value > 0
            require(ok, f"editor.{key}", value, "a positive number")
        for key in ("learning_rate", "warmup", "weight_decay", "mask_noise", "lambda_power",
                    "imitation"):  # fmt: skip
            value = getattr(self, key)
            require(value >= 0, f"editor.{key}", value, "0 or more")
        for key in ("ramp", "final_learning_rate"):
            value = getattr(self, key)
            require(0 <= value <= 1, f"editor.{key}", value, "a fraction from 0 to 1")
        require(0 <= self.dropout < 1, "editor.dropout", self.dropout, "a fraction below 1")
        known = ("linear", "epo")
        name, chance = self.scalarisation, self.mask_path
        require(name in known, "editor.scalarisation", name, f"one of {', '.join(known)}")
        require(0 <= chance <= 1, "editor.mask_path", chance, "0 <= mask_path <= 1")
        pairs = lambda_pairs(self.lambda_range)
        ok = all(len(pair) == 2 and 0 < pair[0] <= pair[1] for pair in pairs)
        require(ok, "lambda_range", self.lambda_range, "(low, high) with 0 < low <= high")


def lambda_pairs(lambda_range: LambdaRange) -> tuple[tuple[float, float], ...]:
    """(low, high) of every requirement's lambda; a single pair may be given by itself."""
    nested = all(isinstance(part, (tuple, list)) for part in lambda_range)
    pairs: Iterable[Any] = lambda_range if nested else (lambda_range,)
    return tuple(tuple(pair) for pair in pairs)
