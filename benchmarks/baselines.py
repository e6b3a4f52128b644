"""Baselines that train every model: wall time per model, ours and PyTorch's.

python -m benchmarks.baselines

"FS & Retrain" and "Lottery Ticket" at one setting each, trained as in configs/dm.py and
configs/pruning.py, on random models and a table of the shape of UCI Adult's `edit` split; speed
does not depend on values.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.alternate import Case, measure, places
from benchmarks.harness import Comparison, installed, report
from benchmarks.population import table
from configs import dm, pruning
from metanet.graphs.batch import gather
from metanet.graphs.packing import pack
from metanet.graphs.topology import Template
from metanet.methods.data_minimisation import (
    Knowledge,
    selection_fn,
    selection_retrained_fn,
)
from metanet.methods.lottery import lottery_ticket_fn
from metanet.methods.retrain import RetrainConfig, retraining
from metanet.mlp.network import ACTIVATIONS, init
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec

SPECS = (
    MLPSpec((14, 32, 2)),
    MLPSpec((14, 16, 32, 2), norm="layer"),
    MLPSpec((14, 16, 32, 32, 2), ((0, 2),)),
    MLPSpec((14, 8, 16, 32, 32, 2), ((1, 3),), "layer"),
)
_STUDENT = dm.get_config().recipes["FS & Retrain"]
_TICKET = pruning.get_config().recipes["Lottery Ticket"]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is timed.

    Attributes:
      rows: of the table;  per_spec: models of ours per spec, of which PyTorch edits one.
      features_kept, weights_kept: the middle of the settings that are swept.
      student, ticket: the training in FS & Retrain, and in every round of Lottery Ticket.
      kept, rounds: the fraction of its weights that a round keeps, and how many reach
        `weights_kept`.
    """

    rows: int = 4884
    per_spec: int = 4
    features_kept: int = 7
    weights_kept: float = 0.5
    student: RetrainConfig = RetrainConfig(**_STUDENT.retrain)
    ticket: RetrainConfig = RetrainConfig(**_TICKET.retrain)
    kept: float = 0.8
    rounds: int = 4


def importance() -> np.ndarray:
    """A random importance of the features, [features]."""
    return np.random.default_rng(1).random(14).astype(np.float32)


def edits(recipe, context, setting: float, specs: tuple[MLPSpec, ...], per_spec: int):
    """A call that edits random models of each spec in one program; returns how many."""
    keys = jax.random.split(jax.random.key(0), (len(specs), per_spec))
    activation = np.arange(per_spec) % len(ACTIVATIONS)
    models = pack([
        Stack(spec, jax.vmap(functools.partial(init, spec))(key), activation)
        for spec, key in zip(specs, keys, strict=True)
    ])  # fmt: skip
    sizes = (models.topologies.n_nodes, models.topologies.n_edges)
    budget = tuple(per_spec * int(size.sum()) for size in sizes)
    edit_fn = recipe(models.template)

    @jax.jit
    def edited(models, context, setting, keys):
        graph = gather(models, jnp.arange(keys.size), jnp.zeros((keys.size, 1)), budget)
        after = edit_fn(context, graph, keys)(setting).after
        return after.weight.sum((1, 2)), after.bias.sum(1)

    arguments = (models, jax.tree.map(jnp.asarray, context), setting, keys.reshape(-1))

    def run():
        jax.block_until_ready(edited(*arguments))
        return keys.size

    return run


def ours_retrain(sizes: Sizes):
    """The models of every depth in that depth's template, as in experiments."""

    def recipe(template: Template):
        selection = selection_fn(template, "global")
        return selection_retrained_fn(template, selection, sizes.student, "fresh")

    rows = table(sizes.rows)
    context = Knowledge(importance(), rows, None), retraining(rows, sizes.student)
    kept = sizes.features_kept
    runs = [edits(recipe, context, kept, (spec,), sizes.per_spec) for spec in SPECS]
    return lambda: sum(run() for run in runs)


def ours_lottery(sizes: Sizes):
    """As `ours_retrain`."""

    def recipe(template: Template):
        return lottery_ticket_fn(template, sizes.ticket, sizes.rounds, sizes.kept)

    context, kept = (retraining(table(sizes.rows), sizes.ticket),) * 2, sizes.weights_kept
    runs = [edits(recipe, context, kept, (spec,), sizes.per_spec) for spec in SPECS]
    return lambda: sum(run() for run in runs)


def main(sizes: Sizes = Sizes()) -> None:
    place, cores = next(iter(places().items()))
    comparisons = []
    for title, ours in {"FS & Retrain": ours_retrain, "Lottery Ticket": ours_lottery}.items():
        name = f"metanet, {sizes.per_spec * len(SPECS)} models, {place}"
        cases = [Case(name, ours, {"sizes": sizes}, cores)]
        if installed("torch"):
            from benchmarks.torch_baselines import one_by_one

            options = {"sizes": sizes, "edit": title}
            cases.append(Case(f"PyTorch, one by one, {place}", one_by_one, options, cores))
        comparisons.append(Comparison(title, "model", measure(cases), name))
    extra = dataclasses.asdict(sizes) | {"specs": [repr(spec) for spec in SPECS]}
    report("baselines", comparisons, extra)


if __name__ == "__main__":
    main()
