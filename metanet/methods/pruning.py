"""Pruning without an editor: score every weight, keep the best ones (paper section 5)."""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from metanet.core import require
from metanet.data.tabular import Table
from metanet.devices import each_model
from metanet.editor.edits import Edit, EditFn
from metanet.editor.model import TrainedEditor
from metanet.editor.newton import NewtonConfig
from metanet.evaluation.method import Method
from metanet.graphs.batch import to_template
from metanet.graphs.padded import PaddedMLP, apply_rows
from metanet.graphs.topology import TILE, Template, tiles
from metanet.methods.compiled import Group, compiled
from metanet.methods.retrain import (
    RetrainConfig,
    Retraining,
    jsd_loss,
    label_loss,
    retrain,
    retraining,
)
from metanet.pipeline.recipes import checked, no_editors, no_requirement
from metanet.pipeline.testbed import Testbed

# score(template, model, table, key) -> [sources, targets], higher is kept; for one model.
Score = Callable[[Template, PaddedMLP, Table, jax.Array], jax.Array]
# What kept parameters are trained on, see `train_kept`.
Target = Literal["outputs", "labels"]


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


def lamp(template: Template, model: PaddedMLP, table: Table, key: jax.Array) -> jax.Array:
    """w^2 over the sum of squares of its layer's weights that are no smaller (Lee et al. 2021).

    Layer-adaptive magnitude pruning: one threshold for the whole model prunes each layer by
    magnitude, to the relative L2 distortion that its own weights allow. A layer is all weights that
    enter its neurons, skip connections among them.
    """
    scores = jnp.zeros_like(model.weight)
    for sources, target in target_layers(template):
        square = (model.weight[:sources, target] ** 2).reshape(-1)
        order = jnp.argsort(square)  # ascending; entries without a weight are 0, and first
        larger = jnp.cumsum(square[order][::-1])[::-1]  # of the squares from each on
        score = jnp.zeros_like(square).at[order].set(square[order] / jnp.maximum(larger, 1e-30))
        scores = scores.at[:sources, target].set(score.reshape(sources, -1))
    return scores


def target_layers(template: Template) -> list[tuple[int, slice]]:
    """Of every layer with weights: the number of sources it may read, and its own targets."""
    inputs, width = tiles(template.n_in) * TILE, tiles(template.width) * TILE
    first = [layer * width for layer in range(template.depth + 1)]
    last = [*first[1:], first[-1] + tiles(template.n_out) * TILE]
    return [(inputs + a, slice(a, b)) for a, b in zip(first, last, strict=True)]


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
    return highest(score.reshape(-1), model.edge.reshape(-1), fraction).reshape(score.shape)


def highest(score: jax.Array, exists: jax.Array, fraction: jax.Array) -> jax.Array:
    """[n] float32, 1 for the round(fraction x count) highest scores [n] of those that exist."""
    # Entries that do not exist come last in the order, so that they are never kept.
    ranked = jnp.where(exists, score, -jnp.inf)
    count = jnp.round(fraction * exists.sum()).astype(jnp.int32)
    order = jnp.argsort(ranked, descending=True, stable=True)  # stable: ties go to the first
    return jnp.zeros(ranked.shape, jnp.float32).at[order].set(jnp.arange(ranked.size) < count)


def pruned(template: Template, before: PaddedMLP, keep: jax.Array) -> Edit:
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
            return pruned(template, before, keep)

        return edit_at

    return prune


def trained_fn(
    plain: EditFn, template: Template, config: RetrainConfig, target: Target = "outputs"
) -> EditFn:
    """`plain`, then the kept parameters are trained, see `train_kept`.

    The context is (that of `plain`, Retraining).
    """

    def prune(context, graph, keys):
        inner, training = context
        plain_keys, train_keys = jax.vmap(jax.random.split)(keys).T  # [G] each
        pruned = plain(inner, graph, plain_keys)

        def student(edit, key):  # of one model
            return train_kept(
                template, edit.before, edit.after, edit.keep, training, target, config, key
            )

        def edit_at(fraction):
            edit = pruned(fraction)
            return edit.replace(after=each_model(student)(edit, train_keys))

        return edit_at

    return prune


def train_kept(
    template: Template,
    original: PaddedMLP,
    model: PaddedMLP,
    keep: jax.Array,
    training: Retraining,
    target: Target,
    config: RetrainConfig,
    key: jax.Array,
) -> PaddedMLP:
    """`model` with its kept weights `keep` [sources, targets], biases and norms trained.

    Args:
      target: "outputs": by JS divergence (nats) to the outputs of `original`, which distils it;
        "labels": by cross-entropy (nats).
    """
    x, rate = jnp.asarray(training.table.x), training.learning_rate
    if target == "labels":
        y = jnp.asarray(training.table.y)
        return retrain(template, model, keep, x, y, label_loss, config, key, learning_rate=rate)
    teacher = apply_rows(template, original, x)
    return retrain(template, model, keep, x, teacher, jsd_loss, config, key, learning_rate=rate)


def kept_below_1(experiment, plans, key: str, options: dict) -> None:
    """The check of a recipe's option `kept`, the fraction of its weights that a round keeps."""
    kept = options.get("kept", 0.5)
    require(0 < kept < 1, f"{key}.kept", kept, "a fraction above 0, below 1")


@checked(no_editors, no_requirement)
def one_shot(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    score: Score,
    distil: RetrainConfig | None = None,
    newton: NewtonConfig | None = None,
) -> Method:
    """The best weights by `score`, at `evaluation.fractions`; no editors.

    Args:
      distil: what is kept is distilled from the original model on the `edit` data.
      newton: Gauss-Newton steps of what is kept, see NewtonConfig.
    """
    return at_fractions(testbed, lambda template: one_shot_fn(score, template), distil, newton)


def at_fractions(
    testbed: Testbed,
    edit_fn_in: Callable[[Template], EditFn],
    distil: RetrainConfig | None = None,
    newton: NewtonConfig | None = None,
    groups: Sequence[Group] | None = None,
) -> Method:
    """A method at `evaluation.fractions`.

    Args:
      edit_fn_in: template -> the method, whose context is the `edit` table.
      distil: what is kept is distilled from the original model.
      newton: Gauss-Newton steps of what is kept, after that.
      groups: see `compiled`; by default one of all models or, to train them, one per depth.
    """
    if distil is not None and groups is None:
        groups = testbed.by_depth()

    table = testbed.edit_table
    context = table if distil is None else (table, retraining(table, distil))

    def pruned_in(template: Template) -> EditFn:
        plain = edit_fn_in(template)
        return plain if distil is None else trained_fn(plain, template, distil)

    fractions = np.array(testbed.experiment.evaluation.fractions)
    return compiled(testbed, pruned_in, context, "fraction", fractions, groups, newton)
