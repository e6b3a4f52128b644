"""Reject option classification (Kamiran et al. 2012)."""

import numpy as np

from metanet.evaluation.scores import Infeasible, Outcome, Scores, count_above, decided, two_groups
from metanet.methods.fairness.library import optional_library
from metanet.methods.fairness.settings import BOUNDS, EQUALISED_ODDS, swept

# RejectOption: thresholds from, to, how many; margins for each. aif360's default moves the
# threshold to maximise balanced accuracy, which flips many labels where positives are rare.
GRIDS = {"default": (0.01, 0.99, 100, 50), "pinned": (0.5, 0.501, 1, 50)}
SETTINGS = tuple({"search": search, "bound": bound} for search in GRIDS for bound in BOUNDS)


@swept(SETTINGS, requirements=(EQUALISED_ODDS,))
def reject_option(fit: Scores, test: Scores, setting: dict) -> Outcome:
    """Reject option classification (Kamiran et al. 2012), aif360's grid search tabulated.

    Within a margin of the threshold the privileged group gets class 0 and the other class 1. Like
    RejectOptionClassification, which is thousands of times slower, takes the best balanced accuracy
    at an |average odds difference| <= bound. Setting: search, a name in GRIDS; bound.

    Raises:
      Infeasible: see `two_groups`; or no margin is within the bound.
    """
    privileged, other = two_groups(fit, test)
    low, high, thresholds, margins = GRIDS[setting["search"]]
    threshold = np.linspace(low, high, thresholds)
    margin = np.stack([np.linspace(0, min(t, 1 - t), margins) for t in threshold])
    # Where a group's decision turns, [thresholds, margins].
    above = {privileged: threshold[:, None] + margin, other: threshold[:, None] - margin}
    # Per class, [thresholds, margins]: the rate of right decisions, the gap of positive rates.
    right, gap = [], []
    for c in (0, 1):
        cells = [fit.probability[(fit.group == g) & (fit.y == c)] for g in above]
        positive = [count_above(cell, above[g]) for cell, g in zip(cells, above, strict=True)]
        size, count = len(cells[0]) + len(cells[1]), positive[0] + positive[1]
        right.append((count if c else size - count) / size)
        gap.append(positive[1] / len(cells[1]) - positive[0] / len(cells[0]))
    feasible = np.abs(0.5 * (gap[0] + gap[1])) <= setting["bound"]
    if not feasible.any():
        raise Infeasible(f"no margin has an average odds difference within {setting['bound']}")
    score = np.where(feasible, 0.5 * (right[1] + right[0]), -np.inf)
    best = np.unravel_index(np.argmax(score), score.shape)
    cut = np.where(test.group == privileged, above[privileged][best], above[other][best])
    return decided(test.probability > cut)


@swept(({"bound": 0.05},), requirements=(EQUALISED_ODDS,), library="aif360")
def reject_option_by_aif360(fit: Scores, test: Scores, setting: dict) -> Outcome:
    """`reject_option` at its default search by aif360 itself, some ten seconds a model: for timing.

    Setting: bound.

    Raises:
      Infeasible: see `two_groups`.
    """
    bound = setting["bound"]
    privileged, other = two_groups(fit, test)
    with optional_library():
        import pandas
        from aif360.algorithms.postprocessing import RejectOptionClassification
        from aif360.datasets import BinaryLabelDataset

    def dataset(scores, labels):
        frame = pandas.DataFrame({"group": scores.group, "y": labels}, dtype=np.float64)
        made = BinaryLabelDataset(df=frame, label_names=["y"], protected_attribute_names=["group"])
        made.scores = scores.probability[:, None]
        return made

    with optional_library():
        method = RejectOptionClassification(
            [{"group": other}], [{"group": privileged}], metric_name="Average odds difference",
            metric_ub=bound, metric_lb=-bound,
        )  # fmt: skip
        method.fit(dataset(fit, fit.y), dataset(fit, fit.probability > 0.5))
        return decided(method.predict(dataset(test, test.probability > 0.5)).labels[:, 0])
