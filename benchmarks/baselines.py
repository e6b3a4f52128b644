"""Baselines that train every model: wall time per model, ours and PyTorch's.

python -m benchmarks.baselines

"FS & Retrain" and "Lottery Ticket" at one setting each, as experiments.methods configures them, on
random models and a table of the shape of UCI Adult's `edit` split; speed does not depend on values.
"""

import copy
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import torch
from metanet.baselines import data_minimisation, pruning
from torch.nn import functional as F

from benchmarks.alternate import Case, measure
from benchmarks.harness import Comparison, report
from benchmarks.torch_mlp import DEVICE, MLP, finish, places
from configs import dm as dm_config
from configs import pruning as pruning_config
from metanet.data.tabular import Table
from metanet.graphs.batch import gather
from metanet.graphs.packing import pack
from metanet.graphs.topology import Template
from metanet.methods.retrain import RetrainConfig
from metanet.mlp.network import ACTIVATIONS, init
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec

SPECS = (
    MLPSpec((14, 32, 2)),
    MLPSpec((14, 16, 32, 2), norm="layer"),
    MLPSpec((14, 16, 32, 32, 2), ((0, 2),)),
    MLPSpec((14, 8, 16, 32, 32, 2), ((1, 3),), "layer"),
)
ROWS, PER_SPEC = 4884, 4
FEATURES_KEPT, WEIGHTS_KEPT = 7, 0.5  # the middle of the settings that are swept
RETRAIN = RetrainConfig(**dm_config.get_config().evaluation.retrain)
LOTTERY = RetrainConfig(**pruning_config.get_config().evaluation.lottery)
ROUNDS = pruning_config.get_config().evaluation.lottery_rounds


def table() -> tuple[Table, np.ndarray]:
    """Random rows, and the features' importance [features]."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, 14)).astype(np.float32)
    y = rng.integers(2, size=ROWS).astype(np.int32)
    importance = rng.random(14).astype(np.float32)
    return Table(x, y, np.zeros_like(y), np.ones(ROWS, np.float32), n_groups=1), importance


def edits(recipe, context, setting: float, specs: tuple[MLPSpec, ...]):
    """A call that edits PER_SPEC random models of each spec in one program; returns how many."""
    keys = jax.random.split(jax.random.key(0), (len(specs), PER_SPEC))
    activation = np.arange(PER_SPEC) % len(ACTIVATIONS)
    models = pack([
        Stack(spec, jax.vmap(functools.partial(init, spec))(key), activation)
        for spec, key in zip(specs, keys, strict=True)
    ])  # fmt: skip
    sizes = (models.topologies.n_nodes, models.topologies.n_edges)
    budget = tuple(int(size[models.spec].sum()) for size in sizes)
    method = recipe(models.template)

    @jax.jit
    def edited(models, context, setting, keys):
        graph = gather(models, jnp.arange(keys.size), jnp.zeros((keys.size, 1)), budget)
        after = method(context, graph, keys)(setting).after
        return after.weight.sum((1, 2)), after.bias.sum(1)

    arguments = (models, jax.tree.map(jnp.asarray, context), setting, keys.reshape(-1))

    def run():
        jax.block_until_ready(edited(*arguments))
        return keys.size

    return run


def ours_retrain():
    """The models of every depth in that depth's template, as in experiments."""
    data, importance = table()

    def recipe(template: Template):
        return data_minimisation.selection_retrained_fn(template, "global", RETRAIN, "fresh")

    runs = [edits(recipe, (importance, data), FEATURES_KEPT, (spec,)) for spec in SPECS]
    return lambda: sum(run() for run in runs)


def ours_lottery():
    """The models of all depths in the common template, as in experiments."""

    def recipe(template: Template):
        return pruning.lottery_ticket_fn(template, ROUNDS, LOTTERY)

    return edits(recipe, table()[0], WEIGHTS_KEPT, SPECS)


def js_divergence(logits: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean JS divergence in nats of two softmax distributions [rows, classes]."""
    log_p, log_q = F.log_softmax(logits, -1), F.log_softmax(teacher, -1)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2.0)
    return 0.5 * (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)).sum(-1).mean()


def train(
    model: MLP, keep: list[torch.Tensor], x: torch.Tensor, target: torch.Tensor, loss, config
) -> None:
    """`retrain` in place: the kept weights (`keep`, a mask per block) and all other parameters."""
    weights = [block.weight for block in model.blocks]
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    with torch.no_grad():
        torch._foreach_mul_(weights, keep)
    for step in range(config.steps):
        decay = 0.5 * (1.0 + math.cos(math.pi * step / config.steps))
        optimiser.param_groups[0]["lr"] = config.learning_rate * decay
        rows = torch.randint(len(x), (config.batch_size,), device=DEVICE)
        optimiser.zero_grad()
        loss(model(x[rows]), target[rows]).backward()
        optimiser.step()
        with torch.no_grad():
            torch._foreach_mul_(weights, keep)


def fresh_student(original: MLP, x: torch.Tensor, y: torch.Tensor, importance: torch.Tensor):
    """FS & Retrain: a fresh student on the most important features, distilled from the original."""
    keep = [torch.ones_like(block.weight) for block in original.blocks]
    dropped = importance.argsort(descending=True)[FEATURES_KEPT:]
    for (source, _), mask in zip(original.spec.blocks, keep, strict=True):
        if source == 0:
            mask[:, dropped] = 0.0
    student = copy.deepcopy(original)
    for module in (*student.blocks, *student.norms):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    with torch.no_grad():
        teacher = original(x)
    train(student, keep, x, teacher, js_divergence, RETRAIN)


def ticket(original: MLP, x: torch.Tensor, y: torch.Tensor, importance: torch.Tensor):
    """Lottery Ticket: rounds of training, pruning by magnitude and rewinding to the original."""
    keep = [torch.ones_like(block.weight) for block in original.blocks]
    sizes = [mask.numel() for mask in keep]
    for number in range(1, ROUNDS + 1):
        model = copy.deepcopy(original)
        train(model, keep, x, y, F.cross_entropy, LOTTERY)
        magnitude = torch.cat([block.weight.detach().abs().flatten() for block in model.blocks])
        count = round(WEIGHTS_KEPT ** (number / ROUNDS) * sum(sizes))
        kept = torch.zeros_like(magnitude)
        kept[magnitude.argsort(descending=True)[:count]] = 1.0
        keep = [part.view_as(m) for part, m in zip(kept.split(sizes), keep, strict=True)]
    ticket = copy.deepcopy(original)
    with torch.no_grad():
        torch._foreach_mul_([block.weight for block in ticket.blocks], keep)


def one_by_one(edit):
    """`edit` on one random model of every spec, one after the other."""
    data, importance = table()
    arrays = (data.x, data.y.astype(np.int64), importance)
    tensors = [torch.from_numpy(array).to(DEVICE) for array in arrays]
    models = [MLP(spec, number).to(DEVICE) for number, spec in enumerate(SPECS)]

    def run():
        for model in models:
            edit(model, *tensors)
        finish()
        return len(models)

    return run


def main() -> None:
    place, cores = next(iter(places().items()))
    comparisons = []
    for title, ours, edit in (
        ("FS & Retrain", ours_retrain, fresh_student),
        ("Lottery Ticket", ours_lottery, ticket),
    ):
        names = [
            f"metanet, {PER_SPEC * len(SPECS)} models, {place}",
            f"PyTorch, one by one, {place}",
        ]
        cases = [
            Case(names[0], ours, cores=cores),
            Case(names[1], one_by_one, {"edit": edit}, cores),
        ]
        comparisons.append(Comparison(title, "model", measure(cases), names[0]))
    report("baselines", comparisons, {"rows": ROWS, "specs": [repr(spec) for spec in SPECS]})


if __name__ == "__main__":
    main()
