"""Models, data and cached statistics shared by all methods of an experiment."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metanet import data as datasets
from metanet.core import SettingError, Stopped, require
from metanet.data.files import is_file, label_of
from metanet.data.tabular import Table, TabularData, covariate_shift
from metanet.evaluation.postprocess import one_class
from metanet.graphs.packing import Models, pack, pack_probes
from metanet.interop.zoo import read_zoo
from metanet.mlp import population as populations
from metanet.mlp.population import Population
from metanet.mlp.spec import MLPSpec
from metanet.objectives.base import Objective, resolve
from metanet.pipeline.checks import check_data
from metanet.pipeline.config import EditorPlan, ExperimentConfig
from metanet.pipeline.locks import hold
from metanet.pipeline.recipes import check_recipes, check_recipes_on_data
from metanet.pipeline.training_ids import training_ids
from metanet.probes.rows import Points, ProbeConfig, points_of
from metanet.probes.statistics import Probe
from metanet.probes.store import probe_population
from metanet.settings import flat
from metanet.storage import digest, slug

logger = logging.getLogger(__name__)


def never() -> bool:
    """Never stop."""
    return False


@dataclasses.dataclass(frozen=True, eq=False)
class Testbed:
    """Models, data and cached statistics shared by all methods of an experiment.

    Attributes:
      experiment: all settings.
      folder: of the population and its probe statistics.
      models: the population's, then those of other datasets.
      population, data, requirement: what the experiment's settings name.
      other_datasets: the training models of other datasets [models], and the data that editors see
        of them.
      other_data: the digests of those datasets, by name.
      should_stop: whether the run is to end, see `go_on`.
      limit: the models that are edited instead of those of the splits; None is no limit.
      cache: statistics that are computed once, see `cached`.
    """

    __test__ = False  # not a test, whatever pytest makes of its name

    experiment: ExperimentConfig
    folder: pathlib.Path
    models: Models
    population: Population
    data: TabularData
    requirement: Objective
    other_datasets: dict[str, tuple[np.ndarray, Table]] = dataclasses.field(default_factory=dict)
    other_data: dict[str, str] = dataclasses.field(default_factory=dict)
    should_stop: Callable[[], bool] = never
    limit: np.ndarray | None = None
    cache: dict = dataclasses.field(default_factory=dict)

    def cached(self, key, make: Callable[[], Any]) -> Any:
        """make(), computed once per `key` for this testbed and those limited from it."""
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]

    def limited_to(self, ids: np.ndarray) -> "Testbed":
        """The same testbed with no other models to edit than `ids`, in one batch at most."""
        size = min(self.experiment.evaluation.batch_size, len(ids))
        evaluation = dataclasses.replace(self.experiment.evaluation, batch_size=size)
        experiment = dataclasses.replace(self.experiment, evaluation=evaluation)
        return dataclasses.replace(self, experiment=experiment, limit=ids)

    def go_on(self) -> None:
        """Raises Stopped if the run is to end; between batches of models."""
        if self.should_stop():
            raise Stopped("stopped before the next batch of models")

    @property
    def identity(self) -> dict:
        """The settings of data and population, flat, which every later result depends on."""
        experiment, population = self.experiment, self.experiment.population
        settings: dict[str, Any] = {
            "dataset": label_of(experiment.dataset),
            "data": self.data.digest,
            "group": self.data.group,
            "other_datasets": experiment.other_datasets,
        }
        settings |= {f"other_data.{name}": one for name, one in self.other_data.items()}
        if self.online:
            settings |= flat(experiment.online, "online")
        settings |= {f"population.{key}": value for key, value in population.identity.items()}
        read = self.population.digest
        return settings | ({"population.files": read} if read is not None else {})

    @property
    def online(self) -> bool:
        """Whether editors are trained on models in training, of which none are stored."""
        return self.experiment.population.mode == "online"

    def split(self, name: str) -> tuple[np.ndarray, Table]:
        """The models [M] that settings are chosen on, or reported on, and the data for it.

        Args:
          name: "validation", with at most `evaluation.validation_models` models; "test", with at
            most `evaluation.test_models`; or one of the experiment's shifts of the test data.

        Raises:
          SettingError: all of the models are constant, and set apart.
        """
        evaluation = self.experiment.evaluation
        if name == "validation":
            ids = self.population.ids("validation")
            ids = self._some(ids[~self.constant[ids]], evaluation.validation_models)
            self._require_varied(len(ids), name)
            return ids, self.data.select
        ids = self._some(self.population.ids("test"), evaluation.test_models)
        self._require_varied((~self.constant[ids]).sum(), "test")
        if name == "test":
            return ids, self.data.test
        shift = self.experiment.shifts[name]
        column = self.data.features.index(shift.feature)
        return ids, covariate_shift(self.data.test, column, shift.mean_shift, self.experiment.seed)

    def _some(self, ids: np.ndarray, size: int) -> np.ndarray:
        """At most `size` of the models `ids`, the same ones in every run."""
        if self.limit is not None:
            return self.limit
        rng = np.random.default_rng(self.experiment.seed)
        return np.sort(rng.choice(ids, min(size, len(ids)), replace=False))

    def _require_varied(self, count: int, split: str) -> None:
        expected = f"False, or models that differ: all {split} models decide for one class"
        require(count > 0, "evaluation.exclude_constant", True, expected)

    def training_part(self, plan: EditorPlan, dataset: str) -> tuple[np.ndarray, Table]:
        """The models that an editor is trained on, and the data, of one dataset.

        Online: the validation models, whose parameters give the editor's units.
        """
        if dataset != self.experiment.dataset:
            return self.other_datasets[dataset]
        table = jax.tree.map(lambda leaf: leaf[: plan.rows or None], self.data.edit)
        if self.online:
            return self.population.ids("validation"), table
        ids = self.population.ids("train")
        experiment = self.population.table["experiment"].to_numpy()[ids]
        return training_ids(ids, experiment, self.specs(ids), plan), table

    def specs(self, ids: np.ndarray) -> list[MLPSpec]:
        """The spec of each of the population's models `ids`."""
        return [self.population.stacks[n].spec for n in np.asarray(self.models.spec)[ids]]

    def probed(self, probe: ProbeConfig | None) -> Models:
        """The models with their probe statistics."""
        if probe is None:
            return self.models
        return self.models.replace(probe=pack_probes(self.probes(probe)))

    def probes(self, probe: ProbeConfig) -> list[Probe]:
        """The statistics of all stacks on rows of `edit`, stored in `folder`."""
        settings = flat(probe, "probe")
        folder = self.folder / "probes" / "-".join(map(str, settings.values())).lower()
        settings |= self.identity | {"seed": self.experiment.seed}

        def compute() -> list[Probe]:
            given = self.population, self.points(probe), settings, self.go_on
            with hold(folder / ".lock", self.should_stop):  # processes may share it
                return probe_population(folder, *given)

        return self.cached(probe, compute)

    def points(self, probe: ProbeConfig) -> Points:
        """The probe table."""
        return points_of(probe, self.data.edit, self.data.n_classes)

    @property
    def edit_table(self) -> Table:
        """The `edit` data on the device, which methods are fitted on."""
        return self.cached("edit table", lambda: jax.tree.map(jnp.asarray, self.data.edit))

    @property
    def constant(self) -> np.ndarray:
        """The models to set apart, [models] bool: their decisions on `edit` are all one class.

        They treat groups alike without any editing, and most fairness baselines refuse them. No
        model is one without `evaluation.exclude_constant`.
        """

        def compute() -> np.ndarray:
            flags = np.zeros(len(self.models.spec), bool)
            if self.experiment.evaluation.exclude_constant:
                ids = np.concatenate([self.population.ids(s) for s in ("validation", "test")])
                flags[ids] = one_class(self.models, ids, self.data.edit)
            return flags

        return self.cached("constant", compute)

    def by_depth(self, probe: ProbeConfig | None = None) -> list[tuple[np.ndarray, Models]]:
        """The models of each depth: their rows in `models`, and they in a template of their own.

        Training in a template costs what its size does, which grows with the square of its depth.
        """
        stacks = self.population.stacks
        depth = np.array([stack.spec.n_layers for stack in stacks])  # [stacks]
        of_row = depth[np.asarray(self.models.spec)]  # [models]
        groups = []
        for one in np.unique(depth):
            chosen = np.flatnonzero(depth == one)
            models = pack([stacks[n] for n in chosen])
            if probe is not None:
                probes = self.probes(probe)
                models = models.replace(probe=pack_probes([probes[n] for n in chosen]))
            groups.append((np.flatnonzero(of_row == one), models))
        return groups


def build_testbed(
    experiment: ExperimentConfig,
    folder: str | pathlib.Path,
    *,
    store: pathlib.Path | None = None,
    should_stop: Callable[[], bool] = never,
) -> Testbed:
    """Trains the population of an experiment, or loads it from `folder` or from `store`.

    Args:
      store: where experiments that share them keep populations and editors, by their settings.

    Raises:
      UserError: something in the settings, the data or `folder` is unusable.
      Stopped: `should_stop()` became true; what is done is saved.
    """
    check_recipes(experiment)
    folder, loaded = pathlib.Path(folder), dict(_datasets(experiment))
    data = loaded[experiment.dataset]
    check_data(experiment, data)
    check_recipes_on_data(experiment, data)
    homes: dict[str, pathlib.Path] = {}
    built: dict[str, Population] = {}
    for dataset, tables in loaded.items():
        home = folder if dataset == experiment.dataset else folder / label_of(dataset)
        if store is not None:
            settings = populations.settings_of(experiment.population, tables, experiment.seed)
            home = store / f"{slug_of(dataset)}-{digest(settings)}"
        homes[dataset] = home
        if experiment.population.source:
            built[dataset] = read_zoo(experiment.population, tables, experiment.seed)
        else:
            given = (experiment.population, tables, experiment.seed)
            with hold(home / "population" / ".lock", should_stop):  # runs may share it
                built[dataset] = populations.build(home / "population", *given, should_stop)
    population = built[experiment.dataset]
    stacks, others = list(population.stacks), {}
    for dataset in experiment.other_datasets:
        guests = built[dataset]
        first = sum(len(stack.activation) for stack in stacks)  # row of `models`
        others[dataset] = (first + guests.ids("train"), loaded[dataset].edit)
        stacks += guests.stacks
    return Testbed(
        experiment=experiment,
        folder=homes[experiment.dataset],
        models=pack(stacks),
        population=population,
        data=data,
        requirement=resolve(experiment.requirement),
        other_datasets=others,
        other_data={name: loaded[name].digest for name in experiment.other_datasets},
        should_stop=should_stop,
    )


def _datasets(experiment: ExperimentConfig) -> Iterator[tuple[str, TabularData]]:
    first = experiment.dataset
    yield first, datasets.load(first, experiment.group, experiment.seed, experiment.table)
    for name in experiment.other_datasets:
        try:
            yield name, datasets.load(name, None, experiment.seed)
        except SettingError as error:
            raise SettingError("other_datasets", error.found, error.expected) from error


def slug_of(dataset: str) -> str:
    """A folder's name for a dataset: of a dotted path, its last part; of a file, its own name."""
    if is_file(dataset):
        return slug(label_of(dataset)) or "table"
    return dataset.rpartition(".")[2]
