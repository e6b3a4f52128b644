"""Methods whose stored results are weaker than the method itself, and why nobody is compared."""

CONSTANT = 0.5  # share of edited models that decide for one class, from which a setting is apart
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
    """Why an editor's win over the method `name` of a run says little; None if nothing is known.

    Of earlier runs only, which stored no ends.
    """
    if run.get("ends"):
        return None
    reason = _MASKED_INPUTS.get(name) if _requires(run, "inputs_kept") else None
    return reason or _REASONS.get(name)


def _requires(run: dict, objective: str) -> bool:
    """Whether an objective of this name is among the run's requirements."""
    return objective in [path.rpartition(".")[2] for path in run["requirements"]]


def elsewhere(run: dict) -> dict[str, str]:
    """The device of each method that was not measured on the run's own."""
    own, methods = run.get("device"), run["methods"]
    found = {name: method.get("device", own) for name, method in methods.items()}
    return {name: device for name, device in found.items() if device != own}


def notes(run: dict) -> list[str]:
    """What to mind in a run's tables, a line each, in Markdown."""
    methods = run["methods"]
    found = [f"{name}: {reason}." for name in methods if (reason := caveat(run, name))]
    if not run.get("ends"):
        found.append(
            "An earlier run: it stored no values of single models, so there are no intervals "
            "and no costs are compared; its hypervolumes are without the ends that all methods "
            "share."
        )
    seeds = {name: len(one["seeds"]) for name, one in methods.items() if "seeds" in one}
    single = [name for name, count in seeds.items() if count < max(seeds.values())]
    if single and run.get("ends"):
        found.append(f"One editor seed instead of {max(seeds.values())}, so that intervals are of "
                     f"models alone: {', '.join(single)}.")  # fmt: skip
    for device in sorted(set(elsewhere(run).values())):
        names = [name for name, one in elsewhere(run).items() if one == device]
        found.append(f"Measured on {device}, so that their seconds are not those of "
                     f"{run.get('device')}: {', '.join(names)}.")  # fmt: skip
    if "one_hot_floor" in run and any("seeds" not in method for method in methods.values()):
        found.append(f"Methods that output labels pay {run['one_hot_floor']:.3f} nats before "
                     "they change a decision; their calibration error is that of their labels, "
                     "the share of wrong decisions.")  # fmt: skip
    if len(run["requirements"]) > 1 and _requires(run, "equalised_odds"):
        found.append("An equalised odds difference near 0 is of classifiers that decide for one "
                     "class.")  # fmt: skip
    if run.get("level_floor"):
        found.append(f"A fair classifier measures {run['level_floor']:.3f} on these test rows on "
                     "average: lower levels are noise (grey in the figures), and not "
                     "compared, but the box of hypervolumes begins at 0.")  # fmt: skip
    shares = [point.get("constant", 0.0) for one in methods.values() for point in one["front"]]
    if max(shares, default=0.0) >= CONSTANT:
        found.append("Hollow marks are settings at which most edited models decide for one class.")
    infeasible = {
        name: max((point.get("infeasible", 0) for point in method["front"]), default=0)
        for name, method in methods.items()
    }
    left = [f"{name} ({count})" for name, count in infeasible.items() if count]
    if left and run.get("ends"):
        found.append("Models that a method cannot edit stay as they are, at most at one setting: "
                     f"{', '.join(left)} of {run['models_evaluated']}.")  # fmt: skip
    if run.get("models_diverged"):
        found.append(f"{run['models_diverged']} models of the population diverged, or are far "
                     "larger than the others, and are left out of everything.")  # fmt: skip
    return [f"* {line}" for line in found]
