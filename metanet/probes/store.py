"""Probe statistics of stacks and populations; a population's are stored on disk."""

import contextlib
import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from metanet.core import UserError
from metanet.devices import in_advance, models_mesh, over_models, to_host, wait_for_all
from metanet.mlp.network import MLPParams
from metanet.mlp.population import Population, Stack
from metanet.mlp.spec import MLPSpec
from metanet.probes.rows import Points
from metanet.probes.statistics import Probe, statistics
from metanet.storage import match_settings, read_npz, write_npz

BATCH = 4  # models


@functools.cache
def _compiled(mesh: jax.sharding.Mesh, options: tuple[tuple[str, int], ...]):
    def sharded(spec, *arguments):
        inputs, outputs = (P("models"), P("models"), P()), P("models")
        body = functools.partial(_statistics, spec)
        return over_models(body, mesh, inputs, outputs)(*arguments)

    return jax.jit(sharded, static_argnums=0, compiler_options=dict(options))


def _statistics(spec: MLPSpec, params: MLPParams, activation: jax.Array, points: Points) -> Probe:
    """The statistics of one device's models; every leaf has a leading axis [M]."""

    def one(model):
        params, activation = model
        return statistics(spec, params, activation, points)

    # Few models at a time: their activations stay in the cache. All batches are whole, so that the
    # statistics are compiled once.
    count = len(activation)
    whole = -(-count // BATCH) * BATCH if count > BATCH else count
    rows = jnp.arange(whole) % count  # the first models again, up to a whole batch
    models = jax.tree.map(lambda leaf: leaf[rows], (params, activation))
    probe = jax.lax.map(one, models, batch_size=BATCH)
    return jax.tree.map(lambda leaf: leaf[:count], probe)


def probe_stack(
    stack: Stack, points: Points, once: bool = False, mesh: jax.sharding.Mesh | None = None
) -> Probe:
    """The statistics of M models of one spec; every leaf has a leading axis [M].

    Args:
      once: whether compiling takes longer than running, so that CPU programs are not optimised.
      mesh: the devices among which the models are divided, which M is a multiple of; by default
        one of this process.
    """
    cheap = once and jax.default_backend() == "cpu"
    options = (("xla_backend_optimization_level", 0),) if cheap else ()
    mesh = mesh or jax.sharding.Mesh(jax.local_devices()[:1], ("models",))
    compiled = _compiled(mesh, options)
    return compiled(stack.spec, stack.params, jnp.asarray(stack.activation), points)


def probe_population(
    folder: pathlib.Path,
    population: Population,
    points: Points,
    settings: dict,
    between: Callable[[], None] = lambda: None,
) -> list[Probe]:
    """The statistics of every stack, numpy leaves, computed once and stored in `folder`.

    Args:
      settings: what the population and the points depend on, flat, for JSON.
      between: called between stacks, of which those before the last are stored; may raise.

    Raises:
      UserError: `folder` holds those of other settings, or a file in it cannot be read.
    """
    match_settings(folder, settings)
    paths = [folder / f"family_{index:03d}.npz" for index in range(len(population.stacks))]
    pairs = zip(paths, population.stacks, strict=True)
    missing = [(path, stack) for path, stack in pairs if not path.exists()]
    wait_for_all("missing probes")  # the same ones in every process
    mesh = models_mesh()

    def probing_of(stack: Stack) -> Callable[[], Probe]:
        return lambda: probe_stack(filled_up(stack, mesh.size), points, once=True, mesh=mesh)

    with contextlib.closing(in_advance(probing_of(stack) for _, stack in missing)) as probes:
        for (path, stack), probe in zip(missing, probes, strict=True):
            _save(path, probe, len(stack.activation))
            between()
    wait_for_all("probes")
    return [_load(path, stack) for path, stack in zip(paths, population.stacks, strict=True)]


def filled_up(stack: Stack, size: int) -> Stack:
    """The stack and, up to a multiple of `size` models, its first models again."""
    rows = np.arange(-(-len(stack.activation) // size) * size) % len(stack.activation)
    params = jax.tree.map(lambda leaf: leaf[rows], stack.params)
    return Stack(stack.spec, params, stack.activation[rows])


def _save(path: pathlib.Path, probe: Probe, count: int) -> None:
    """Writes the statistics of the first `count` models."""
    probe = jax.tree.map(lambda leaf: leaf[:count], to_host(probe))
    arrays = {
        f"{name}_{index}": leaf
        for name in ("node", "edge")
        for index, leaf in enumerate(getattr(probe, name))
    }
    write_npz(path, {"graph": probe.graph} | arrays)


def _load(path: pathlib.Path, stack: Stack) -> Probe:
    expected = f"the statistics of {len(stack.activation)} models; remove it"
    arrays = read_npz(path, expected)
    try:
        counts = {"node": len(stack.spec.widths), "edge": len(stack.spec.blocks)}
        leaves = {
            name: tuple(arrays[f"{name}_{index}"] for index in range(count))
            for name, count in counts.items()
        }
        if len(arrays["graph"]) != len(stack.activation):
            raise ValueError(f"{len(arrays['graph'])} models")
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: found {error!r}, expected {expected}") from error
    return Probe(graph=arrays["graph"], **leaves)
