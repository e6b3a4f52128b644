"""Settings of an experiment: frozen dataclasses, checked when they are made."""

import dataclasses
from typing import Any

from metanet.core import require
from metanet.data.files import is_file
from metanet.data.table_config import TableConfig
from metanet.editor.model import EditorConfig
from metanet.evaluation.sweep import COSTS
from metanet.evaluation.values import ENDS
from metanet.mlp.online import OnlineConfig
from metanet.mlp.sampling import PopulationConfig, split_bounds
from metanet.objectives.base import labels_of, paths_of
from metanet.pipeline.names import LONGEST, check_names, predicate
from metanet.settings import verify
from metanet.training.config import LambdaRange, TrainingConfig, lambda_pairs
from metanet.training.imitation import check_imitation

EDITED = "metanet.methods.editor.edited"  # the recipe of an editor that has none of its own name
ENDS_RECIPE = "metanet.methods.ends.ends"  # evaluated in every experiment
MAIN_CURVES = 6  # a figure with more is not read
SEEDS = 2**31 - 1000  # keys take 32 bits; editors add their number, below 1000, to the seed
SETTINGS = 10_000  # of one method: every model is edited at each
PHASES = ("population", "evaluation")  # whose seconds are kept beside those of editors


@dataclasses.dataclass(frozen=True)
class EditorPlan:
    """One editor to be trained, with its models and data.

    Attributes:
      editor, training: its shape, and its training.
      requirement: dotted path of the objective, or of several; None is the experiment's.
      seeds: the number that is trained: with the experiment's seed, that plus 1, ...
      share: the fraction of training experiments that it sees; a smaller one is part of a larger.
      unseen: dotted path of a predicate of a spec (see mlp.subsets) whose models it does not see.
      control: it sees all kinds of models, but as few as `unseen` would leave.
      rows: the first rows of the `edit` data that it sees; 0 is all.
      datasets: names of the datasets whose models it sees in turns; () is the experiment's own.
      checkpoint_every: steps between checkpoints.
      study: the id of the search that its settings are from, if there was one.
    """

    editor: EditorConfig = EditorConfig()
    training: TrainingConfig = TrainingConfig()
    requirement: str | tuple[str, ...] | None = None
    seeds: int = 3
    share: float = 1.0
    unseen: str | None = None
    control: bool = False
    rows: int = 0
    datasets: tuple[str, ...] = ()
    checkpoint_every: int = 500
    study: str | None = None

    def __post_init__(self):
        require(1 <= self.seeds <= 1000, "editor.seeds", self.seeds, "1 to 1000")
        every = self.checkpoint_every
        require(every >= 1, "editor.checkpoint_every", every, "at least 1")
        require(self.rows >= 0, "editor.rows", self.rows, "0 for all rows, or a number of rows")
        fraction = "a fraction above 0, at most 1"
        require(0 < self.share <= 1, "editor.share", self.share, fraction)
        if self.unseen is not None:
            predicate(self.unseen, "editor.unseen")
        ready = self.unseen is not None or not self.control
        expected = "editor.unseen, whose number of experiments it takes"
        require(ready, "editor.control", True, expected)
        # Masks of inputs, and rows to see networks on, are of the dataset's own features.
        seen = self.editor.probe or self.editor.learned_probe
        plain = self.editor.mask in ("none", "edges") and not seen
        expected = "an editor without probes and masks of inputs"
        require(not self.datasets or plain, "editor.datasets", self.datasets, expected)
        once = len(set(self.datasets)) == len(self.datasets)
        require(once, "editor.datasets", self.datasets, "every dataset once")


@dataclasses.dataclass(frozen=True)
class RecipeConfig:
    """One method: a recipe by dotted path, and its arguments.

    Attributes:
      recipe: path of a function (testbed, editors, **options) -> Method.
      editors: names of the editors that it is given, in their order.
      seeds: of how many of their seeds at most; None is all.
      study: the id of the search that its options are from, if there was one.
      options: the rest, converted by the annotations of the recipe's parameters.
    """

    recipe: str
    editors: tuple[str, ...] = ()
    seeds: int | None = None
    study: str | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        ok = self.seeds is None or self.seeds >= 1
        require(ok, "seeds", self.seeds, "at least 1, or None")


@dataclasses.dataclass(frozen=True)
class ShiftConfig:
    """Covariate shift of the test data: the mean of a feature moves (see tabular.covariate_shift).

    Attributes:
      feature: its name;  mean_shift: by how much its mean moves, in standard deviations.
    """

    feature: str
    mean_shift: float


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """The models, settings and reference point of an evaluation, and its report.

    Attributes:
      n_lambdas: settings of an editor, log-spaced over its range; per requirement.
      fractions: of the weights, that pruning without an editor is swept over.
      validation_models: settings are chosen on at most so many;  test_models: reported on.
      batch_size: models that are edited together.
      reference_point: of hypervolumes: every requirement, and JSD (nats).
      costs: what edits cost (see evaluation.sweep.COSTS); every one has a selection of settings, a
        table and comparisons of its own, the first has hypervolumes.
      report_levels: of one requirement, at which tables give costs; () is spaced evenly.
      main_methods: curves of the main figure; () is the first six.
      exclude_constant: models whose decisions on the `edit` data are all one class are set apart.
      subsets: parts of the test models that are reported too: name, and dotted path of a predicate
        of a spec.
    """

    n_lambdas: int = 20
    fractions: tuple[float, ...] = tuple(round(0.05 * i, 2) for i in range(1, 20))
    validation_models: int = 100
    test_models: int = 450
    batch_size: int = 16
    reference_point: tuple[float, ...] = (1.0, 0.1)
    costs: tuple[str, ...] = ("jsd",)
    report_levels: tuple[float, ...] = ()
    main_methods: tuple[str, ...] = ()
    exclude_constant: bool = False
    subsets: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for key in ("validation_models", "test_models", "batch_size"):
            value = getattr(self, key)
            require(value >= 1, f"evaluation.{key}", value, "at least 1")
        count, expected = self.n_lambdas, f"1 to {SETTINGS}"
        require(1 <= count <= SETTINGS, "evaluation.n_lambdas", count, expected)
        inside = bool(self.fractions) and all(0 < one <= 1 for one in self.fractions)
        expected = "fractions above 0, at most 1"
        require(inside, "evaluation.fractions", self.fractions, expected)
        positive = all(value > 0 for value in self.reference_point)
        require(positive, "evaluation.reference_point", self.reference_point, "positive numbers")
        ok = set(self.costs) <= set(COSTS) and len(set(self.costs)) == len(self.costs) > 0
        ok &= self.costs[:1] == ("jsd",)  # which figures and hypervolumes are of
        expected = f"jsd, then some of {', '.join(COSTS[1:])}, every one once"
        require(ok, "evaluation.costs", self.costs, expected)
        names = self.main_methods
        few = len(set(names)) == len(names) <= MAIN_CURVES
        expected = f"at most {MAIN_CURVES} methods, every one once"
        require(few, "evaluation.main_methods", names, expected)
        for name, path in self.subsets.items():
            predicate(path, f"evaluation.subsets.{name}")


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """All settings of an experiment.

    Attributes:
      task: a label for titles and tables.
      dataset: a built-in name, a file, or the dotted path of a function that returns `data.Raw`.
      table: how a file is read;  other_datasets are read as the TOML files beside them say.
      requirement: dotted path of the objective, or of several.
      lambda_range: (low, high) of lambda for methods without an editor, one pair per requirement.
      group: the protected attribute; None is the dataset's first.
      other_datasets: whose models editors may be trained on too.
      editors: what may be trained, by name;  recipes: what may be evaluated, by name.
      methods: which are, in the order of tables and legends; () is all editors, then all recipes.
        An editor is trained if a method uses it.
      levels: of the requirement, for which lambdas of the editors are found.
      shifts: other test data that every method is evaluated on too, by name.
    """

    requirement: str | tuple[str, ...]
    task: str = "experiment"
    dataset: str = "synthetic"
    table: TableConfig = TableConfig()
    seed: int = 0
    group: str | None = None
    other_datasets: tuple[str, ...] = ()
    lambda_range: LambdaRange = TrainingConfig.lambda_range
    population: PopulationConfig = PopulationConfig()
    online: OnlineConfig = OnlineConfig()
    editors: dict[str, EditorPlan] = dataclasses.field(default_factory=dict)
    recipes: dict[str, RecipeConfig] = dataclasses.field(default_factory=dict)
    methods: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    shifts: dict[str, ShiftConfig] = dataclasses.field(default_factory=dict)
    evaluation: EvaluationConfig = EvaluationConfig()

    def __post_init__(self):
        verify(self)
        require(0 <= self.seed < SEEDS, "seed", self.seed, f"0 to {SEEDS - 1}")
        require(len(self.task) <= LONGEST, "task", self.task, f"at most {LONGEST} characters")
        paths = paths_of(self.requirement)
        once = len(set(paths)) == len(paths) > 0
        require(once, "requirement", self.requirement, "one path or several, every one once")
        labels_of(self.requirement)  # which resolves them
        _check_range(self.requirement, self.lambda_range, "lambda_range")
        for key, value in self.table.given.items():
            expected = f"a file as dataset, which {self.dataset!r} is not"
            require(is_file(self.dataset), f"table.{key}", value, expected)
        datasets = (self.dataset, *self.other_datasets)
        once = len(set(datasets)) == len(datasets)
        require(once, "other_datasets", self.other_datasets, "every dataset once")
        alone = not (self.population.source and self.other_datasets)
        require(alone, "population.source", self.population.source, "none with other_datasets")
        count = len(paths) + 1
        box = self.evaluation.reference_point
        expected = f"{count} numbers: for every requirement, and JSD"
        require(len(box) == count, "evaluation.reference_point", box, expected)
        each = self.evaluation.n_lambdas
        few = f"so few of {len(paths)} requirements that at most {SETTINGS} combinations are"
        require(each ** len(paths) <= SETTINGS, "evaluation.n_lambdas", each, few)
        levels, reported = self.levels, self.evaluation.report_levels
        require(count == 2 or not levels, "levels", levels, "one requirement")
        require(count == 2 or not reported, "evaluation.report_levels", reported, "one requirement")
        self._check_names()
        for name, plan in self.editors.items():
            self._check_plan(name, plan)

    def _check_names(self) -> None:
        names = self.method_names
        require(bool(names), "methods", names, "names of editors or recipes")
        require(len(set(names)) == len(names), "methods", names, "every name once")
        for name in names:
            known = f"some of {', '.join((*self.editors, *self.recipes))}"
            require(name in self.editors or name in self.recipes, "methods", name, known)
            for editor in self.recipe(name).editors:
                known = f"some of {', '.join(self.editors)}"
                require(editor in self.editors, f"recipes.{name}.editors", editor, known)
        check_names(names, "methods", taken=(ENDS,))
        check_names(self.used_editors, "editors", taken=PHASES)
        check_names(self.shifts, "shifts", taken=("validation", "test"))
        for name in self.evaluation.main_methods:
            known = f"some of {', '.join(names)}"
            require(name in names, "evaluation.main_methods", name, known)

    @property
    def method_names(self) -> tuple[str, ...]:
        """The methods that are evaluated, in order."""
        if self.methods:
            return self.methods
        return (*self.editors, *(name for name in self.recipes if name not in self.editors))

    def recipe(self, name: str) -> RecipeConfig:
        """The recipe of the method called `name`."""
        if name == ENDS:
            return RecipeConfig(ENDS_RECIPE)
        if name in self.recipes:
            return self.recipes[name]
        return RecipeConfig(EDITED, editors=(name,))

    @property
    def used_editors(self) -> tuple[str, ...]:
        """The editors that methods use, in the order in which they are trained."""
        used = {one for name in self.method_names for one in self.recipe(name).editors}
        return tuple(name for name in self.editors if name in used)

    def requirement_of(self, plan: EditorPlan) -> str | tuple[str, ...]:
        """The dotted paths of the objectives that an editor is trained for."""
        return self.requirement if plan.requirement is None else plan.requirement

    def _check_plan(self, name: str, plan: EditorPlan) -> None:
        requirement, key = self.requirement_of(plan), f"editors.{name}"
        labels_of(requirement)
        check_imitation(requirement, plan.editor, plan.training, key)
        alone = len(paths_of(requirement)) == 1
        require(alone or not self.levels, "levels", self.levels, f"one requirement of {name}")
        _check_range(requirement, plan.training.lambda_range, f"{key}.lambda_range")
        known = (self.dataset, *self.other_datasets)
        ready = set(plan.datasets) <= set(known)
        require(ready, f"{key}.datasets", plan.datasets, f"some of {', '.join(known)}")
        trained = split_bounds(self.population)[0]
        expected = f"enough for one of the {trained} experiments of the training split"
        require(round(plan.share * trained) >= 1, f"{key}.share", plan.share, expected)
        if self.population.mode == "online":
            plain = not plan.datasets and plan.editor.probe is None and plan.unseen is None
            expected = "editors without probe, datasets, share, unseen and imitation"
            ready = plain and plan.share == 1 and not plan.training.imitation
            require(ready, "population.mode", f"online for {name}", expected)


def _check_range(requirement: str | tuple[str, ...], lambda_range: LambdaRange, key: str) -> None:
    count = len(paths_of(requirement))
    pairs = lambda_pairs(lambda_range)
    ok = len(pairs) == count and all(0 < low <= high for low, high in pairs)
    require(ok, key, lambda_range, f"{count} of (low, high) with 0 < low <= high")
