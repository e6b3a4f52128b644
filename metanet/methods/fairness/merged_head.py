"""Thresholds per predicted group, merged into the network's output layer."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metanet.core import require
from metanet.data.tabular import Table, TabularData
from metanet.devices import each_model
from metanet.editor.edits import EditFn, whole_edit
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.graphs.batch import to_template
from metanet.graphs.padded import PaddedMLP, source_values
from metanet.graphs.topology import Template
from metanet.methods.compiled import compiled
from metanet.methods.fairness.objective import (
    margin_logits,
    measured,
    outputs_of,
    with_margin,
)
from metanet.methods.fairness.settings import BOUNDS, Target, two_classes
from metanet.objectives.base import Objective
from metanet.pipeline.recipes import checked, checked_on_data, count_options, no_editors
from metanet.pipeline.testbed import Testbed

LARGEST = 20_000  # points of the coarse grid
COUNT, FINE = 25, 9  # values per group of the coarse grid, and of a finer one


class GroupHead(struct.PyTreeNode):
    """Directions in which the margin of one model may be moved, K of them for K groups.

    The first is a constant. The others are predictions of the groups but the first, standardised
    over the data, which together with the constant span the predictions of all groups.

    Attributes:
      weight: [sources, K] float32, 0 where a source does not feed the outputs.
      bias: [K] float32.
    """

    weight: jax.Array
    bias: jax.Array


def group_head(
    template: Template, model: PaddedMLP, sources: jax.Array, table: Table, damping: float
) -> GroupHead:
    """Ridge regression of group membership on what feeds the outputs.

    Args:
      sources: [rows, sources], see `source_values`.
      damping: added to the Gram matrix's diagonal, in terms of its mean.
    """
    reads = model.edge[:, outputs_of(template)[0]].astype(sources.dtype)  # [sources]
    share = (table.weight / table.weight.sum())[:, None]  # [rows, 1]
    mean = (share * sources).sum(0)  # [sources]
    x = (sources - mean[None]) * reads[None]
    member = jax.nn.one_hot(table.group, table.n_groups)[:, 1:]  # [rows, K - 1]
    gram = x.T @ (share * x)
    ridge = damping * jnp.trace(gram) / jnp.maximum(reads.sum(), 1.0) + 1e-12
    root = jax.scipy.linalg.cho_factor(gram + ridge * jnp.eye(len(gram)), lower=True)
    weight = jax.scipy.linalg.cho_solve(root, x.T @ (share * member))
    spread = jnp.sqrt((share * (x @ weight) ** 2).sum(0))  # [K - 1]
    weight = weight * reads[:, None] / jnp.maximum(spread, 1e-6)[None]
    constant = jnp.zeros((len(reads), 1))
    return GroupHead(
        weight=jnp.concatenate([constant, weight], 1),
        bias=jnp.concatenate([jnp.ones(1), -mean @ weight]),
    )


def best(bound: jax.Array, cost: jax.Array, requirement: jax.Array) -> jax.Array:
    """The index of the least cost [S] within the bound; of the least requirement if none is."""
    meets = requirement <= bound + 1e-6
    least = jnp.where(meets, cost, jnp.inf).argmin()
    return jnp.where(meets.any(), least, requirement.argmin())


def merged_head_fn(
    template: Template,
    requirement: Objective,
    target: Target,
    damping: float,
    limit: float,
    count: int,
    fine: int,
    rounds: int,
) -> EditFn:
    """See `merged_head`. The context is the table, the setting a bound on the requirement."""

    def offsets(groups: int, size: int) -> jax.Array:  # [size^K, K], from -1 to 1
        axes = [np.linspace(-1, 1, size)] * groups
        return jnp.asarray(list(itertools.product(*axes)), jnp.float32)

    def merge(table, graph, keys):
        before = to_template(template, graph)
        coarse = limit * offsets(table.n_groups, count)
        step, zoom = 2 * limit / (count - 1), offsets(table.n_groups, fine)

        def costs_of(candidates, model, head, logits, added):
            """The cost and the requirement of every candidate [S, K]: [S] each."""

            def one(offset):
                after = with_margin(template, model, head.weight @ offset, head.bias @ offset)
                moved = margin_logits(logits, added @ offset)
                return measured(model, after, logits, moved, table, requirement, target)

            return jax.lax.map(one, candidates)

        def prepare(model):
            sources, outputs = source_values(template, model, table.x), outputs_of(template)
            head = group_head(template, model, sources, table, damping)
            logits = sources @ model.weight[:, outputs] + model.bias[None, outputs]
            # The margin's directions on all rows, [rows, K], so that no network runs again.
            known = model, head, logits, sources @ head.weight + head.bias[None]
            return known, costs_of(coarse, *known)

        known, coarse_costs = each_model(prepare)(before)

        def edit_at(bound):
            def one_model(known, costs):
                offset = coarse[best(bound, *costs)]  # [K]
                for n in range(rounds):
                    # Between the neighbours of the best point so far, itself included.
                    near = offset[None] + step * (2 / (fine - 1)) ** n * zoom
                    offset = near[best(bound, *costs_of(near, *known))]
                model, head = known[:2]
                return with_margin(template, model, head.weight @ offset, head.bias @ offset)

            return whole_edit(template, before, each_model(one_model)(known, coarse_costs))

        return edit_at

    return merge


def _check_data(data: TabularData, key: str, options: dict) -> None:
    """Two classes; two groups or more, but not so many that a grid is too large."""
    two_classes(data, key, options)
    groups = data.edit.n_groups
    require(groups > 1, "group", "one group", "two or more, which a head can tell apart")
    fits = int(LARGEST ** (1 / groups))
    for name, default in (("count", COUNT), ("fine", FINE)):
        value = options.get(name, default)
        expected = f"an odd number from 3 to {fits}, for a grid of {groups} groups"
        require(3 <= value <= fits and value % 2 == 1, f"{key}.{name}", value, expected)


@checked(no_editors, count_options("rounds"))
@checked_on_data(_check_data)
def merged_head(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    bounds: tuple[float, ...] = BOUNDS,
    target: Target = "outputs",
    damping: float = 1e-3,
    limit: float = 3.0,
    count: int = COUNT,
    fine: int = FINE,
    rounds: int = 2,
) -> Method:
    """OxonFair for networks (Delaney et al. 2024, "OxonFair: a flexible toolkit for algorithmic
    fairness", section 4.2): thresholds per predicted group, merged into the output layer.

    A second head g on the last hidden layer h predicts the groups by least squares; a decision
    f(h) - t . g(h) >= 0 is that of a network with the output layer

        w' = w_f - t . w_g,   b' = b_f - t . b_g

    which needs no group at test time. Here both heads are on a network that was trained without
    the second one. The K numbers t are, as in the authors' package, the best of a coarse grid and
    then of finer ones, on the `edit` data: the least cost with a requirement within the bound, or
    the least requirement if none is within it. No editors.

    Args:
      bounds: on the requirement, the settings.
      target: of the cost; the authors' is "error".
      damping: of the ridge regression, in terms of the mean of the Gram matrix's diagonal.
      limit: of a number, as the standard deviation of what it adds to the margin of the classes.
      count: of the coarse grid's values per group;  fine: of a finer one's, which lie between the
        neighbours of the best so far: odd numbers;  rounds: of finer grids.
    """

    def edit_fn_in(template: Template) -> EditFn:
        grid = damping, limit, count, fine, rounds
        return merged_head_fn(template, testbed.requirement, target, *grid)

    return compiled(testbed, edit_fn_in, testbed.edit_table, "bound", np.array(bounds))
