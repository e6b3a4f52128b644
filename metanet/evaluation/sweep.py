"""Results of a method at many settings on many models."""

import dataclasses

import numpy as np

from metanet.evaluation.pareto import pareto_mask

# What an edit costs, by which settings are selected and methods compared; see `Sweep.cost`.
COSTS = ("jsd", "jsd_label", "error")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """S settings on M models: every field is [S, M] float; NaN without a result.

    Attributes:
      requirement: of the hard view; [S, M, requirements] of several.
      jsd: between outputs, mean over the data, nats.
      jsd_label: between decisions read as one-hot distributions, mean over the data, nats.
      accuracy, accuracy_original: of the edited and of the original models.
      constant: 1 where all decisions of the edited model on the data are for one class, else 0.
      calibration: the expected calibration error of the edited model's outputs, 0 to 1, see
        `scores.calibration_error`.
    """

    requirement: np.ndarray
    jsd: np.ndarray
    jsd_label: np.ndarray
    accuracy: np.ndarray
    accuracy_original: np.ndarray
    constant: np.ndarray
    calibration: np.ndarray

    def cost(self, name: str) -> np.ndarray:
        """What edits cost, [S, M]: one of COSTS; "error" is the share of wrong decisions."""
        return 1.0 - self.accuracy if name == "error" else getattr(self, name)

    @property
    def infeasible(self) -> np.ndarray:
        """The number of models that each setting has no result on: [S] int."""
        return np.isnan(self.jsd).sum(1)

    def filled(self, unedited: "Sweep", most: float = 1.0) -> "Sweep":
        """The sweep with the values of `unedited` [1, M] where there is no result.

        A model that a method cannot edit stays as it is, so that all means are over the same
        models. A setting without any result stays NaN. One without a result on more than a share
        `most` of the models becomes NaN, unless all are such: unedited models would be what it is
        judged by.
        """
        share = self.infeasible / self.jsd.shape[1]
        missing = np.isnan(self.jsd) & (share < 1)[:, None]
        dropped = (share > most) & (share <= most).any()

        def fill(values, whole):
            axes = (1,) * (values.ndim - 2)
            found = np.where(missing.reshape(missing.shape + axes), whole, values)
            return np.where(dropped.reshape(-1, 1, *axes), np.nan, found)

        fields = dataclasses.asdict(self)
        whole = dataclasses.asdict(unedited)
        return Sweep(**{name: fill(values, whole[name]) for name, values in fields.items()})

    def take(self, settings: np.ndarray) -> "Sweep":
        """Some of the settings, [S']."""
        return Sweep(**{key: value[settings] for key, value in dataclasses.asdict(self).items()})

    def points(self, cost: str = "jsd") -> np.ndarray:
        """(requirements, cost), means over the models: [S, objectives]; NaN without a result."""
        return np.column_stack([self.requirement.mean(1), self.cost(cost).mean(1)])

    def selected(self, cost: str = "jsd") -> np.ndarray:
        """The settings on the Pareto front, by rising requirement: [front] int, indices."""
        points = self.points(cost)
        points = np.where(np.isnan(points), np.inf, points)
        index = np.flatnonzero(pareto_mask(points) & np.isfinite(points).all(1))
        return index[np.argsort(points[index, 0], kind="stable")]
