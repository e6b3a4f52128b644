"""A method's entry in results.json: settings chosen on validation, reported on test."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from metanet.evaluation.levels import best, solve
from metanet.evaluation.method import Method
from metanet.evaluation.pareto import above_mixtures, hypervolume, mixed_hypervolume
from metanet.evaluation.sweep import Sweep
from metanet.evaluation.values import SeedValues, Values, seed_values
from metanet.mlp.population import STAGES
from metanet.pipeline.names import predicate
from metanet.pipeline.testbed import Testbed

CONSTANT, UNEDITED = 0, 1  # the settings of methods.ends.ends
INFEASIBLE = 0.25  # share of validation models, above which a setting is not chosen


def evaluate(testbed: Testbed, methods: Sequence[Method], ends: Method) -> tuple[dict, Values]:
    """Chooses settings on validation models and `select` data, reports those on the test split.

    A setting is chosen by every cost of the experiment on its own: there is a front for each.

    Args:
      methods: one, or a method for each seed of its editors; numbers are the first one's.
      ends: constant outputs and unedited models, which count as settings of every method.

    Returns:
      The entry, and the values of every test model that is not set apart.
    """
    seeds = [_Evaluated(testbed, method, ends) for method in methods]
    first = seeds[0]
    entry = first.entry | {
        "validation_hypervolume": first.validation_hypervolume,
        "seconds_per_model": _seconds_per_model(
            testbed, methods[0], first.chosen[testbed.experiment.evaluation.costs[0]]
        ),
        "points_evaluated": len(methods[0].settings),
        "infeasible_on_validation": [
            {"setting": methods[0].settings[index], "models": int(count)}
            for index, count in enumerate(first.infeasible)
            if count
        ],
    }
    if testbed.experiment.shifts:
        entry["shifted"] = {
            name: first.reported(name, first.chosen)[0] for name in testbed.experiment.shifts
        }
    ids = testbed.split("test")[0]
    kept = ids[~testbed.constant[ids]]
    experiment = testbed.population.table["experiment"].to_numpy()[kept]
    values = Values(kept, experiment, tuple(seed.values for seed in seeds))
    return entry | {"seeds": [summary(seed.entry) for seed in seeds]}, values


def ends_entry(testbed: Testbed, ends: Method) -> tuple[dict, Values]:
    """The entry of the two ends themselves: a front of both."""
    ids = testbed.split("test")[0]
    apart = testbed.constant[ids]
    sweep, groups = ends_on(testbed, ends, "test"), _groups(testbed, ids)
    front = [_point(sweep, i, groups, apart) | {"setting": ends.settings[i]} for i in range(2)]
    both = {cost: np.arange(2) for cost in testbed.experiment.evaluation.costs}
    experiment = testbed.population.table["experiment"].to_numpy()[ids[~apart]]
    kept = seed_values(_of_models(sweep, ~apart), both)
    return {"front": front}, Values(ids[~apart], experiment, (kept,))


def validation_hypervolume(testbed: Testbed, method: Method, ends: Method) -> float:
    """The hypervolume, of mixtures if there is one requirement, on validation models."""
    validation = method.sweep(*testbed.split("validation"), np.arange(len(method.settings)))
    return _validation(testbed, validation, ends)[1]


def ends_on(testbed: Testbed, ends: Method, split: str) -> Sweep:
    """The sweep of the two ends on the models of a split, [2, M]."""
    return testbed.cached(
        ("ends", split), lambda: ends.sweep(*testbed.split(split), np.array([CONSTANT, UNEDITED]))
    )


class _Evaluated:
    """One method, its settings chosen on validation and evaluated on test."""

    def __init__(self, testbed: Testbed, method: Method, ends: Method):
        self._testbed, self._method, self._ends = testbed, method, ends
        validation = method.sweep(*testbed.split("validation"), np.arange(len(method.settings)))
        self.infeasible = validation.infeasible
        self.chosen, self.validation_hypervolume = _validation(testbed, validation, ends)
        self.entry, self.values = self.reported("test", self.chosen)

    def reported(self, split: str, chosen: dict[str, np.ndarray]) -> tuple[dict, SeedValues]:
        """The fronts of the chosen settings and their hypervolumes, on the models of `split`."""
        testbed, settings = self._testbed, self._method.settings
        ids, table = testbed.split(split)
        union = np.unique(np.concatenate([*chosen.values()])).astype(int)  # [S]
        ends = ends_on(testbed, self._ends, split)
        apart, groups = testbed.constant[ids], _groups(testbed, ids)
        raw = self._method.sweep(ids, table, union)
        lost = np.isnan(raw.jsd[:, ~apart])
        sweep, kept = raw.filled(ends.take(np.array([UNEDITED]))), np.flatnonzero(~lost.all(1))
        points = {
            int(union[i]): _point(sweep, i, groups, apart)
            | {"infeasible": int(lost[i].sum()), "setting": settings[union[i]]}
            for i in kept.tolist()
        }
        fronts = {
            cost: [points[i] for i in index.tolist() if i in points]
            for cost, index in chosen.items()
        }
        first, *others = testbed.experiment.evaluation.costs
        found = {"front": fronts[first]} | (
            {"fronts": {c: fronts[c] for c in others}} if others else {}
        )
        objectives = [_objectives(point) for point in fronts[first]]
        both = _of_models(ends, ~apart).points(first)
        means = np.concatenate([np.reshape(objectives, (-1, both.shape[1])), both])
        places = {cost: np.searchsorted(union[kept], [i for i in index if i in points])
                  for cost, index in chosen.items()}  # fmt: skip
        values = seed_values(_of_models(sweep, ~apart).take(kept), places)
        return found | _volumes(testbed, means), values


def _objectives(point: dict) -> np.ndarray:
    return np.append(point["requirement"], point["jsd"])


def _of_models(sweep: Sweep, models: np.ndarray) -> Sweep:
    """Some of the models, a mask or indices [M]."""
    return Sweep(**{key: value[:, models] for key, value in vars(sweep).items()})


def _validation(
    testbed: Testbed, validation: Sweep, ends: Method
) -> tuple[dict[str, np.ndarray], float]:
    """The settings selected on validation models, by cost, and their hypervolume with the ends."""
    both = ends_on(testbed, ends, "validation")
    validation = validation.filled(both.take(np.array([UNEDITED])), INFEASIBLE)
    costs = testbed.experiment.evaluation.costs
    chosen = {cost: _selected(validation, both, cost) for cost in costs}
    means = np.concatenate([validation.points()[chosen[costs[0]]], both.points()])
    volumes = _volumes(testbed, means)
    mixed = volumes["mixture_hypervolume"]
    return chosen, volumes["hypervolume"] if mixed is None else mixed


def _selected(validation: Sweep, ends: Sweep, cost: str) -> np.ndarray:
    """The settings on the front by `cost`, [front] int; of one requirement, without those that are
    worse than another one for a share of the models and an end for the rest, unless all are."""
    chosen = validation.selected(cost)
    points, both = validation.points(cost)[chosen], ends.points(cost)
    if points.shape[1] > 2:
        return chosen
    kept = chosen[~above_mixtures(points, both)]
    return kept if len(kept) else chosen


def _volumes(testbed: Testbed, means: np.ndarray) -> dict[str, Any]:
    """The hypervolumes of points [N, objectives]: of points, and of mixtures of one requirement."""
    reference = testbed.experiment.evaluation.reference_point
    mixed = mixed_hypervolume(means, reference) if len(reference) == 2 else None
    return {"hypervolume": hypervolume(means, reference), "mixture_hypervolume": mixed}


def summary(entry: dict) -> dict:
    """The part of an entry that results.json has of one of several seeds."""
    front = [{key: point[key] for key in ("requirement", "jsd")} for point in entry["front"]]
    volumes = {key: entry[key] for key in ("hypervolume", "mixture_hypervolume")}
    return volumes | {"front": front}


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


def _std(values: np.ndarray, axis: int) -> np.ndarray:
    """The sample standard deviation; 0 of one value."""
    return np.std(values, axis=axis, ddof=1 if values.shape[axis] > 1 else 0)


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
        point[f"{name}_std"] = _over_models(_std, values[~apart])
    for name in ("jsd_label", "accuracy", "accuracy_original", "constant", "calibration"):
        point[name] = _over_models(np.mean, getattr(test, name)[i, ~apart])

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
