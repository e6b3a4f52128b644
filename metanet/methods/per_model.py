"""Gradient descent on one model's own objective, masks included, from one or several starts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from metanet.core import require
from metanet.data.tabular import Table
from metanet.devices import each_model
from metanet.editor.edits import Edit
from metanet.editor.relax import bounded, hard_decisions, keep_mask, soft_decisions
from metanet.graphs.padded import PARAMETERS, apply_rows, input_edges
from metanet.graphs.topology import Template
from metanet.objectives.base import Objective, view_of
from metanet.objectives.preservation import mean_jsd
from metanet.training.descent import descend

_NO_PATH: tuple[jax.Array, ...] = ()


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
      mask_limit: how large the logits may become, either way (see relax.bounded); None is no limit.
      mask_noise, mask_temperature, decision_temperature, ramp: as in TrainingConfig.
      mask_path: the chance of a step that masks learn in it, as in TrainingConfig; 0 is in all
        steps, from gradients at 0 and 1.
      starts: descents of every model, of which the best is kept: the lowest objective on all rows
        of the `edit` data, by hard masks and decisions.
      start_noise: from the second start on, the scale of normal noise on the logits' first values.
    """

    steps: int
    points: int = 128
    balanced: bool = False
    learning_rate: float = 3e-3
    mask: str = "none"
    mask_learning_rate: float = 0.1
    mask_bias: float = 3.0
    mask_limit: float | None = None
    mask_noise: float = 1.0
    mask_temperature: float = 1.0
    mask_path: float = 0.0
    decision_temperature: float = 0.2
    ramp: float = 0.0
    starts: int = 1
    start_noise: float = 3.0

    def __post_init__(self):
        require(self.steps >= 0, "steps", self.steps, "0 or more")
        for key in ("points", "starts"):
            value = getattr(self, key)
            require(value >= 1, key, value, "at least 1")
        masks = ("none", "edges", "inputs")
        require(self.mask in masks, "mask", self.mask, f"one of {', '.join(masks)}")
        for key in ("learning_rate", "mask_learning_rate", "mask_temperature",
                    "decision_temperature", "mask_bias"):  # fmt: skip
            value = getattr(self, key)
            require(value > 0, key, value, "a positive number")
        largest, above = self.mask_limit, f"more than mask_bias, {self.mask_bias}"
        require(largest is None or largest > self.mask_bias, "mask_limit", largest, above)
        for key in ("mask_noise", "start_noise"):
            value = getattr(self, key)
            require(value >= 0, key, value, "0 or more")
        for key in ("mask_path", "ramp"):
            value = getattr(self, key)
            require(0 <= value <= 1, key, value, "a fraction from 0 to 1")


class Sample(struct.PyTreeNode):
    """The source of points (see training.inputs.sampling_pool), and the keys that draw them.

    Points and noise are the same for all models: drawn once, they cost nothing per model.

    Attributes:
      table: the data, weighted for the way they are sampled.
      pool: [draws] int, rows of the table.
      keys: [starts, 2], of each start: of its steps, and of its first logits.
      rates, mask_temperature: [], the config's: {"parameters", "mask"}, and of masks. Arguments of
        the compiled program, which a search then compiles once.
    """

    table: Table
    pool: jax.Array
    keys: jax.Array
    rates: dict[str, jax.Array]
    mask_temperature: jax.Array


def sample_of(table: Table, pool: jax.Array, keys: jax.Array, config: RefineConfig) -> Sample:
    """The sample with the config's rates and temperature."""
    rates = {"parameters": config.learning_rate, "mask": config.mask_learning_rate}
    numbers = rates, config.mask_temperature
    return Sample(table, pool, keys, *jax.tree.map(jnp.float32, numbers))


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
      weight: lambda, [] or [requirements].
    """
    if not config.steps:
        return edit

    def from_start(number, keys):
        noise = config.start_noise * (number > 0)  # the first start is the edit itself
        return _descended(template, edit, weight, sample, requirement, config, keys, noise)

    if config.starts == 1:
        return from_start(0, sample.keys[0])
    edits = each_model(from_start)(jnp.arange(config.starts), sample.keys)  # [starts, ...] each
    # Every row counts once: the table's weights are for rows drawn from the pool.
    table = sample.table.replace(weight=jnp.ones_like(sample.table.weight))
    logits = apply_rows(template, edit.before, jnp.asarray(table.x))  # [rows, classes]

    def objective(edit):
        view = view_of(template, edit, table, hard_decisions, logits)
        return mean_jsd(view) + jnp.sum(weight * requirement(view))  # [], nats

    values = each_model(objective)(edits)  # [starts]
    best = jnp.argmin(jnp.where(jnp.isfinite(values), values, jnp.inf))
    return jax.tree.map(lambda leaf: leaf[best], edits)


def _descended(
    template: Template,
    edit: Edit,
    weight: jax.Array,
    sample: Sample,
    requirement: Objective,
    config: RefineConfig,
    keys: jax.Array,
    start_noise: jax.Array | float,
) -> Edit:
    """`refine` from one start, with its keys [2] and the scale of noise on its first logits."""
    before, neuron = edit.before, edit.before.node.astype(jnp.float32)
    steps_key, start_key = keys
    # [sources, targets] weights, the others [targets]; 0 in `allowed` is not trained.
    params = {name: getattr(edit.after, name) for name in PARAMETERS}
    rates = {name: sample.rates["parameters"] for name in PARAMETERS}
    allowed = {"weight": edit.keep, "bias": neuron, "scale": neuron, "shift": neuron}
    if config.mask != "none":
        mask = edit.keep if config.mask == "edges" else edit.input_keep
        # [sources, targets] or [features] logits, as if the edit had decided by a clear margin.
        params["mask"] = config.mask_bias * (2.0 * mask - 1.0)
        if config.starts > 1:
            params["mask"] += start_noise * jax.random.normal(start_key, mask.shape)
        rates["mask"] = sample.rates["mask"]
        allowed["mask"] = jnp.ones_like(mask)
        # A weight that is not kept now may come back, with its value before the edit.
        allowed["weight"] = before.edge.astype(jnp.float32)
        params["weight"] = jnp.where(edit.keep > 0, params["weight"], before.weight)

    def edited(params, noise, *path):
        keep, input_keep = edit.keep, edit.input_keep
        if config.mask != "none":
            logits = bounded(params["mask"], config.mask_limit) + noise
            chosen = keep_mask(logits, sample.mask_temperature, *path)
            if config.mask == "edges":
                keep = chosen * before.edge
            else:
                input_keep = chosen
                keep = input_edges(template, before, chosen)
        # Masks multiply here, inside the loss, so that they have gradients.
        after = {name: params[name] for name in PARAMETERS} | {"weight": params["weight"] * keep}
        return Edit(before, before.replace(**after), keep, input_keep)

    decide = functools.partial(soft_decisions, temperature=config.decision_temperature)

    def loss(params, step_key, factor):
        rows_key, noise_key, path_key = jax.random.split(step_key, 3)
        drawn = jax.random.randint(rows_key, (config.points,), 0, len(sample.pool))
        batch = jax.tree.map(lambda leaf: leaf[sample.pool[drawn]], sample.table)  # [points, ...]
        noise, path = jnp.zeros(()), _NO_PATH
        if config.mask != "none":
            noise = config.mask_noise * jax.random.logistic(noise_key, params["mask"].shape)
            if config.mask_path:
                uniform = jax.random.uniform(path_key, (2,))
                learns = uniform[0] < config.mask_path
                path = (uniform[1] * learns, learns)  # what stands for 0, and whether masks learn
        view = view_of(template, edited(params, noise, *path), batch, decide)
        return mean_jsd(view) + jnp.sum(factor * weight * requirement(view))  # [], nats

    params = descend(loss, params, rates, allowed, config.steps, steps_key, config.ramp)
    return edited(params, jnp.zeros(()))  # the masks without noise, as they are reported
