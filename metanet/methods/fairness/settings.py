"""Settings that fairness methods share, which a method's function carries as attributes."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from metanet.core import require
from metanet.data.tabular import TabularData

# Bounds on a difference of rates that methods are swept over: as many as editors have lambdas.
BOUNDS = (0.001, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.045, 0.05, 0.06, 0.07, 0.08,
          0.09, 0.1, 0.12, 0.14, 0.17, 0.2)  # fmt: skip
# Requirements that a method may say it optimises.
EQUALISED_ODDS = "metanet.objectives.fairness.equalised_odds"
DEMOGRAPHIC_PARITY = "metanet.objectives.fairness.demographic_parity"

# What is to be least at a bound on the requirement: the share of wrong decisions, the share of
# decisions that change, or the mean JSD (nats) of outputs to those of the model as it is.
Target = Literal["error", "decisions", "outputs"]

F = TypeVar("F", bound=Callable)


def two_classes(data: TabularData, key: str, options: dict[str, Any]) -> None:
    """The data check of recipes whose decisions are of one margin, or one probability."""
    require(data.n_classes == 2, "dataset", f"{data.n_classes} classes", f"two, for {key}")


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
