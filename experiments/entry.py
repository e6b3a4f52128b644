"""A method's entry in results.json: settings chosen on validation, reported on test."""

import numpy as np

from experiments.methods import Swept
from experiments.study import Study
from metanet.evaluation.pareto import hypervolume
from metanet.evaluation.sweep import Sweep
from metanet.mlp.population import STAGES

TIMED_MODELS = 32


def evaluate(study: Study, swept: Swept) -> dict:
    """Chooses settings on validation models and `select` data, reports those on the test split."""
    validation = swept.run("validation", np.arange(len(swept.settings)))
    chosen = validation.selected
    test = swept.run("test", chosen)
    ids = study.population.ids("test")
    stage = study.population.table["stage"].to_numpy()[ids]
    apart = study.degenerate[ids]
    points = [
        _point(test, i, stage, apart) | {"setting": swept.settings[index]}
        for i, index in enumerate(chosen)
        if not np.isnan(test.jsd[i, ~apart]).all()
    ]
    means = [np.append(point["requirement"], point["jsd"]) for point in points]
    reference = tuple(study.config.evaluation.reference_point)
    infeasible = [
        {"setting": swept.settings[index], "models": int(count)}
        for index, count in enumerate(validation.infeasible)
        if count
    ]
    return {
        "front": points,
        "hypervolume": hypervolume(np.reshape(means, (-1, len(reference))), reference),
        "seconds_per_model": _seconds_per_model(study, swept, chosen),
        "points_evaluated": len(swept.settings),
        "infeasible_on_validation": infeasible,
    }


def summary(entry: dict) -> dict:
    """What results.json says of one of several seeds."""
    front = [{key: point[key] for key in ("requirement", "jsd")} for point in entry["front"]]
    return {"hypervolume": entry["hypervolume"], "front": front}


def _over_models(reduce, values: np.ndarray):
    """reduce over the models with a result, [models] or [models, requirements]; None without."""
    values = values[~np.isnan(values.reshape(len(values), -1)).any(1)]
    return reduce(values, axis=0).tolist() if len(values) else None


def _seconds_per_model(study, swept, chosen) -> float | None:
    """Warm, at the middle setting, a batch of some test models; configs/timing.py does it well."""
    if not len(chosen):
        return None
    ids = study.population.ids("test")[:TIMED_MODELS]
    return swept.seconds(ids, int(chosen[len(chosen) // 2]))[1] / len(ids)


def _point(test: Sweep, i: int, stage: np.ndarray, apart: np.ndarray) -> dict:
    """Setting number i on the test models; those `apart` count in `all_models` only."""
    point = {}
    for name in ("requirement", "jsd"):
        values = getattr(test, name)[i]
        point[name] = _over_models(np.mean, values[~apart])
        point[f"{name}_std"] = _over_models(np.std, values[~apart])
    for name in ("jsd_label", "accuracy", "accuracy_original"):
        point[name] = _over_models(np.mean, getattr(test, name)[i, ~apart])
    point["infeasible"] = int(np.isnan(test.jsd[i, ~apart]).sum())

    def means(part):
        return {k: _over_models(np.mean, getattr(test, k)[i, part]) for k in ("requirement", "jsd")}

    point["by_stage"] = {name: means((stage == name) & ~apart) for name in STAGES}
    if apart.any():
        point["all_models"] = means(np.ones_like(apart))
    return point
