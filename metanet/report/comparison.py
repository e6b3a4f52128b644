"""Where the fronts of editors lie below those of other methods, and where not."""

import numpy as np

from metanet.evaluation.pareto import interpolate, mixed_hypervolume


def points(front: list[dict]) -> np.ndarray:
    """(requirement, jsd) of a front in results.json: [points, 2]."""
    return np.array([[p["requirement"], p["jsd"]] for p in front]).reshape(-1, 2)


def volumes(method: dict, reference: tuple[float, float]) -> np.ndarray:
    """The hypervolume of each seed's front and its mixtures, see `pareto.mixed_hypervolume`.

    Of mixtures, because methods are swept over different numbers of settings: [seeds].
    """
    fronts = [points(one["front"]) for one in method.get("seeds", [method])]
    return np.array([mixed_hypervolume(front, reference) for front in fronts])


def at_levels(method: dict, levels: np.ndarray) -> np.ndarray:
    """JSD at levels of the requirement, [seeds, levels]; NaN below the reach of a front.

    Linear between a front's points; above its last point, that point's, which needs no more.
    """
    fronts = [points(one["front"]) for one in method.get("seeds", [method])]
    fronts = [front for front in fronts if len(front)]
    if not fronts:
        return np.full((1, len(levels)), np.nan)
    within = [interpolate(front, levels) for front in fronts]
    last = [front[front[:, 0].argmax()] for front in fronts]
    return np.stack(
        [np.where(levels > x, y, row) for (x, y), row in zip(last, within, strict=True)]
    )


def compare(methods: dict) -> dict:
    """Every editor (a method with seeds, whose mean counts) against every method that is not one.

    Returns:
      {editor: {method: found}}, at the method's own points that the editor reaches too: `points`,
      their number; `below`, at how many of them the editor is; and those `lost`: requirement, the
      method's jsd and the editor's (nats).
    """
    others = {name: m["front"] for name, m in methods.items() if "seeds" not in m and m["front"]}
    return {
        editor: {name: _against([method], front) for name, front in others.items()}
        for editor, method in methods.items()
        if "seeds" in method
    }


def by_budget(methods: dict) -> dict:
    """Every method that is not an editor against the best of all editors that take no longer.

    Returns:
      {method: found}, as in `compare`, at every point with the editor that is best there; without
      points where no editor is as fast.
    """
    editors = [method for method in methods.values() if "seeds" in method and method["front"]]
    found = {}
    for name, method in methods.items():
        if "seeds" in method or not method["front"]:
            continue
        budget = method["seconds_per_model"]
        within = [editor for editor in editors if editor["seconds_per_model"] <= budget]
        found[name] = _against(within, method["front"])
    return found


def _against(editors: list[dict], front: list[dict]) -> dict:
    levels, values = points(front).T
    every = [at_levels(editor, levels).mean(0) for editor in editors]
    ours = np.fmin.reduce(every) if every else np.full(len(levels), np.nan)
    reached = ~np.isnan(ours)
    lost = reached & (ours >= values)
    columns = (v[lost].tolist() for v in (levels, values, ours))
    return {
        "points": int(reached.sum()),
        "below": int((reached & ~lost).sum()),
        "lost": [
            {"requirement": x, "jsd": y, "editor_jsd": z} for x, y, z in zip(*columns, strict=True)
        ],
    }
