"""Gradient descent on one model's own objective: after an edit, or from the model itself."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from metanet.core import require, stream
from metanet.data.tabular import Table
from metanet.devices import each_model
from metanet.editor.apply import with_template
from metanet.editor.edit_fns import editor_fn
from metanet.editor.edits import Edit, EditFn
from metanet.editor.model import TrainedEditor
from metanet.editor.relax import keep_mask, soft_decisions
from metanet.evaluation.method import Method
from metanet.graphs.batch import to_template
from metanet.graphs.topology import Template
from metanet.methods.compiled import compiled, lambdas, with_probing
from metanet.methods.retrain import input_edges
from metanet.objectives.base import Objective, view_of
from metanet.objectives.preservation import mean_jsd
from metanet.pipeline.recipes import checked, count_options, no_editors, one_editor
from metanet.pipeline.testbed import Testbed
from metanet.probes.rows import ProbeConfig
from metanet.training.descent import descend
from metanet.training.inputs import sampling_pool

TRAINED = ("weight", "bias", "scale", "shift")


@dataclasses.dataclass(frozen=True)
class RefineConfig:
    """The descent of one model's objective, JSD (nats) + lambda * requirement: Adam, cosine decay.

    Attributes:
      steps: of gradient descent; 0 changes nothing.
      points: data points per step.
      balanced: whether every cell of (label, group) gives equally many of them.
      learning_rate: of the parameters, the first.
      mask: the masks that are trained too, from those of the edit: "none", "edges" or "inputs".
      mask_learning_rate: of the masks' logits, the first.
      mask_bias: the logits' first value, positive if the edit keeps the entry, negative if not.
      mask_noise, mask_temperature, decision_temperature, ramp: as in TrainingConfig.
    """

    steps: int
    points: int = 128
    balanced: bool = False
    learning_rate: float = 3e-3
    mask: str = "none"
    mask_learning_rate: float = 0.1
    mask_bias: float = 3.0
    mask_noise: float = 1.0
    mask_temperature: float = 1.0
    decision_temperature: float = 0.2
    ramp: float = 0.0

    def __post_init__(self):
        require(self.steps >= 0, "steps", self.steps, "0 or more")
        require(self.points >= 1, "points", self.points, "at least 1")
        masks = ("none", "edges", "inputs")
        require(self.mask in masks, "mask", self.mask, f"one of {', '.join(masks)}")
        for key in ("learning_rate", "mask_learning_rate", "mask_temperature",
                    "decision_temperature", "mask_bias"):  # fmt: skip
            value = getattr(self, key)
            require(value > 0, key, value, "a positive number")
        require(self.mask_noise >= 0, "mask_noise", self.mask_noise, "0 or more")
        require(0 <= self.ramp <= 1, "ramp", self.ramp, "a fraction from 0 to 1")


class Sample(struct.PyTreeNode):
    """The source of points (see training.inputs.sampling_pool), and the key that draws them.

    Points and noise are the same for all models: drawn once, they cost nothing per model.

    Attributes:
      table: the data, weighted for the way they are sampled.
      pool: [draws] int, rows of the table.
      key: of the draws.
    """

    table: Table
    pool: jax.Array
    key: jax.Array


def refine(
    template: Template,
    edit: Edit,
    weight: jax.Array,
    sample: Sample,
    requirement: Objective,
    config: RefineConfig,
) -> Edit:
    """The edit of one model after `config.steps` of descent.

    Args:
      edit: of one model, without leading axes.
      weight: [], lambda.
    """
    if not config.steps:
        return edit
    before, neuron = edit.before, edit.before.node.astype(jnp.float32)
    # [sources, targets] weights, the others [targets]; 0 in `allowed` is not trained.
    params = {name: getattr(edit.after, name) for name in TRAINED}
    rates = {name: config.learning_rate for name in TRAINED}
    allowed = {"weight": edit.keep, "bias": neuron, "scale": neuron, "shift": neuron}
    if config.mask != "none":
        mask = edit.keep if config.mask == "edges" else edit.input_keep
        # [sources, targets] or [features] logits, as if the edit had decided by a clear margin.
        params["mask"] = config.mask_bias * (2.0 * mask - 1.0)
        rates["mask"] = config.mask_learning_rate
        allowed["mask"] = jnp.ones_like(mask)
        # A weight that is not kept now may come back, with its value before the edit.
        allowed["weight"] = before.edge.astype(jnp.float32)
        params["weight"] = jnp.where(edit.keep > 0, params["weight"], before.weight)

    def edited(params, noise):
        keep, input_keep = edit.keep, edit.input_keep
        if config.mask != "none":
            chosen = keep_mask(params["mask"] + noise, config.mask_temperature)
            if config.mask == "edges":
                keep = chosen * before.edge
            else:
                input_keep = chosen
                keep = input_edges(template, before, chosen)
        # Masks multiply here, inside the loss, so that they have gradients.
        after = {name: params[name] for name in TRAINED} | {"weight": params["weight"] * keep}
        return Edit(before, before.replace(**after), keep, input_keep)

    decide = functools.partial(soft_decisions, temperature=config.decision_temperature)

    def loss(params, step_key, factor):
        rows_key, noise_key = jax.random.split(step_key)
        drawn = jax.random.randint(rows_key, (config.points,), 0, len(sample.pool))
        batch = jax.tree.map(lambda leaf: leaf[sample.pool[drawn]], sample.table)  # [points, ...]
        noise = jnp.zeros(())
        if config.mask != "none":
            noise = config.mask_noise * jax.random.logistic(noise_key, params["mask"].shape)
        view = view_of(template, edited(params, noise), batch, decide)
        return mean_jsd(view) + factor * weight * requirement(view)  # [], nats

    params = descend(loss, params, rates, allowed, config.steps, sample.key, config.ramp)
    return edited(params, jnp.zeros(()))  # the masks without noise, as they are reported


def refined_fn(
    method: EditFn, template: Template, requirement: Objective, config: RefineConfig
) -> EditFn:
    """`method`, then `refine` for every model; the setting is lambda.

    The context is (that of `method`, Sample).
    """

    def apply(context, graph, keys):
        inner, sample = context
        edit = method(inner, graph, keys)

        def edit_at(setting):
            def one_model(edit):
                return refine(template, edit, setting, sample, requirement, config)

            return each_model(one_model)(edit(setting))

        return edit_at

    return apply


def unedited_fn(template: Template) -> EditFn:
    """The models as they are, everything kept."""

    def apply(context, graph, keys):
        before = to_template(template, graph)
        everything = jnp.ones((len(keys), template.n_in))
        return lambda setting: Edit(before, before, before.edge.astype(jnp.float32), everything)

    return apply


@checked(one_editor, count_options("n_lambdas"))
def refined(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    descent: RefineConfig,
    n_lambdas: int | None = None,
) -> Method:
    """One editor, then gradient descent on every model.

    Args:
      n_lambdas: of the editor's own range; by default `evaluation.n_lambdas`.
    """
    (editor,) = editors

    def edit_fn_in(template: Template) -> EditFn:
        def edit(editor, graph, keys):
            return editor_fn(with_template(editor, template), graph, keys)

        return refined_fn(edit, template, testbed.requirement, descent)

    values = lambdas(editor.lambda_range, n_lambdas or testbed.experiment.evaluation.n_lambdas)
    method = _descended(testbed, edit_fn_in, editor, values, descent, editor.config.probe)
    return with_probing(testbed, editor.config.probe, method)


@checked(no_editors, count_options("n_lambdas"))
def optimised(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    descent: RefineConfig,
    n_lambdas: int | None = None,
) -> Method:
    """Gradient descent on every model from its own parameters, masks included; no editors.

    Args:
      n_lambdas: of the experiment's range; by default `evaluation.n_lambdas`.
    """

    def edit_fn_in(template: Template) -> EditFn:
        return refined_fn(unedited_fn(template), template, testbed.requirement, descent)

    experiment = testbed.experiment
    values = lambdas(experiment.lambda_range, n_lambdas or experiment.evaluation.n_lambdas)
    return _descended(testbed, edit_fn_in, None, values, descent, None)


def _descended(
    testbed: Testbed,
    edit_fn_in: Callable[[Template], EditFn],
    start,
    values: np.ndarray,
    descent: RefineConfig,
    probe: ProbeConfig | None,
) -> Method:
    """A method that trains every model at every lambda, in a template per depth.

    Args:
      edit_fn_in: template -> the method, whose context is (start, Sample).
      values: lambdas [S], or [S, requirements].
      probe: the rows that models are probed on before they are edited.
    """
    table, pool = sampling_pool(testbed.data.edit, descent.balanced)
    table, pool = jax.tree.map(jnp.asarray, (table, pool))
    sample = Sample(table, pool, stream(testbed.experiment.seed, "refinement"))
    groups = testbed.by_depth(probe)
    return compiled(testbed, edit_fn_in, (start, sample), "lambda", values, groups)
