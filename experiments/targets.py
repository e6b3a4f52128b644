"""What editors reach when a level of the requirement is asked for instead of a preference."""

import numpy as np

from experiments import methods
from experiments.plan import editor_settings
from experiments.study import Study
from metanet.editor.model import TrainedEditor
from metanet.evaluation.sweep import Sweep
from metanet.evaluation.target import best, solve


def reached(study: Study, name: str, editors: dict[str, TrainedEditor]) -> list[dict]:
    """Every target of the config, reached by the editor called `name` in two ways.

    Returns:
      Per target its level, and on the test models and data `requirement`, `jsd` (nats) and the
      share of models that `meet` it: of the "family", one lambda found on validation models, and
      of the "model", a lambda for each, found on the same models and the `select` data.
    """
    preference = editor_settings(study.config, name)["preference"]

    def sweep(ids, table, values):
        return methods.edited(study, editors, name, values=values).run(ids, table, slice(None))

    def on_validation(values):
        return sweep(*study.split("validation"), values)

    ids, table = study.split("test")
    ids = ids[~study.degenerate[ids]]
    grid = np.geomspace(*preference, study.config.evaluation.preferences)
    chosen, reported = (sweep(ids, data, grid) for data in (study.data.select, table))
    found = []
    for target in study.config.targets:
        weight = solve(on_validation, preference, target)
        own = best(np.stack([chosen.requirement, chosen.jsd], axis=-1), target)
        found.append(
            {
                "target": target,
                "family": {"lambda": weight, **_said(sweep(ids, table, [weight]), target, 0)},
                "model": _said(reported, target, own),
            }
        )
    return found


def _said(sweep: Sweep, target: float, setting) -> dict:
    """Means over models, each at its own `setting` [M] or all at one."""
    models = np.arange(sweep.jsd.shape[1])
    requirement, jsd = (values[setting, models] for values in (sweep.requirement, sweep.jsd))
    return {
        "requirement": float(requirement.mean()),
        "jsd": float(jsd.mean()),
        "meet": float((requirement <= target + 1e-6).mean()),
    }
