"""Where the fronts of editors have lower JSD than those of other methods, and where not."""

from collections.abc import Sequence

import numpy as np

from metanet.evaluation.pareto import interpolate, mixed_hypervolume

_LEAST = 1e-9  # nats, so that unedited models have a logarithm


def points(front: list[dict]) -> np.ndarray:
    """(requirement, jsd) of a front in results.json: [points, 2]."""
    return np.array([[p["requirement"], p["jsd"]] for p in front]).reshape(-1, 2)


def volumes(method: dict, reference: Sequence[float]) -> np.ndarray:
    """The hypervolume of mixtures of each seed's front, [seeds], see `pareto.mixed_hypervolume`.

    Read from results.json where it is stored; computed where there is only a front.

    Args:
      reference: the box, (requirement, JSD in nats).
    """
    edge, most = reference
    return np.array([
        mixed_hypervolume(points(one["front"]), (edge, most))
        if one.get("mixture_hypervolume") is None
        else one["mixture_hypervolume"]
        for one in method.get("seeds", [method])
    ])  # fmt: skip


def _fronts(method: dict) -> list[np.ndarray]:
    """The fronts of all seeds, without empty ones: each [points, 2]."""
    fronts = [points(one["front"]) for one in method.get("seeds", [method])]
    return [front for front in fronts if len(front)]


def at_levels(method: dict, levels: np.ndarray) -> np.ndarray:
    """JSD (nats) at levels of the requirement, [seeds, levels]; NaN below the reach of a front.

    Linear between a front's points; above its last point, that point's, which needs no more.
    """
    fronts = _fronts(method)
    if not fronts:
        return np.full((1, len(levels)), np.nan)
    within = [interpolate(front, levels) for front in fronts]
    last = [front[front[:, 0].argmax()] for front in fronts]
    return np.stack(
        [np.where(levels > x, y, row) for (x, y), row in zip(last, within, strict=True)]
    )


def coarse(method: dict, levels: np.ndarray, tolerance: float = 0.1) -> np.ndarray:
    """At which levels `at_levels` is only an upper bound of some seed: [levels] bool.

    Those above a front's last point, and those between points so far apart that a straight line in
    JSD (mixtures of the two settings) is more than `tolerance` above one in log JSD.
    """
    found = np.zeros(len(levels), bool)
    for front in _fronts(method):
        line = interpolate(front, levels)
        logs = np.stack([front[:, 0], np.log(np.maximum(front[:, 1], _LEAST))], axis=1)
        curve = np.exp(interpolate(logs, levels))
        with np.errstate(invalid="ignore"):
            found |= line > (1 + tolerance) * np.maximum(curve, _LEAST)
        found |= levels > front[:, 0].max()
    return found


def compare(methods: dict, level_floor: float = 0.0) -> dict:
    """Every editor (a method with seeds, whose mean counts) against every method that is not one.

    Args:
      level_floor: points with a lower requirement are noise and do not count.

    Returns:
      {editor: {method: found}}, at the method's own points that the editor reaches too: `points`,
      their number; `below`, at how many of them the editor's JSD is lower; and those `lost`:
      requirement, the method's jsd and the editor's (nats).
    """
    others = {name: m["front"] for name, m in methods.items() if "seeds" not in m and m["front"]}
    return {
        editor: {name: _against(method, front, level_floor) for name, front in others.items()}
        for editor, method in methods.items()
        if "seeds" in method
    }


def by_budget(methods: dict, level_floor: float = 0.0) -> dict:
    """Every method that is not an editor against the slowest editor that takes no longer.

    The editor is chosen by its seconds alone, not by its results on the test models.

    Returns:
      {method: found}, as in `compare`, and the `editor`'s name, None where none is as fast.
    """
    editors = {n: m for n, m in methods.items() if "seeds" in m and m["front"]}
    found = {}
    for name, method in methods.items():
        if "seeds" in method or not method["front"]:
            continue
        budget = method["seconds_per_model"]
        within = [one for one in editors if editors[one]["seconds_per_model"] <= budget]
        slowest = max(within, key=lambda one: editors[one]["seconds_per_model"], default=None)
        editor = {"front": []} if slowest is None else editors[slowest]
        found[name] = {"editor": slowest} | _against(editor, method["front"], level_floor)
    return found


def _against(editor: dict, front: list[dict], level_floor: float) -> dict:
    """What `compare` says of one editor at the points of one front."""
    values = points(front)
    levels, jsd = values[values[:, 0] >= level_floor].T
    ours = at_levels(editor, levels).mean(0)
    reached = ~np.isnan(ours)
    lost = reached & ~(ours < jsd)
    columns = (column[lost].tolist() for column in (levels, jsd, ours))
    return {
        "points": int(reached.sum()),
        "below": int((reached & ~lost).sum()),
        "lost": [
            {"requirement": x, "jsd": y, "editor_jsd": z} for x, y, z in zip(*columns, strict=True)
        ],
    }
