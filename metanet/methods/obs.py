"""Optimal Brain Surgeon: weights are removed in rounds, and all others of the model make up for it.

Hassibi and Stork 1993, with the Fisher information as Hessian (WoodFisher, Singh and Alistarh
2020; Optimal BERT Surgeon, Kurtic et al. 2022): that of all parameters at once, without blocks,
about the softmax output, so that the loss is the JS divergence (nats) to the original model. As
training has not ended for a model that is pruned already, steps follow its gradient too.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct

from metanet.devices import each_model
from metanet.editor.edits import EditFn
from metanet.editor.model import TrainedEditor
from metanet.editor.newton import NewtonConfig
from metanet.evaluation.method import Method
from metanet.graphs.batch import to_template
from metanet.graphs.linearised import linearise, residual
from metanet.graphs.padded import PaddedMLP, apply_rows
from metanet.graphs.topology import Template
from metanet.methods.exact_obs import exact_obs_fn
from metanet.methods.pruning import at_fractions, highest, kept_below_1, pruned
from metanet.methods.retrain import RetrainConfig, jsd_loss
from metanet.pipeline.recipes import (
    checked,
    count_options,
    damping_above_0,
    no_editors,
    no_requirement,
)
from metanet.pipeline.testbed import Testbed

LENGTHS = (1.0, 0.5, 0.25, 0.0)  # of steps, of which the best is taken


class Parameters(struct.PyTreeNode):
    """One model's parameters as a vector [size + 3 targets]: weights; biases, scales, shifts.

    Attributes:
      model: the original one.
      index: [size] int32, of weights in the flat matrix; past its end where there are no more.
    """

    model: PaddedMLP
    index: jax.Array

    @property
    def exists(self) -> jax.Array:
        """[size] float32, 1 for weights."""
        return (self.index < self.model.edge.size).astype(jnp.float32)

    def vector(self) -> jax.Array:
        """Of the original model."""
        weights = self.model.weight.reshape(-1).at[self.index].get(mode="fill", fill_value=0.0)
        return jnp.concatenate([weights, self.model.bias, self.model.scale, self.model.shift])

    def matrix(self, weights: jax.Array) -> jax.Array:
        """[size] -> [sources, targets]."""
        flat = jnp.zeros(self.model.edge.size).at[self.index].set(weights, mode="drop")
        return flat.reshape(self.model.edge.shape)

    def with_vector(self, vector: jax.Array) -> PaddedMLP:
        """The model with other parameters."""
        size = len(self.index)
        bias, scale, shift = jnp.split(vector[size:], 3)
        weight = self.matrix(vector[:size])
        return self.model.replace(weight=weight, bias=bias, scale=scale, shift=shift)


def parameters_of(model: PaddedMLP, size: int) -> Parameters:
    """size: as many as the model's weights, at least."""
    end = model.edge.size
    return Parameters(model, jnp.nonzero(model.edge.reshape(-1), size=size, fill_value=end)[0])


class Quadratic(struct.PyTreeNode):
    """The loss (nats) of a change d [parameters] near a point.

    |slopes' d + rest|^2 / (2 rows) + damping |d|^2 / 2: its gradient at 0 is that of the JS
    divergence, its Hessian a quarter of the Fisher information, damped.

    Attributes:
      slopes: [parameters, rows (C - 1)];  rest: [rows (C - 1)];  damping: [].
    """

    slopes: jax.Array
    rest: jax.Array
    damping: jax.Array


def quadratic(
    template: Template, parameters: Parameters, vector: jax.Array, x: jax.Array, damping: float
) -> Quadratic:
    """The loss near `vector`, on x [rows, features]; damping: over the mean of the diagonal."""
    rows = linearise(template, parameters.with_vector(vector), x)
    count, parts, targets = rows.bias.shape  # parts: C - 1

    def by_row(slopes):  # [rows, C - 1, targets] -> [targets, (C - 1) rows]
        return slopes.transpose(2, 1, 0).reshape(targets, -1)

    index = jnp.minimum(parameters.index, parameters.model.edge.size - 1)
    values = jnp.tile(rows.values.T, (1, parts))[index // targets]  # [size, (C - 1) rows]
    weights = values * by_row(rows.bias)[index % targets] * parameters.exists[:, None]
    # Halved: the JS divergence is an eighth of the change's square, the loss half of it.
    slopes = 0.5 * jnp.concatenate([weights, *map(by_row, (rows.bias, rows.scale, rows.shift))])
    teacher = apply_rows(template, parameters.model, x)
    rest = residual(rows.logits, teacher).T.reshape(-1)
    diagonal = (slopes**2).sum(1) / count  # [parameters], 0 for those that do not exist
    mean = diagonal.sum() / jnp.maximum((diagonal > 0).sum(), 1)
    return Quadratic(slopes, rest, damping * jnp.maximum(mean, 1e-20))


def _root(loss: Quadratic, free: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The free parameters' slopes S, and the Cholesky factor of S'S + damping * rows."""
    slopes = loss.slopes * free[:, None]
    gram = slopes.T @ slopes
    return slopes, jnp.linalg.cholesky(gram + loss.damping * count * jnp.eye(len(gram)))


def best_change(loss: Quadratic, vector: jax.Array, free: jax.Array, count: int) -> jax.Array:
    """The change of least loss that sets all but the free parameters to 0: [parameters].

    With S the slopes of the free ones, theirs is -S (S'S + damping * rows)^-1 rest, after the rest
    has changed by the others (the matrix inversion lemma: a system of rows, not of parameters).

    Args:
      free: [parameters] 0/1;  count: rows.
    """
    gone = vector * (1.0 - free)
    slopes, root = _root(loss, free, count)
    rest = loss.rest - gone @ loss.slopes
    return -slopes @ jax.scipy.linalg.cho_solve((root, True), rest) - gone


def saliency(loss: Quadratic, vector: jax.Array, free: jax.Array, count: int) -> jax.Array:
    """w^2 / (2 [H^-1]), the loss (nats) of removing each free parameter if all others make up.

    w is the parameter after the best change of all free ones. -1 for the others.
    """
    vector = vector + best_change(loss, vector, free, count)
    slopes, root = _root(loss, free, count)
    # H^-1 = (I - S (S'S + damping * rows)^-1 S') / damping
    half = jax.lax.linalg.triangular_solve(root, slopes.T, left_side=True, lower=True)
    inverse = jnp.maximum(1.0 - (half**2).sum(0), 1e-7) / loss.damping
    return jnp.where(free > 0, vector**2 / (2.0 * inverse), -1.0)


def obs_fn(
    template: Template,
    size: int,
    rows: int = 1024,
    damping: float = 1e-2,
    rounds: int = 8,
    kept: float = 0.7,
    steps: int = 2,
) -> EditFn:
    """Optimal Brain Surgeon in rounds; the setting is the fraction of weights to keep.

    The context is a table whose first `rows` are for calibration; `size` is the most weights that
    a model has, the others as in `obs`.
    """
    left = kept ** jnp.arange(rounds)  # of the weights, at the beginning of each round

    def everywhere(parameters, weights):  # weights [size] 0/1, and all else
        return jnp.pad(weights, (0, 3 * len(parameters.model.bias)), constant_values=1.0)

    def remove(parameters, vector, keep, x):
        """The parameters after all but the weights `keep` [size] are set to 0."""
        free = everywhere(parameters, keep)
        teacher = apply_rows(template, parameters.model, x)

        def one_step(_, vector):
            loss = quadratic(template, parameters, vector, x, damping)
            start, change = vector * free, best_change(loss, vector, free, len(x)) * free

            def cost(length):  # nats
                after = parameters.with_vector(start + length * change)
                return jsd_loss(apply_rows(template, after, x), teacher)

            lengths = jnp.array(LENGTHS)  # as far as the quadratic holds
            return start + lengths[jnp.nanargmin(jax.lax.map(cost, lengths))] * change

        return jax.lax.fori_loop(0, steps, one_step, vector)

    def path(model, x):
        """(parameters, saliencies) at the beginning of each round: [rounds, ...]."""
        parameters = parameters_of(model, size)

        def one_round(state, next_left):
            vector, keep = state
            free = everywhere(parameters, keep)
            loss = quadratic(template, parameters, vector, x, damping)
            scores = saliency(loss, vector, free, len(x))[:size]
            fewer = highest(scores, parameters.exists > 0, next_left)
            return (remove(parameters, vector, fewer, x), fewer), (vector, scores)

        start = parameters.vector(), parameters.exists
        return jax.lax.scan(one_round, start, left * kept)[1]

    def prune(table, graph, keys):
        before, x = to_template(template, graph), table.x[:rows]
        paths = each_model(lambda model: path(model, x))(before)  # [G, rounds, ...]

        def edit_at(fraction):
            # The last round that begins with as many weights, or more.
            last = jnp.maximum((left >= fraction).sum() - 1, 0)

            def of_model(model, path):
                vector, scores = (leaf[last] for leaf in path)
                parameters = parameters_of(model, size)
                keep = highest(scores, parameters.exists > 0, fraction)
                after = parameters.with_vector(remove(parameters, vector, keep, x))
                return parameters.matrix(keep), after

            keep, after = each_model(of_model)(before, paths)
            return pruned(template, before, keep).replace(after=after)

        return edit_at

    return prune


def cheaper_fn(template: Template, one: EditFn, other: EditFn, rows: int) -> EditFn:
    """Of two edits of each model the one of less JS divergence on a table's first `rows`."""

    def edit(table, graph, keys):
        x = table.x[:rows]
        both = [fn(table, graph, keys) for fn in (one, other)]

        def cost(model, after):  # nats
            return jsd_loss(apply_rows(template, after, x), apply_rows(template, model, x))

        def edit_at(setting):
            first, second = edits = [at(setting) for at in both]
            own, others = (each_model(cost)(edit.before, edit.after) for edit in edits)  # [G]

            def cheaper(one, other):
                better = (own <= others) | jnp.isnan(others)
                return jnp.where(better.reshape(-1, *[1] * (one.ndim - 1)), one, other)

            return jax.tree.map(cheaper, first, second)

        return edit_at

    return edit


@checked(
    no_editors, no_requirement, count_options("rows", "rounds", "steps"), damping_above_0,
    kept_below_1,
)  # fmt: skip
def obs(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    rows: int = 1024,
    damping: float = 1e-2,
    rounds: int = 8,
    kept: float = 0.7,
    steps: int = 2,
    distil: RetrainConfig | None = None,
    newton: NewtonConfig | None = None,
) -> Method:
    """Optimal Brain Surgeon with all of the Fisher information; no editors.

    At `evaluation.fractions`, on one path: every round measures the Fisher information
    anew where the last one ended, removes the weights of least saliency, and adjusts all other
    parameters. Where ExactOBS costs a model less on the calibration rows, its edit is taken: some
    paths in a hundred go astray in one round, and never return.

    Args:
      rows: of the `edit` data, the first, for calibration.
      damping: of the Fisher information, over the mean of its diagonal.
      rounds: their number;  kept: the fraction of its weights that a round keeps.
      steps: adjustments after each removal, the first in closed form from before it.
      distil: what is kept is distilled from the original model on the `edit` data.
      newton: Gauss-Newton steps of what is kept, see NewtonConfig.
    """
    specs = [stack.spec for stack in testbed.population.stacks]

    def edit_fn_in(template: Template) -> EditFn:
        size = max(spec.n_weights for spec in specs if spec.n_layers == template.depth + 1)
        own = obs_fn(template, size, rows, damping, rounds, kept, steps)
        return cheaper_fn(template, own, exact_obs_fn(template, rows), rows)

    return at_fractions(testbed, edit_fn_in, distil, newton, testbed.by_depth())
