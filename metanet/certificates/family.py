"""What is certified of the edits of a whole family of networks, from some of them."""

import dataclasses

import numpy as np

from metanet.certificates.bounds import share_upper, tolerance_upper
from metanet.editor.checks import expect


@dataclasses.dataclass(frozen=True)
class Family:
    """What holds for the family that the networks are independent draws of.

    Attributes:
      models, met: how many there are, and how many meet the level.
      at_least: the share of the family that meets it is at least this, with probability
        `confidence`.
      tolerance: `share` of the family have at most this value, with the same probability; infinity
        where there are too few networks to tell.
      share, confidence: what was asked.
      certified: whether `share` of the family meets the level.
    """

    models: int
    met: int
    at_least: float
    tolerance: float
    share: float
    confidence: float

    @property
    def certified(self) -> bool:
        return self.at_least >= self.share


def certify_family(
    values, level: float, *, share: float = 0.95, confidence: float = 0.95
) -> Family:
    """Bounds how many edits of a family meet a level, whatever its distribution.

    Args:
      values: [models], the requirement of each edited network as measured on some rows, infinity
        where no edit was found: the statement is then about these rows. Of upper bounds from
        `certify` it is about the share whose certificate says yes. The networks are others than
        those that the editor was trained on.
      level: the largest value that meets it.
      share: of the family, that is to meet it.

    Raises:
      ValueError: an argument is none of these.
    """
    found = np.asarray(values, float)
    shaped = found.ndim == 1 and len(found) > 0
    expect(shaped, "values", f"shape {found.shape}", "[models], at least one")
    expect(not np.isnan(found).any(), "values", "NaN", "numbers")
    for name, value in (("share", share), ("confidence", confidence)):
        expect(0 < value < 1, name, value, "a number between 0 and 1")
    met, delta = int((found <= level).sum()), 1 - confidence
    at_least = 1 - share_upper(len(found) - met, len(found), delta)
    return Family(
        len(found), met, at_least, tolerance_upper(found, share, delta), share, confidence
    )
