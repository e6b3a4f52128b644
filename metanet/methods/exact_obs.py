"""ExactOBS: the weights of a neuron are removed one by one, and the others make up for it.

Frantar and Alistarh 2022, "Optimal Brain Compression", sections 3 and 4. A neuron's inputs are all
sources that feed it, through skip connections too, and a constant for its bias, which is never
removed. What is preserved is its value before norm and activation, on calibration rows.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from metanet.devices import each_model
from metanet.editor.edits import EditFn
from metanet.editor.model import TrainedEditor
from metanet.editor.newton import NewtonConfig
from metanet.evaluation.method import Method
from metanet.graphs.batch import to_template
from metanet.graphs.linearised import linearise
from metanet.graphs.padded import PaddedMLP, source_values
from metanet.graphs.topology import Template
from metanet.methods.pruning import at_fractions, keep_best, pruned, target_layers
from metanet.methods.retrain import RetrainConfig
from metanet.pipeline.recipes import (
    checked,
    count_options,
    damping_above_0,
    no_editors,
    no_requirement,
)
from metanet.pipeline.testbed import Testbed


def hessian(inputs: jax.Array, damping: float) -> jax.Array:
    """2 X'X / rows + lambda I, [inputs + 1, inputs + 1], which all neurons of a layer share.

    Args:
      inputs: [rows, inputs] what the layer reads, 0 for sources that it does not; X has a last
        column of ones, for biases.
      damping: lambda, over the mean of the diagonal of what is read.
    """
    x = jnp.pad(inputs, ((0, 0), (0, 1)), constant_values=1.0)
    h = 2.0 / len(x) * x.T @ x
    diagonal = jnp.diagonal(h)
    return h + damping * diagonal.sum() / (diagonal > 0).sum() * jnp.eye(len(h))


def removal(weight: jax.Array, edge: jax.Array, inverse: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The order in which one neuron's weights are removed, each time the cheapest (algorithm 1).

    Args:
      weight: [inputs];  edge: [inputs] bool, where there is one.
      inverse: [inputs + 1, inputs + 1], of the Hessian; the last is the bias.

    Returns:
      [inputs] each: the highest squared error (mean over rows) that any removal up to a weight's
      own has added, and the number of removals before it; infinite where there is no weight.
    """
    n, nothing = len(weight), jnp.full(len(weight), jnp.inf)

    def remove(step, state):
        weight, inverse, left, highest, cost, when = state
        diagonal = jnp.maximum(jnp.diagonal(inverse)[:n], 1e-20)
        losses = jnp.where(left, weight**2 / (2.0 * diagonal), jnp.inf)
        p = jnp.argmin(losses)
        # Once none is left nothing is to change: all neurons take as many steps.
        column = jnp.where(left[p], inverse[:, p], 0.0)
        weight = weight - weight[p] / diagonal[p] * column[:n]
        inverse = inverse - column[:, None] * (column / diagonal[p])[None]
        highest = jnp.maximum(highest, jnp.where(left[p], losses[p], 0.0))
        cost = cost.at[p].set(jnp.where(left[p], highest, cost[p]))
        when = when.at[p].set(jnp.where(left[p], step, when[p]))
        return weight, inverse, left.at[p].set(False), highest, cost, when

    start = weight, inverse, edge, jnp.zeros(()), nothing, nothing
    *_, cost, when = jax.lax.fori_loop(0, n, remove, start)
    return cost, when


def removal_order(
    template: Template, model: PaddedMLP, x: jax.Array, damping: float, output_aware: bool
) -> jax.Array:
    """The place of every weight in the order of removal from the whole model (section 4).

    Of all neurons' next removals the cheapest comes first. A neuron's removals keep their order,
    however cheap the later ones are.

    Args:
      x: [rows, features], for calibration.
      output_aware: errors of a neuron count by the mean Fisher information of the softmax output
        about its value: about the JS divergence that they cause. Else all count alike.

    Returns:
      [sources, targets] float32, from 0; last where there is no weight.
    """
    rows = linearise(template, model, x)
    importance = (rows.bias**2).sum(1).mean(0)  # [targets]
    costs = steps = jnp.full(model.weight.shape, jnp.inf)
    for sources, target in target_layers(template):
        edge = model.edge[:sources, target]
        inverse = _inverse(hessian(rows.values[:, :sources] * edge.any(1)[None], damping))
        cost, when = jax.vmap(removal, in_axes=(1, 1, None), out_axes=1)(
            model.weight[:sources, target], edge, inverse
        )
        if output_aware:
            cost = cost * importance[None, target]
        costs = costs.at[:sources, target].set(jnp.where(edge, cost, jnp.inf))
        steps = steps.at[:sources, target].set(when)
    order = jnp.lexsort((steps.reshape(-1), costs.reshape(-1)))  # by cost, equal ones by step
    place = jnp.zeros(order.shape).at[order].set(jnp.arange(len(order), dtype=jnp.float32))
    return place.reshape(model.weight.shape)


def reconstructed(
    template: Template,
    model: PaddedMLP,
    keep: jax.Array,
    x: jax.Array,
    damping: float,
    sequential: bool,
) -> PaddedMLP:
    """`model` with kept weights and biases that restore its neurons' values in least squares.

    The same as the adjustments of all removals in a row: the Hessian is quadratic.

    Args:
      keep: [sources, targets] 0/1;  x: [rows, features], for calibration.
      sequential: a layer reads what the pruned layers before it return, and makes up for their
        errors too; else what they return in `model`.
    """
    inputs = source_values(template, model, x)  # [rows, sources]
    goal = inputs @ model.weight + model.bias[None]  # [rows, targets]
    pruned = model.replace(weight=model.weight * keep)
    for sources, target in target_layers(template):
        if sequential:
            inputs = source_values(template, pruned, x)
        edge = model.edge[:sources, target]
        read = inputs[:, :sources] * edge.any(1)[None]
        weight, bias = pruned.weight[:sources, target], pruned.bias[target]
        missing = goal[:, target] - read @ weight - bias[None]  # [rows, neurons]
        ones = jnp.pad(read, ((0, 0), (0, 1)), constant_values=1.0)
        slope = 2.0 / len(x) * ones.T @ missing  # [sources + 1, neurons]
        free = jnp.pad(keep[:sources, target], ((0, 1), (0, 0)), constant_values=1.0)
        solve = functools.partial(_solve, hessian(read, damping))
        change = each_model(solve)(slope.T, free.T).T  # [sources + 1, neurons]
        pruned = pruned.replace(
            weight=pruned.weight.at[:sources, target].add(change[:-1]),
            bias=pruned.bias.at[target].add(change[-1]),
        )
    return pruned


def exact_obs_fn(
    template: Template,
    rows: int = 1024,
    damping: float = 1e-3,
    output_aware: bool = True,
    sequential: bool = True,
) -> EditFn:
    """ExactOBS over all layers; the setting is the fraction of weights to keep.

    The context is a table whose first `rows` are for calibration; the others as in `exact_obs`.
    """

    def prune(table, graph, keys):
        before = to_template(template, graph)
        x = table.x[:rows]
        # [G, sources, targets]; computed once for all fractions
        places = each_model(lambda m: removal_order(template, m, x, damping, output_aware))(before)

        def edit_at(fraction):
            keep = jax.vmap(keep_best, in_axes=(0, 0, None))(before, places, fraction)
            edit = pruned(template, before, keep)
            restored = each_model(
                lambda m, keep: reconstructed(template, m, keep, x, damping, sequential)
            )
            return edit.replace(after=restored(before, keep))

        return edit_at

    return prune


@checked(no_editors, no_requirement, count_options("rows"), damping_above_0)
def exact_obs(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    rows: int = 1024,
    damping: float = 1e-3,
    output_aware: bool = True,
    sequential: bool = True,
    distil: RetrainConfig | None = None,
    newton: NewtonConfig | None = None,
) -> Method:
    """ExactOBS over all layers, at `evaluation.fractions`; no editors.

    Args:
      rows: of the `edit` data, the first, for calibration.
      damping: of the Hessian, over the mean of its diagonal.
      output_aware: a neuron's error counts by what it does to the output, when neurons are
        compared; else as much as any other's, as in the paper.
      sequential: every layer makes up for the errors of those before it.
      distil: what is kept is distilled from the original model on the `edit` data.
      newton: Gauss-Newton steps of what is kept, see NewtonConfig.
    """

    def edit_fn_in(template: Template) -> EditFn:
        return exact_obs_fn(template, rows, damping, output_aware, sequential)

    return at_fractions(testbed, edit_fn_in, distil, newton, testbed.by_depth())


def _solve(h: jax.Array, slope: jax.Array, free: jax.Array) -> jax.Array:
    """The change [n] of the free variables [n] 0/1 that solves h change = slope [n] among them."""
    system = h * free[:, None] * free[None] + jnp.diag(1.0 - free)
    return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(system), True), slope * free)


def _inverse(matrix: jax.Array) -> jax.Array:
    """Of a symmetric positive definite matrix."""
    return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(matrix), True), jnp.eye(len(matrix)))
