"""A method's values for every test model, stored beside results.json (numpy)."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from metanet.core import UserError
from metanet.evaluation.bootstrap import Front
from metanet.evaluation.sweep import Sweep
from metanet.storage import read_npz, slug, write_npz

ENDS = "ends"  # the name of the two settings that are on every front
_FIELDS = ("requirement", "jsd", "jsd_label", "error", "constant")


@dataclasses.dataclass(frozen=True)
class SeedValues:
    """The selected settings of one seed of a method, on M models.

    Attributes:
      fields: by name, requirement, jsd and jsd_label (nats), error (a share) and constant (0 or 1):
        [S, M] float32, or [S, M, requirements] of several.
      selected: by cost, the places [front] int32 of its front's settings among the S.
    """

    fields: dict[str, np.ndarray]
    selected: dict[str, np.ndarray]

    def front(self, cost: str) -> Front:
        """The front of settings that were selected by `cost`, of one requirement."""
        places = self.selected[cost]
        values = (self.fields[key][places].astype(np.float64) for key in ("requirement", cost))
        return Front(*values)


@dataclasses.dataclass(frozen=True)
class Values:
    """A method's values for the test models that are reported on.

    Attributes:
      model, experiment: [M] int32, the models' rows in the population, and their experiments.
      seeds: one for a method without an editor.
    """

    model: np.ndarray
    experiment: np.ndarray
    seeds: tuple[SeedValues, ...]

    def fronts(self, cost: str) -> list[Front]:
        """The front of every seed that has one."""
        return [front for seed in self.seeds if len((front := seed.front(cost)).cost)]


def seed_values(sweep: Sweep, selected: dict[str, np.ndarray]) -> SeedValues:
    """The values of a sweep; `selected`: by cost, places among its settings."""
    found = {name: np.asarray(getattr(sweep, name) if name in vars(sweep) else sweep.cost(name),
                              np.float32) for name in _FIELDS}  # fmt: skip
    return SeedValues(found, {key: np.asarray(one, np.int32) for key, one in selected.items()})


def values_path(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The file in a run's `folder` that holds the values of the method called `name`."""
    return folder / "models" / f"{slug(name)}.npz"


def save_values(path: pathlib.Path, values: Values) -> None:
    """Writes one .npz, compressed, atomically."""
    arrays: dict[str, Any] = {"model": values.model.astype(np.int32)}
    arrays["experiment"] = values.experiment.astype(np.int32)
    for index, seed in enumerate(values.seeds):
        arrays |= {f"{index}.{name}": array for name, array in seed.fields.items()}
        arrays |= {f"{index}.selected.{cost}": one for cost, one in seed.selected.items()}
    write_npz(path, arrays, compressed=True)


def load_values(path: pathlib.Path) -> Values:
    """What `save_values` has written.

    Raises:
      UserError: there is no such file, or it is damaged.
    """
    expected = "a method's values for every model; remove it and run its command again"
    arrays = read_npz(path, expected)
    try:
        count = 1 + max(int(name.split(".")[0]) for name in arrays if name[0].isdigit())
        seeds = tuple(_seed(arrays, f"{index}.") for index in range(count))
        return Values(arrays["model"], arrays["experiment"], seeds)
    except (ValueError, LookupError) as error:
        raise UserError(f"{path}: found other arrays ({error!r}), expected {expected}") from error


def _seed(arrays: dict[str, np.ndarray], prefix: str) -> SeedValues:
    own = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
    chosen = "selected."
    return SeedValues(
        {name: own[name] for name in _FIELDS},
        {name[len(chosen) :]: one for name, one in own.items() if name.startswith(chosen)},
    )
