"""Probe statistics of whole stacks and populations; a population's are stored on disk."""

import functools
import pathlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

from metanet.core import UserError, atomic_path, claim, wait_for_all
from metanet.mlp.population import Population, Stack
from metanet.mlp.probe import Points, Probe, statistics

BATCH = 4  # models


@functools.cache
def _compiled(options: tuple[tuple[str, int], ...]):
    return jax.jit(_statistics, static_argnums=0, compiler_options=dict(options))


def _statistics(spec, params, activation, points):
    def one(pair):
        return statistics(spec, *pair, points)

    # Few models at a time: their activations stay in the cache. All batches are whole, so that the
    # statistics are compiled once.
    count = len(activation)
    rows = jnp.arange(-(-count // BATCH) * BATCH) % count if count > BATCH else jnp.arange(count)
    models = jax.tree.map(lambda leaf: leaf[rows], (params, activation))
    found = jax.lax.map(one, models, batch_size=BATCH)
    return jax.tree.map(lambda leaf: leaf[:count], found)


def probe_stack(stack: Stack, points: Points, once: bool = False) -> Probe:
    """The statistics of M models of one spec; every leaf has a leading axis [M].

    Args:
      once: whether compiling takes longer than running, so that CPU programs are not optimised.
    """
    cheap = once and jax.default_backend() == "cpu"
    compiled = _compiled((("xla_backend_optimization_level", 0),) if cheap else ())
    return compiled(stack.spec, stack.params, jnp.asarray(stack.activation), points)


def probe_population(
    folder: pathlib.Path, population: Population, points: Points, settings: dict
) -> list[Probe]:
    """The statistics of every stack, numpy leaves, computed once and stored in `folder`.

    Args:
      settings: what the population and the points depend on, flat, for JSON.

    Raises:
      UserError: `folder` holds those of other settings, or a file in it cannot be read.
    """
    claim(folder, settings)
    missing = {}
    for number, stack in enumerate(population.stacks):
        if not (folder / f"family_{number:03d}.npz").exists():
            missing[number] = probe_stack(stack, points, once=True)  # returns before it is computed
    for number, probe in missing.items():
        arrays = {
            f"{name}_{index}": np.asarray(leaf)
            for name in ("node", "edge")
            for index, leaf in enumerate(getattr(probe, name))
        }
        with atomic_path(folder / f"family_{number:03d}.npz") as path, open(path, "wb") as file:
            np.savez(file, graph=np.asarray(probe.graph), **arrays)
    wait_for_all("probes")
    return [_load(folder / f"family_{n:03d}.npz", s) for n, s in enumerate(population.stacks)]


def _load(path: pathlib.Path, stack: Stack) -> Probe:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        counts = {"node": len(stack.spec.widths), "edge": len(stack.spec.blocks)}
        leaves = {
            name: tuple(arrays[f"{name}_{index}"] for index in range(count))
            for name, count in counts.items()
        }
        if len(arrays["graph"]) != len(stack.activation):
            raise ValueError(f"{len(arrays['graph'])} models")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        expected = f"the statistics of {len(stack.activation)} models"
        raise UserError(f"{path}: found {error!r}, expected {expected}; remove it") from error
    return Probe(graph=arrays["graph"], **leaves)
