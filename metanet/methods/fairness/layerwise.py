"""Zeroth-order optimisation of one layer."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from metanet.core import require
from metanet.data.tabular import Table
from metanet.devices import each_model
from metanet.editor.edits import EditFn, whole_edit
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.graphs.batch import to_template
from metanet.graphs.padded import PARAMETERS, PaddedMLP, apply_rows
from metanet.graphs.topology import TILE, Template
from metanet.methods.fairness.intra import (
    COARSE,
    intra_processing,
    thresholds,
    tried,
    tuned,
)
from metanet.methods.fairness.settings import Target, two_classes
from metanet.objectives.base import Objective
from metanet.pipeline.recipes import checked, checked_on_data, count_options, no_editors
from metanet.pipeline.testbed import Testbed

GROWTH, DECAY = 1.5, 0.9  # of steps, after a generation with and without success


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """A (1 + children) evolution strategy.

    Attributes:
      generations: one after another;  children: of each.
      deviation: of the first generation's steps, in terms of the layer's root mean square weight.
      rows: the first rows of the `edit` data, on which candidates are judged; layers are compared
        on all.
    """

    generations: int = 12
    children: int = 12
    deviation: float = 0.1
    rows: int = 2048

    def __post_init__(self):
        for key in ("generations", "children", "rows"):
            value = getattr(self, key)
            require(value >= 1, key, value, "at least 1")
        require(self.deviation > 0, "deviation", self.deviation, "a positive number")


def searched(
    template: Template,
    model: PaddedMLP,
    layer: jax.Array,
    table: Table,
    requirement: Objective,
    target: Target,
    weight: jax.Array,
    config: SearchConfig,
    key: jax.Array,
) -> PaddedMLP:
    """The model with the parameters of one layer, [] from 1, at the best objective found."""
    table = jax.tree.map(lambda leaf: leaf[: config.rows], table)
    logits = apply_rows(template, model, jnp.asarray(table.x))
    shifts = thresholds(COARSE)
    targets = len(model.bias)
    here = jnp.repeat(jnp.asarray(template.layer_of_slot), TILE)[-targets:] == layer  # [targets]
    neuron = (here & model.node).astype(jnp.float32)
    edge = model.edge * neuron[None]
    allowed = {"weight": edge, "bias": neuron, "scale": neuron, "shift": neuron}
    unit = jnp.sqrt(((model.weight * edge) ** 2).sum() / jnp.maximum(edge.sum(), 1.0))

    def objective(after):
        parts = after, logits, table, requirement, target, shifts
        cost, required = tried(template, model, *parts)
        return (cost + weight * required).min()

    def child_of(parent, size, key):
        keys = jax.random.split(key, len(PARAMETERS))
        return parent.replace(
            **{
                name: value + size * unit * allowed[name] * jax.random.normal(one, value.shape)
                for one, name in zip(keys, PARAMETERS, strict=True)
                for value in [getattr(parent, name)]
            }
        )

    def generation(state, key):
        parent, value, size = state
        keys = jax.random.split(key, config.children)
        values = jax.lax.map(lambda one: objective(child_of(parent, size, one)), keys)
        best, better = values.argmin(), values.min() < value
        child = child_of(parent, size, keys[best])  # drawn again, instead of keeping all
        parent = jax.tree.map(lambda new, old: jnp.where(better, new, old), child, parent)
        size = size * jnp.where(better, GROWTH, DECAY)
        return (parent, jnp.minimum(values.min(), value), size), None

    start = model, objective(model), jnp.float32(config.deviation)
    keys = jax.random.split(key, config.generations)
    return jax.lax.scan(generation, start, keys)[0][0]


def layerwise_fn(
    template: Template, requirement: Objective, target: Target, config: SearchConfig
) -> EditFn:
    """See `layerwise`. The context is the table, the setting lambda."""
    layers = template.depth + 1

    def optimise(table, graph, keys):
        before = to_template(template, graph)

        def edit_at(weight):
            def one_model(model, key):
                def one_layer(item):
                    parts = table, requirement, target, weight, config, item[1]
                    return searched(template, model, item[0], *parts)

                items = 1 + jnp.arange(layers), jax.random.split(key, layers)
                candidates = jax.lax.map(one_layer, items)  # leaves [layers, ...]
                logits = apply_rows(template, model, table.x)
                parts = candidates, logits, table, requirement, target, weight
                return tuned(template, model, *parts)

            return whole_edit(template, before, each_model(one_model)(before, keys))

        return edit_at

    return optimise


@checked(no_editors, count_options("n_lambdas"))
@checked_on_data(two_classes)
def layerwise(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    target: Target = "outputs",
    search: SearchConfig = SearchConfig(),
    n_lambdas: int | None = None,
) -> Method:
    """Layer-wise optimisation (Savani, White and Govindarajulu 2020, algorithm 2); no editors.

    The parameters of one layer are optimised at a time, by the objective (see `intra`) at the best
    threshold, which has no gradient; of all layers' results the best on the `edit` data is taken.
    The authors' optimiser is gradient-boosted trees with 20 evaluations of a parameter array; here
    it is a (1 + children) evolution strategy with adaptive steps, of which a few hundred
    evaluations per layer compile to one program.

    Args:
      target: of the cost; the authors' is "error".
      n_lambdas: of the experiment's range; by default `evaluation.n_lambdas`.
    """

    def edit_fn_in(template: Template) -> EditFn:
        return layerwise_fn(template, testbed.requirement, target, search)

    groups = testbed.by_depth()
    return intra_processing(testbed, edit_fn_in, testbed.edit_table, n_lambdas, groups)
