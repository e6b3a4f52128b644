"""The paper's claims, and what results.json files say of each."""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.optimize import linprog

from metanet.evaluation.pareto import hypervolume
from metanet.report.comparison import at_levels, points, volumes

HOLDS, PARTLY, FAILS, ABSENT = "holds", "holds partly", "does not hold", "not run"


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
      where: section and figure of the paper.
      said: what it claims.
      runs: names of the runs that it is judged by.
      judge: (their results.json contents) -> (verdict, the numbers it rests on).
    """

    where: str
    said: str
    runs: tuple[str, ...]
    judge: Callable[..., tuple[str, str]]


def judged(claim: Claim, results: dict[str, dict]) -> tuple[str, str]:
    """The verdict on a claim and its evidence, from the results of all runs, by name."""
    missing = [run for run in claim.runs if run not in results]
    if missing:
        return ABSENT, f"needs {', '.join(missing)}"
    try:
        return claim.judge(*(results[run] for run in claim.runs))
    except KeyError as method:  # left out of the run
        return ABSENT, f"needs {method.args[0]}"


def _verdict(share: float) -> str:
    """All, more than half, or less."""
    return HOLDS if share >= 1 else PARTLY if share > 0.5 else FAILS


def _counted(found: dict[str, tuple[int, int, int]]) -> tuple[str, str]:
    """The verdict from every method's points: those below which we are, that we reach, and all."""
    below, _, total = np.sum([*found.values()] or [(0, 0, 0)], axis=0)
    if not total:
        return ABSENT, "needs fronts with points"
    said = [
        f"{name} {under} of {points}"
        + (f" ({points - reached} out of reach)" if reached < points else "")
        for name, (under, reached, points) in found.items()
    ]
    return _verdict(below / total), "points below: " + ", ".join(said)


def _below(editor: str, others: tuple[str, ...]):
    """The editor's front is below the others' at every point of theirs; it has to reach it."""

    def judge(results):
        against, methods = results["comparison"][editor], results["methods"]
        return _counted({
            name: (against[name]["below"], against[name]["points"], len(methods[name]["front"]))
            for name in others
            if name in against
        })  # fmt: skip

    return judge


def _decides_closer(editor: str, others: tuple[str, ...]):
    """As `_below`, by divergence between decisions: what outputs labels pays for them in JSD."""

    def decided(method):
        return {"front": [p | {"jsd": p["jsd_label"]} for p in method["front"]]}

    def judge(results):
        ours, found = decided(results["methods"][editor]), {}
        for name in others:
            levels, values = points(decided(results["methods"][name])["front"]).T
            at = at_levels(ours, levels)[0]
            found[name] = (int((at < values).sum()), int((~np.isnan(at)).sum()), len(levels))
        return _counted(found)

    return judge


def _reaches_further(editor: str, others: tuple[str, ...]):
    """The editor reaches lower values of the requirement."""

    def judge(results):
        least = {
            name: points(results["methods"][name]["front"])[:, 0].min()
            for name in (editor, *others)
            if name in results["methods"] and results["methods"][name]["front"]
        }
        below = [least[editor] < value for name, value in least.items() if name != editor]
        said = ", ".join(f"{name} {value:.3f}" for name, value in least.items())
        return _verdict(np.mean(below)), f"least requirement: {said}"

    return judge


def _wider_below(editor: str, other: str, middle: float):
    """The mean margin to `other`, at its points, is larger below `middle` than above, and there."""

    def judge(results):
        levels, values = points(results["methods"][other]["front"]).T
        margin = values - at_levels(results["methods"][editor], levels).mean(0)
        low, high = (np.nanmean(margin[part]) for part in (levels < middle, levels >= middle))
        said = f"mean margin to {other} {low:.4f} below {middle}, {high:.4f} above (nats)"
        return (HOLDS if low > max(high, 0) else FAILS), said

    return judge


def _sometimes_below(editor: str, other: str):
    """The editor is below the other at some point."""

    def judge(results):
        levels = points(results["methods"][other]["front"])
        ours = at_levels(results["methods"][editor], levels[:, 0]).mean(0)
        below, reached = int((ours < levels[:, 1]).sum()), int((~np.isnan(ours)).sum())
        return (HOLDS if below else FAILS), f"below {other} at {below} of {reached} points"

    return judge


def _fades(editor: str, tolerance: float = 1e-3):
    """At its least lambda the editor changes next to nothing."""

    def judge(results):
        front = points(results["methods"][editor]["front"])
        requirement, jsd = front[front[:, 0].argmax()]
        holds = requirement > 0.98 and jsd < tolerance
        return (HOLDS if holds else FAILS), f"{requirement:.3f} kept at a JSD of {jsd:.5f} nats"

    return judge


def _faster(task: str, editor: str, slower: tuple[str, ...], others: tuple[str, ...] = ()):
    """One model is edited in less time than by `slower`; `others` may take less or more."""

    def judge(results):
        seconds = {
            name: results["methods"][f"{task}: {name}"]["one_model"]
            for name in (editor, *slower, *others)
            if f"{task}: {name}" in results["methods"]
        }
        right = [seconds[n] > seconds[editor] for n in slower if n in seconds]
        said = ", ".join(f"{name} {value:.4f}" for name, value in seconds.items())
        return _verdict(np.mean(right)), f"seconds for one model, warm: {said}"

    return judge


def _hypervolume(method: dict) -> float:
    return float(np.mean([one["hypervolume"] for one in method.get("seeds", [method])]))


def _little_data(least: str, baselines: tuple[str, ...]):
    """The editor with least training models is below all baselines but at the edges."""

    def judge(results):
        below, reached = 0, 0
        for name in baselines:
            front = points(results["methods"][name]["front"])
            inside = front[(front[:, 0] > 0.1) & (front[:, 0] < 0.9)]
            ours = at_levels(results["methods"][least], inside[:, 0]).mean(0)
            below += int((ours < inside[:, 1]).sum())
            reached += len(inside)
        said = f"{least}: below at {below} of {reached} points from 0.1 to 0.9 of the weights"
        return _verdict(below / reached), said

    return judge


def _saturates(names: tuple[str, ...], tolerance: float = 0.01):
    """Between these numbers of training models hypervolume hardly changes."""

    def judge(results):
        volumes = [_hypervolume(results["methods"][name]) for name in names]
        gap = max(volumes) - min(volumes)
        said = ", ".join(f"{n} {v:.4f}" for n, v in zip(names, volumes, strict=True))
        return (HOLDS if gap < tolerance else PARTLY if gap < 2 * tolerance else FAILS), (
            f"hypervolumes: {said}"
        )

    return judge


def _dominates(ours: str, other: str):
    """Every point of the other method is dominated by a mixture of ours."""

    def judge(results):
        def values(name):
            front = results["methods"][name]["front"]
            return np.array([[*point["requirement"], point["jsd"]] for point in front])

        mine, theirs = values(ours), values(other)
        dominated = np.array([_least(mine, point[:-1]) <= point[-1] for point in theirs])
        areas = [hypervolume(v, tuple(results["reference_point"])) for v in (mine, theirs)]
        said = (
            f"{dominated.sum()} of {len(theirs)} points of {other} dominated by mixtures of "
            f"settings; hypervolumes of points {areas[0]:.3f} and {areas[1]:.3f}"
        )
        return _verdict(dominated.mean()), said

    return judge


def _least(settings: np.ndarray, levels: np.ndarray) -> float:
    """The least JSD of mixtures of `settings` [S, objectives] with requirements within `levels`."""
    *requirements, jsd = settings.T
    found = linprog(jsd, requirements, levels, np.ones((1, len(jsd))), [1.0])
    return found.fun if found.success else np.inf


def _alike(one: str, other: str, tolerance: float = 0.05):
    """Two fronts have nearly the same hypervolume."""

    def judge(results):
        volumes = [_hypervolume(results["methods"][name]) for name in (one, other)]
        said = f"hypervolumes: {one} {volumes[0]:.4f}, {other} {volumes[1]:.4f}"
        return (HOLDS if abs(volumes[0] / volumes[1] - 1) < tolerance else FAILS), said

    return judge


def _fewer(one: str, other: str, few: str):
    """With few preference vectors `one` has more of the best front's hypervolume than `other`."""

    def judge(results):
        box = tuple(results["reference_point"])
        wanted = (f"{one}, {few}", f"{other}, {few}", one, other)
        found = [volumes(results["methods"][name], box).mean() for name in wanted]
        shares = [value / max(found) for value in found[:2]]
        said = (
            f"share of the best front's hypervolume with {few}: {one} {shares[0]:.3f}, {other} "
            f"{shares[1]:.3f}"
        )
        return (HOLDS if shares[0] > shares[1] else FAILS), said

    return judge


_PRUNING = ("Random", "Magnitude", "Grad Importance", "SNIP", "Lottery Ticket")
_FAIRNESS = ("ThresholdOpt", "CalEqOdds", "RejectOption", "FairCls")
_SHARES = tuple(f"GMN, {share} of the models" for share in ("5%", "10%", "25%", "50%", "100%"))

CLAIMS = (
    *(
        Claim(f"5, figure {figure} ({run.rpartition('_')[2]})", said, (run,), judge)
        for figure, run in ((1, "dm_adult"), (6, "dm_bank"))
        for said, judge in (
            ("GMN dominates FS", _below("GMN", ("FS",))),
            ("GMN dominates FS & Retrain", _below("GMN", ("FS & Retrain",))),
            ("the margin is larger when more features are masked",
             _wider_below("GMN", "FS", 0.5)),
            ("FS (GMN) is better than FS in some cases", _sometimes_below("FS (GMN)", "FS")),
            ("at the least lambda nothing is masked and nothing changes", _fades("GMN")),
        )
    ),
    *(
        Claim(f"{where} ({run.rpartition('_')[2]})", said, (run,), judge)
        for where, run in (("5, figure 2", "fairness_adult"), ("ours", "fairness_bank"))
        for said, judge in (
            ("GMN dominates across the whole front", _below("GMN", _FAIRNESS)),
            ("the same by divergence between decisions", _decides_closer("GMN", _FAIRNESS)),
            ("RejectOption and FairCls reach no EOD as low as GMN's",
             _reaches_further("GMN", ("RejectOption", "FairCls"))),
        )
    ),
    *(
        Claim(f"5, figure {figure} ({run.rpartition('_')[2]})", said, (run,), judge)
        for figure, run in ((3, "pruning_adult"), (7, "pruning_bank"))
        for said, judge in (
            ("GMN - Prune & Edit dominates", _below("GMN - Prune & Edit", _PRUNING)),
            ("GMN - Prune dominates", _below("GMN - Prune", _PRUNING)),
            ("editing matters most at high sparsity",
             _wider_below("GMN - Prune & Edit", "GMN - Prune", 0.5)),
        )
    ),
    Claim("5, table 1", "an edit is faster than FS, its ranking included, and FS & Retrain",
          ("timing_adult",),
          _faster("dm", "GMN", ("FS (per model)", "FS & Retrain"), ("FS",))),
    Claim("5, table 1", "an edit is faster than all post-processing", ("timing_adult",),
          _faster("fairness", "GMN", _FAIRNESS)),
    Claim("5, table 1", "an edit is slower only than naive pruning", ("timing_adult",),
          _faster("pruning", "GMN - Prune & Edit", ("SNIP", "Lottery Ticket"),
                  ("Random", "Magnitude", "Grad Importance"))),
    Claim("5, figure 4", "with 5% of the models all baselines are beaten but at the edges",
          ("sample_efficiency_adult",), _little_data(_SHARES[0], _PRUNING)),
    Claim("5, figure 4", "with 10% they are beaten everywhere", ("sample_efficiency_adult",),
          _below(_SHARES[1], _PRUNING)),
    Claim("5, figure 4", "a quarter of the models is nearly enough", ("sample_efficiency_adult",),
          _saturates(_SHARES[2:])),
    Claim("A.7, figure 8", "composed editors dominate FS & Retrain, then SNIP", ("compose_adult",),
          _dominates("GMN - Features, then weights", "FS & Retrain, then SNIP")),
    Claim("A.8, figure 9", "EPO's front is like that of linear scalarisation", ("epo_adult",),
          _alike("GMN - EPO", "GMN - LS")),
    Claim("A.8, figure 9", "EPO covers the front with fewer preference vectors", ("epo_adult",),
          _fewer("GMN - EPO", "GMN - LS", "5 editors")),
)  # fmt: skip
