"""Training a population: wall time per model-step, ours and PyTorch's.

python -m benchmarks.population

A model-step is one step of AdamW of one target MLP on a batch of 128 rows, on data of the shape of
UCI Adult; random values, on which the speed does not depend.
"""

import dataclasses
import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from benchmarks.alternate import Case, measure, places
from benchmarks.harness import Comparison, installed, report
from metanet.core import stream
from metanet.data.tabular import Table
from metanet.devices import models_mesh, over_models
from metanet.mlp.network import init
from metanet.mlp.sampling import Family, PopulationConfig, sample_members, select
from metanet.mlp.spec import MLPSpec
from metanet.mlp.trainer import member_arrays, program

SPECS = {
    "14-32-64-2": MLPSpec((14, 32, 64, 2)),
    "14-32-32-32-2 with batch norm and a skip": MLPSpec((14, 32, 32, 32, 2), ((0, 2),), "batch"),
}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is timed.

    Attributes:
      rows: of the training data;  batch: rows of a step;  dropout: the rate.
      select_rows: whose accuracies are computed once per training, per epoch: as often per step as
        in an experiment of 60 epochs.
      members: trained together, per core;  members_on_gpu: on a GPU.
      epochs: of ours per call;  steps: of the ensembles per call;  products: of matrix products.
    """

    rows: int = 30_000
    batch: int = 128
    dropout: float = 0.1
    select_rows: int = 5_000 // 60
    members: int = 16
    members_on_gpu: int = 1024
    epochs: int = 2
    steps: int = 50
    products: int = 500

    @property
    def epoch(self) -> int:
        """Steps of an epoch."""
        return self.rows // self.batch


def table(rows: int, features: int = 14) -> Table:
    """`rows` random rows with two classes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, features)).astype(np.float32)
    y = rng.integers(2, size=rows).astype(np.int32)
    return Table(x, y, np.zeros_like(y), np.ones(rows, np.float32), n_groups=1)


def draw_members(config: PopulationConfig, count: int, seed: int) -> dict[str, jax.Array]:
    """What `program` takes of `count` members of one family."""
    # A population has members in each of its three parts, which do not matter here.
    drawn = dataclasses.replace(config, experiments=max(count, 3), split=(1 / 3, 1 / 3, 1 / 3))
    (members,) = sample_members(seed, drawn, n_families=1)
    return member_arrays(select(members, slice(count)), seed)


def metanet(sizes: Sizes, spec: MLPSpec, members: int):
    """`train_family`, compiled once."""
    epochs = sizes.epochs
    config = PopulationConfig(max_specs=1, epochs=epochs, dropouts=(sizes.dropout,))
    arrays = draw_members(config, members, seed=0)
    tables = table(sizes.rows), table(sizes.select_rows * epochs)
    train, selection = jax.tree.map(jnp.asarray, tables)
    training = program(Family(spec, sizes.batch), epochs)

    def run():
        jax.block_until_ready(training(arrays, stream(0, "member order"), train, selection))
        return members * epochs * sizes.epoch

    return run


def products(sizes: Sizes, spec: MLPSpec, members: int):
    """The matrix products of a model-step and little else: steps of a linear network.

    Every block has x W and x' dy, and every block that does not start at the inputs dy W'.
    """
    keys = jax.random.split(jax.random.key(0), members)
    weights = jax.vmap(lambda key: init(spec, key).weights)(keys)

    def loss(weights, x):
        outputs = [x]
        for layer in range(1, spec.n_layers + 1):
            blocks = zip(spec.blocks, weights, strict=True)
            parts = [outputs[s] @ weight for (s, target), weight in blocks if target == layer]
            outputs.append(functools.reduce(jnp.add, parts))
        return 0.5 * (outputs[-1] ** 2).sum()  # its gradient is the outputs themselves

    def train(weights, x):
        def step(weights, _):
            gradient = jax.vmap(jax.grad(loss), in_axes=(0, None))(weights, x)
            # Uses all products, or XLA would drop them; the weights stay as they are.
            return jax.tree.map(lambda w, g: w - 1e-12 * g, weights, gradient), None

        return jax.lax.scan(step, weights, length=sizes.products)[0]

    training = jax.jit(over_models(train, models_mesh(), (P("models"), P()), P("models")))
    x = jnp.asarray(table(sizes.batch).x)

    def run():
        jax.block_until_ready(training(weights, x))
        return members * sizes.products

    return run


def cases(sizes: Sizes, spec: MLPSpec, where: dict[str, int]) -> list[Case]:
    """Every alternative at every place; PyTorch's where it is installed."""
    found = []
    for place, cores in where.items():
        members = sizes.members_on_gpu if place == "GPU" else sizes.members * cores
        one = {"sizes": sizes, "spec": spec}
        together = one | {"members": members}
        wanted = {"metanet": (metanet, together)}
        if installed("torch"):
            from benchmarks.torch_population import ensemble, loop

            wanted |= {
                "PyTorch loop": (loop, one | {"tuned": False}),
                "PyTorch loop, tuned": (loop, one | {"tuned": True}),
                "torch.func ensemble": (ensemble, together | {"compiled": False}),
            }
            if shutil.which("g++"):
                name = "torch.func ensemble, compiled"
                wanted[name] = (ensemble, together | {"compiled": True})
        wanted["matrix products alone"] = (products, together)
        found += [Case(f"{name}, {place}", *case, cores) for name, case in wanted.items()]
    return found


def main(sizes: Sizes = Sizes()) -> None:
    comparisons, where = [], places()
    first, *_, last = [*where, *where]
    for title, spec in SPECS.items():
        seconds = measure(cases(sizes, spec, where))
        floors = tuple((f"metanet, {p}", f"matrix products alone, {p}") for p in where)
        title, ours = f"Training MLPs {title}", f"metanet, {first}"
        comparisons.append(Comparison(title, "model-step", seconds, ours, floors))
        if last != first:
            ours = f"metanet, {last}"
            kept = {ours} | {k for k in seconds if k.startswith("PyTorch loop")}
            seconds = {name: values for name, values in seconds.items() if name in kept}
            title = f"{title}: one process of each"
            comparisons.append(Comparison(title, "model-step", seconds, ours))
    report("population", comparisons, dataclasses.asdict(sizes))


if __name__ == "__main__":
    main()
