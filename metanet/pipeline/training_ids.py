"""The models that an editor is trained on."""

import numpy as np

from metanet.core import require
from metanet.mlp.spec import MLPSpec
from metanet.pipeline.config import EditorPlan
from metanet.pipeline.names import predicate


def training_ids(
    ids: np.ndarray, experiment: np.ndarray, specs: list[MLPSpec], plan: EditorPlan
) -> np.ndarray:
    """Those of the training models `ids` [M] that an editor is trained on, in their order.

    Args:
      experiment, specs: of each of `ids`, [M]; the models of one experiment stay together.

    Raises:
      SettingError: none are left.
    """
    count = len(np.unique(experiment))
    if plan.unseen is not None:
        is_unseen = predicate(plan.unseen, "editor.unseen")
        kept = np.array([not is_unseen(spec) for spec in specs], bool)
        count = len(np.unique(experiment[kept]))
        if not plan.control:
            ids, experiment = ids[kept], experiment[kept]
    # One order for all shares, so that a smaller one is part of a larger.
    order = np.random.default_rng(0).permutation(np.unique(experiment))
    seen = order[: round(plan.share * count)]
    left = f"{plan.share} of {count} experiments"
    require(len(seen) > 0, "editor.share", left, "at least one without models that are unseen")
    return ids[np.isin(experiment, seen)]
