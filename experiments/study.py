"""What all methods of a run are applied to: models, data, and what is computed of them once."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from metanet.baselines import data_minimisation as dm
from ml_collections import ConfigDict

from experiments.plan import training_ids
from metanet.core import Stopped
from metanet.data.tabular import Table, TabularData, covariate_shift
from metanet.evaluation.postprocess import one_class
from metanet.evaluation.sweep import map_models
from metanet.graphs.packing import Models, pack, pack_probes
from metanet.mlp.population import Population
from metanet.objectives.base import Objective
from metanet.probes.rows import Points, ProbeConfig, points_of
from metanet.probes.statistics import Probe
from metanet.probes.store import probe_population

RANKING_MODELS = 200  # models whose mean importance ranks the features of a dataset


@dataclasses.dataclass(frozen=True)
class Study:
    """What all methods are applied to.

    Attributes:
      folder: of the population and its probe statistics.
      models: the population's, then those of other datasets.
      others: the training models of other datasets, and the data that editors see of them.
    """

    config: ConfigDict
    folder: pathlib.Path
    models: Models
    population: Population
    data: TabularData
    requirement: Objective
    others: dict[str, tuple[np.ndarray, Table]] = dataclasses.field(default_factory=dict)
    should_stop: Callable[[], bool] = lambda: False

    def go_on(self) -> None:
        """Raises Stopped if the run is to end; between batches of models."""
        if self.should_stop():
            raise Stopped("stopped before the next batch of models")

    @property
    def identity(self) -> dict:
        """The settings of data and population, flat: what every later result depends on."""
        part = {f"population.{k}": v for k, v in self.config.population.items() if k != "mode"}
        if self.online:
            part |= {f"online.{k}": v for k, v in self.config.online.items()}
        own = {"dataset": self.config.dataset, "group": self.data.group}
        return own | {"others": self.config.others} | part

    @property
    def online(self) -> bool:
        """Whether editors are trained on models in training, of which none are stored."""
        return self.config.population.mode == "online"

    def split(self, name: str) -> tuple[np.ndarray, Table]:
        """The models that settings are chosen on, or reported on, and the data for it.

        name: "validation", on at most `evaluation.validation_models` models; "test", on at most
        `evaluation.test_models`; or one of the config's shifts of the test data.
        """
        evaluation = self.config.evaluation
        if name == "validation":
            ids = self.population.ids("validation")
            chosen = self._some(ids[~self.degenerate[ids]], evaluation.validation_models)
            return chosen, self.data.select
        ids = self._some(self.population.ids("test"), evaluation.test_models)
        if name == "test":
            return ids, self.data.test
        shift = self.config.shifts[name]
        column = self.data.features.index(shift.feature)
        return ids, covariate_shift(self.data.test, column, shift.tilt, self.config.seed)

    def _some(self, ids: np.ndarray, size: int) -> np.ndarray:
        """At most `size` of the models `ids`, the same ones in every run."""
        rng = np.random.default_rng(self.config.seed)
        return np.sort(rng.choice(ids, min(size, len(ids)), replace=False))

    def training_part(
        self, dataset: str, share: float, unseen: str | None, control: bool, rows: int
    ):
        """The models that an editor is trained on, and the data, of one dataset.

        Online: the validation models, whose parameters give the editor's units.
        """
        if dataset != self.config.dataset:
            return self.others[dataset]
        table = jax.tree.map(lambda leaf: leaf[: rows or None], self.data.edit)
        if self.online:
            return self.population.ids("validation"), table
        return self.training_ids(share, unseen, control), table

    def training_ids(self, share: float, unseen: str | None, control: bool) -> np.ndarray:
        """The training models of an editor, see plan.training_ids."""
        ids = self.population.ids("train")
        experiment = self.population.table["experiment"].to_numpy()[ids]
        specs = [self.population.stacks[n].spec for n in np.asarray(self.models.spec)[ids]]
        return training_ids(ids, experiment, specs, share, unseen, control)

    def probed(self, probe: ProbeConfig | None) -> Models:
        """The models with their probe statistics."""
        if probe is None:
            return self.models
        return self.models.replace(probe=pack_probes(self.probes(probe)))

    def probes(self, probe: ProbeConfig) -> list[Probe]:
        """The statistics of all stacks on points from `edit`, stored in `folder`."""
        if probe not in self._probes:
            settings = {f"probe.{k}": v for k, v in dataclasses.asdict(probe).items()}
            folder = self.folder / "probes" / "-".join(map(str, settings.values())).lower()
            settings |= self.identity | {"seed": self.config.seed}
            found = probe_population(
                folder, self.population, self.points(probe), settings, self.go_on
            )
            self._probes[probe] = found
        return self._probes[probe]

    @functools.cached_property
    def _probes(self) -> dict[ProbeConfig, list[Probe]]:
        return {}

    def points(self, probe: ProbeConfig) -> Points:
        """The probe table."""
        return points_of(probe, self.data.edit, self.data.n_classes)

    @functools.cached_property
    def degenerate(self) -> np.ndarray:
        """Fairness: the models to set apart, [models] bool: their decisions on `edit` are all one.

        They treat groups alike without any editing, and most baselines cannot run on them.
        """
        flags = np.zeros(len(self.models.spec), bool)
        if self.config.task == "fairness":
            ids = np.concatenate([self.population.ids(split) for split in ("validation", "test")])
            flags[ids] = one_class(self.models, ids, self.data.edit)
        return flags

    def by_depth(self, probe: ProbeConfig | None = None) -> list[tuple[np.ndarray, Models]]:
        """The models of each depth: their rows in `models`, and they in a template of their own.

        What trains in a template pays for its size, which grows with the square of its depth.
        """
        stacks = self.population.stacks
        depth = np.array([stack.spec.n_layers for stack in stacks])
        of_row = depth[np.asarray(self.models.spec)]
        groups = []
        for one in np.unique(depth):
            chosen = np.flatnonzero(depth == one)
            models = pack([stacks[n] for n in chosen])
            if probe is not None:
                probes = self.probes(probe)
                models = models.replace(probe=pack_probes([probes[n] for n in chosen]))
            groups.append((np.flatnonzero(of_row == one), models))
        return groups

    @functools.cached_property
    def ranking(self) -> jax.Array:
        """One importance for each feature of the dataset, for all models: [features] float32."""
        table = jax.tree.map(jnp.asarray, self.data.edit)
        ids = self.population.ids("validation" if self.online else "train")
        ids = ids[:: -(-len(ids) // RANKING_MODELS)]
        importances = dm.importances(self.models.template)
        per_model = map_models(importances, table, self.models, ids, self.config.seed)
        return jnp.asarray(dm.global_importance(per_model))
