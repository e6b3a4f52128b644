"""Other people's networks as a population."""

import collections
import glob
import hashlib
import logging
import os
import pathlib

import numpy as np
import pandas as pd

from metanet.core import UserError
from metanet.data.tabular import TabularData
from metanet.interop.files import EXTENSIONS, read
from metanet.interop.network import Network, stack_networks
from metanet.interop.units import reading_standardised
from metanet.interop.verify import logits
from metanet.mlp.population import OUTSIZED, Population, diverged, size_of
from metanet.mlp.sampling import SPLITS, PopulationConfig

logger = logging.getLogger(__name__)

MOST = 100_000  # files


def read_zoo(config: PopulationConfig, data: TabularData, seed: int) -> Population:
    """The networks of `config.source` as a population: every file is an experiment of one model.

    Networks of one shape share a stack. One that is far larger than the others has the split
    "diverged", see `population.diverged`, and is named in the log. Splits are drawn at random, or
    are those of `config.split_by`.

    Raises:
      UserError: there are no files, a file is no network of the data's features and classes, or a
        split is absent; names the file.
    """
    paths = _paths(config.source)
    digest, stacks = hashlib.sha256(), {}  # type: ignore[var-annotated]
    for number, path in enumerate(paths):
        network = _network(path, config, data)  # first: it refuses what is too large to be read
        digest.update(hashlib.sha256(path.read_bytes()).digest())
        stacks.setdefault(network.spec, []).append((number, network))
    split = _splits(paths, config, seed)
    built, rows = [], []
    for family, members in enumerate(stacks.values()):
        built.append(stack_networks([network for _, network in members]))
        for number, network in members:
            outputs = logits(network, np.asarray(data.select.x))
            if not np.abs(outputs).max() < np.finfo(np.float32).max:
                raise UserError(f"{paths[number]}: found outputs on {data.name} that are not "
                                "finite, expected a network that is trained")  # fmt: skip
            decided = outputs.argmax(1)
            row = {"experiment": number, "family": family, "stage": "last", "split": split[number]}
            rows.append(row | {"accuracy": float((decided == data.select.y).mean())})
    table = pd.DataFrame(rows)
    lost = diverged(np.concatenate([size_of(stack.params) for stack in built]))
    table["split"] = np.where(lost, "diverged", table["split"])
    for number in table["experiment"][lost]:
        logger.warning("%s is left out: its parameters are over %d times as large as those of the "
                       "median network", paths[number], OUTSIZED)  # fmt: skip
    for name in ("dropout", "learning_rate", "weight_decay", "batch_size", "epoch"):
        table[name] = np.nan  # nobody knows
    digest.update(repr((config.source, split.tolist())).encode())
    return Population(tuple(built), table, digest=digest.hexdigest()[:12])


def _paths(source: str) -> list[pathlib.Path]:
    """The files of a pattern or a folder, by name."""
    pattern = os.path.join(glob.escape(source), "*") if os.path.isdir(source) else source
    found = [pathlib.Path(one) for one in sorted(glob.glob(pattern, recursive=True))]
    paths = [path for path in found if path.is_file() and path.suffix.lower() in EXTENSIONS]
    known = ", ".join(EXTENSIONS)
    if not paths:
        raise UserError(f"population.source: found no files of {source!r}, expected some that end "
                        f"in {known}")  # fmt: skip
    if len(paths) > MOST:
        raise UserError(f"population.source: found {len(paths)} files, expected at most {MOST}")
    return paths


def _network(path: pathlib.Path, config: PopulationConfig, data: TabularData) -> Network:
    """One network, on standardised features."""
    source = read(path, config.activation)
    network = source.network
    for what, theirs, ours in (("features", source.features, data.features),
                               ("classes", source.classes, data.classes)):  # fmt: skip
        if sorted(theirs) == sorted(ours) and theirs != ours:
            raise UserError(f"{path}: found {what} {', '.join(theirs)}, expected them in the order "
                            f"{', '.join(ours)}")  # fmt: skip
    found, expected = network.spec.widths, (data.n_features, data.n_classes)
    if (found[0], found[-1]) != expected:
        wanted = f"{expected[0]} features and {expected[1]} classes of {data.name}"
        raise UserError(
            f"{path}: found {found[0]} inputs and {found[-1]} outputs, expected {wanted}"
        )
    if config.reads == "numbers":
        try:
            network = reading_standardised(network, data.mean, data.std)
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error
    return network


def _splits(paths: list[pathlib.Path], config: PopulationConfig, seed: int) -> np.ndarray:
    """The split of every file: [files] of text."""
    if not config.split_by:
        order = np.random.default_rng([seed, 5]).permutation(len(paths))
        ends = np.round(np.cumsum(config.split)[:2] * len(paths)).astype(int)
        split = np.empty(len(paths), object)
        for name, part in zip(SPLITS, np.split(order, ends), strict=True):
            split[part] = name
    else:
        split = _listed(paths, pathlib.Path(config.split_by))
    for name in SPLITS:
        if name not in split:
            raise UserError(f"population.source: found {len(paths)} files and none for {name}, "
                            "expected some for every split")  # fmt: skip
    return split


def _listed(paths: list[pathlib.Path], listing: pathlib.Path) -> np.ndarray:
    """The splits that a CSV with the columns "file" and "split" has for the files, by name."""
    try:
        table = pd.read_csv(listing, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{listing}: found {' '.join(str(error).split())}, expected a CSV with the "
                        "columns file and split") from error  # fmt: skip
    if not {"file", "split"} <= set(table):
        raise UserError(
            f"{listing}: found columns {', '.join(map(str, table))}, expected file and split"
        )
    known = dict(zip(table["file"], table["split"], strict=True))
    if len(known) < len(table):
        raise UserError(f"{listing}: found a file twice, expected every one once")
    wrong = sorted(set(known.values()) - set(SPLITS))
    if wrong:
        raise UserError(f"{listing}: found split {wrong[0]!r}, expected one of {', '.join(SPLITS)}")
    names = [path.name for path in paths]
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"population.source: found several files called {twice[0]}, expected "
                        "different names with population.split_by")  # fmt: skip
    more = sorted(set(known) - set(names))
    if more:
        raise UserError(f"{listing}: found a row for {more[0]}, expected files of the source")
    absent = [path.name for path in paths if path.name not in known]
    if absent:
        raise UserError(f"{listing}: found no row for {absent[0]} and {len(absent) - 1} more files")
    return np.array([known[path.name] for path in paths], object)
