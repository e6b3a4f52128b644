"""Adversarial fine-tuning: against a critic of the last hidden layer."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from metanet.core import require
from metanet.data.tabular import Table
from metanet.devices import each_model
from metanet.editor.edits import EditFn, whole_edit
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.graphs.batch import to_template
from metanet.graphs.padded import PARAMETERS, PaddedMLP, apply_rows, source_values
from metanet.graphs.topology import Template
from metanet.methods.fairness.critics import (
    group_cross_entropy,
    group_entropy,
    new_critic,
    predicted_bias,
)
from metanet.methods.fairness.intra import intra_processing, stacked, tuned
from metanet.methods.fairness.objective import outputs_of
from metanet.methods.fairness.settings import Target, two_classes
from metanet.mlp.network import js_divergence
from metanet.objectives.base import Objective, view_of_logits
from metanet.pipeline.recipes import checked, checked_on_data, count_options, no_editors
from metanet.pipeline.testbed import Testbed
from metanet.training.inputs import sampling_pool

Critic = Literal["bias", "group"]


@dataclasses.dataclass(frozen=True)
class AdversarialConfig:
    """Critic and network in turns, by Adam.

    Attributes:
      critic: what it predicts: the "bias" of a mini-batch, or the "group" of a row, see
        `adversarial`.
      epochs: turns of both;  critic_steps, steps: of the critic and of the network in each.
      batch_size: rows of a mini-batch, equally many of every cell of (label, group) if `balanced`.
      learning_rate: of the network;  critic_learning_rate: of the critic.
      width: of the critic's two hidden layers.
    """

    critic: Critic = "bias"
    epochs: int = 16
    critic_steps: int = 25
    steps: int = 25
    batch_size: int = 256
    balanced: bool = True
    learning_rate: float = 1e-3
    critic_learning_rate: float = 1e-3
    width: int = 32

    def __post_init__(self):
        for key in ("epochs", "critic_steps", "steps", "batch_size", "width"):
            value = getattr(self, key)
            require(value >= 1, key, value, "at least 1")
        for key in ("learning_rate", "critic_learning_rate"):
            value = getattr(self, key)
            require(value > 0, key, value, "a positive number")


class Data(struct.PyTreeNode):
    """What networks are tuned on.

    Attributes:
      table: all rows, for the objective.
      weighted, pool: rows to draw mini-batches from (see training.inputs.sampling_pool).
    """

    table: Table
    weighted: Table
    pool: jax.Array


def fine_tuned(
    template: Template,
    model: PaddedMLP,
    data: Data,
    requirement: Objective,
    target: Target,
    weight: jax.Array,
    config: AdversarialConfig,
    key: jax.Array,
) -> PaddedMLP:
    """One network after `config.epochs` turns of its critic and itself; `weight` [] is lambda."""
    outputs = outputs_of(template)
    neuron = model.node.astype(jnp.float32)
    allowed = {"weight": model.edge, "bias": neuron, "scale": neuron, "shift": neuron}
    reads = model.edge[:, outputs[0]].astype(jnp.float32)  # [sources]
    start_key, steps_key = jax.random.split(key)
    network = {name: getattr(model, name) for name in PARAMETERS}
    inputs, outputs_of_critic = len(reads), 1
    if config.critic == "group":
        inputs, outputs_of_critic = inputs + 2, data.table.n_groups
    critic = new_critic(inputs, config.width, outputs_of_critic, start_key)
    entropy = group_entropy(data.weighted, data.pool)
    network_adam, critic_adam = (
        optax.adam(rate) for rate in (config.learning_rate, config.critic_learning_rate)
    )

    def batch_of(key):
        drawn = jax.random.randint(key, (config.batch_size,), 0, len(data.pool))
        return jax.tree.map(lambda leaf: leaf[data.pool[drawn]], data.weighted)

    def forward(network, batch):
        """(logits [rows, 2], the last hidden layer [rows, sources])."""
        edited = model.replace(**network)
        sources = source_values(template, edited, batch.x)
        logits = sources @ edited.weight[:, outputs] + edited.bias[None, outputs]
        return logits, sources * reads[None]

    def bias_of(logits, batch):
        """The requirement of a mini-batch, its probabilities standing for decisions: []."""
        decisions = jax.nn.softmax(logits)
        return requirement(view_of_logits(model, model, logits, logits, decisions, batch))

    def critic_loss(critic, network, batch):
        logits, hidden = forward(network, batch)
        if config.critic == "group":
            return group_cross_entropy(critic, hidden, batch)
        return (predicted_bias(critic, hidden, batch.weight) - bias_of(logits, batch)) ** 2

    def network_loss(network, critic, batch):
        logits, hidden = forward(network, batch)
        if config.critic == "group":  # what the critic knows, in nats; not less than nothing
            penalty = jnp.maximum(entropy - group_cross_entropy(critic, hidden, batch), 0.0)
        else:
            penalty = jnp.abs(predicted_bias(critic, hidden, batch.weight))
        if target == "error":
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.y)
            return (batch.weight * losses).mean() * (1 + weight * penalty)
        divergence = js_divergence(apply_rows(template, model, batch.x), logits)
        return (batch.weight * divergence).mean() + weight * penalty

    def critic_step(state, key):
        critic, moments, network = state
        gradient = jax.grad(critic_loss)(critic, network, batch_of(key))
        update, moments = critic_adam.update(gradient, moments)
        return (optax.apply_updates(critic, update), moments, network), None

    def network_step(state, key):
        network, moments, critic = state
        gradient = jax.grad(network_loss)(network, critic, batch_of(key))
        update, moments = network_adam.update(gradient, moments)
        update = {name: update[name] * allowed[name] for name in PARAMETERS}
        return (optax.apply_updates(network, update), moments, critic), None

    def epoch(state, key):
        network, network_moments, critic, critic_moments = state
        keys = jax.random.split(key, config.critic_steps + config.steps)
        first, second = keys[: config.critic_steps], keys[config.critic_steps :]
        (critic, critic_moments, _), _ = jax.lax.scan(
            critic_step, (critic, critic_moments, network), first
        )
        (network, network_moments, _), _ = jax.lax.scan(
            network_step, (network, network_moments, critic), second
        )
        return (network, network_moments, critic, critic_moments), None

    start = network, network_adam.init(network), critic, critic_adam.init(critic)
    keys = jax.random.split(steps_key, config.epochs)
    return model.replace(**jax.lax.scan(epoch, start, keys)[0][0])


def adversarial_fn(
    template: Template, requirement: Objective, target: Target, config: AdversarialConfig
) -> EditFn:
    """See `adversarial`. The context is Data, the setting lambda."""

    def tune(data, graph, keys):
        before = to_template(template, graph)

        def edit_at(weight):
            def one_model(model, key):
                parts = data, requirement, target, weight, config, key
                after = fine_tuned(template, model, *parts)
                logits = apply_rows(template, model, data.table.x)
                chosen = stacked(model, after), logits, data.table, requirement, target, weight
                return tuned(template, model, *chosen)

            return whole_edit(template, before, each_model(one_model)(before, keys))

        return edit_at

    return tune


@checked(no_editors, count_options("n_lambdas"))
@checked_on_data(two_classes)
def adversarial(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    target: Target = "outputs",
    tune: AdversarialConfig = AdversarialConfig(),
    n_lambdas: int | None = None,
) -> Method:
    """Adversarial fine-tuning (Savani, White and Govindarajulu 2020, algorithm 3); no editors.

    A critic learns from the network's last hidden layer; the network learns against the critic:

        cross-entropy * (1 + lambda penalty),   or   JSD + lambda penalty

    with target "error", the authors', and with divergence as the cost. The published critic is
    that of "bias": it predicts the requirement of a mini-batch, which has no gradient of its own,
    and the penalty is its size. The critic of "group" is the adversary of Zhang, Lemoine and
    Mitchell 2018, which the same paper repurposes: it predicts the group of a row given its label,
    and the penalty is the information (nats) that it has. At the end the threshold is chosen by the
    objective (see `intra`) on all `edit` rows, and the network as it was is kept if it is better
    there. The authors' loss has a hinge instead, max(1, lambda (|bias| - epsilon + margin) + 1)
    times the cross-entropy, and their code trains 32 x 301 steps at a rate of 1e-4 with 64 rows.

    Args:
      n_lambdas: of the experiment's range; by default `evaluation.n_lambdas`.
    """
    weighted, pool = sampling_pool(testbed.data.edit, tune.balanced)
    weighted, pool = jax.tree.map(jnp.asarray, (weighted, pool))
    data = Data(testbed.edit_table, weighted, pool)

    def edit_fn_in(template: Template) -> EditFn:
        return adversarial_fn(template, testbed.requirement, target, tune)

    return intra_processing(testbed, edit_fn_in, data, n_lambdas, testbed.by_depth())
