"""Pruning without an editor: score every weight, keep the best ones (paper section 5)."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metanet.data.tabular import Table
from metanet.devices import each_model
from metanet.editor.edits import Edit, EditFn
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.graphs.batch import edge_matrix, source_vector, to_template
from metanet.graphs.padded import PaddedMLP, apply_rows
from metanet.graphs.topology import TILE, Template
from metanet.methods.compiled import Group, all_models, compiled, with_probing
from metanet.methods.retrain import RetrainConfig, jsd_loss, label_loss, retrain
from metanet.pipeline.recipes import checked, count_options, no_editors
from metanet.pipeline.testbed import Testbed
from metanet.probes.rows import ProbeConfig
from metanet.probes.statistics import MEAN, SALIENCY

# score(template, model, table, key) -> [sources, targets], higher is kept; for one model.
Score = Callable[[Template, PaddedMLP, Table, jax.Array], jax.Array]


def random(template: Template, model: PaddedMLP, table: Table, key: jax.Array) -> jax.Array:
    """Uniform scores."""
    return jax.random.uniform(key, model.weight.shape)


def magnitude(template: Template, model: PaddedMLP, table: Table, key: jax.Array) -> jax.Array:
    """|w|, one threshold for the whole model (Han et al. 2015)."""
    return jnp.abs(model.weight)


def layer_magnitude(
    template: Template, model: PaddedMLP, table: Table, key: jax.Array
) -> jax.Array:
    """|w| over the root mean square of its block, one threshold for the whole model.

    Blocks of different scale are pruned alike: the strongest one-shot score that uses no data.
    """
    # Layers 0 to depth + 1 of all slots; sources are the first ones, targets the last ones.
    layer = jnp.repeat(jnp.asarray(template.layer_of_slot), TILE)
    source = jax.nn.one_hot(layer[: model.weight.shape[0]], template.depth + 2)  # [sources, layers]
    target = jax.nn.one_hot(layer[-model.weight.shape[1] :], template.depth + 2)
    square = source.T @ model.weight**2 @ target  # [layers, layers], sums over each block
    count = source.T @ model.edge.astype(jnp.float32) @ target
    rms = jnp.sqrt(square / jnp.maximum(count, 1.0))  # blocks without weights have 0
    return jnp.abs(model.weight) / jnp.maximum(source @ rms @ target.T, 1e-12)


def gradient(template: Template, model: PaddedMLP, table: Table, key: jax.Array) -> jax.Array:
    """|g|, the gradient of the mean cross-entropy (nats) on `table` (Grad Importance)."""
    x, y = jnp.asarray(table.x), jnp.asarray(table.y)

    def loss(weight):
        return label_loss(apply_rows(template, model.replace(weight=weight), x), y)

    return jnp.abs(jax.grad(loss)(model.weight))


def snip(template: Template, model: PaddedMLP, table: Table, key: jax.Array) -> jax.Array:
    """|g w|, the connection sensitivity (Lee, Ajanthan and Torr 2019)."""
    return gradient(template, model, table, key) * jnp.abs(model.weight)


def keep_best(model: PaddedMLP, score: jax.Array, fraction: jax.Array) -> jax.Array:
    """The mask [sources, targets] float32 of the round(fraction x weights) highest scores."""
    # Entries without a weight come last in the order, so that they are never kept.
    flat = jnp.where(model.edge, score, -jnp.inf).reshape(-1)  # [sources * targets]
    count = jnp.round(fraction * model.edge.sum()).astype(jnp.int32)
    order = jnp.argsort(flat, descending=True, stable=True)  # stable: ties go to the first weight
    keep = jnp.zeros(flat.shape, jnp.float32).at[order].set(jnp.arange(flat.size) < count)
    return keep.reshape(score.shape)


def _pruned(template: Template, before: PaddedMLP, keep: jax.Array) -> Edit:
    """Edits of G models that keep the weights `keep` [G, sources, targets], and all features."""
    everything = jnp.ones((keep.shape[0], template.n_in))
    return Edit(before, before.replace(weight=before.weight * keep), keep, everything)


def one_shot_fn(score: Score, template: Template) -> EditFn:
    """Keeps the best weights by `score`, unchanged.

    The context is the table that scores are measured on, the setting the fraction to keep.
    """

    def prune(table, graph, keys):
        before = to_template(template, graph)
        # [G, sources, targets]; computed once for all fractions
        scores = each_model(lambda m, k: score(template, m, table, k))(before, keys)

        def edit_at(fraction):
            keep = jax.vmap(keep_best, in_axes=(0, 0, None))(before, scores, fraction)
            return _pruned(template, before, keep)

        return edit_at

    return prune


def brain_damage_fn(template: Template) -> EditFn:
    """Optimal Brain Damage (LeCun, Denker and Solla 1990) with mean replacement, one shot.

    Keeps the weights whose replacement by their mean effect in the bias costs most JS divergence,
    to second order, by the batch's probe statistics. The setting is the fraction to keep.
    """

    def prune(context, graph, keys):
        before = to_template(template, graph)
        nodes, edges = graph.nodes["probe"], graph.edges["probe"]  # [V, features], [E, features]
        means = source_vector(template, graph, nodes[:, MEAN])  # [G, sources], mean activations
        scores = edge_matrix(template, graph, edges[:, SALIENCY])  # [G, sources, targets]

        def edit_at(fraction):
            keep = jax.vmap(keep_best, in_axes=(0, 0, None))(before, scores, fraction)
            # [G, targets]: the mean of what the removed weights add to a neuron goes to its bias.
            effect = (means[:, :, None] * before.weight * (1.0 - keep)).sum(1)
            edit = _pruned(template, before, keep)
            return edit.replace(after=edit.after.replace(bias=before.bias + effect))

        return edit_at

    return prune


def distilled_fn(plain: EditFn, template: Template, config: RetrainConfig) -> EditFn:
    """`plain`, then the kept parameters are distilled from the original model on the context.

    By JS divergence (nats) to its outputs.
    """

    def prune(table, graph, keys):
        pruned = plain(table, graph, keys)

        def student(edit, key):  # of one model
            teacher = apply_rows(template, edit.before, table.x)
            return retrain(template, edit.after, edit.keep, table.x, teacher, jsd_loss, config, key)

        def edit_at(fraction):
            edit = pruned(fraction)
            return edit.replace(after=each_model(student)(edit, keys))

        return edit_at

    return prune


def lottery_ticket_fn(template: Template, rounds: int, config: RetrainConfig) -> EditFn:
    """Iterative magnitude pruning with rewinding (Frankle and Carbin 2019), few short rounds.

    Each round trains the kept weights on the context's labels, drops those of least trained
    magnitude and rewinds the rest to the original model, whose weights are the ticket's.
    """

    def ticket(model, table, fraction, key):  # the mask [sources, targets] of one model
        def one_round(keep, item):
            index, round_key = item
            trained = retrain(
                template, model, keep, table.x, table.y, label_loss, config, round_key
            )
            # Of all weights, falling to `fraction` by the same factor in every round. A weight that
            # is gone scores 0; the last product keeps it out if others do too.
            left = fraction ** ((index + 1.0) / rounds)
            return keep_best(model, jnp.abs(trained.weight) * keep, left) * keep, None

        start = model.edge.astype(jnp.float32)
        items = (jnp.arange(rounds), jax.random.split(key, rounds))
        return jax.lax.scan(one_round, start, items)[0]

    def prune(table, graph, keys):
        before = to_template(template, graph)

        def edit_at(fraction):
            keep = each_model(lambda m, k: ticket(m, table, fraction, k))(before, keys)
            return _pruned(template, before, keep)

        return edit_at

    return prune


@checked(no_editors)
def one_shot(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    score: Score,
    distil: RetrainConfig | None = None,
) -> Method:
    """The best weights by `score`, at `evaluation.fractions`; no editors.

    Args:
      distil: what is kept is distilled from the original model on the `edit` data.
    """

    def edit_fn_in(template: Template) -> EditFn:
        return _distilled(one_shot_fn(score, template), template, distil)

    return _at_fractions(testbed, edit_fn_in)


@checked(no_editors)
def brain_damage(
    testbed: Testbed, editors: Sequence[TrainedEditor], *, distil: RetrainConfig | None = None
) -> Method:
    """Optimal Brain Damage on all `edit` rows, at `evaluation.fractions`; no editors."""
    probe = ProbeConfig(points=len(testbed.data.edit.y))

    def edit_fn_in(template: Template) -> EditFn:
        return _distilled(brain_damage_fn(template), template, distil)

    method = _at_fractions(testbed, edit_fn_in, [all_models(testbed.probed(probe))])
    return with_probing(testbed, probe, method)


@checked(no_editors, count_options("rounds"))
def lottery_ticket(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    retrain: RetrainConfig,
    rounds: int = 3,
) -> Method:
    """Iterative magnitude pruning with rewinding, at `evaluation.fractions`; no editors."""
    return _at_fractions(testbed, lambda t: lottery_ticket_fn(t, rounds, retrain))


def _distilled(plain: EditFn, template: Template, distil: RetrainConfig | None) -> EditFn:
    return plain if distil is None else distilled_fn(plain, template, distil)


def _at_fractions(
    testbed: Testbed,
    edit_fn_in: Callable[[Template], EditFn],
    groups: Sequence[Group] | None = None,
) -> Method:
    """A method whose context is the `edit` table, at `evaluation.fractions`."""
    fractions = np.array(testbed.experiment.evaluation.fractions)
    return compiled(testbed, edit_fn_in, testbed.edit_table, "fraction", fractions, groups)
