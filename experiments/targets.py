"""What editors reach when a level of the requirement is asked for instead of a lambda."""

import numpy as np

from experiments import methods
from experiments.plan import editor_settings
from experiments.study import Study
from metanet.editor.model import TrainedEditor
from metanet.evaluation.levels import best, solve
from metanet.evaluation.sweep import Sweep


def reached(study: Study, name: str, editors: dict[str, TrainedEditor]) -> list[dict]:
    """Every target of the config, reached by the editor called `name` in two ways.

    Returns:
      Per target its level, and on the test models and data `requirement`, `jsd` (nats) and the
      share of models that `meet` it: of the "family", one lambda found on validation models, and
      of the "model", a lambda for each, found on the same models and the `select` data.
    """
    lambda_range = editor_settings(study.config, name)["lambda_range"]

    grid = np.geomspace(*lambda_range, study.config.evaluation.n_lambdas)
    sweep = methods.edited(study, editors, name, values=grid).at

    def on_validation(values):
        return sweep(*study.split("validation"), values)

    ids, table = study.split("test")
    kept = np.flatnonzero(~study.degenerate[ids])
    chosen, reported = (sweep(ids, data, grid) for data in (study.data.select, table))
    found = []
    for target in study.config.targets:
        weight = solve(on_validation, lambda_range, target, len(grid))
        own = best(np.stack([chosen.requirement, chosen.jsd], axis=-1), target)[kept]
        family = _said(sweep(ids, table, np.array([weight])), target, kept, 0)
        found.append(
            {
                "target": target,
                "family": {"lambda": weight, **family},
                "model": _said(reported, target, kept, own),
            }
        )
    return found


def _said(sweep: Sweep, target: float, models: np.ndarray, setting) -> dict:
    """Means over the models at some places, each at its own `setting` [models] or all at one."""
    requirement, jsd = (values[setting, models] for values in (sweep.requirement, sweep.jsd))
    return {
        "requirement": float(requirement.mean()),
        "jsd": float(jsd.mean()),
        "meet": float((requirement <= target + 1e-6).mean()),
    }
