"""Where an editor's front lies below a baseline's, and where not."""

import numpy as np

from metanet.evaluation.pareto import interpolate


def points(front: list[dict]) -> np.ndarray:
    """(requirement, jsd) of a front in results.json: [points, 2]."""
    return np.array([[p["requirement"], p["jsd"]] for p in front]).reshape(-1, 2)


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
        editor: {name: _against(method, front) for name, front in others.items()}
        for editor, method in methods.items()
        if "seeds" in method
    }


def _against(editor: dict, front: list[dict]) -> dict:
    levels, values = points(front).T
    ours = at_levels(editor, levels).mean(0)
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
