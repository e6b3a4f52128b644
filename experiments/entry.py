"""A method's entry in results.json: settings chosen on validation, reported on test."""

import numpy as np

from experiments.plan import KINDS
from experiments.study import Study
from experiments.swept import Swept
from metanet.evaluation.pareto import hypervolume
from metanet.evaluation.sweep import Sweep
from metanet.mlp.population import STAGES

# How many models are timed, and of how many specs at most: probing is compiled for each.
TIMED_MODELS, TIMED_SPECS = 32, 4


def evaluate(study: Study, swept: Swept) -> dict:
    """Chooses settings on validation models and `select` data, reports those on the test split."""
    validation, chosen = _chosen(study, swept)
    reported = _reported(study, swept, chosen, "test")
    shifted = {name: _reported(study, swept, chosen, name) for name in study.config.shifts}
    infeasible = [
        {"setting": swept.settings[index], "models": int(count)}
        for index, count in enumerate(validation.infeasible)
        if count
    ]
    return {
        **reported,
        "seconds_per_model": _seconds_per_model(study, swept, chosen),
        "points_evaluated": len(swept.settings),
        "infeasible_on_validation": infeasible,
    } | ({"shifted": shifted} if shifted else {})


def evaluate_seed(study: Study, swept: Swept) -> dict:
    """What results.json says of one of several seeds: the front and its hypervolume, in short."""
    _, chosen = _chosen(study, swept)
    return summary(_reported(study, swept, chosen, "test"))


def _chosen(study: Study, swept: Swept) -> tuple[Sweep, np.ndarray]:
    """All settings on validation models and `select` data, and the indices of those selected."""
    validation = swept.run(*study.split("validation"), np.arange(len(swept.settings)))
    return validation, validation.selected


def _reported(study: Study, swept: Swept, chosen: np.ndarray, split: str) -> dict:
    """The front of the settings `chosen` and its hypervolume, on what `split` names."""
    ids, table = study.split(split)
    sweep = swept.run(ids, table, chosen)
    apart = study.degenerate[ids]
    groups = _groups(study, ids)
    points = [
        _point(sweep, i, groups, apart) | {"setting": swept.settings[index]}
        for i, index in enumerate(chosen)
        if not np.isnan(sweep.jsd[i, ~apart]).all()
    ]
    means = [np.append(point["requirement"], point["jsd"]) for point in points]
    reference = tuple(study.config.evaluation.reference_point)
    volume = hypervolume(np.reshape(means, (-1, len(reference))), reference)
    return {"front": points, "hypervolume": volume}


def _groups(study: Study, ids: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Which of the models `ids` belong to each stage of training, and kind of spec: [M] bool."""
    stage = study.population.table["stage"].to_numpy()[ids]
    of_model = np.asarray(study.models.spec)[ids]
    kinds = {
        name: np.array([is_one(stack.spec) for stack in study.population.stacks])[of_model]
        for name, is_one in KINDS.items()
    }
    return {"by_stage": {name: stage == name for name in STAGES}, "by_kind": kinds}


def summary(entry: dict) -> dict:
    """What results.json says of one of several seeds."""
    front = [{key: point[key] for key in ("requirement", "jsd")} for point in entry["front"]]
    return {"hypervolume": entry["hypervolume"], "front": front}


def _over_models(reduce, values: np.ndarray):
    """reduce over the models with a result, [models] or [models, requirements]; None without."""
    values = values[~np.isnan(values).any(axis=tuple(range(1, values.ndim)))]
    return reduce(values, axis=0).tolist() if len(values) else None


def _seconds_per_model(study, swept, chosen) -> float | None:
    """Warm, at the middle setting, a batch of test models; configs/timing.py does it well."""
    if not len(chosen):
        return None
    ids = study.split("test")[0]
    spec = np.asarray(study.models.spec)[ids]
    most = np.argsort(-np.bincount(spec), kind="stable")[:TIMED_SPECS]
    ids = ids[np.isin(spec, most)][:TIMED_MODELS]
    return swept.seconds(ids, int(chosen[len(chosen) // 2]))[1] / len(ids)


def _point(test: Sweep, i: int, groups: dict, apart: np.ndarray) -> dict:
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

    for key, members in groups.items():
        point[key] = {name: means(mask & ~apart) for name, mask in members.items()}
    if apart.any():
        point["all_models"] = means(np.ones_like(apart))
    return point
