"""Judges of claims: functions from results.json contents to a verdict and its evidence.

A judge says in its docstring what refutes the claim. Points are compared with points or with the
editor's own front at the same level of the requirement, never by hypervolumes of different grids.
A method that is missing, has no feasible setting or is set aside (`caveats`) is named in the
evidence, and without it no claim holds more than partly.
"""

from collections.abc import Callable

import numpy as np

from metanet.report.caveats import caveat
from metanet.report.comparison import at_levels, points, volumes

HOLDS, PARTLY, FAILS = "holds", "holds partly", "does not hold"
ABSENT, OPEN = "not run", "not judged"
Judge = Callable[[dict], tuple[str, str]]
_LEAST = 1e-6  # nats; below it ratios of JSD are rounding


class NotRunError(Exception):
    """A run has no front of a method that a claim is about; the message is its name."""


def entry(results: dict, name: str) -> dict:
    """The entry of the method `name`, which has points.

    Raises:
      NotRunError: it has none.
    """
    found = results["methods"].get(name)
    if not found or not found["front"]:
        raise NotRunError(name)
    return found


def _verdict(share: float) -> str:
    """The verdict for a share of points: all, more than half, or less."""
    return HOLDS if share >= 1 else PARTLY if share > 0.5 else FAILS


def _set_aside(results: dict, name: str) -> str | None:
    """Why the method `name` takes no part; None if it does."""
    if name not in results["methods"]:
        return "not run"
    front = results["methods"][name]["front"]
    if not front:
        return "no feasible setting"
    floor = results.get("level_floor", 0.0)
    if points(front)[:, 0].max() < floor:
        return f"no point above {floor:g}"
    return caveat(results, name)


def _counted(counts: dict[str, tuple[int, int, int]], aside: dict[str, str]) -> tuple[str, str]:
    """The verdict from each method's points: those where the editor wins, that it reaches, and all.

    Args:
      aside: the methods that take no part, and why.
    """
    parts = [
        f"{name} {below} of {total}"
        + (f" ({total - reached} out of reach)" if reached < total else "")
        for name, (below, reached, total) in counts.items()
    ]
    without = [f"{name} ({reason})" for name, reason in aside.items()]
    evidence = "; ".join(
        [f"points with lower JSD: {', '.join(parts)}"] * bool(parts)
        + [f"without {', '.join(without)}"] * bool(without)
    )
    if not counts:
        absent = all(reason == "not run" for reason in aside.values())
        return (ABSENT, f"needs {', '.join(aside)}") if absent else (OPEN, evidence)
    below, _, total = np.sum([*counts.values()], axis=0)
    verdict = _verdict(below / total)
    return (PARTLY if aside and verdict == HOLDS else verdict), evidence


def lower(
    editor: str, others: tuple[str, ...], between: tuple[float, float] = (0, np.inf)
) -> Judge:
    """The editor's mean JSD over seeds is lower than each of `others` at their own points.

    Refuted by a point where its JSD is as high, or which it does not reach. Points below the floor
    of the requirement, or not `between` two levels of it, do not count.
    """

    def judge(results):
        ours, floor = entry(results, editor), results.get("level_floor", 0.0)
        counts, aside = {}, {}
        for name in others:
            reason = _set_aside(results, name)
            if reason is not None:
                aside[name] = reason
                continue
            levels, jsd = points(results["methods"][name]["front"]).T
            inside = (levels >= floor) & (levels > between[0]) & (levels < between[1])
            if not inside.any():
                aside[name] = "no point between the levels"
                continue
            at = at_levels(ours, levels[inside]).mean(0)
            reached = int((~np.isnan(at)).sum())
            counts[name] = (int((at < jsd[inside]).sum()), reached, int(inside.sum()))
        return _counted(counts, aside)

    return judge


def not_judged(reason: str) -> Judge:
    """Nothing: the stored numbers do not decide the claim."""
    return lambda results: (OPEN, reason)


def wider_below(editor: str, other: str, middle: float) -> Judge:
    """The other's JSD is a larger multiple of the editor's below `middle` than above, and over 1.

    Geometric means over the other's points. Ratios, since a difference in nats grows by itself
    where both are large. Refuted by a multiple that is no larger below, or not over 1.
    """

    def judge(results):
        levels, jsd = points(entry(results, other)["front"]).T
        ours = at_levels(entry(results, editor), levels).mean(0)
        ratios = np.log(np.maximum(jsd, _LEAST) / np.maximum(ours, _LEAST))
        parts = [ratios[side & ~np.isnan(ratios)] for side in (levels < middle, levels >= middle)]
        if not all(len(part) for part in parts):
            return OPEN, f"no shared points below or above {middle:g}"
        low, high = (float(np.exp(part.mean())) for part in parts)
        evidence = f"JSD of {other} over {editor}: {low:.2f} below {middle:g}, {high:.2f} above"
        return (HOLDS if low > max(high, 1) else FAILS), evidence

    return judge


def sometimes_lower(editor: str, other: str) -> Judge:
    """The editor has lower JSD at some point of the other. Refuted if at none."""

    def judge(results):
        levels, jsd = points(entry(results, other)["front"]).T
        ours = at_levels(entry(results, editor), levels).mean(0)
        below, reached = int((ours < jsd).sum()), int((~np.isnan(ours)).sum())
        evidence = f"lower JSD than {other} at {below} of the {reached} points that it reaches"
        return (HOLDS if below else FAILS), evidence

    return judge


def fades(editor: str, kept: float = 0.98, tolerance: float = 1e-3) -> Judge:
    """At its least lambda the editor keeps nearly all and changes nearly nothing.

    Refuted by less than `kept` of the requirement there, or a JSD of `tolerance` nats or more.
    """

    def judge(results):
        front = points(entry(results, editor)["front"])
        requirement, jsd = front[front[:, 0].argmax()]
        holds = requirement > kept and jsd < tolerance
        return (HOLDS if holds else FAILS), f"{requirement:.3f} kept at a JSD of {jsd:.5f} nats"

    return judge


def faster(task: str, editor: str, slower: tuple[str, ...], others: tuple[str, ...] = ()) -> Judge:
    """One model is edited in less time than by each of `slower`; `others` are shown beside.

    Refuted by one that takes as long or less. Methods that were not timed count as in `lower`.
    """

    def judge(results):
        timed = {
            name: results["methods"][f"{task}: {name}"]["one_model"]
            for name in (editor, *slower, *others)
            if f"{task}: {name}" in results["methods"]
        }
        missing = [name for name in slower if name not in timed]
        if editor not in timed or len(missing) == len(slower):
            raise NotRunError(", ".join([editor] * (editor not in timed) + missing))
        right = [timed[name] > timed[editor] for name in slower if name in timed]
        evidence = ", ".join(f"{name} {value:.4f}" for name, value in timed.items())
        evidence = f"seconds for one model, warm: {evidence}"
        verdict = _verdict(sum(right) / len(right))
        if missing:
            evidence += f"; without {', '.join(missing)} (not run)"
        return (PARTLY if missing and verdict == HOLDS else verdict), evidence

    return judge


def near(one: str, other: str, factor: float, both_ways: bool = False) -> Judge:
    """The JSD of `one` is at most `factor` times the other's, at the other's points.

    Refuted by points where it is more, or which it does not reach.

    Args:
      both_ways: it must not be less than a `factor`-th either.
    """

    def judge(results):
        levels, jsd = points(entry(results, other)["front"]).T
        ours = at_levels(entry(results, one), levels).mean(0)
        ratios = np.maximum(ours, _LEAST) / np.maximum(jsd, _LEAST)
        reached = ratios[~np.isnan(ratios)]
        if not len(reached):
            return FAILS, f"{one} reaches no point of {other}"
        right = ratios <= factor
        if both_ways:
            right &= ratios >= 1 / factor
        evidence = (
            f"JSD of {one} over that of {other}: {reached.min():.2f} to {reached.max():.2f}, "
            f"within a factor of {factor:g} at {right.sum()} of {len(ratios)} points"
        )
        return _verdict(right.mean()), evidence

    return judge


def dominates_points(ours: str, other: str) -> Judge:
    """Every point of the other method is dominated by a point of ours, in all requirements and JSD.

    Refuted by a point that no single setting of ours dominates. A win over a method with a caveat
    is not judged; a loss to it is.
    """

    def judge(results):
        fronts = [
            np.array([[*p["requirement"], p["jsd"]] for p in entry(results, name)["front"]])
            for name in (ours, other)
        ]
        mine, theirs = fronts[0][:, None], fronts[1][None]
        dominated = ((mine <= theirs).all(-1) & (mine < theirs).any(-1)).any(0)
        count, total = int(dominated.sum()), len(fronts[1])
        evidence = f"{count} of {total} points of {other} dominated by a point"
        verdict, reason = _verdict(count / total), caveat(results, other)
        if verdict != FAILS and reason:
            return OPEN, f"{evidence}; {other}: {reason}"
        return verdict, evidence

    return judge


def larger_share(one: str, other: str, few: str, margin: float = 0.01) -> Judge:
    """With the settings `few` of both, `one` has more of the best front's hypervolume of mixtures.

    Both have as many settings. Refuted by a share that is not larger by `margin`, about what seeds
    and rounding move.
    """

    def judge(results):
        box = tuple(results["reference_point"])
        names = (f"{one}, {few}", f"{other}, {few}", one, other)
        found = [float(volumes(entry(results, name), box).mean()) for name in names]
        first, second = (value / max(found) for value in found[:2])
        evidence = (
            f"share of the best front's hypervolume of mixtures with {few}: {one} {first:.3f}, "
            f"{other} {second:.3f}"
        )
        return (HOLDS if first > second + margin else FAILS), evidence

    return judge
