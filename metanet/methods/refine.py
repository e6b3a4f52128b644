"""Gradient descent on one model's own objective: after an edit, or from the model itself."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metanet.core import require
from metanet.data.tabular import Table
from metanet.devices import each_model
from metanet.editor.edits import Edit, EditFn
from metanet.editor.relax import keep_mask, soft_decisions
from metanet.graphs.batch import to_template
from metanet.graphs.topology import Template
from metanet.objectives.base import Objective, view_of
from metanet.objectives.preservation import mean_jsd

TRAINED = ("weight", "bias", "scale", "shift")


@dataclasses.dataclass(frozen=True)
class RefineConfig:
    """How one model's objective, JSD + lambda * requirement, is minimised: Adam, cosine decay.

    Attributes:
      steps: of gradient descent; 0 changes nothing.
      points: data points per step.
      learning_rate: of the parameters, the first.
      mask: which masks are trained too, from where the edit has them: "none", "edges" or "inputs".
      mask_learning_rate: of the masks' logits, the first.
      mask_bias: the logits' first value, positive for what is kept and negative for what is not.
      mask_noise, mask_temperature, decision_temperature, ramp: as in TrainingConfig.
    """

    steps: int
    points: int = 128
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
        allowed = ("none", "edges", "inputs")
        require(self.mask in allowed, "mask", self.mask, f"one of {', '.join(allowed)}")


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

    def loss(params, noise, batch, scale):
        view = view_of(template, edited(params, noise), batch, decide)
        return mean_jsd(view) + scale * weight * requirement(view)

    optimiser = optax.scale_by_adam()

    def step(state, item):
        params, moments = state
        step_key, decay, scale = item
        rows_key, noise_key = jax.random.split(step_key)
        drawn = jax.random.randint(rows_key, (config.points,), 0, len(sample.pool))
        batch = jax.tree.map(lambda leaf: leaf[sample.pool[drawn]], sample.table)
        noise = 0.0
        if config.mask != "none":
            noise = config.mask_noise * jax.random.logistic(noise_key, params["mask"].shape)
        update, moments = optimiser.update(jax.grad(loss)(params, noise, batch, scale), moments)
        params = {
            name: value - decay * rates[name] * update[name] * allowed[name]
            for name, value in params.items()
        }
        return (params, moments), None

    numbers = jnp.arange(config.steps)
    decay = optax.cosine_decay_schedule(1.0, config.steps)(numbers)
    ramp = jnp.minimum((numbers + 1) / max(config.ramp * config.steps, 1), 1.0)
    items = (jax.random.split(sample.key, config.steps), decay, ramp)
    (params, _), _ = jax.lax.scan(step, (params, optimiser.init(params)), items)
    return edited(params, 0.0)


def refined(
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


def unedited(template: Template) -> EditFn:
    """The models as they are, everything kept."""

    def apply(context, graph, keys):
        before = to_template(template, graph)
        everything = jnp.ones((len(keys), template.n_in))
        return lambda setting: Edit(before, before, before.edge.astype(jnp.float32), everything)

    return apply
