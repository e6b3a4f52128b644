"""Results of a method at many settings on many models."""

import dataclasses
import warnings

import numpy as np

from metanet.evaluation.pareto import pareto_mask

COMPARABLE = 0.9  # the fraction of models on which a setting must be feasible to be selected


@dataclasses.dataclass(frozen=True)
class Sweep:
    """S settings on M models: every field is [S, M] float; NaN without a result.

    Attributes:
      requirement: of the hard view; [S, M, requirements] of several.
      jsd: between outputs, mean over the data, nats.
      jsd_label: between decisions read as one-hot distributions, mean over the data, nats.
      accuracy, accuracy_original: of the edited and of the original models.
    """

    requirement: np.ndarray
    jsd: np.ndarray
    jsd_label: np.ndarray
    accuracy: np.ndarray
    accuracy_original: np.ndarray

    @property
    def infeasible(self) -> np.ndarray:
        """The number of models that each setting has no result on: [S] int."""
        return np.isnan(self.jsd).sum(1)

    @property
    def points(self) -> np.ndarray:
        """(requirements, JSD in nats), means over the models with a result: [S, objectives]."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # no model has a result: NaN
            means = [np.nanmean(self.requirement, axis=1), np.nanmean(self.jsd, axis=1)]
        return np.column_stack(means)

    @property
    def selected(self) -> np.ndarray:
        """The settings on the Pareto front, by rising requirement: [front] int, indices.

        A setting that is infeasible on more models than COMPARABLE allows is not compared: its
        means would be over other models than those of the rest.
        """
        n_models = self.jsd.shape[1]
        lost = n_models - self.infeasible < COMPARABLE * n_models
        points = np.where(lost[:, None] | np.isnan(self.points), np.inf, self.points)
        index = np.flatnonzero(pareto_mask(points) & np.isfinite(points).all(1))
        return index[np.argsort(points[index, 0], kind="stable")]
