"""Methods whose stored results are weaker than the method itself, and why nobody is compared."""

_UNSEARCHED = "distilled at one learning rate, which was not searched"
_UNNORMALISED = "its fresh students have no batch normalisation where their model has it"
_REASONS = {
    "Lottery Ticket": "its tickets are never trained",
    "SNIP & Distil": _UNSEARCHED,
    "OBD & Distil": _UNSEARCHED,
    "FS & Retrain": _UNNORMALISED,
    "FS & Retrain, then SNIP": _UNNORMALISED,
    "FS & Retrain, then SNIP & Distil": f"{_UNNORMALISED}, and {_UNSEARCHED}",
}
# Whatever descends on masks of input features.
_MASKED_INPUTS = {
    "Per-model optimisation": "its straight-through gradient has the wrong sign for some features, "
    "and its learning rate was not searched",
}


def caveat(run: dict, name: str) -> str | None:
    """Why an editor's win over the method `name` of a run says little; None if nothing is known."""
    reason = _MASKED_INPUTS.get(name) if _requires(run, "inputs_kept") else None
    return reason or _REASONS.get(name)


def _requires(run: dict, objective: str) -> bool:
    """Whether an objective of this name is among the run's requirements."""
    return objective in [path.rpartition(".")[2] for path in run["requirements"]]


def notes(run: dict) -> list[str]:
    """What to mind in a run's tables, a line each, in Markdown."""
    methods = run["methods"]
    others = any("seeds" not in method for method in methods.values())
    probed = "GMN + probe" in methods
    found = [f"{name}: {reason}." for name in methods if (reason := caveat(run, name))]
    if others and _requires(run, "inputs_kept"):
        found.append("Baselines keep one feature or more, editors may keep none. Greedy selection "
                     "without retraining is not among the baselines.")  # fmt: skip
    if probed and "GMN - Prune & Edit" in methods:
        found.append("GMN + probe also replaces removed weights by their mean effect, "
                     "GMN - Prune & Edit does not.")  # fmt: skip
    if "one_hot_floor" in run:
        if others:
            found.append(f"Methods that output labels pay {run['one_hot_floor']:.3f} nats before "
                         "they change a decision.")  # fmt: skip
        if {"ThresholdOpt", "CalEqOdds"} <= methods.keys():
            found.append("JSD of ThresholdOpt is that of the mean of its random outputs, of "
                         "CalEqOdds the mean of theirs.")  # fmt: skip
        found.append("Settings were chosen by divergence of outputs, not of decisions.")
        if probed:
            found.append("GMN + probe has a wider range of lambda than GMN.")
    if len(run["requirements"]) > 1 and _requires(run, "equalised_odds"):
        found.append("An equalised odds difference near 0 is of classifiers that decide for one "
                     "class.")  # fmt: skip
    if "level_floor" in run:
        found.append(f"A fair classifier measures {run['level_floor']:g} on these test rows on "
                     "average: lower values are noise, or classifiers that decide for one class "
                     "(grey in the figures).")  # fmt: skip
    return [f"* {line}" for line in found]
