"""The editor's training step: one compiled program for every architecture and every lambda."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec as P

from metanet.core import stream
from metanet.devices import each_model, over_models
from metanet.editor.apply import apply_proposal, as_edit, propose
from metanet.editor.edits import MaskPath
from metanet.editor.inputs import Scales
from metanet.editor.model import Editor, EditorConfig, TrainedEditor
from metanet.editor.noise import Dropout, logistic_noise
from metanet.editor.relax import soft_decisions
from metanet.graphs.batch import gather, input_vector
from metanet.graphs.packing import Models, parameter_tiles
from metanet.graphs.strata import draw
from metanet.mlp.online import OnlinePopulation, advance
from metanet.objectives.base import Objective, view_of
from metanet.objectives.preservation import mean_jsd
from metanet.scalarise import epo_weights, linear
from metanet.training.config import TrainingConfig, lambda_pairs
from metanet.training.imitation import imitation_loss
from metanet.training.inputs import NUMBERS, Problem, TrainState

T = TypeVar("T")


def _direction(clip: float | None, weight_decay: jax.Array) -> optax.GradientTransformation:
    """The update before it is scaled by the learning rate; `init` does not read `weight_decay`."""
    # On one vector: a kernel per parameter array and moment would take a sixth of compilation.
    return optax.flatten(
        optax.chain(
            optax.identity() if clip is None else optax.clip_by_global_norm(clip),
            optax.scale_by_adam(),
            optax.add_decayed_weights(weight_decay),
        )
    )


def init_state(
    editor: EditorConfig, config: TrainingConfig, models: Models, scales: Scales, seed: int
) -> TrainState:
    """A fresh editor and its optimiser, strongly typed."""
    largest = tuple(int(n.max()) for n in (models.topologies.n_nodes, models.topologies.n_edges))
    count = len(lambda_pairs(config.lambda_range))
    static = editor, config.clip, count, largest
    return _init(stream(seed, "editor"), models, scales, static)


@functools.partial(jax.jit, static_argnums=3)
def _init(key: jax.Array, models: Models, scales: Scales, static: tuple) -> TrainState:
    """`init_state`, once for all populations of the same sizes."""
    editor, clip, count, largest = static
    log10_lambda = jnp.zeros((1, count), jnp.float32)
    graph = gather(models, jnp.zeros(1, jnp.int32), log10_lambda, largest)
    params = Editor(editor, models.template).init(key, graph, scales)["params"]
    # A weakly typed leaf would become a strong one in the first step, and the step compile twice.
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), params)
    moments = _direction(clip, jnp.zeros(())).init(params)
    return TrainState(params, moments, jnp.zeros((), jnp.int32))


def _shard_losses(
    params: dict, problem: Problem, step: jax.Array, ramp: jax.Array, static: tuple
) -> tuple[jax.Array, tuple[dict[str, jax.Array], jax.Array]]:
    """Losses to descend, summed over this device's G models.

    Args:
      problem: a Problem, with this device's strata.
      static: (EditorConfig, TrainingConfig, objective, budget), which the program is compiled for.

    Returns:
      [1], the weighted loss; with "epo" [1 + requirements], the objectives. Besides, by model,
      loss, jsd, requirement and id ([G], or [G, requirements]); and lambda times its ramp,
      [G, requirements].
    """
    editor_config, config, requirement, budget = static
    # Every random draw is a function of the seed, the step and the stratum, not of the device.
    order_key = stream(problem.seed, "editor order")
    ids = draw(problem.strata, problem.number, problem.per_epoch, order_key, step)  # [G]

    batch_key = stream(problem.seed, "editor batch", step)
    model_keys = jax.vmap(lambda n: jax.random.split(jax.random.fold_in(batch_key, n), 6))(
        problem.number
    )  # [G, 6]
    # A key for each use: what is derived from one key by `split` and by `fold_in` may be the same.
    lambda_keys, edge_keys, input_keys, path_keys, *drop_keys = model_keys.T  # [G] each
    numbers = problem.numbers
    low, high = problem.log_lambda_range.T  # [requirements] each
    uniform = jax.vmap(lambda key: jax.random.uniform(key, low.shape))(lambda_keys)
    if config.scalarisation == "epo":  # one lambda for all models, whose mean is searched
        shared = jax.random.uniform(stream(problem.seed, "editor preference", step), low.shape)
        uniform = jnp.broadcast_to(shared[None], uniform.shape)
    log_weight = low[None] + uniform * (high - low)[None]  # [G, requirements]
    graph = gather(problem.models, ids, log_weight / jnp.log(10.0), budget)
    noise = logistic_noise(graph, edge_keys, input_keys)
    noise = jax.tree.map(lambda leaf: numbers.mask_noise * leaf, noise)
    editor = TrainedEditor(params, problem.scales, editor_config, problem.models.template)
    path = _draw_mask_path(numbers.mask_path, path_keys) if config.mask_path else None
    dropout = None
    if config.dropout:
        dropout = Dropout(edge_keys=drop_keys[0], node_keys=drop_keys[1], rate=numbers.dropout)
    proposal = propose(editor, graph, dropout)
    edited, masks = apply_proposal(editor, graph, proposal, noise, config.mask_temperature, path)
    edit = as_edit(editor, graph, edited, masks)

    # The same points for all models and devices: a batch is gathered once.
    points_key = stream(problem.seed, "editor points", step)
    rows = problem.pool[jax.random.randint(points_key, (config.points,), 0, len(problem.pool))]
    batch = jax.tree.map(lambda leaf: leaf[rows], problem.table)
    decide = functools.partial(soft_decisions, temperature=config.decision_temperature)

    def objectives(edit):  # one model's
        view = view_of(problem.models.template, edit, batch, decide)
        return mean_jsd(view), requirement(view)

    preserved, required = each_model(objectives)(edit)  # [G], and [G] or [G, requirements]
    weight = ramp * jnp.exp(log_weight)
    losses = linear(preserved, required, weight)
    parts = {"loss": losses, "jsd": preserved, "requirement": required, "id": ids}
    if config.scalarisation == "epo":
        # The batch's objectives apart: their gradients are weighed against one another.
        each = jnp.concatenate([preserved[:, None], required.reshape(weight.shape)], axis=1)
        return each.sum(0), (parts, weight)
    # A loss is of the order of lambda: without a power the largest lambdas are learned best.
    relative = jnp.exp(log_weight).sum(-1) / jnp.exp(high).sum()  # [G], at most 1
    total = (losses * relative**-numbers.lambda_power).sum()
    if config.imitation:
        logits = input_vector(editor.template, graph, cast(jax.Array, proposal.input_keep))
        removal = jax.tree.map(lambda leaf: leaf[ids], problem.removal)
        # Of the whole lambda, also while it rises: nothing has to be unlearned.
        imitated = imitation_loss(logits, removal, jnp.exp(log_weight[:, 0]))
        total = total + numbers.imitation * imitated.sum()
    return total[None], (parts, weight)


def _draw_mask_path(chance: jax.Array, keys: jax.Array) -> MaskPath:
    """Masks learn, each model's at a random alpha, in some of the models keyed by [G].

    The others, whose masks are evaluated at 0 and 1, learn edits.
    """
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
    learns, alpha = uniform[:, 0] < chance, uniform[:, 1]  # [G] each
    # One entry more: the last graph of a batch is padding.
    return jax.tree.map(lambda leaf: jnp.pad(leaf, (0, 1)), MaskPath(alpha * learns, learns))


def _refilled(models: Models, population: OnlinePopulation, snapshots: list) -> Models:
    """`models` with the parameters and activations of members, those of all devices."""
    # Every device gets all members, [M, ...] per family: its models may be those of any device.
    all_models = jax.tree.map(
        lambda leaf: jax.lax.all_gather(leaf, "models", axis=0, tiled=True), snapshots
    )
    by_family = [
        parameter_tiles(family.spec, params)
        for family, (params, _) in zip(population.families, all_models, strict=True)
    ]
    # Families in their order, as `graphs.packing.pack` has them.
    tiles = {name: jnp.concatenate([one[name] for one in by_family]) for name in by_family[0]}
    return models.replace(activation=jnp.concatenate([a for _, a in all_models]), **tiles)


def _partition(tree: type[T], sharded: tuple[str, ...]) -> T:
    """A tree of partition specs: the fields in `sharded` lie over the axis `models`."""
    specs: dict[str, Any] = {
        name: P("models") if name in sharded else P() for name in tree.__annotations__
    }
    return tree(**specs)


def make_chunk(
    editor: EditorConfig,
    config: TrainingConfig,
    requirement: Objective,
    budget: tuple[int, int],
    mesh: jax.sharding.Mesh,
    population: OnlinePopulation | None = None,
) -> Callable[[TrainState, Problem, jax.Array, jax.Array], tuple[TrainState, dict, dict]]:
    """The jitted training of several steps; with a `population`, of its members too.

    Returns:
      chunk(state, problem, learning_rates [K], ramps [K]) -> (state after K steps, metrics, by
      model), with metrics [K] loss, jsd (nats), gradient_norm and requirement ([K, requirements]
      where there are several), and by model [K, batch] model_loss, model_id. The state's buffers
      are donated.
    """
    # Schedules, ranges and numbers arrive as arrays: runs that differ in them share the compiled
    # program. Of a mask path, dropout and imitation it only knows whether there is any.
    numbers: dict[str, Any] = dict.fromkeys(NUMBERS, 0.0)
    switches = "mask_path", "dropout", "imitation"
    numbers |= {name: 0.5 * (getattr(config, name) > 0) for name in switches}
    constant = dataclasses.replace(
        config, steps=1, learning_rate=0.0, final_learning_rate=0.0, warmup=0, ramp=0.0, **numbers,
        lambda_range=((1.0, 1.0),) * len(lambda_pairs(config.lambda_range)),
    )  # fmt: skip
    return _chunk(editor, constant, requirement, budget, mesh, population)


@functools.lru_cache(maxsize=4)
def _chunk(
    editor: EditorConfig,
    config: TrainingConfig,
    requirement: Objective,
    budget: tuple[int, int],
    mesh: jax.sharding.Mesh,
    population: OnlinePopulation | None,
) -> Callable:
    """`make_chunk`, once for all editors that share a program: not even traced again."""
    static = (editor, config, requirement, budget)

    def one_step(problem, state, scheduled):  # on one device; scheduled: [] and []
        rate, ramp = scheduled
        members = state.members
        if population is not None:
            members, snapshots = advance(
                population, members, problem.train, problem.seed, state.step
            )
            problem = problem.replace(models=_refilled(problem.models, population, snapshots))
        flat, unravel_params = ravel_pytree(state.params)  # [P]

        def losses(flat):
            return _shard_losses(unravel_params(flat), problem, state.step, ramp, static)

        totals, pull, (parts, weight) = jax.vjp(losses, flat, has_aux=True)
        # [1, P], or [objectives, P]: one forward pass, a backward pass for each.
        gradients = jnp.stack([pull(one)[0] for one in jnp.eye(len(totals))])
        n_models = len(problem.number) * mesh.size
        sums = {k: parts[k].sum(0) for k in ("loss", "jsd", "requirement")}
        # Devices meet once per step, for one sum of one vector: a meeting costs more than the sum.
        flat, unravel = ravel_pytree((gradients, sums))
        gradients, means = unravel(jax.lax.psum(flat, "models") / n_models)
        if config.scalarisation == "epo":
            # After the sum: the search is about the means of the whole batch, on every device.
            preference = jnp.append(
                1.0, weight[0]
            )  # [objectives]; lambda is the same for all models
            objectives = jnp.append(means["jsd"], means["requirement"])
            weights = epo_weights(objectives, gradients @ gradients.T, preference)
            gradients = len(weights) * weights[None] @ gradients  # [1, P]
        gradient = unravel_params(gradients[0])
        direction = _direction(config.clip, problem.numbers.weight_decay)
        update, optimiser = direction.update(gradient, state.optimiser, state.params)
        params = jax.tree.map(lambda p, u: p - rate * u, state.params, update)
        metrics = means | {"gradient_norm": optax.tree.norm(gradient)}
        by_model = {"model_loss": parts["loss"], "model_id": parts["id"]}
        return TrainState(params, optimiser, state.step + 1, members), (metrics, by_model)

    def chunk(state, problem, rates, ramps):
        step = functools.partial(one_step, problem)
        state, (metrics, by_model) = jax.lax.scan(step, state, (rates, ramps))
        return state, metrics, by_model

    # Strata and online members lie over the devices, all else is on every one.
    sharded = _partition(Problem, ("strata", "number"))
    states = _partition(TrainState, ("members",))
    outputs = states, P(), P(None, "models")
    mapped = over_models(chunk, mesh, (states, sharded, P(), P()), outputs)
    return jax.jit(mapped, donate_argnums=0)
