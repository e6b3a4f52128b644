"""A method's entry in results.json: settings chosen on validation, reported on test."""

import numpy as np

from metanet.evaluation.levels import best, solve
from metanet.evaluation.method import Method
from metanet.evaluation.pareto import hypervolume, mixed_hypervolume
from metanet.evaluation.sweep import Sweep
from metanet.mlp.population import STAGES
from metanet.pipeline.names import predicate
from metanet.pipeline.testbed import Testbed


def evaluate(testbed: Testbed, method: Method) -> dict:
    """Chooses settings on validation models and `select` data, reports those on the test split."""
    validation, chosen = _chosen(testbed, method)
    shifts = testbed.experiment.shifts
    entry = _reported(testbed, method, chosen, "test") | {
        "seconds_per_model": _seconds_per_model(testbed, method, chosen),
        "points_evaluated": len(method.settings),
        "infeasible_on_validation": [
            {"setting": method.settings[index], "models": int(count)}
            for index, count in enumerate(validation.infeasible)
            if count
        ],
    }
    if shifts:
        entry["shifted"] = {name: _reported(testbed, method, chosen, name) for name in shifts}
    return entry


def evaluate_seed(testbed: Testbed, method: Method) -> dict:
    """The front of one of several seeds and its hypervolumes, in short."""
    _, chosen = _chosen(testbed, method)
    return summary(_reported(testbed, method, chosen, "test"))


def summary(entry: dict) -> dict:
    """The part of an entry that results.json has of one of several seeds."""
    front = [{key: point[key] for key in ("requirement", "jsd")} for point in entry["front"]]
    volumes = {key: entry[key] for key in ("hypervolume", "mixture_hypervolume")}
    return volumes | {"front": front}


def _chosen(testbed: Testbed, method: Method) -> tuple[Sweep, np.ndarray]:
    """All settings on validation models and `select` data, and the indices of those selected."""
    validation = method.sweep(*testbed.split("validation"), np.arange(len(method.settings)))
    return validation, validation.selected


def _reported(testbed: Testbed, method: Method, chosen: np.ndarray, split: str) -> dict:
    """The front of the settings `chosen` [front] and its hypervolumes, on the models of `split`."""
    ids, table = testbed.split(split)
    sweep = method.sweep(ids, table, chosen)
    apart = testbed.constant[ids]  # [M] bool
    groups = _groups(testbed, ids)
    points = [
        _point(sweep, i, groups, apart) | {"setting": method.settings[index]}
        for i, index in enumerate(chosen)
        if not np.isnan(sweep.jsd[i, ~apart]).all()
    ]
    reference = testbed.experiment.evaluation.reference_point
    rows = [np.append(point["requirement"], point["jsd"]) for point in points]
    means = np.reshape(rows, (-1, len(reference)))  # [front, objectives]
    mixed = mixed_hypervolume(means, reference) if len(reference) == 2 else None
    return {
        "front": points,
        "hypervolume": hypervolume(means, reference),
        "mixture_hypervolume": mixed,
    }


def _groups(testbed: Testbed, ids: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Masks [M] bool of the models `ids` in each stage of training, and in each subset of specs."""
    stage = testbed.population.table["stage"].to_numpy()[ids]
    groups = {"by_stage": {name: stage == name for name in STAGES}}
    subsets = testbed.experiment.evaluation.subsets
    if subsets:
        specs = testbed.specs(ids)
        groups["by_subset"] = {}
        for name, path in subsets.items():
            member = predicate(path, f"evaluation.subsets.{name}")
            groups["by_subset"][name] = np.array([bool(member(spec)) for spec in specs])
    return groups


def _over_models(reduce, values: np.ndarray):
    """`reduce` over the models with a result, [M] or [M, requirements]; None if none has one."""
    values = values[~np.isnan(values).any(axis=tuple(range(1, values.ndim)))]
    return reduce(values, axis=0).tolist() if len(values) else None


def _seconds_per_model(testbed: Testbed, method: Method, chosen: np.ndarray) -> float | None:
    """Warm wall seconds at the middle setting, of batches of test models; None without a front.

    In passing: experiments.timing times all methods alike.
    """
    if not len(chosen):
        return None
    ids = testbed.split("test")[0]
    return method.seconds(ids, int(chosen[len(chosen) // 2]))[1] / len(ids)


def _point(test: Sweep, i: int, groups: dict, apart: np.ndarray) -> dict:
    """The setting with index `i` on the test models; those `apart` count in `all_models` only."""
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


def levels_reached(
    testbed: Testbed, method: Method, lambda_range: tuple[float, float]
) -> list[dict]:
    """Every level of the experiment, reached by one editor in two ways.

    Args:
      method: the editor, whose settings are lambdas within `lambda_range`.

    Returns:
      Per level, on the test models and data, `requirement`, `jsd` (nats) and the fraction of models
      that `meet` it: of the "family", one lambda chosen on validation models, and of the "model", a
      lambda for each, chosen on the same models and the `select` data.

    Raises:
      ValueError: the method's settings are not numbers.
    """
    if method.sweep_values is None:
        raise ValueError("method: found no sweep_values, expected settings that are numbers")
    grid = np.geomspace(*lambda_range, len(method.settings))
    sweep = method.sweep_values

    def on_validation(values):
        return sweep(*testbed.split("validation"), values)

    ids, table = testbed.split("test")
    kept = np.flatnonzero(~testbed.constant[ids])
    selected, reported = (sweep(ids, data, grid) for data in (testbed.data.select, table))
    entries = []
    for level in testbed.experiment.levels:
        lam = solve(on_validation, lambda_range, level, len(grid))
        setting = best(np.stack([selected.requirement, selected.jsd], axis=-1), level)[kept]
        family = _means(sweep(ids, table, np.array([lam])), level, kept, 0)
        entry = {"level": level, "family": {"lambda": lam, **family}}
        entries.append(entry | {"model": _means(reported, level, kept, setting)})
    return entries


def _means(sweep: Sweep, level: float, models: np.ndarray, setting) -> dict:
    """Means over the models, each at its own `setting` [models] or all at one."""
    requirement, jsd = (values[setting, models] for values in (sweep.requirement, sweep.jsd))
    return {
        "requirement": float(requirement.mean()),
        "jsd": float(jsd.mean()),
        "meet": float((requirement <= level + 1e-6).mean()),
    }
