"""Times alternatives beside each other: alternated repeats, each case in a process of its own."""

import dataclasses
import importlib.util
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence

import numpy as np

REPEATS = 5


@dataclasses.dataclass(frozen=True)
class Case:
    """One alternative.

    Attributes:
      build: a module-level function, called with `options` in the case's own process; returns what
        is timed, a function that finishes all its work and returns the number of units it did.
      cores: how many cores or GPUs the process may use; JAX sees as many devices, PyTorch as many
        threads.
    """

    name: str
    build: Callable[..., Callable[[], float]]
    options: dict = dataclasses.field(default_factory=dict)
    cores: int = 1


def _serve(case: Case, cores: Sequence[int], connection) -> None:
    os.sched_setaffinity(0, cores)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, range(case.cores)))
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # several processes share a GPU
    import jax

    jax.config.update("jax_num_cpu_devices", len(cores))
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(len(cores))
    run = case.build(**case.options)
    run()
    connection.send(jax.devices()[0].device_kind)
    while connection.recv():
        start = time.perf_counter()
        units = run()
        connection.send((time.perf_counter() - start) / units)


def _devices() -> tuple[int, str]:
    import jax

    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    return jax.device_count(), jax.default_backend()


def devices() -> tuple[int, str]:
    """(how many devices JAX has here, "cpu", "gpu" or "tpu"); asked in another process, so that
    this one holds none.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_devices)


def places() -> dict[str, int]:
    """Where cases are measured, by name, and with how many cores: on one and all, or on the GPU."""
    cores = len(os.sched_getaffinity(0))
    if devices()[1] == "gpu":
        return {"GPU": cores}
    return {"1 core" if n == 1 else f"{n} cores": n for n in sorted({1, cores})}


def measure(cases: Sequence[Case], repeats: int = REPEATS) -> dict[str, np.ndarray]:
    """Seconds per unit of every case, {name: [repeats]}, warm; the cases take turns."""
    spawn, allowed = multiprocessing.get_context("spawn"), sorted(os.sched_getaffinity(0))
    pipes = {}
    for case in cases:
        ours, theirs = spawn.Pipe()
        cores = allowed[: case.cores]
        spawn.Process(target=_serve, args=(case, cores, theirs), daemon=True).start()
        theirs.close()
        ours.recv()  # built and warmed up, before the next one starts
        pipes[case.name] = ours
    seconds = {case.name: [] for case in cases}
    for _ in range(repeats):
        for name, pipe in pipes.items():
            pipe.send(True)
            seconds[name].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    return {name: np.array(values) for name, values in seconds.items()}
