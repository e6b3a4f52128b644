"""Lottery tickets: weights that survive rounds of training and pruning by magnitude."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metanet.editor.edits import EditFn
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.graphs.padded import PaddedMLP
from metanet.graphs.topology import Template
from metanet.methods.compiled import compiled
from metanet.methods.pruning import (
    Target,
    keep_best,
    kept_below_1,
    one_shot_fn,
    train_kept,
    trained_fn,
)
from metanet.methods.retrain import RetrainConfig, Retraining, retraining
from metanet.pipeline.recipes import checked, count_options, no_editors
from metanet.pipeline.testbed import Testbed


def survival(
    template: Template,
    model: PaddedMLP,
    training: Retraining,
    key: jax.Array,
    *,
    config: RetrainConfig,
    rounds: int,
    kept: float,
    target: Target,
) -> jax.Array:
    """A score of weights by iterative magnitude pruning (Frankle and Carbin 2019).

    Each round trains the weights that are left, drops those of least trained magnitude, and rewinds
    the rest to `model`; by "outputs" there is nothing to train in the first. Masks are nested, so
    that the round a weight is dropped in and its rank in that round, together its score, give the
    tickets of all fractions along one path.

    Args:
      config: of a round's training;  rounds: their number.
      kept: the fraction of its weights that a round keeps, of all in the last one's ranks.
      target: what is trained on, see `train_kept`.

    Returns:
      [sources, targets], from 0; the whole part is the number of rounds that a weight survived.
    """

    def one_round(state, item):
        keep, score = state
        number, round_key = item
        trained = train_kept(template, model, model, keep, training, target, config, round_key)
        # The whole model has its own outputs already: Adam would make steps of rounding errors.
        learned = (number > 0) | (target == "labels")
        weight = jnp.where(learned, trained.weight, model.weight)
        size = jnp.where(keep > 0, jnp.abs(weight), -1.0).reshape(-1)
        rank = jnp.argsort(jnp.argsort(size, stable=True)) / size.size  # [weights], below 1
        score = jnp.where(keep > 0, number + rank.reshape(keep.shape), score)
        return (keep_best(model, score, kept ** (number + 1)), score), None

    start = model.edge.astype(jnp.float32), jnp.zeros_like(model.weight)
    items = jnp.arange(rounds, dtype=jnp.float32), jax.random.split(key, rounds)
    (_, score), _ = jax.lax.scan(one_round, start, items)
    return score


def lottery_ticket_fn(
    template: Template,
    config: RetrainConfig,
    rounds: int,
    kept: float = 0.8,
    target: Target = "outputs",
    trained: bool = True,
) -> EditFn:
    """The weights that survive (see `survival`), rewound to the original model's, then trained.

    The context is (Retraining, Retraining), of the rounds and of the ticket, or the rounds' alone
    if it is not trained; the setting is the fraction to keep.

    Args:
      config: of each round's training, and of the ticket's.
      trained: whether the ticket is trained; else it has the original weights.
    """

    def score(template, model, training, key):
        return survival(
            template, model, training, key,
            config=config, rounds=rounds, kept=kept, target=target,
        )  # fmt: skip

    ticket = one_shot_fn(score, template)
    return trained_fn(ticket, template, config, target) if trained else ticket


@checked(no_editors, count_options("rounds"), kept_below_1)
def lottery_ticket(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    retrain: RetrainConfig,
    rounds: int = 13,
    kept: float = 0.8,
    target: Target = "outputs",
    trained: bool = True,
) -> Method:
    """Iterative magnitude pruning with rewinding, at `evaluation.fractions`; no editors.

    All fractions lie on one path: by default 13 rounds of a fifth each, to 5.5% of the weights, as
    in the paper.

    Args:
      retrain: of each round's training, and of the ticket's.
      kept: the fraction of its weights that a round keeps.
      target: what is trained on: the original's "outputs", or "labels" as in the paper.
      trained: whether the ticket is trained.
    """

    def edit_fn_in(template: Template) -> EditFn:
        return lottery_ticket_fn(template, retrain, rounds, kept, target, trained)

    training = retraining(testbed.edit_table, retrain)
    context = (training, training) if trained else training
    fractions = np.array(testbed.experiment.evaluation.fractions)
    return compiled(testbed, edit_fn_in, context, "fraction", fractions, testbed.by_depth())
