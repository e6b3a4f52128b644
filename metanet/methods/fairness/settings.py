"""Settings of post-processing methods, which a method's function carries as attributes."""

from collections.abc import Callable
from typing import TypeVar

# Bounds on a difference of rates that methods are swept over.
BOUNDS = (0.001, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2)
# Requirements that a method may say it optimises.
EQUALISED_ODDS = "metanet.objectives.fairness.equalised_odds"
DEMOGRAPHIC_PARITY = "metanet.objectives.fairness.demographic_parity"

F = TypeVar("F", bound=Callable)


def swept(
    settings: tuple[dict, ...],
    requirements: tuple[str, ...] | None = None,
    library: str | None = None,
) -> Callable[[F], F]:
    """A decorator of post-processing methods, which sets the attributes of the same names.

    Args:
      settings: the method is swept over, each a dict for results.json.
      requirements: dotted paths of those that it can optimise; None is any.
      library: a package that it needs; None is none but metanet's.
    """

    def decorate(method: F) -> F:
        vars(method).update(settings=settings, requirements=requirements, library=library)
        return method

    return decorate
