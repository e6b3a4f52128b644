"""Gradient descent on one model's own objective: after an edit, or from the model itself."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
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
from metanet.objectives.base import Objective, view_of
from metanet.objectives.preservation import mean_jsd
from metanet.pipeline.testbed import Testbed
from metanet.training.descent import descend
from metanet.training.inputs import sampling_pool

TRAINED = ("weight", "bias", "scale", "shift")


@dataclasses.dataclass(frozen=True)
class RefineConfig:
    """How one model's objective, JSD + lambda * requirement, is minimised: Adam, cosine decay.

    Attributes:
      steps: of gradient descent; 0 changes nothing.
      points: data points per step.
      balanced: whether every cell of (label, group) gives the same share of them.
      learning_rate: of the parameters, the first.
      mask: which masks are trained too, from where the edit has them: "none", "edges" or "inputs".
      mask_learning_rate: of the masks' logits, the first.
      mask_bias: the logits' first value, positive for what is kept and negative for what is not.
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
        allowed = ("none", "edges", "inputs")
        require(self.mask in allowed, "mask", self.mask, f"one of {', '.join(allowed)}")
        for key in ("learning_rate", "mask_learning_rate", "mask_temperature",
                    "decision_temperature", "mask_bias"):  # fmt: skip
            value = getattr(self, key)
            require(value > 0, key, value, "a positive number")
        require(self.mask_noise >= 0, "mask_noise", self.mask_noise, "0 or more")
        require(0 <= self.ramp <= 1, "ramp", self.ramp, "a fraction from 0 to 1")


@struct.dataclass
class Sample:
    """What points are drawn from (see training.inputs.sampling_pool), and by which key.

    Points and noise are the same for all models: what is drawn once costs nothing per model.
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
    """`edit` (one, without leading axes) after `config.steps` of descent at lambda = `weight`."""
    if not config.steps:
        return edit
    before, neuron = edit.before, edit.before.node.astype(jnp.float32)
    params = {name: getattr(edit.after, name) for name in TRAINED}
    rates = {name: config.learning_rate for name in TRAINED}
    allowed = {"weight": edit.keep, "bias": neuron, "scale": neuron, "shift": neuron}
    if config.mask != "none":
        mask = edit.keep if config.mask == "edges" else edit.input_keep
        params["mask"] = config.mask_bias * (2.0 * mask - 1.0)
        rates["mask"] = config.mask_learning_rate
        allowed["mask"] = jnp.ones_like(mask)
        # What is not kept now may come back, as it was.
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
                rows = jnp.ones(keep.shape[0]).at[: template.n_in].set(chosen)
                keep = rows[:, None] * before.edge
        after = {name: params[name] for name in TRAINED} | {"weight": params["weight"] * keep}
        return Edit(before, before.replace(**after), keep, input_keep)

    decide = functools.partial(soft_decisions, temperature=config.decision_temperature)

    def loss(params, step_key, factor):
        rows_key, noise_key = jax.random.split(step_key)
        drawn = jax.random.randint(rows_key, (config.points,), 0, len(sample.pool))
        batch = jax.tree.map(lambda leaf: leaf[sample.pool[drawn]], sample.table)
        noise = 0.0
        if config.mask != "none":
            noise = config.mask_noise * jax.random.logistic(noise_key, params["mask"].shape)
        view = view_of(template, edited(params, noise), batch, decide)
        return mean_jsd(view) + factor * weight * requirement(view)

    params = descend(loss, params, rates, allowed, config.steps, sample.key, config.ramp)
    return edited(params, 0.0)


def refined_fn(
    method: EditFn, template: Template, requirement: Objective, config: RefineConfig
) -> EditFn:
    """`method`, then `refine` for every model; the setting is lambda.

    The context is (what `method` takes, Sample).
    """

    def apply(context, graph, keys):
        inner, sample = context
        edit = method(inner, graph, keys)

        def at(setting):
            def one(edit):
                return refine(template, edit, setting, sample, requirement, config)

            return each_model(one)(edit(setting))

        return at

    return apply


def unedited_fn(template: Template) -> EditFn:
    """The models as they are, everything kept."""

    def apply(context, graph, keys):
        before = to_template(template, graph)
        everything = jnp.ones((len(keys), template.n_in))
        return lambda setting: Edit(before, before, before.edge.astype(jnp.float32), everything)

    return apply


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


def _descended(testbed: Testbed, edit_fn_in, start, values, descent, probe) -> Method:
    """A method that trains every model at every lambda, from what it makes of the context `start`.

    In a template per depth.
    """
    table, pool = sampling_pool(testbed.data.edit, descent.balanced)
    key = stream(testbed.experiment.seed, "refinement")
    sample = Sample(*jax.tree.map(jnp.asarray, (table, pool)), key)
    groups = testbed.by_depth(probe)
    return compiled(testbed, edit_fn_in, (start, sample), "lambda", values, groups)


def _check_lambdas(experiment, plans, key: str, options: dict) -> None:
    value = options.get("n_lambdas")
    require(value is None or value >= 1, f"{key}.n_lambdas", value, "at least 1, or None")


def _check_refined(experiment, plans, key: str, options: dict) -> None:
    require(len(plans) == 1, f"{key}.editors", f"{len(plans)} editors", "one")
    _check_lambdas(experiment, plans, key, options)


refined.check, optimised.check = _check_refined, _check_lambdas
