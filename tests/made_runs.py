"""Runs made by hand: values of 30 models of ten experiments, and the results.json of them."""

import numpy as np

from metanet.evaluation.pareto import hypervolume, mixed_hypervolume
from metanet.evaluation.values import SeedValues, Values, save_values, values_path
from metanet.report.comparison import analysed
from metanet.storage import write_json

EXPERIMENT = np.repeat(np.arange(10), 3)  # of every model
# Models differ by more than methods do, and those of one experiment are alike; the mean is 1.
SIZE = np.exp(0.8 * np.random.default_rng(0).normal(size=10))[EXPERIMENT]
SIZE = SIZE / SIZE.mean()
LEVELS, BOX = (0.1, 0.3, 0.5, 0.7), (1.0, 0.1)
STAGES = ("early", "middle", "last")
COSTS = ("jsd", "jsd_label", "error")
ENDS = ((0.0, 0.08), (1.0, 0.0))
WEIGHTS = {
    "requirements": ["metanet.objectives.pruning.weights_kept"],
    "requirement_labels": ["weights kept (fraction of all weights)"],
}


def seed_values(points, *, noise=0.0, seed=0, constant=0.0):
    """The values of a front with the mean `points` [(requirement, jsd)], of every model.

    noise: the standard deviation of a factor of each experiment that other methods do not share.
    """
    x, y = np.array(points, float).reshape(-1, 2).T
    own = np.exp(noise * np.random.default_rng(seed).normal(size=10))[EXPERIMENT]
    jsd = y[:, None] * SIZE * own / (SIZE * own).mean()  # [S, M]
    fields = {"requirement": np.broadcast_to(x[:, None], jsd.shape), "jsd": jsd,
              "jsd_label": 2 * jsd, "error": 0.2 + jsd,
              "constant": np.full_like(jsd, constant)}  # fmt: skip
    places = np.arange(len(x), dtype=np.int32)
    return SeedValues({key: value.astype(np.float32) for key, value in fields.items()},
                      dict.fromkeys(COSTS, places))  # fmt: skip


def a_method(points, *, seeds=0, spread=0.0, seconds=0.1, noise=0.0, setting="fraction", **more):
    """(entry, values) of a method, of an editor with so many `seeds`, or of none.

    spread: how much, relatively, the JSD of every further seed is above that of the one before.
    more: of `seed_values`.
    """
    each = [[(x, y * (1 + spread * seed)) for x, y in points] for seed in range(max(seeds, 1))]
    found = tuple(seed_values(one, noise=noise, seed=place, **more)
                  for place, one in enumerate(each))  # fmt: skip
    front = _front(found[0], setting)
    entry = {
        "front": front,
        "fronts": {cost: front for cost in COSTS[1:]},
        **_volumes(points),
        "validation_hypervolume": 0.5,
        "seconds_per_model": seconds if points else None,
        "points_evaluated": 20,
        "infeasible_on_validation": [],
    }
    if seeds:
        short = [[{"requirement": x, "jsd": y} for x, y in one] for one in each]
        entry["seeds"] = [{"front": a, **_volumes(b)} for a, b in zip(short, each, strict=True)]
    return entry, Values(np.arange(30), EXPERIMENT, found)


def _front(values, setting):
    """The points of results.json."""
    front = []
    for place, row in enumerate(np.moveaxis(np.stack([*values.fields.values()]), 0, 1)):
        means = dict(zip(values.fields, row.mean(1).tolist(), strict=True))
        part = {key: means[key] for key in ("requirement", "jsd")}
        front.append(
            part
            | {"requirement_std": 0.0, "jsd_std": float(row[1].std(ddof=1))}
            | {"jsd_label": means["jsd_label"], "accuracy": 1 - means["error"]}
            | {"accuracy_original": 0.8, "constant": means["constant"]}
            | {"by_stage": dict.fromkeys(STAGES, part), "infeasible": 0}
            | {"setting": {setting: place / 10}}
        )
    return front


def _volumes(points):
    both = np.array([*points, *ENDS])
    return {
        "hypervolume": hypervolume(both, BOX),
        "mixture_hypervolume": mixed_hypervolume(both, BOX),
    }


def a_run(methods, **changed):
    """(results.json's content, values) of `methods`: {name: (entry, values)}, see `a_method`.

    changed: keys of the content, before it is analysed.
    """
    constant, both = seed_values(ENDS), a_method(ENDS, setting="unedited")
    constant.fields["constant"][0] = 1.0
    ends = [point | {"constant": share} for point, share in
            zip(both[0]["front"], (1.0, 0.0), strict=True)]  # fmt: skip
    entries = {name: entry for name, (entry, _) in methods.items()}
    content = {
        "schema": 4, "kind": "fronts", "task": "any name", "dataset": "synthetic", "seed": 0,
        "levels_of": "the mean",
        **WEIGHTS, "reference_point": list(BOX), "report_levels": list(LEVELS), "costs": ["jsd"],
        "main_methods": [], "ends": ends, "methods": entries,
        "models_evaluated": 30, "models_validated": 12, "samples_evaluated": 1200,
        "level_floor": 0.0, "wall_seconds": {"population": None, "GMN": 12.0},
        "command": "the command", "device": "a device", "versions": {"jax": "1"},
        "commit": "c" * 40, "dirty": False,
    } | changed  # fmt: skip
    values = {name: one for name, (_, one) in methods.items()}
    values["ends"] = Values(np.arange(30), EXPERIMENT, (constant,))
    return analysed(content, values), values


def write_run(folder, results, values):
    """The files of a run in `folder`."""
    write_json(folder / "results.json", results)
    for name, one in values.items():
        save_values(values_path(folder, name), one)
