"""Equal odds by random thresholds (Hardt, Price and Srebro 2016), by fairlearn."""

from typing import Literal

import numpy as np

from metanet.evaluation.scores import Outcome, Scores, decided, known_groups
from metanet.methods.fairness.library import optional_library
from metanet.methods.fairness.settings import EQUALISED_ODDS, swept


@swept(({},), requirements=(EQUALISED_ODDS,), library="fairlearn")
def threshold_opt(
    fit: Scores,
    test: Scores,
    setting: dict,
    *,
    objective: Literal["accuracy_score", "balanced_accuracy_score"] = "accuracy_score",
    grid_size: int = 1000,
) -> Outcome:
    """Equal odds by random thresholds (Hardt, Price and Srebro 2016), by fairlearn.

    One point: it has no setting.

    Args:
      objective, grid_size: of fairlearn's ThresholdOptimizer.

    Raises:
      Infeasible: see `known_groups`.
    """
    known_groups(fit, test)
    with optional_library():
        from fairlearn.postprocessing import ThresholdOptimizer
        from sklearn.linear_model import LinearRegression

        model = LinearRegression()  # which predicts its input, the probability
        model.coef_, model.intercept_ = np.ones(1), 0.0
        optimizer = ThresholdOptimizer(
            estimator=model,
            constraints="equalized_odds",
            objective=objective,
            grid_size=grid_size,
            prefit=True,
            predict_method="predict",
        ).fit(fit.probability[:, None], fit.y, sensitive_features=fit.group)
        x = test.probability[:, None]
        return decided(optimizer._pmf_predict(x, sensitive_features=test.group)[:, 1])
