"""The parts of the GPU tables. Each yields tables as they come, and ends when its time is over.

A part is a generator of tables, called with (sizes, folder for its files, left), where left() is
how many seconds it has left.
"""

import dataclasses
import multiprocessing
import os
import pathlib
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np

from benchmarks import edit, editor, population, quality, scaling
from benchmarks.alternate import Case
from benchmarks.gpu.sizes import Sizes
from benchmarks.harness import installed
from metanet.core import Stopped
from metanet.pipeline import ExperimentConfig, build_testbed

Left = Callable[[], float]
UNWINDING = 30  # seconds until programs that are compiling are compiled, and nothing is left over


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of results: columns' names, and rows of text and numbers."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple]


def edits(sizes: Sizes, folder: pathlib.Path, left: Left) -> Iterator[Table]:
    """One edit, from parameters in memory to edited parameters, and batches."""
    call = edit.ours(1)
    call()
    seconds = np.array(_repeated(call, sizes.calls, left))
    middle, last = (float(np.percentile(seconds, q)) * 1e3 for q in (50, 99))
    columns = ("calls", "p50, ms", "p99, ms", "fastest, ms")
    row = (len(seconds), _rounded(middle), _rounded(last), _rounded(seconds.min() * 1e3))
    yield Table("One edit", columns, [row])
    cases = [Case(f"{count} models", edit.ours, {"count": count}) for count in sizes.batches]
    yield _timed("Edits of a batch", "model", cases, sizes.repeats, left)


def editors(sizes: Sizes, folder: pathlib.Path, left: Left) -> Iterator[Table]:
    """Steps of training the editor with its objective, then its network alone."""
    few = dataclasses.replace(sizes.experiment.population, max_specs=8)
    experiment = dataclasses.replace(sizes.experiment, population=few)
    config = scaling.ScalingConfig(experiment, steps=sizes.steps)
    cases = [
        Case(f"batch of {total}", scaling.editor, {"config": config, "total": total})
        for total in sizes.editor_batches
    ]
    yield _timed("Training step of the editor", "edit", cases, sizes.repeats, left)
    for name, size in sizes.networks.items():
        for train, kind in ((True, "training"), (False, "inference")):
            options = {"size": size, "train": train, "inner": sizes.inner}
            cases = [
                Case("metanet", editor.ours, options),
                Case("matrix products", editor.products, options),
            ]
            title = f"The editor's network, {name}, batch of {editor.BATCH}, {kind}"
            yield _timed(title, "graph", cases, sizes.repeats, left)


def populations(sizes: Sizes, folder: pathlib.Path, left: Left) -> Iterator[Table]:
    """Steps of training target MLPs together."""
    for title, spec in population.SPECS.items():
        options = [
            {"sizes": sizes.training, "spec": spec, "members": members} for members in sizes.members
        ]
        ours = [Case(f"metanet, {o['members']} MLPs", population.metanet, o) for o in options]
        last = options[-1]
        floor = Case(f"matrix products alone, {last['members']} MLPs", population.products, last)
        title = f"Training MLPs {title}"
        yield _timed(title, "model-step", [*ours, floor], sizes.repeats, left)


def experiments(sizes: Sizes, folder: pathlib.Path, left: Left) -> Iterator[Table]:
    """A whole population on disk, compilation included."""
    yield _population(sizes.experiment, folder / "whole", left)


def _population(experiment: ExperimentConfig, folder: pathlib.Path, left: Left) -> Table:
    config, start, ends = experiment.population, time.perf_counter(), []

    def should_stop() -> bool:
        if left() > UNWINDING:
            return False
        ends.append(time.perf_counter())
        return True

    try:
        build_testbed(experiment, folder, should_stop=should_stop)
        stored = config.experiments
    except Stopped:
        families = (folder / "population").glob("family_*.npz")
        stored = sum(len(np.load(path)["member_experiment"]) for path in families)
    seconds = min([*ends, time.perf_counter()]) - start
    columns = ("experiments", "of", "epochs", "seconds", "experiments per second")
    row = (stored, config.experiments, config.epochs, round(seconds, 1),
           _rounded(stored / seconds))  # fmt: skip
    return Table(f"Population on {experiment.dataset}", columns, [row])


def hypervolumes(sizes: Sizes, folder: pathlib.Path, left: Left) -> Iterator[Table]:
    """Trainings of the editor, longer and longer, until one reaches the last target."""
    experiment, home = sizes.experiment, folder / "whole"
    done = len(list((home / "population").glob("family_*.npz")))
    if done < min(experiment.population.max_specs, experiment.population.experiments):
        home = folder / "fallback"
        experiment = dataclasses.replace(experiment, population=sizes.fallback)
        yield _population(experiment, home, left)
    testbed, rows = build_testbed(experiment, home), []
    (plan,) = experiment.editors.values()
    title = f"Editor on {experiment.population.experiments} experiments: trainings"
    columns = ("batch", "steps", "seconds", "validation hypervolume")
    for batch_size, steps in sizes.trainings:
        training = dataclasses.replace(plan.training, batch_size=batch_size, steps=steps)
        editors = {"GMN": dataclasses.replace(plan, training=training)}
        one = dataclasses.replace(experiment, editors=editors)
        try:
            testbed = dataclasses.replace(testbed, experiment=one)
            seconds, volume = quality.measure(testbed, lambda: left() <= 0)
        except Stopped:
            break
        rows.append((batch_size, steps, round(seconds, 1), round(volume, 4)))
        yield Table(title, columns, rows)
        if volume >= sizes.targets[-1]:
            break
    reached = [
        (target, min((row[2] for row in rows if row[3] >= target), default="not reached"))
        for target in sizes.targets
    ]
    yield Table("Seconds of the fastest training to a hypervolume", ("target", "seconds"), reached)


def pytorch(sizes: Sizes, folder: pathlib.Path, left: Left) -> Iterator[Table]:
    """PyTorch on the same work, in a process of its own, which has the GPU for itself."""
    if not installed("torch"):
        raise ModuleNotFoundError("no module named torch")
    before, backend = os.environ.get("JAX_PLATFORMS"), jax.default_backend()
    os.environ["JAX_PLATFORMS"] = "cpu"  # of the new process
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            for job in _pytorch_jobs(sizes):
                arguments = (*job, sizes.repeats, backend)
                yield pool.apply_async(_pytorch, arguments).get(max(left(), 0.0))
    except multiprocessing.TimeoutError:
        return
    finally:
        del os.environ["JAX_PLATFORMS"]
        if before is not None:
            os.environ["JAX_PLATFORMS"] = before


def _pytorch_jobs(sizes: Sizes) -> Iterator[tuple[str, str, list[Case]]]:
    """(title, unit, cases) of every table."""
    from benchmarks.torch_population import ensemble, loop

    for title, spec in population.SPECS.items():
        one = {"sizes": sizes.training, "spec": spec}
        cases = [Case("PyTorch loop, tuned", loop, one | {"tuned": True})]
        for members in sizes.members[:2]:
            together = one | {"members": members, "compiled": False}
            cases.append(Case(f"torch.func ensemble, {members} MLPs", ensemble, together))
        yield f"Training MLPs {title}: PyTorch", "model-step", cases
    if installed("torch_geometric"):
        for name, size in sizes.networks.items():
            for train, kind in ((True, "training"), (False, "inference")):
                options = {"size": size, "train": train, "inner": sizes.inner}
                cases = [Case("PyTorch, reference", editor.theirs, options | editor.REFERENCE)]
                yield f"The editor's network, {name}, {kind}: PyTorch", "graph", cases


def _pytorch(title: str, unit: str, cases: list[Case], repeats: int, backend: str) -> Table:
    from benchmarks.torch_mlp import DEVICE

    if backend == "gpu" and DEVICE.type != "cuda":
        raise RuntimeError(f"PyTorch: found {DEVICE}, expected a GPU")
    return _timed(title, unit, cases, repeats, lambda: float("inf"))


def _timed(title: str, unit: str, cases: list[Case], repeats: int, left: Left) -> Table:
    """Seconds per unit of cases in this process, warm; those without time are left out."""
    rows = []
    for case in cases:
        if left() <= 0:
            rows.append((case.name, "no time left", "", "", ""))
            continue
        start = time.perf_counter()
        call = case.build(**case.options)
        call()
        first = time.perf_counter() - start
        seconds = np.array(_repeated(call, repeats, left)) * 1e6
        spread = (_rounded(value) for value in (np.median(seconds), seconds.min(), seconds.max()))
        rows.append((case.name, *spread, round(first, 1)))
    columns = ("case", f"µs per {unit}: median", "least", "most", "build and first call, s")
    return Table(title, columns, rows)


def _repeated(call: Callable[[], float], repeats: int, left: Left) -> list[float]:
    """Seconds per unit of up to so many calls, of at least one."""
    seconds = []
    while not seconds or (len(seconds) < repeats and left() > 0):
        start = time.perf_counter()
        units = call()
        seconds.append((time.perf_counter() - start) / units)
    return seconds


def _rounded(value: float) -> float:
    """To three digits."""
    return float(f"{value:.3g}")


# In this order, with the seconds of each; what one leaves over is the next one's. Cases
# compile for 7 to 40 s.
PARTS = {
    "edits": (edits, 60),
    "editors": (editors, 160),
    "populations": (populations, 70),
    "experiments": (experiments, 80),
    "hypervolumes": (hypervolumes, 115),
    "pytorch": (pytorch, 40),
}
