"""The paper's claims, and the judge of each.

Whether editors dominate, and how low they reach, is judged twice: of ours, whose training and
inputs differ from the paper's, and of `GMN (paper)`, its own recipe.
"""

import dataclasses

from metanet.report.judges import (
    Judge,
    dominates_points,
    fades,
    faster,
    larger_share,
    lower,
    near,
    reaches_lower,
    sometimes_lower,
    wider_below,
)
from metanet.report.verdicts import ABSENT, OPEN, NotRunError, OpenError


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
      source: section and figure of the paper.
      text: the claim.
      run: name of the run that it is judged by.
      judge: the run's results.json content -> (verdict, the numbers it rests on).
    """

    source: str
    text: str
    run: str
    judge: Judge


def judged(claim: Claim, results: dict[str, dict]) -> tuple[str, str]:
    """The verdict on a claim and its evidence, from the results of all runs, by name."""
    if claim.run not in results:
        return ABSENT, f"needs {claim.run}"
    try:
        return claim.judge(results[claim.run])
    except NotRunError as error:
        return ABSENT, f"needs {error}"
    except OpenError as error:
        return OPEN, str(error)


PAPER = "GMN (paper)"
_PRUNING = ("Random", "Magnitude", "Grad Importance", "SNIP", "Lottery Ticket")
_FAIRNESS = ("ThresholdOpt", "CalEqOdds", "RejectOption", "FairCls")


def _of_models(percent: int) -> str:
    return f"GMN, {percent}% of the models"


CLAIMS = (
    *(
        Claim(f"5, figure {figure} ({run.rpartition('_')[2]})", text, run, judge)
        for figure, run in ((1, "dm_adult"), (6, "dm_bank"))
        for text, judge in (
            ("GMN dominates FS", lower("GMN", ("FS",))),
            ("GMN dominates FS & Retrain", lower("GMN", ("FS & Retrain",))),
            (f"{PAPER} dominates FS", lower(PAPER, ("FS",))),
            (f"{PAPER} dominates FS & Retrain", lower(PAPER, ("FS & Retrain",))),
            ("the margin is larger when more features are masked", wider_below("GMN", "FS")),
            ("FS (GMN) is better than FS in some cases", sometimes_lower("FS (GMN)", "FS")),
            ("at the least lambda nothing is masked and nothing changes", fades("GMN")),
        )
    ),
    *(
        Claim(f"{source} ({run.rpartition('_')[2]})", text, run, judge)
        for source, run in (("5, figure 2", "fairness_adult"), ("ours", "fairness_bank"))
        for text, judge in (
            ("GMN dominates across the whole front, by divergence of outputs",
             lower("GMN", _FAIRNESS)),
            ("the same by divergence between decisions", lower("GMN", _FAIRNESS, "jsd_label")),
            ("RejectOption and FairCls reach no EOD as low as GMN's",
             reaches_lower("GMN", ("RejectOption", "FairCls"))),
            (f"{PAPER} dominates, by divergence of outputs", lower(PAPER, _FAIRNESS)),
            (f"{PAPER} dominates, by divergence between decisions",
             lower(PAPER, _FAIRNESS, "jsd_label")),
            (f"RejectOption and FairCls reach no EOD as low as that of {PAPER}",
             reaches_lower(PAPER, ("RejectOption", "FairCls"))),
        )
    ),
    *(
        Claim(f"5, figure {figure} ({run.rpartition('_')[2]})", text, run, judge)
        for figure, run in ((3, "pruning_adult"), (7, "pruning_bank"))
        for text, judge in (
            ("GMN - Prune & Edit dominates", lower("GMN - Prune & Edit", _PRUNING)),
            ("GMN - Prune dominates", lower("GMN - Prune", _PRUNING)),
            (f"{PAPER} dominates", lower(PAPER, _PRUNING)),
            ("editing matters most at high sparsity",
             wider_below("GMN - Prune & Edit", "GMN - Prune")),
        )
    ),
    Claim("5, table 1", "an edit is faster than FS, its ranking included, and FS & Retrain",
          "timing_adult", faster("dm", "GMN", ("FS (per model)", "FS & Retrain"), ("FS",))),
    Claim("5, table 1", "an edit is faster than all post-processing", "timing_adult",
          faster("fairness", "GMN", _FAIRNESS)),
    Claim("5, table 1", "an edit is slower only than naive pruning", "timing_adult",
          faster("pruning", "GMN - Prune & Edit", ("SNIP", "Lottery Ticket"),
                 ("Random", "Magnitude", "Grad Importance"))),
    Claim("5, figure 4", "with 5% of the models all baselines are beaten except at the edges",
          "sample_efficiency_adult", lower(_of_models(5), _PRUNING, between=(0.1, 0.9))),
    Claim("5, figure 4", "with 10% they are beaten everywhere", "sample_efficiency_adult",
          lower(_of_models(10), _PRUNING)),
    Claim("5, figure 4", "a quarter of the models is nearly enough", "sample_efficiency_adult",
          near(_of_models(25), _of_models(100), 1.25)),
    Claim("A.7, figure 8", "composed editors dominate FS & Retrain, then SNIP", "compose_adult",
          dominates_points("GMN - Features, then weights", "FS & Retrain, then SNIP")),
    Claim("A.8, figure 9", "EPO's front is like that of linear scalarisation", "epo_adult",
          near("GMN - EPO", "GMN - LS", 1.25, both_ways=True)),
    Claim("A.8, figure 9", "EPO covers the front with fewer preference vectors", "epo_adult",
          larger_share("GMN - EPO", "GMN - LS", "5 editors")),
)  # fmt: skip
