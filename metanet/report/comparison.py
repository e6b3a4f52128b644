"""Costs at levels of the requirement with intervals, and who wins where.

From every method's values for every test model, so that whoever has results.json and the files
beside it can compute the same numbers again.
"""

from collections.abc import Callable, Sequence

import numpy as np

from metanet.core import UserError
from metanet.evaluation import bootstrap
from metanet.evaluation.bootstrap import CURVE, LINE
from metanet.evaluation.values import ENDS, Values

DRAWS, VOLUME_DRAWS = 2000, 200  # of a bootstrap; hypervolumes cost more
COARSE = 0.1  # relative, by which a line between two settings may be above a curve unmarked
WIN, TIE, LOSS = "win", "tie", "loss"
GRIDS = ("features", "fraction")  # settings that are the requirement itself
EACH, MEAN = "each model", "the mean"  # what is at a level


def analysed(results: dict, values: dict[str, Values]) -> dict:
    """results.json's content of one requirement, with intervals and comparisons.

    Its key `levels_of` says what is at a level: "each model", where a requirement is of an edit
    alone, or "the mean", where it is measured on data. Adds to every method `at_levels`: by cost,
    for each of `report_levels` the mean `cost` over test models and seeds, the ends of its 95%
    interval (`low`, `high`) and whether a setting is so far that the cost is an upper bound only
    (`coarse`); to the points of a front `jsd_low` and `jsd_high`; `mixture_interval`, of the mean
    hypervolume. Adds `comparison`, see `compare`, and `margins`, see `margins_of`.

    Args:
      values: of every method, and of the ends under the name ENDS.

    Raises:
      UserError: methods were evaluated on different models.
    """
    models = values[ENDS].model
    for name, one in values.items():
        if not np.array_equal(one.model, models):
            raise UserError(f"{name}: found values of other test models than those of the ends, "
                            "expected the same")  # fmt: skip
    weight = bootstrap.draws(values[ENDS].experiment, DRAWS)
    each = results["levels_of"] == EACH
    levels, methods = np.array(results["report_levels"]), results["methods"]
    costs: dict[str, dict[str, np.ndarray]] = {}
    for cost in results["costs"]:
        (ends,) = values[ENDS].fronts(cost)
        costs[cost] = {}
        for place, name in enumerate(methods):
            fronts = values[name].fronts(cost)
            if fronts:
                tried = tried_by(methods, name)
                found = bootstrap.at_levels(fronts, ends, weight, levels, place, each, tried)
                costs[cost][name] = found  # [draws, levels, 2]
    box = tuple(results["reference_point"])
    floor = results.get("level_floor", 0.0)
    measured = {name: _with_intervals(method, values[name], values[ENDS], weight, box)
                for name, method in methods.items()}  # fmt: skip
    for cost, by_name in costs.items():
        for name, found in by_name.items():
            measured[name].setdefault("at_levels", {})[cost] = _at_levels(found)
    counts = _counted(results, levels, floor)
    low = levels < box[0] / 2
    return results | {
        "methods": measured,
        "draws": DRAWS,
        "comparison": {cost: compare(methods, one, counts) for cost, one in costs.items()},
        "margins": {cost: margins_of(methods, one, counts & low, counts & ~low)
                    for cost, one in costs.items()},
    }  # fmt: skip


def tried_by(methods: dict, name: str) -> np.ndarray | None:
    """The requirements of all settings that a method tried, [T]; None where they are not known.

    Known of GRIDS, whose settings are the same for all methods that tried as many, if each of them
    is on a front of one.
    """
    count = methods[name].get("points_evaluated")
    key = _grid(methods[name])
    if key is None:
        return None
    found = {
        point["setting"][key]: point["requirement"]
        for method in methods.values()
        if method.get("points_evaluated") == count and _grid(method) == key
        for point in method["front"]
    }
    return np.array([*found.values()]) if len(found) == count else None


def _grid(method: dict) -> str | None:
    """The one of GRIDS that a method's settings are on."""
    keys = {tuple(point["setting"]) for point in method["front"]}
    return next((key for key in GRIDS if keys == {(key,)}), None)


def _counted(results: dict, levels: np.ndarray, floor: float) -> np.ndarray:
    """At which levels methods are compared: [levels] bool.

    Not below the floor, where values are noise, nor where unedited models are within the level.
    """
    unedited = results["ends"][1]["requirement"]
    return (levels >= floor) & (levels < unedited)


def _at_levels(found: np.ndarray) -> list[dict]:
    """The entries of one method and cost, from [draws, levels, 2]."""
    low, high = bootstrap.interval(found[..., LINE])
    line, curve = found[0, :, LINE], found[0, :, CURVE]
    coarse = line > (1 + COARSE) * np.maximum(curve, bootstrap.LEAST)
    rows = zip(line.tolist(), low.tolist(), high.tolist(), coarse.tolist(), strict=True)
    return [{"cost": c, "low": a, "high": b, "coarse": d} for c, a, b, d in rows]


def _with_intervals(
    method: dict, values: Values, ends: Values, weight: np.ndarray, box: tuple[float, float]
) -> dict:
    """A method with the intervals of its first seed's points and of its hypervolume."""
    fronts, (both,) = values.fronts("jsd"), ends.fronts("jsd")
    if not fronts:
        return method | {"mixture_interval": None}
    low, high = bootstrap.interval(weight @ values.seeds[0].front("jsd").cost.T)  # [front] each
    front = [point | {"jsd_low": float(a), "jsd_high": float(b)}
             for point, a, b in zip(method["front"], low, high, strict=True)]  # fmt: skip
    _, *interval = bootstrap.volume_interval(fronts, both, weight[: 1 + VOLUME_DRAWS], box)
    return method | {"front": front, "mixture_interval": interval}


def compare(methods: dict, costs: dict[str, np.ndarray], counts: np.ndarray) -> dict:
    """Every editor against every other method, at every level, by one cost.

    Args:
      costs: by method, [draws, levels, 2] of the same draws, see `bootstrap.at_levels`.
      counts: [levels] bool, where a comparison means something.

    Returns:
      {editor: {method: [found]}}: the `ratio` of the editor's cost over the method's, the 95%
      interval (`low`, `high`) of it, and the `verdict`: a win if the interval is below 1, a loss if
      above, else a tie; None where it does not count.
    """
    return _by_pair(methods, costs, lambda ours, theirs: _verdicts(ours, theirs, counts))


def margins_of(
    methods: dict, costs: dict[str, np.ndarray], low: np.ndarray, high: np.ndarray
) -> dict:
    """How much more an editor gains at `low` levels [levels] bool than at `high` ones.

    Returns:
      {editor: {method: found}}: the geometric means over levels of the ratio of costs, `below` and
      `above`, and the first over the second, `wider`, each (estimate, low, high) with the ends of
      a 95% interval, paired: all three are of the same draws. As those of `bootstrap.ratio` they
      leave room for what lies between settings. {} without levels on a side.
    """
    if not (low.any() and high.any()):
        return {}

    def found(ours, theirs):
        ours, theirs = (np.log(np.maximum(one, bootstrap.LEAST)) for one in (ours, theirs))

        def mean(mine, other, side):  # [draws], by a reading of each
            return (ours[..., mine] - theirs[..., other])[:, side].mean(1)

        def side_of(side):  # estimate, the least and the most
            return (mean(CURVE, CURVE, side), mean(CURVE, LINE, side), mean(LINE, CURVE, side))

        below, above = side_of(low), side_of(high)
        wider = below[0] - above[0], below[1] - above[2], below[2] - above[1]
        logs = {"below": below, "above": above, "wider": wider}
        return {
            name: np.exp(
                [one[0], bootstrap.interval(least)[0], bootstrap.interval(most)[1]]
            ).tolist()
            for name, (one, least, most) in logs.items()
        }

    return _by_pair(methods, costs, found)


def _by_pair(methods: dict, costs: dict[str, np.ndarray], found: Callable) -> dict:
    """{editor: {method: found(costs of the editor, costs of the method)}}, of different ones."""
    editors = [name for name in costs if "seeds" in methods[name]]
    return {
        editor: {name: found(costs[editor], theirs) for name, theirs in costs.items()
                 if name != editor}
        for editor in editors
    }  # fmt: skip


def _verdicts(ours: np.ndarray, theirs: np.ndarray, counts: np.ndarray) -> list[dict]:
    columns = (one.tolist() for one in (*bootstrap.ratio(ours, theirs), counts))
    return [
        {"ratio": ratio, "low": low, "high": high, "verdict": verdict(low, high) if count else None}
        for ratio, low, high, count in zip(*columns, strict=True)
    ]


def verdict(low: float, high: float) -> str:
    """Of an interval of a ratio of costs, ours over theirs."""
    return WIN if high < 1 else LOSS if low > 1 else TIE


def by_budget(methods: dict, seconds: dict[str, float]) -> dict[str, str | None]:
    """For every method that is no editor the slowest editor that takes no longer; None: none.

    It is chosen by its seconds alone, not by its results on the test models.

    Args:
      seconds: of one edit, of the methods that are compared; those without a front are left out.
    """
    compared = [name for name in seconds if methods[name]["front"]]
    editors = [name for name in compared if "seeds" in methods[name]]
    found = {}
    for name in compared:
        if "seeds" in methods[name]:
            continue
        within = [one for one in editors if seconds[one] <= seconds[name]]
        found[name] = max(within, key=seconds.__getitem__, default=None)
    return found


def tally(found: Sequence[dict]) -> tuple[int, int, int]:
    """(wins, ties, losses) of the entries of one comparison."""
    verdicts = [one["verdict"] for one in found]
    wins, ties, losses = (verdicts.count(one) for one in (WIN, TIE, LOSS))
    return wins, ties, losses


def points(front: list[dict]) -> np.ndarray:
    """(requirement, jsd) of a front in results.json: [points, 2]."""
    return np.array([[p["requirement"], p["jsd"]] for p in front]).reshape(-1, 2)


def volumes(method: dict) -> np.ndarray:
    """The hypervolume of mixtures of each seed's front, [seeds]."""
    return np.array([one["mixture_hypervolume"] for one in method.get("seeds", [method])])
