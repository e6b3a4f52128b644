"""A population of target MLPs on disk: trained family by family, resumable, without pickle."""

import contextlib
import dataclasses
import logging
import pathlib
import time
from collections.abc import Callable

import jax
import numpy as np
import pandas as pd

from metanet.core import Stopped, UserError, require
from metanet.devices import in_advance, to_host, wait_for_all
from metanet.mlp import sampling, trainer
from metanet.mlp.network import MLPParams, shapes_of
from metanet.mlp.sampling import Family, Members, PopulationConfig
from metanet.mlp.spec import MLPSpec
from metanet.storage import (  # fmt: skip
    match_settings,
    read_npz,
    read_seconds,
    write_json,
    write_npz,
)

logger = logging.getLogger(__name__)

STAGES = ("early", "middle", "last")
OUTSIZED = 100  # of a model's parameters to the population's median; healthy ones are within 20


@dataclasses.dataclass(frozen=True)
class Stack:
    """M models of one spec.

    Attributes:
      params: leaves with a leading model axis [M, ...], float32.
      activation: [M] int32, into network.ACTIVATIONS.
    """

    spec: MLPSpec
    params: MLPParams
    activation: np.ndarray


@dataclasses.dataclass(frozen=True)
class Population:
    """All models (checkpoints) of a population.

    Attributes:
      stacks: one per family.
      table: one row per model in the order of the stacks: experiment, family, stage, split
        ("train", "validation", "test", or "diverged", see `diverged`), accuracy (on the data's
        `select` split), dropout, learning_rate, weight_decay, batch_size, epoch.
      seconds: wall seconds of training them, over all runs that took part; None where unknown.
      digest: of the files that it was read from, None of a trained one.
    """

    stacks: tuple[Stack, ...]
    table: pd.DataFrame
    seconds: float | None = None
    digest: str | None = None

    def ids(self, split: str) -> np.ndarray:
        """The rows of `table` that belong to `split`, ascending."""
        return np.flatnonzero(self.table["split"] == split)


def size_of(params: MLPParams) -> np.ndarray:
    """The root mean square of all parameters of each of M models: [M] float64."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(params)]
    return np.sqrt(np.concatenate([leaf.reshape(len(leaf), -1) ** 2 for leaf in leaves], 1).mean(1))


def diverged(size: np.ndarray) -> np.ndarray:
    """Which of M models are not to be edited: [M] bool from `size_of`.

    A parameter is not finite, or they are OUTSIZED times as large as those of the median model: one
    such model would set the units of all edits, and its outputs overflow.
    """
    finite = np.isfinite(size)
    usual = np.median(size[finite]) if finite.any() else 0.0
    return ~(finite & (size <= OUTSIZED * usual))


def _save_family(path: pathlib.Path, params: MLPParams, accuracy, members: Members) -> None:
    arrays = {f"member_{name}": value for name, value in vars(members).items()}
    params, accuracy = to_host((params, accuracy))
    for name, leaves in vars(params).items():
        arrays |= {f"{name}_{index}": leaf for index, leaf in enumerate(leaves)}
    write_npz(path, {"accuracy": accuracy} | arrays)


def _load_family(
    path: pathlib.Path, index: int, family: Family, expected: Members
) -> tuple[Stack, pd.DataFrame]:
    """The family's models, experiment-major, and their rows of the table (without the split)."""
    arrays = read_npz(path, "this family; remove it")
    try:
        members = Members(
            **{f.name: arrays.pop(f"member_{f.name}") for f in dataclasses.fields(Members)}
        )
        accuracy = arrays.pop("accuracy").reshape(-1)
        if not np.array_equal(members.experiment, expected.experiment):
            raise ValueError(f"experiments {members.experiment.tolist()}")
        leaves = {
            name: tuple(
                arrays[f"{name}_{i}"].reshape(len(accuracy), *shape)
                for i, shape in enumerate(shapes)
            )
            for name, shapes in shapes_of(family.spec).items()
        }
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: found {error!r}, expected this family; remove it") from error
    stack = Stack(family.spec, MLPParams(**leaves), np.repeat(members.activation, len(STAGES)))
    rows = {
        "experiment": np.repeat(members.experiment, len(STAGES)),
        "family": index,
        "stage": np.tile(STAGES, len(members.experiment)),
        "accuracy": accuracy,
        "size": size_of(stack.params),
        "epoch": members.snapshots.reshape(-1),
        "batch_size": family.batch_size,
    }
    for name in ("dropout", "learning_rate", "weight_decay"):
        rows[name] = np.repeat(getattr(members, name), len(STAGES))
    return stack, pd.DataFrame(rows)


def settings_of(config: PopulationConfig, data, seed: int) -> dict:
    """Everything that determines a population, flat, for JSON: the data by their content too."""
    source = {"dataset": data.name, "data": data.digest, "seed": seed}
    return source | config.identity


def build(
    folder: pathlib.Path,
    config: PopulationConfig,
    data,
    seed: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Population:
    """Trains what is missing of the population in `folder`, and loads all of it.

    Families are trained one after another and stored when done (`family_NNN.npz`). The program of
    the next one is compiled while one trains, those of several on a GPU (see `in_advance`): a
    killed run loses no more than these.

    Only experiments of `config.trained_splits` are trained; a family without any is left out. The
    wall seconds of training, over all runs that took part, are in `seconds.json`.

    Raises:
      UserError: `folder` holds another population, or a file in it cannot be read.
      Stopped: `should_stop()` became true; finished families are stored.
    """
    match_settings(folder, settings_of(config, data, seed))
    rows = len(data.train.y)
    enough = f"at most the {rows} rows that models are trained on"
    require(max(config.batch_sizes) <= rows, "population.batch_sizes", config.batch_sizes, enough)
    catalogue = sampling.sample_catalogue(seed, config, data.n_features, data.n_classes)
    drawn = sampling.sample_members(seed, config, len(catalogue))
    split = np.array(sampling.SPLITS)[sampling.split_experiments(seed, config)]
    wanted = np.isin(split, config.trained_splits)
    members = [sampling.select(one, wanted[one.experiment]) for one in drawn]
    families = [index for index, one in enumerate(members) if len(one.experiment)]
    paths = {index: folder / f"family_{index:03d}.npz" for index in families}
    missing = [index for index, path in paths.items() if not path.exists()]
    clock = folder / "seconds.json"  # of training, over all runs that took part
    before = read_seconds(clock, ("training",)).get("training", 0.0)
    total = sum(len(one.experiment) for one in members)
    stored = total - sum(len(members[index].experiment) for index in missing)
    done, start = 0, time.monotonic()
    if missing:
        logger.info("population: %d experiments of %d specs to train", total - stored, len(missing))

    def store(index: int, params: MLPParams, accuracy: jax.Array) -> None:
        nonlocal done
        _save_family(paths[index], params, accuracy, members[index])
        seconds = time.monotonic() - start
        write_json(clock, {"training": round(before + seconds, 2)})
        done += len(members[index].experiment)
        left = (total - stored - done) / done * seconds / 60
        logger.info("population: %d/%d experiments, %.2f per second, %.1f min left",
                    stored + done, total, done / seconds, left)  # fmt: skip
        if should_stop():
            raise Stopped(f"population: {stored + done} of {total} experiments stored")

    def training_of(index: int) -> Callable[[], tuple[MLPParams, jax.Array]]:
        family = catalogue[index], members[index]
        return lambda: trainer.train_family(*family, config.epochs, data, seed, index)

    with contextlib.closing(in_advance(map(training_of, missing))) as trainings:
        for index, trained in zip(missing, trainings, strict=True):
            store(index, *trained)
    wait_for_all("population")
    loaded = [_load_family(paths[i], i, catalogue[i], members[i]) for i in families]
    seconds = read_seconds(clock, ("training",)).get("training")
    return _assemble(loaded, config, seed, seconds)


def _assemble(
    loaded: list[tuple[Stack, pd.DataFrame]],
    config: PopulationConfig,
    seed: int,
    seconds: float | None,
) -> Population:
    """The population of loaded families, with every model's split."""
    table = pd.concat([rows for _, rows in loaded], ignore_index=True)
    split = sampling.split_experiments(seed, config)[table["experiment"]]
    lost = diverged(table.pop("size").to_numpy())
    table["split"] = np.where(lost, "diverged", np.array(sampling.SPLITS)[split])
    if lost.any():
        logger.warning("population: %d of %d models diverged (not finite, or %d times as large as "
                       "the median) and are left out", lost.sum(), len(lost), OUTSIZED)  # fmt: skip
    return Population(tuple(stack for stack, _ in loaded), table, seconds)
