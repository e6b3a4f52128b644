"""Methods that run in compiled programs, and grids of lambda."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metanet.data.tabular import Table
from metanet.editor.edits import EditFn
from metanet.editor.newton import NewtonConfig
from metanet.evaluation.method import Method
from metanet.evaluation.program import Program, timed
from metanet.evaluation.sweep import Sweep
from metanet.graphs.packing import Models
from metanet.graphs.topology import Template
from metanet.methods.newton import sample_rows, stepped_in
from metanet.mlp.population import Stack
from metanet.pipeline.testbed import Testbed
from metanet.probes.rows import Points, ProbeConfig
from metanet.probes.store import probe_stack
from metanet.training.config import LambdaRange, lambda_pairs

# Probing is compiled for every spec, so few are timed.
PROBED_MODELS, PROBED_SPECS = 32, 4
# Rows of `testbed.models`, and the same models in a template of theirs.
Group = tuple[np.ndarray, Models]


def all_models(models: Models) -> Group:
    """All models as one group, see `compiled`."""
    return np.arange(len(models.spec)), models


def compiled(
    testbed: Testbed,
    edit_fn_in: Callable[[Template], EditFn],
    context,
    label: str,
    values: np.ndarray,
    groups: Sequence[Group] | None = None,
    newton: NewtonConfig | None = None,
) -> Method:
    """A method that runs in compiled programs, one per group of models, on test and validation.

    Args:
      edit_fn_in: template -> the function that edits models in it.
      context: its first argument, any pytree.
      label: of the setting in results.json;  values: [S] or [S, numbers], of the settings.
      groups: that together are all models; by default one or, with `newton`, one per depth.
      newton: Gauss-Newton steps that follow, see NewtonConfig.
    """
    if newton is not None:
        groups = groups or testbed.by_depth()
        edit_fn_in = stepped_in(edit_fn_in, newton, testbed.requirement)
        context = context, sample_rows(testbed.data.edit, newton, testbed.experiment.seed)
    seed = testbed.experiment.seed
    batch_size = testbed.experiment.evaluation.batch_size
    groups = groups or [all_models(testbed.models)]
    splits = [testbed.split(name)[0] for name in ("validation", "test")]

    def parts(ids: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(group, indices in `ids`, rows in the group) of every group that has models of `ids`."""
        for group, (rows, _) in enumerate(groups):
            index = np.flatnonzero(np.isin(ids, rows))
            if index.size:
                yield group, index, np.searchsorted(rows, ids[index])

    @functools.cache
    def program(group: int) -> Program:
        rows, models = groups[group]
        # Both splits at once, so that their batches have one budget: one program edits both.
        sets = [np.searchsorted(rows, ids[np.isin(ids, rows)]) for ids in splits]
        settings = (sets, len(values), seed, batch_size, testbed.go_on)
        return Program(edit_fn_in(models.template), context, models, *settings)

    def sweep_values(ids: np.ndarray, table: Table, values: np.ndarray) -> Sweep:
        indices, sweeps = [], []
        for group, index, rows in parts(ids):
            indices.append(index)
            sweeps.append(program(group).sweep(rows, values, table, testbed.requirement))
        # Fields [S, models of a group] next to one another, back in the order of `ids`.
        order = np.argsort(np.concatenate(indices))
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves, 1)[:, order],
                              *map(dataclasses.asdict, sweeps))  # fmt: skip
        return Sweep(**joined)

    def seconds(ids: np.ndarray, index: int) -> tuple[float, float]:
        total = np.zeros(2)
        for group, _, rows in parts(ids):
            total += program(group).seconds(rows, values[index])
        return float(total[0]), float(total[1])

    settings = tuple({label: value.tolist()} for value in values)
    return Method(
        settings, lambda ids, table, i: sweep_values(ids, table, values[i]), seconds, sweep_values
    )


def lambdas(lambda_range: LambdaRange, count: int) -> np.ndarray:
    """`count` values of lambda, log-spaced: [count], or a grid [S, requirements] for several."""
    axes = [np.geomspace(low, high, 1 if low == high else count)
            for low, high in lambda_pairs(lambda_range)]  # fmt: skip
    return axes[0] if len(axes) == 1 else grid(*axes)


def grid(*axes: np.ndarray) -> np.ndarray:
    """All combinations: [product, axes]."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def with_probing(testbed: Testbed, probe: ProbeConfig | None, method: Method) -> Method:
    """`method`, with the seconds of probing the models added to its own."""
    if probe is None:
        return method
    points = testbed.points(probe)

    def seconds(ids: np.ndarray, index: int) -> tuple[float, float]:
        pairs = zip(method.seconds(ids, index), _probe_seconds(testbed, ids, points), strict=True)
        first, warm = map(sum, pairs)
        return first, warm

    return dataclasses.replace(method, seconds=seconds)


def _probe(stack: Stack, points: Points) -> None:
    jax.block_until_ready(probe_stack(stack, points))


def _probe_seconds(testbed: Testbed, ids: np.ndarray, points: Points) -> tuple[float, float]:
    """Wall seconds of probing the models `ids`: (first call, warm).

    Of at most PROBED_MODELS models of the PROBED_SPECS most frequent specs, in proportion.
    """
    stacks = testbed.population.stacks
    first = np.cumsum([0, *[len(stack.activation) for stack in stacks]])
    spec = np.asarray(testbed.models.spec)[ids]
    most = np.argsort(-np.bincount(spec), kind="stable")[:PROBED_SPECS]
    count, chosen = len(ids), np.flatnonzero(np.isin(spec, most))[:PROBED_MODELS]
    ids, spec, total = ids[chosen], spec[chosen], np.zeros(2)
    for one in np.unique(spec):
        stack, rows = stacks[one], ids[spec == one] - first[one]
        params = jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf[rows]), stack.params)
        part = dataclasses.replace(stack, params=params, activation=stack.activation[rows])
        total += timed(functools.partial(_probe, part, points))
    total *= count / len(ids)
    return float(total[0]), float(total[1])
