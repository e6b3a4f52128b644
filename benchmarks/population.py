"""Training a population: wall time per model-step, ours and PyTorch's.

python -m benchmarks.population

A model-step is one step of AdamW of one target MLP on a batch of 128 rows, on data of the shape of
UCI Adult; random values, on which the speed does not depend.
"""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.sharding import PartitionSpec as P
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.alternate import Case, measure
from benchmarks.harness import Comparison, report
from benchmarks.torch_mlp import DEVICE, MLP, finish, places
from metanet.core import stream
from metanet.data.tabular import Table
from metanet.devices import models_mesh, over_models
from metanet.mlp.network import init
from metanet.mlp.sampling import Family, PopulationConfig, sample_members
from metanet.mlp.spec import MLPSpec
from metanet.mlp.trainer import member_arrays, program

SPECS = {
    "14-32-64-2": MLPSpec((14, 32, 64, 2)),
    "14-32-32-32-2 with batch norm and a skip": MLPSpec((14, 32, 32, 32, 2), ((0, 2),), "batch"),
}
ROWS, BATCH, DROPOUT = 30_000, 128, 0.1
EPOCH = ROWS // BATCH  # steps
# Accuracies are computed once per training: as often per step as in an experiment of 60 epochs.
SELECT_ROWS = 5_000 // 60  # per epoch


def table(rows: int, features: int = 14) -> Table:
    """`rows` random rows with two classes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, features)).astype(np.float32)
    y = rng.integers(2, size=rows).astype(np.int32)
    return Table(x, y, np.zeros_like(y), np.ones(rows, np.float32), n_groups=1)


def metanet(spec: MLPSpec, members: int, epochs: int):
    """`train_family`, compiled once."""
    config = PopulationConfig(members, max_specs=1, epochs=epochs, dropouts=(DROPOUT,))
    (drawn,) = sample_members(0, config, n_families=1)
    arrays = member_arrays(drawn, 0)
    train, select = jax.tree.map(jnp.asarray, (table(ROWS), table(SELECT_ROWS * epochs)))
    training = program(Family(spec, BATCH), epochs)

    def run():
        jax.block_until_ready(training(arrays, stream(0, "member order"), train, select))
        return members * epochs * EPOCH

    return run


def products(spec: MLPSpec, members: int, steps: int):
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

        return jax.lax.scan(step, weights, length=steps)[0]

    training = jax.jit(over_models(train, models_mesh(), (P("models"), P()), P("models")))
    x = jnp.asarray(table(BATCH).x)

    def run():
        jax.block_until_ready(training(weights, x))
        return members * steps

    return run


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    """x [rows, features] and y [rows] of the training data."""
    data = table(ROWS)
    return torch.from_numpy(data.x).to(DEVICE), torch.from_numpy(data.y).long().to(DEVICE)


def loop(spec: MLPSpec, tuned: bool):
    """One model after the other, the usual way; `tuned`: without DataLoader, with fused AdamW."""
    x, y = tensors()
    batches = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True, drop_last=True)
    model = MLP(spec, dropout=DROPOUT).to(DEVICE)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=tuned or None)
    criterion = torch.nn.CrossEntropyLoss()

    def gathered():
        order = torch.randperm(ROWS, device=DEVICE)[: EPOCH * BATCH]
        return ((x[rows], y[rows]) for rows in order.reshape(EPOCH, BATCH))

    def run():
        for x_batch, y_batch in gathered() if tuned else batches:
            optimiser.zero_grad()
            criterion(model(x_batch), y_batch).backward()
            optimiser.step()
        finish()
        return EPOCH

    return run


def ensemble(spec: MLPSpec, members: int, steps: int, compiled: bool):
    """All members together by torch.func, on shared batches; relu and one learning rate for all."""
    x, y = tensors()
    models = [MLP(spec, dropout=DROPOUT, running=False).to(DEVICE) for _ in range(members)]
    params = {k: leaf.detach() for k, leaf in stack_module_state(models)[0].items()}
    optimiser = torch.optim.AdamW(params.values(), lr=1e-3, fused=True)

    def loss(params, x, y):
        return F.cross_entropy(functional_call(models[0], params, (x,)), y)

    gradients = vmap(grad(loss), in_dims=(0, None, None), randomness="different")
    if compiled:
        gradients = torch.compile(gradients)

    def run():
        order = torch.randperm(ROWS, device=DEVICE)[: steps * BATCH]
        for rows in order.reshape(steps, BATCH):
            for name, gradient in gradients(params, x[rows], y[rows]).items():
                params[name].grad = gradient
            optimiser.step()
        finish()
        return members * steps

    return run


def cases(spec: MLPSpec) -> list[Case]:
    """Every alternative at every place."""
    found = []
    for place, cores in places().items():
        members = 16 * cores if DEVICE.type == "cpu" else 1024
        together = {"spec": spec, "members": members}
        wanted = {
            "metanet": (metanet, together | {"epochs": 2}),
            "PyTorch loop": (loop, {"spec": spec, "tuned": False}),
            "PyTorch loop, tuned": (loop, {"spec": spec, "tuned": True}),
            "torch.func ensemble": (ensemble, together | {"steps": 50, "compiled": False}),
            "torch.func ensemble, compiled": (ensemble, together | {"steps": 50, "compiled": True}),
            "matrix products alone": (products, together | {"steps": 500}),
        }
        if not shutil.which("g++"):
            del wanted["torch.func ensemble, compiled"]
        found += [Case(f"{name}, {place}", *case, cores) for name, case in wanted.items()]
    return found


def main() -> None:
    comparisons = []
    first, *_, last = [*places(), *places()]
    for title, spec in SPECS.items():
        seconds = measure(cases(spec))
        floors = tuple((f"metanet, {p}", f"matrix products alone, {p}") for p in places())
        ours = f"metanet, {first}"
        comparisons.append(
            Comparison(f"Training MLPs {title}", "model-step", seconds, ours, floors)
        )
        if last != first:
            kept = {f"metanet, {last}"} | {k for k in seconds if k.startswith("PyTorch loop")}
            all_cores = {name: values for name, values in seconds.items() if name in kept}
            comparisons.append(
                Comparison(
                    f"Training MLPs {title}: one process of each",
                    "model-step",
                    all_cores,
                    f"metanet, {last}",
                )
            )
    report("population", comparisons, {"rows": ROWS, "batch": BATCH, "dropout": DROPOUT})


if __name__ == "__main__":
    main()
