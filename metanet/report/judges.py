"""Judges of claims: functions from results.json contents to a verdict and its evidence.

A judge says in its docstring what refutes the claim. Costs are compared at levels of the
requirement, where an editor wins, ties or loses by the interval of a ratio (see comparison), never
by hypervolumes of different grids. A method that is missing, has no feasible setting or is set
aside (`caveats`) is named in the evidence, and without it no claim holds more than partly.
"""

from collections.abc import Callable, Sequence

import numpy as np

from metanet.report.caveats import CONSTANT, caveat
from metanet.report.comparison import points, tally, volumes
from metanet.report.verdicts import (
    ABSENT,
    FAILS,
    HOLDS,
    NOISE,
    OPEN,
    ORDER,
    PARTLY,
    NotRunError,
    OpenError,
    compared,
    entry,
    share_verdict,
)

Judge = Callable[[dict], tuple[str, str]]


def _set_aside(results: dict, name: str) -> str | None:
    """Why the method `name` takes no part; None if it does."""
    if name not in results["methods"]:
        return "not run"
    if not results["methods"][name]["front"]:
        return "no feasible setting"
    return caveat(results, name)


def lower(
    editor: str,
    others: Sequence[str],
    cost: str = "jsd",
    between: tuple[float, float] = (0, np.inf),
) -> Judge:
    """The editor wins against each of `others` at every level that counts.

    Refuted by levels where it ties or loses. The verdict is that against the method it does worst
    against: wins over weak ones make up for nothing.
    """

    def judge(results):
        entry(results, editor)
        counts, aside = {}, {}
        for name in others:
            reason = _set_aside(results, name)
            if reason is None:
                counts[name] = tally(compared(results, editor, name, cost, between))
            else:
                aside[name] = reason
        parts = [f"{name} {w}/{t}/{lost}" for name, (w, t, lost) in counts.items()]
        without = [f"{name} ({reason})" for name, reason in aside.items()]
        evidence = "; ".join(
            [f"wins/ties/losses against {', '.join(parts)}"] * bool(parts)
            + [f"without {', '.join(without)}"] * bool(without)
        )
        if not counts:
            absent = all(reason == "not run" for reason in aside.values())
            return (ABSENT, f"needs {', '.join(aside)}") if absent else (OPEN, evidence)
        verdict = max((share_verdict(*one) for one in counts.values()), key=ORDER.index)
        return (PARTLY if aside and verdict == HOLDS else verdict), evidence

    return judge


def wider_below(editor: str, other: str) -> Judge:
    """The editor's cost is a smaller part of the other's at low levels than at high, and under 1.

    Low and high parted at half of the reference point, geometric means over levels. Refuted by a
    paired interval of the parts' ratio above 1, or of the part itself; inside the noise where one
    has 1 within.
    """

    def judge(results):
        entry(results, editor), entry(results, other)
        if "margins" not in results:
            raise OpenError("no values of single models are stored")
        found = results["margins"]["jsd"].get(editor, {}).get(other)
        middle = results["reference_point"][0] / 2
        if found is None:
            return OPEN, f"no levels below or above {middle:g}"
        below, above, wider = (found[key] for key in ("below", "above", "wider"))
        texts = [f"{one:.2f} ({low:.2f} to {high:.2f})" for one, low, high in (below, above, wider)]
        evidence = (
            f"JSD of {editor} over {other}: {texts[0]} below {middle:g}, {texts[1]} above; the "
            f"first over the second {texts[2]}"
        )
        if wider[1] >= 1 or below[1] >= 1:
            return FAILS, evidence
        return (HOLDS if wider[2] < 1 and below[2] < 1 else NOISE), evidence

    return judge


def sometimes_lower(editor: str, other: str) -> Judge:
    """The editor wins at some level. Refuted by losses alone, inside the noise with ties."""

    def judge(results):
        wins, ties, losses = tally(compared(results, editor, other))
        evidence = f"wins/ties/losses against {other} {wins}/{ties}/{losses}"
        return (HOLDS if wins else NOISE if ties else FAILS), evidence

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


def reaches_lower(editor: str, others: Sequence[str]) -> Judge:
    """The editor reaches a lower requirement than each of `others`, without constant classifiers.

    The least of settings, chosen by any cost, at which most edited models decide for both classes,
    or the floor, below which values are noise. Refuted by a method that reaches as low.
    """

    def least(results, name):
        method = entry(results, name)
        fronts = method["front"], *method.get("fronts", {}).values()
        found = [p["requirement"] for front in fronts for p in front
                 if p.get("constant", 0.0) < CONSTANT]  # fmt: skip
        return max(min(found, default=np.inf), results.get("level_floor", 0.0))

    def judge(results):
        if not results.get("ends"):
            return OPEN, "which settings are of constant classifiers is not stored"
        ours = least(results, editor)
        aside = [name for name in others if _set_aside(results, name)]
        theirs = {name: least(results, name) for name in others if name not in aside}
        if not theirs:
            raise NotRunError(", ".join(aside))
        evidence = ", ".join(f"{name} {one:.3f}" for name, one in {editor: ours, **theirs}.items())
        evidence += f"; without {', '.join(aside)}" * bool(aside)
        verdict = HOLDS if ours < min(theirs.values()) else FAILS
        return (PARTLY if aside and verdict == HOLDS else verdict), evidence

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
        share = sum(right) / len(right)
        verdict = HOLDS if share >= 1 else PARTLY if share > 0.5 else FAILS
        if missing:
            evidence += f"; without {', '.join(missing)} (not run)"
        return (PARTLY if missing and verdict == HOLDS else verdict), evidence

    return judge


def near(one: str, other: str, factor: float, both_ways: bool = False) -> Judge:
    """The cost of `one` is at most `factor` times the other's at every level, by its interval.

    Refuted by a level where the interval lies beyond the factor; inside the noise where it reaches
    beyond.

    Args:
      both_ways: it must not be less than a `factor`-th either.
    """

    def judge(results):
        rows = compared(results, one, other)
        least = 1 / factor if both_ways else 0.0
        inside = [least <= row["low"] and row["high"] <= factor for row in rows]
        beyond = [row["low"] > factor or row["high"] < least for row in rows]
        ratios = [row["ratio"] for row in rows]
        evidence = (
            f"JSD of {one} over that of {other}: {min(ratios):.2f} to {max(ratios):.2f}, within a "
            f"factor of {factor:g} at {sum(inside)} of {len(rows)} levels, beyond it at "
            f"{sum(beyond)}"
        )
        return share_verdict(sum(inside), len(rows) - sum(inside) - sum(beyond), sum(beyond)), (
            evidence
        )

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
        share, reason = count / total, caveat(results, other)
        verdict = HOLDS if share >= 1 else PARTLY if share > 0.5 else FAILS
        if verdict != FAILS and reason:
            return OPEN, f"{evidence}; {other}: {reason}"
        return verdict, evidence

    return judge


def larger_share(one: str, other: str, few: str) -> Judge:
    """With the settings `few` of both, `one` has more hypervolume of mixtures than `other`.

    Both have as many settings. Refuted by an interval that lies below; inside the noise where the
    intervals overlap.
    """

    def judge(results):
        names = (f"{one}, {few}", f"{other}, {few}")
        found = [entry(results, name) for name in names]
        intervals = [method["mixture_interval"] for method in found if "mixture_interval" in method]
        if len(intervals) < len(found):
            return OPEN, "no values of single models are stored"
        evidence = "; ".join(
            f"{name} {volumes(method).mean():.3f} ({low:.3f} to {high:.3f})"
            for name, method, (low, high) in zip(names, found, intervals, strict=True)
        )
        (low, high), (other_low, other_high) = intervals
        verdict = HOLDS if low > other_high else FAILS if high < other_low else NOISE
        return verdict, f"hypervolume of mixtures: {evidence}"

    return judge
