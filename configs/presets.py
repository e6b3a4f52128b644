"""How much of everything: sizes of the runs of experiments.reproduce.

A preset is its runs, CONFIG:DATASET[-TASK], and what changes every run's config.
"""

from ml_collections import ConfigDict

TABLES = ("dm:adult", "fairness:adult", "pruning:adult", "timing:adult", "dm:bank", "fairness:bank",
          "pruning:bank")  # fmt: skip
STUDIES = (
    "sample_efficiency:adult",
    "compose:adult",
    "epo:adult",
    "whole_front:adult-dm",
    "whole_front:adult-fairness",
    "whole_front:adult-pruning",
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
    config.population.experiments = 16
    config.population.max_specs = 2
    config.population.epochs = 1
    config.population.depths = (1,)
    config.population.widths = (8,)
    if config.task == "timing":
        config.editor.steps, config.timed_models = 2, 2
        config.parts = {"pruning": config.parts.pruning}
        config.parts.pruning.editors = {"GMN": {}}
        config.parts.pruning.baselines = ("Random",)
        config.parts.pruning.refined = {}
        _tiny(config.parts.pruning)
        return
    _tiny(config)


def _tiny(config: ConfigDict) -> None:
    config.editor.steps = 50
    config.editor.seeds = 1
    config.editor.batch_size = 2
    config.editor.points = 32
    config.editor.layers = 1
    config.editor.node_width = 8
    config.editor.edge_width = config.editor.message_width = 4
    for settings in config.editors.values():
        for key, value in {"steps": 50, "seeds": 1}.items():
            if key in settings:
                settings[key] = value
    config.refined = dict(list(config.refined.items())[:1])
    for settings in config.refined.values():
        settings.steps = 2
    config.evaluation.n_lambdas = 2
    config.evaluation.refinements = config.evaluation.descents = 2
    for key in ("optimum", "retrain", "retrain_original", "distil", "lottery"):
        if key in config.evaluation:
            config.evaluation[key].steps = 4
    if "fractions" in config.evaluation:
        config.evaluation.fractions = (0.2, 0.6)
    if "retrain_every" in config.evaluation:
        config.evaluation.retrain_every = 4


def small(config: ConfigDict) -> None:
    """Fewer models, editors trained shorter at twice the rate: some 19 hours of one core in all.

    Runs were timed one by one; meant for four cores and a night.
    """
    config.population.experiments = 600
    config.population.max_specs = 40
    if config.task == "timing":
        config.population.epochs = 60  # the population of the other runs
        return
    if config.task == "fairness":  # whose recipe is short already, and descent slow
        _shorten(config, 1500)
        config.evaluation.refinements = 5
    else:
        _shorten(config, 2000)
        config.editor.learning_rate = 4e-3
    config.evaluation.validation_models = 40
    config.evaluation.test_models = 100
    config.evaluation.descents = 5
    config.evaluation.refined_seeds = 1
    if "retrain_every" in config.evaluation:
        config.evaluation.retrain_every = 3
    if "fractions" in config.evaluation:
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
    if config.task != "timing":
        config.population.experiments = 4000
        config.editor.batch_size = 64
        config.evaluation.test_models = 1800


SMALLEST = (
    *(f"{run.partition(':')[0]}:synthetic" for run in TABLES[:4]),
    "compose:synthetic",
    "epo:synthetic",
    "sample_efficiency:synthetic",
    "transfer:synthetic",
    "data_points:synthetic",
    "joint:synthetic",
    "whole_front:synthetic-dm",
    "shift:synthetic-fairness",
    "points:synthetic-pruning",
    "online:synthetic-online",
)
PRESETS = {"smoke": (SMALLEST, smoke), "small": (TABLES + STUDIES, small),
           "full": (TABLES + STUDIES, full)}  # fmt: skip
