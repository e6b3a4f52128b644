"""Presets: sizes of the runs of experiments.reproduce.

A preset is its runs, CONFIG:DATASET[-TASK], and what changes every run's config.
"""

from typing import Any

from ml_collections import ConfigDict

TABLES = ("dm:adult", "fairness:adult", "pruning:adult", "timing:adult", "dm:bank", "fairness:bank",
          "pruning:bank", "timing:bank", "repeat:adult-pruning", "repeat:bank-dm")  # fmt: skip
STUDIES = (
    "sample_efficiency:adult",
    "compose:adult",
    "epo:adult",
    "whole_front:adult-dm",
    "whole_front:adult-fairness",
    "whole_front:adult-pruning",
    "ablation:adult-dm",
    "ablation:adult-fairness",
    "ablation:adult-pruning",
    "newton:adult-dm",
    "newton:adult-fairness",
    "newton:adult-pruning",
    "points:adult-pruning",
    "points:adult-fairness",
    "shift:adult-dm",
    "shift:adult-fairness",
    "shift:adult-pruning",
    "transfer:adult",
    "data_points:adult",
    "joint:adult",
    "online:adult-offline",
    "online:adult-online",
)


def smoke(config: ConfigDict) -> None:
    """Every kind of run in minutes on two cores; its numbers mean nothing."""
    _population(config, experiments=16, max_specs=2, epochs=1, depths=(1,), widths=(8,))
    if "experiments" in config:
        config.steps, config.timed_models, config.few = 2, 2, {}
        config.experiments = {"pruning": config.experiments.pruning}
        config.experiments.pruning.methods = ("GMN - Prune & Edit", "Random")
        config.experiments.pruning.evaluation.main_methods = ()
        _tiny(config.experiments.pruning)
        return
    _tiny(config)


def _population(config: ConfigDict, **sizes) -> None:
    for key, value in sizes.items():
        config.population[key] = value


def _brief(config: ConfigDict, steps: int, students: int) -> None:
    """One editor of each kind, of `steps` steps; two steps of descent, `students` of training."""
    for settings in (config.editor, *config.editors.values()):
        settings.update({k: v for k, v in {"steps": steps, "seeds": 1}.items() if k in settings})
    for recipe in config.recipes.values():
        for key, number in {"descent": 2, "distil": students, "retrain": students}.items():
            if key in recipe:
                recipe[key].steps = number


def _tiny(config: ConfigDict) -> None:
    _brief(config, steps=50, students=4)
    config.editor.batch_size = 2
    config.editor.points = 32
    config.editor.layers = 1
    config.editor.node_width = 8
    config.editor.edge_width = config.editor.message_width = 4
    # One method of each kind is enough.
    kinds: dict[Any, str] = {}
    for name in config.methods:
        kinds.setdefault(_kind(config.recipes.get(name), name), name)
    config.methods = tuple(kinds.values())
    main = config.evaluation.main_methods
    config.evaluation.main_methods = tuple(name for name in main if name in config.methods)
    for recipe in config.recipes.values():
        if recipe.recipe.endswith("front_union"):
            recipe.editors = recipe.editors[:2]
        if recipe.recipe.endswith("obs.obs"):  # its time is that of matrices of as many rows
            recipe.update({"rows": 64, "rounds": 2})
        if recipe.recipe.endswith("perturbed"):
            recipe.draws = 2
        if "search" in recipe:
            recipe.search.update({"generations": 2, "children": 2})
        if "tune" in recipe:
            recipe.tune.update({"epochs": 1, "critic_steps": 2, "steps": 2})
        few: dict[str, Any] = {"n_lambdas": 2, "counts": (1, 3)}
        recipe.update({key: value for key, value in few.items() if key in recipe})
    config.evaluation.n_lambdas = 2
    config.evaluation.fractions = (0.2, 0.6)


def _kind(recipe: ConfigDict | None, name: str):
    """What methods have in common that differ in values of options only; `name` for editors."""
    if recipe is None or (recipe.get("editors") and "descent" not in recipe):
        return name
    return "distil" if "distil" in recipe else (recipe.recipe, recipe.get("method"))


def small(config: ConfigDict) -> None:
    """Fewer models, editors trained shorter at twice the rate: meant for some nights of two cores.

    Not timed as a whole with today's methods; earlier ones took 19 hours of one core (docs/log.md).
    """
    _population(config, experiments=600, max_specs=40)
    if "experiments" in config:
        config.population.epochs = 60  # the population of the other runs
        return
    slow = config.evaluation.exclude_constant  # fairness: its recipe is short, and descent slow
    _shorten(config, 1500 if slow else 2000)
    if not slow:
        config.editor.learning_rate = 4e-3
    config.evaluation.validation_models = 40
    config.evaluation.test_models = 100
    for recipe in config.recipes.values():
        if "seeds" in recipe:
            recipe.seeds = 1
        if recipe.get("descent", {}).get("starts", 1) > 1:
            recipe.n_lambdas = 8  # 6,000 steps each
        if "tune" in recipe:
            recipe.n_lambdas = 8  # 9,632 steps each
    fine, coarse = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3), (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    config.evaluation.fractions = fine + coarse


def _shorten(config: ConfigDict, steps: int) -> None:
    """Editors of `steps` steps, and those with a number of their own in proportion."""
    factor = steps / config.editor.steps
    config.editor.steps = steps
    for settings in config.editors.values():
        if "steps" in settings:
            settings.steps = round(factor * settings.steps)


def full(config: ConfigDict) -> None:
    """The paper's population of 12,000 models, meant for one GPU and an hour; not timed yet."""
    if "experiments" not in config:
        config.population.experiments = 4000
        config.editor.batch_size = 64
        config.evaluation.test_models = 1800


def load(config: ConfigDict) -> None:
    """As many models as in `full`, and all methods, with a few steps of each: does memory do?

    Batches, widths and rows are those of the task's config, for a CPU. Its numbers mean nothing.
    """
    _population(config, experiments=4000, epochs=3)
    _brief(config, steps=20, students=2)
    for recipe in config.recipes.values():
        if recipe.recipe.endswith("lottery_ticket"):
            recipe.rounds = 1
        if recipe.recipe.endswith("obs.obs"):  # matrices of as many rows, one model at a time
            recipe.update({"rows": 128, "rounds": 1})
    config.evaluation.test_models = 1800
    config.evaluation.n_lambdas = 2
    config.evaluation.fractions = (0.1, 0.5)


SMALLEST = (
    *(f"{run.partition(':')[0]}:synthetic" for run in TABLES[:4]),
    "compose:synthetic",
    "epo:synthetic",
    "sample_efficiency:synthetic",
    "transfer:synthetic",
    "data_points:synthetic",
    "joint:synthetic",
    "whole_front:synthetic-dm",
    "shift:synthetic-dm",
    "points:synthetic-pruning",
    "online:synthetic-online",
)
PRESETS = {"smoke": (SMALLEST, smoke), "small": (TABLES + STUDIES, small),
           "full": (TABLES + STUDIES, full), "load": (("pruning:adult",), load)}  # fmt: skip
