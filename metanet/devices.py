"""Devices and processes: one mesh axis, `models`, over all there are."""

import collections
import concurrent.futures
import os
import pathlib
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from metanet.core import require

MAPPINGS = 25_000  # from which compiled programs are forgotten
_Result = TypeVar("_Result")


def device_name() -> str:
    """The number and kind of devices; of a CPU its model too, where the system tells."""
    devices, model = jax.devices(), ""
    info = pathlib.Path("/proc/cpuinfo")
    if devices[0].platform == "cpu" and info.exists():
        names = [s.partition(":")[2].strip() for s in info.read_text().splitlines()
                 if s.startswith("model name")]  # fmt: skip
        model = f" ({names[0]})" if names else ""
    return f"{len(devices)} x {devices[0].device_kind}{model}"


def models_mesh(batch: int | None = None) -> jax.sharding.Mesh:
    """One axis, `models`, on which the population and the editor's batch lie.

    Over all devices or, given the size of a batch, over the largest number of every process's
    devices that divides it.

    Raises:
      UserError: the batch cannot be divided among the processes.
    """
    processes = jax.process_count()
    size = jax.local_device_count()
    if batch is not None:
        fits = [n for n in range(1, size + 1) if batch % (n * processes) == 0]
        require(bool(fits), "batch_size", batch, f"a multiple of the {processes} processes")
        size = fits[-1]
    devices = [
        device
        for process in range(processes)
        for device in [d for d in jax.devices() if d.process_index == process][:size]
    ]
    return jax.sharding.Mesh(devices, ("models",))


def replicate(tree, mesh: jax.sharding.Mesh):
    """The tree on every device of the mesh; its values are the same in every process."""
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.jit(lambda tree: tree, out_shardings=everywhere)(tree)


def to_host(tree):
    """The tree with whole numpy leaves, in every process; all of them have to call this."""

    def one(leaf):
        elsewhere = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
        if elsewhere and not leaf.is_fully_replicated:
            return multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(leaf)

    return jax.tree.map(one, tree)


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process; all of them have to call this."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def wait_for_all(name: str) -> None:
    """Returns once every process is here: files that the first one wrote before can be read."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def forget_programs() -> None:
    """Drops compiled programs if they hold many of the memory mappings that a process may have.

    Thousands of CPU kernels use them up (`vm.max_map_count`, 65,530 by default), and LLVM ends the
    process.
    """
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MAPPINGS:
        jax.clear_caches()


def each_model(function: Callable) -> Callable:
    """jax.vmap(function), for functions that run networks.

    On CPU the models are taken one after another: the activations of one stay in the cache, those
    of a batch do not.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function)
    return lambda *args: jax.lax.map(lambda one: function(*one), args)


def compilers() -> int:
    """How many programs are to be compiled at a time.

    On CPU one, beside the program that runs. The cores of a GPU's host have nothing else to do;
    several devices have to start their programs in the same order.
    """
    one = jax.default_backend() == "cpu" or jax.device_count() > 1
    return 1 if one else len(os.sched_getaffinity(0))


def in_advance(calls: Iterable[Callable[[], _Result]]) -> Generator[_Result, None, None]:
    """The results of calls that compile a program each, and return before it has run, in order.

    The next `compilers()` calls are made before a result is given, at the same time.
    """
    threads = compilers()
    if threads == 1:
        made = collections.deque[_Result]()
        for call in calls:
            made.append(call())
            if len(made) > 1:
                yield made.popleft()
        yield from made
        return
    waiting = collections.deque[concurrent.futures.Future[_Result]]()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        try:
            for call in calls:
                waiting.append(pool.submit(call))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


def over_models(
    function: Callable, mesh: jax.sharding.Mesh, in_specs: Any, out_specs: Any
) -> Callable:
    """`function` run on every device's part of the `models` axis.

    Values without that axis (`PartitionSpec()`) are replicated; reductions over it are written out
    in `function` (`jax.lax.psum(..., "models")`).

    Args:
      in_specs, out_specs: trees of PartitionSpec, prefixes of the arguments and results.
    """
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )
