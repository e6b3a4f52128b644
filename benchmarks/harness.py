"""Times alternatives beside each other: alternated repeats, each case in a process of its own."""

import dataclasses
import importlib.util
import multiprocessing
import os
import pathlib
import time
from collections.abc import Callable, Sequence

import numpy as np

from metanet.core import device_name, versions, write_json

RESULTS = pathlib.Path("results/benchmarks")
REPEATS = 5
PACKAGES = ("jax", "jaxlib", "flax", "torch", "torch-geometric", "numpy")


@dataclasses.dataclass(frozen=True)
class Case:
    """One alternative.

    Attributes:
      build: a module-level function, called with `options` in the case's own process; returns what
        is timed, a function that finishes all its work and returns the number of units it did.
      cores: how many cores the process may use; JAX sees as many host devices, PyTorch as many
        threads.
    """

    name: str
    build: Callable[..., Callable[[], float]]
    options: dict = dataclasses.field(default_factory=dict)
    cores: int = 1


def _serve(case: Case, cores: Sequence[int], connection) -> None:
    os.sched_setaffinity(0, cores)
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


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One table: seconds per unit of cases that were measured together.

    Attributes:
      unit: what a unit is, for example "model-step".
      ours: the case that the others' ratios are to.
      floors: (case of ours, the case that does its matrix products alone) where one was measured.
    """

    title: str
    unit: str
    seconds: dict[str, np.ndarray]
    ours: str
    floors: tuple[tuple[str, str], ...] = ()

    def rows(self) -> list[dict]:
        """Median, minimum and maximum of every case, and of its ratio to ours, repeat by repeat."""
        rows = []
        for name, seconds in self.seconds.items():
            ratio = seconds / self.seconds[self.ours]
            row = {"case": name}
            for key, values in (("seconds", seconds), ("ratio", ratio)):
                spread = np.median(values), values.min(), values.max()
                row[key] = dict(zip(("median", "min", "max"), map(float, spread), strict=True))
            rows.append(row)
        return rows


def _digits(value: float) -> str:
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


def markdown(comparison: Comparison) -> str:
    """The comparison as a Markdown table in a readable unit of time."""
    medians = [np.median(values) for values in comparison.seconds.values()]
    scale, prefix = next(
        (scale, prefix)
        for scale, prefix in ((1.0, "s"), (1e3, "ms"), (1e6, "µs"))
        if min(medians) * scale >= 1 or prefix == "µs"
    )
    lines = [
        f"### {comparison.title}",
        "",
        f"| case | {prefix} per {comparison.unit}: median (min to max) | times ours |",
        "|---|---|---|",
    ]
    for row in comparison.rows():
        time_, ratio = row["seconds"], row["ratio"]
        middle, low, high = (_digits(time_[key] * scale) for key in ("median", "min", "max"))
        spread = "{} ({} to {})".format(*(_digits(ratio[key]) for key in ("median", "min", "max")))
        ours = row["case"] == comparison.ours
        lines.append(f"| {row['case']} | {middle} ({low} to {high}) | {'1' if ours else spread} |")
    for case, floor in comparison.floors:
        distance = np.median(comparison.seconds[case] / comparison.seconds[floor])
        lines += ["", f"{case}: {_digits(distance)} times its floor, {floor}."]
    return "\n".join(lines) + "\n"


def report(name: str, comparisons: Sequence[Comparison], extra: dict | None = None) -> None:
    """Prints the tables and writes results/benchmarks/NAME.json."""
    about = {"device": device_name(), "versions": versions(PACKAGES)}
    for comparison in comparisons:
        print(markdown(comparison), flush=True)
    print(f"{about['device']}; " + ", ".join(f"{k} {v}" for k, v in about["versions"].items()))
    tables = [
        {"title": one.title, "unit": one.unit, "ours": one.ours, "rows": one.rows(),
         "floors": [list(pair) for pair in one.floors]}
        for one in comparisons
    ]  # fmt: skip
    write_json(RESULTS / f"{name}.json", {**about, "tables": tables, **(extra or {})})
