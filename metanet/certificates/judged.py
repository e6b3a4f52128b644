"""What two networks say about the same rows."""

import dataclasses
import functools

import numpy as np
from scipy import special

from metanet.certificates.sample import Sample
from metanet.editor.checks import expect
from metanet.interop.network import Network
from metanet.interop.verify import logits

LARGEST_JSD = float(np.log(2))  # nats


@dataclasses.dataclass(frozen=True)
class Judged:
    """Probabilities of a network before and after an edit: [rows, classes] float64 each."""

    before: np.ndarray
    after: np.ndarray

    @functools.cached_property
    def jsd(self) -> np.ndarray:
        """JS divergence of every row, in nats: [rows]."""
        middle = (self.before + self.after) / 2
        both = special.rel_entr(self.before, middle) + special.rel_entr(self.after, middle)
        return np.clip(0.5 * both.sum(-1), 0, LARGEST_JSD)

    @functools.cached_property
    def decided_before(self) -> np.ndarray:
        """The class that is decided for in every row: [rows]."""
        return self.before.argmax(-1)

    @functools.cached_property
    def decided_after(self) -> np.ndarray:
        """The same after the edit."""
        return self.after.argmax(-1)

    @property
    def both(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Probabilities and decisions, "before" and "after"."""
        return {
            "before": (self.before, self.decided_before),
            "after": (self.after, self.decided_after),
        }


def outputs_of(network: Network, sample: Sample, name: str) -> np.ndarray:
    """The probabilities of a network on the rows: [rows, classes] float64.

    Raises:
      ValueError: one is not finite; names the network as `name`.
    """
    probabilities = special.softmax(logits(network, sample.x), -1)
    expect(bool(np.isfinite(probabilities).all()), name,
           "outputs that are not finite on these rows", "finite ones")  # fmt: skip
    return probabilities
