"""The editor's training step: one compiled program for every architecture and every lambda."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec as P

from metanet.core import each_model, over_models, require, stream
from metanet.data.tabular import Table
from metanet.editor.edit import Path, as_edit, edit_graph, logistic_noise
from metanet.editor.inputs import Scales
from metanet.editor.model import Editor, EditorConfig, TrainedEditor
from metanet.editor.relax import soft_decisions
from metanet.graphs.batching import Strata, draw
from metanet.graphs.convert import Models, gather, parameter_tiles
from metanet.mlp.resident import Residence, advance
from metanet.objectives.base import Objective, view_of
from metanet.objectives.preservation import mean_jsd
from metanet.scalarise import epo_weights, linear


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How an editor is trained (paper A.4, and the recipe of BUILD_NOTES.md).

    Attributes:
      steps: optimiser steps.
      batch_size: models per step.
      points: data points per step.
      balanced: whether every cell of (label, group) gives the same share of them; preservation is
        weighted back to the data as they are.
      learning_rate: the peak; linear warm-up over `warmup` steps, then cosine to
        `final_learning_rate` times the peak.
      weight_decay: decoupled.
      clip: the gradient's largest global norm.
      ramp: the fraction of steps over which lambda rises from 0.
      mask_noise: the scale of the logistic noise on mask logits.
      mask_temperature, decision_temperature: of the relaxations.
      mask_path: the chance of a model that its masks learn in a step, from gradients at a random
        place between 0 and 1 (see relax.keep_mask); 0 for gradients at 0 and 1, of all models.
      preference: (low, high) of lambda, drawn log-uniformly per model; low = high is one point.
        With several requirements, one such pair for each.
      scalarisation: "linear": JSD + lambda * requirement; "epo": lambda is drawn per step, and the
        batch's means are led to where JSD = lambda * requirement (see scalarise.epo_weights).
      preference_power: linear: a model's loss counts (lambda / high)^-power, sums of lambda where
        there are several.
    """

    steps: int
    batch_size: int = 16
    points: int = 256
    balanced: bool = False
    learning_rate: float = 2e-3
    final_learning_rate: float = 0.02
    warmup: int = 50
    weight_decay: float = 0.0
    clip: float = 1.0
    ramp: float = 0.3
    mask_noise: float = 1.0
    mask_temperature: float = 1.0
    decision_temperature: float = 0.2
    mask_path: float = 0.0
    preference: tuple = (0.001, 0.5)
    preference_power: float = 0.0
    scalarisation: str = "linear"

    def __post_init__(self):
        for key in ("steps", "batch_size", "points"):
            value = getattr(self, key)
            require(value >= 1, f"editor.{key}", value, "at least 1")
        for key in ("clip", "mask_temperature", "decision_temperature"):
            value = getattr(self, key)
            require(value > 0, f"editor.{key}", value, "a positive number")
        known = ("linear", "epo")
        found = self.scalarisation
        require(found in known, "editor.scalarisation", found, f"one of {', '.join(known)}")
        share = self.mask_path
        require(0 <= share <= 1, "editor.mask_path", share, "0 <= mask_path <= 1")
        pairs = preference_pairs(self.preference)
        ok = all(len(pair) == 2 and 0 < pair[0] <= pair[1] for pair in pairs)
        require(ok, "preference", self.preference, "(low, high) with 0 < low <= high")


def preference_pairs(preference: tuple) -> tuple[tuple[float, float], ...]:
    """(low, high) of every requirement's lambda; a single pair may be given by itself."""
    nested = all(isinstance(part, (tuple, list)) for part in preference)
    return tuple(tuple(pair) for pair in (preference if nested else (preference,)))


@struct.dataclass
class TrainState:
    """What changes from step to step.

    Attributes:
      step: [] int32, the number of steps done.
      residents: models in training (see mlp.resident), sharded; () where models are stored.
    """

    params: dict
    optimiser: optax.OptState
    step: jax.Array
    residents: tuple = ()


@struct.dataclass
class Problem:
    """What stays the same: arguments of the compiled program, not constants in it.

    Attributes:
      models: the population;  scales: its units.
      strata, number: [batch, ...], [batch] (see batching.Strata), sharded;  per_epoch: [].
      table: the data that the editor sees, weighted for the way they are sampled.
      pool: int32, the rows that points are drawn from, uniformly; a row may stand there repeatedly.
      log_preference: [requirements, 2], natural logarithms of the ranges of lambda.
      seed: [] int32, of all random draws.
      train: what resident models train on; None where models are stored.
    """

    models: Models
    scales: Scales
    strata: jax.Array
    number: jax.Array
    per_epoch: jax.Array
    table: Table
    pool: jax.Array
    log_preference: jax.Array
    seed: jax.Array
    train: Table | None = None


def problem_of(
    config: TrainingConfig, models: Models, scales: Scales, strata: Strata, table: Table, seed: int
) -> Problem:
    """The training problem as arrays."""
    table, pool = sampling_pool(table, config.balanced)
    return Problem(
        models=models,
        scales=scales,
        strata=jnp.asarray(strata.table),
        number=jnp.asarray(strata.number),
        per_epoch=jnp.asarray(strata.per_epoch, jnp.int32),
        table=jax.tree.map(jnp.asarray, table),
        pool=jnp.asarray(pool, jnp.int32),
        log_preference=jnp.log(jnp.asarray(preference_pairs(config.preference), jnp.float32)),
        seed=jnp.asarray(seed, jnp.int32),
    )


def sampling_pool(table: Table, balanced: bool) -> tuple[Table, np.ndarray]:
    """The table with importance weights, and the pool of rows that points are drawn from.

    The balanced pool repeats the rows of every cell of (label, group) up to the size of the largest
    cell; weights undo exactly what the pool does.
    """
    rows = np.arange(len(table.y))
    if not balanced:
        return table, rows
    cell = np.asarray(table.y) * table.n_groups + np.asarray(table.group)
    cells = [rows[cell == one] for one in np.unique(cell)]
    pool = np.concatenate([np.resize(members, max(map(len, cells))) for members in cells])
    share = np.bincount(pool, minlength=len(rows)) / len(pool)
    return table.replace(weight=(1 / (len(rows) * share)).astype(np.float32)), pool


def schedules(config: TrainingConfig) -> tuple[np.ndarray, np.ndarray]:
    """Learning rate and lambda's ramp factor for every step: two float32 [steps]."""
    step = np.arange(config.steps)
    rate = optax.warmup_cosine_decay_schedule(
        0.0,
        config.learning_rate,
        min(config.warmup, config.steps // 2),
        config.steps,
        config.learning_rate * config.final_learning_rate,
    )
    ramp = np.minimum((step + 1) / max(config.ramp * config.steps, 1), 1.0)
    return np.asarray(jax.vmap(rate)(step), np.float32), ramp.astype(np.float32)


def _direction(config: TrainingConfig) -> optax.GradientTransformation:
    """The update before it is scaled by the learning rate, which is an argument of the program."""
    # On one vector: a kernel per parameter array and moment would take a sixth of compilation.
    return optax.flatten(
        optax.chain(
            optax.clip_by_global_norm(config.clip),
            optax.scale_by_adam(),
            optax.add_decayed_weights(config.weight_decay),
        )
    )


def init_state(
    editor: EditorConfig, config: TrainingConfig, models: Models, scales: Scales, seed: int
) -> TrainState:
    """A fresh editor and its optimiser, strongly typed."""
    preference = jnp.zeros((1, len(preference_pairs(config.preference))), jnp.float32)
    largest = tuple(int(n.max()) for n in (models.topologies.n_nodes, models.topologies.n_edges))
    network = Editor(editor, models.template)

    @jax.jit
    def init(key, models, scales):
        graph = gather(models, jnp.zeros(1, jnp.int32), preference, largest)
        params = network.init(key, graph, scales)["params"]
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), params)
        return TrainState(params, _direction(config).init(params), jnp.zeros((), jnp.int32))

    return init(stream(seed, "editor"), models, scales)


def _shard_losses(params, problem, step, ramp, static):
    """What descends, summed over this device's models: [1], a loss, or [objectives].

    Also the parts by model, and lambda of every model.
    """
    editor_config, config, requirement, budget = static
    order_key = stream(problem.seed, "editor order")
    ids = draw(problem.strata, problem.number, problem.per_epoch, order_key, step)

    batch_key = stream(problem.seed, "editor batch", step)
    model_keys = jax.vmap(lambda n: jax.random.split(jax.random.fold_in(batch_key, n)))(
        problem.number
    )
    low, high = problem.log_preference.T
    uniform = jax.vmap(lambda key: jax.random.uniform(key, low.shape))(model_keys[:, 0])
    if config.scalarisation == "epo":  # one preference for all models, whose mean is searched
        shared = jax.random.uniform(stream(problem.seed, "editor preference", step), low.shape)
        uniform = jnp.broadcast_to(shared[None], uniform.shape)
    log_weight = low[None] + uniform * (high - low)[None]
    graph = gather(problem.models, ids, log_weight / jnp.log(10.0), budget)
    noise = logistic_noise(graph, model_keys[:, 1])
    noise = jax.tree.map(lambda leaf: config.mask_noise * leaf, noise)
    editor = TrainedEditor(params, problem.scales, editor_config, problem.models.template)
    path = _draw_path(config.mask_path, model_keys[:, 1]) if config.mask_path else None
    edited, masks = edit_graph(editor, graph, noise, config.mask_temperature, path)
    edit = as_edit(editor, graph, edited, masks)

    points_key = stream(problem.seed, "editor points", step)
    rows = problem.pool[jax.random.randint(points_key, (config.points,), 0, len(problem.pool))]
    batch = jax.tree.map(lambda leaf: leaf[rows], problem.table)
    decide = functools.partial(soft_decisions, temperature=config.decision_temperature)

    def objectives(edit):
        view = view_of(problem.models.template, edit, batch, decide)
        return mean_jsd(view), requirement(view)

    preserved, required = each_model(objectives)(edit)
    weight = ramp * jnp.exp(log_weight)
    losses = linear(preserved, required, weight)
    parts = {"loss": losses, "jsd": preserved, "requirement": required, "id": ids}
    if config.scalarisation == "epo":
        each = jnp.concatenate([preserved[:, None], required.reshape(weight.shape)], axis=1)
        return each.sum(0), (parts, weight)
    # A loss is of the order of lambda: without a power the largest lambdas are learned best.
    share = jnp.exp(log_weight).sum(-1) / jnp.exp(high).sum()
    return (losses * share**-config.preference_power).sum()[None], (parts, weight)


def _draw_path(share: float, keys: jax.Array) -> Path:
    """Some of the models keyed by [G] learn masks, at a place of their own; the others, edits."""
    uniform = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1), (2,)))(keys)
    learns, place = uniform[:, 0] < share, uniform[:, 1]
    # The last graph of a batch is padding.
    return jax.tree.map(lambda leaf: jnp.pad(leaf, (0, 1)), Path(place * learns, learns))


def _refilled(models: Models, residence: Residence, snapshots: list) -> Models:
    """`models` with the parameters and activations of residents, those of all devices."""
    everyone = jax.tree.map(
        lambda leaf: jax.lax.all_gather(leaf, "models", axis=0, tiled=True), snapshots
    )
    tiles = [
        parameter_tiles(family.spec, params)
        for family, (params, _) in zip(residence.families, everyone, strict=True)
    ]
    tiles = {name: jnp.concatenate([one[name] for one in tiles]) for name in tiles[0]}
    return models.replace(activation=jnp.concatenate([a for _, a in everyone]), **tiles)


def make_chunk(
    editor: EditorConfig,
    config: TrainingConfig,
    requirement: Objective,
    budget: tuple[int, int],
    mesh: jax.sharding.Mesh,
    residence: Residence | None = None,
) -> Callable[[TrainState, Problem, jax.Array, jax.Array], tuple[TrainState, dict, dict]]:
    """The jitted training of several steps; with a `residence`, of its members too.

    Returns:
      chunk(state, problem, learning_rates [K], ramps [K]) -> (state after K steps, metrics, by
      model), with metrics [K] loss, jsd (nats), gradient_norm and requirement ([K, requirements]
      where there are several), and by model [K, batch] model_loss, model_id. The state's buffers
      are donated.
    """
    direction = _direction(config)
    # The schedule arrives as arrays: runs that differ in it share the compiled program.
    constant = dataclasses.replace(
        config, steps=1, learning_rate=0.0, final_learning_rate=0.0, warmup=0, ramp=0.0
    )
    static = (editor, constant, requirement, budget)

    def one_step(problem, state, scheduled):
        rate, ramp = scheduled
        residents = state.residents
        if residence is not None:
            residents, snapshots = advance(
                residence, residents, problem.train, problem.seed, state.step
            )
            problem = problem.replace(models=_refilled(problem.models, residence, snapshots))
        flat, unravel_params = ravel_pytree(state.params)

        def losses(flat):
            return _shard_losses(unravel_params(flat), problem, state.step, ramp, static)

        totals, pull, (parts, weight) = jax.vjp(losses, flat, has_aux=True)
        gradients = jnp.stack([pull(one)[0] for one in jnp.eye(len(totals))])
        n_models = len(problem.number) * mesh.size
        sums = {k: parts[k].sum(0) for k in ("loss", "jsd", "requirement")}
        # Devices meet once per step: each meeting costs more than what is added there.
        flat, unravel = ravel_pytree((gradients, sums))
        gradients, means = unravel(jax.lax.psum(flat, "models") / n_models)
        if config.scalarisation == "epo":
            preference = jnp.append(1.0, weight[0])
            objectives = jnp.append(means["jsd"], means["requirement"])
            share = epo_weights(objectives, gradients @ gradients.T, preference)
            gradients = len(share) * share[None] @ gradients
        gradient = unravel_params(gradients[0])
        update, optimiser = direction.update(gradient, state.optimiser, state.params)
        params = jax.tree.map(lambda p, u: p - rate * u, state.params, update)
        metrics = means | {"gradient_norm": optax.tree.norm(gradient)}
        by_model = {"model_loss": parts["loss"], "model_id": parts["id"]}
        return TrainState(params, optimiser, state.step + 1, residents), (metrics, by_model)

    def chunk(state, problem, rates, ramps):
        step = functools.partial(one_step, problem)
        state, (metrics, by_model) = jax.lax.scan(step, state, (rates, ramps))
        return state, metrics, by_model

    sharded = Problem(
        models=P(), scales=P(), strata=P("models"), number=P("models"), per_epoch=P(), table=P(),
        pool=P(),
        log_preference=P(), seed=P(), train=P(),
    )  # fmt: skip
    states = TrainState(params=P(), optimiser=P(), step=P(), residents=P("models"))
    outputs = states, P(), P(None, "models")
    mapped = over_models(chunk, mesh, (states, sharded, P(), P()), outputs)
    return jax.jit(mapped, donate_argnums=0)
