"""Trains an editor: chunks of steps, checkpoints, curves, stop and resume."""

import contextlib
import dataclasses
import functools
import logging
import pathlib
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from metanet.core import Diverged, Stopped, require
from metanet.data.moments import moments_of
from metanet.data.tabular import Table
from metanet.devices import models_mesh, over_models, replicate, to_host
from metanet.editor.inputs import scales_of
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.graphs.packing import Models, pack
from metanet.graphs.strata import stratify
from metanet.graphs.topology import Template
from metanet.mlp import online
from metanet.mlp.online import OnlineMembers, OnlinePopulation
from metanet.mlp.population import Stack
from metanet.objectives.base import paths_of, resolve
from metanet.storage import match_settings
from metanet.training.checkpoint import Checkpoints
from metanet.training.config import TrainingConfig, lambda_pairs
from metanet.training.imitation import Removal, check_imitation, removal_of
from metanet.training.inputs import problem_of, schedules
from metanet.training.step import init_state, make_chunk
from metanet.training.writer import Writer

logger = logging.getLogger(__name__)

CHUNK = 50  # steps per call of the compiled program, and per row of metrics.csv


@dataclasses.dataclass(frozen=True)
class OnlineTraining:
    """Models that train beside the editor; train: the data that they train on."""

    population: OnlinePopulation
    train: Table


def train_editor(
    folder: pathlib.Path,
    editor: EditorConfig,
    config: TrainingConfig,
    requirement: str | tuple[str, ...],
    models: Models,
    ids: np.ndarray,
    table: Table,
    seed: int,
    identity: dict,
    others: Sequence[tuple[np.ndarray, Table]] = (),
    online: OnlineTraining | None = None,
    removal: Removal | None = None,
    checkpoint_every: int = 500,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedEditor:
    """Trains an editor on the models `ids`, or goes on from the last checkpoint in `folder`.

    Args:
      requirement: dotted path of the objective, or of several (see objectives.base.resolve).
      identity: what else determines the result (the population's settings), flat, for JSON.
      others: models of other datasets, each with their data: chunks of steps take turns.
      online: models that train meanwhile and that the editor is trained on instead of `ids`, which
        then only give the units of parameters.
      removal: what `removal_of` returns for `ids`, if masks are to imitate it and it is known.
      checkpoint_every: steps, rounded up to whole chunks.

    Raises:
      UserError: `folder` holds an editor of other settings, or there are too few models.
      Diverged: a loss or gradient was not finite; names the step and the models.
      Stopped: `should_stop()` became true; the state is saved.
    """
    parts = [(ids, table), *others]
    mesh = models_mesh(config.batch_size)
    if online is not None:
        each, whole = online.population.members, f"a multiple of the {mesh.size} devices"
        require(each % mesh.size == 0, "online.members", each, whole)
        fewest = each * len(online.population.families)
    else:
        fewest = min(len(ids) for ids, _ in parts)
    enough = f"at most the {fewest} models that it is trained on"
    require(config.batch_size <= fewest, "editor.batch_size", config.batch_size, enough)
    objective = resolve(requirement)
    check_lambda_range(requirement, config)
    check_imitation(requirement, editor, config, "editor")
    alone = not others and online is None
    expected = "0 with models of other datasets or in training"
    require(alone or not config.imitation, "editor.imitation", config.imitation, expected)
    match_settings(folder, settings_of(editor, config, requirement, seed, identity))
    scales = scales_of(models, np.concatenate([ids for ids, _ in parts]))
    if editor.imputation:
        moments = moments_of(table, models.template.n_in)
        scales = scales.replace(input_mean=moments.mean, input_covariance=moments.covariance)
    scales = replicate(scales, mesh)
    population, train = None, None
    members: tuple[OnlineMembers, ...] = ()
    if online is not None:
        population, train = online.population, jax.tree.map(jnp.asarray, online.train)
        members, models = _first_members(population, models.template, seed, mesh)
        parts = [(np.arange(len(models.spec)), table)]
    strata = [stratify(models, ids, config.batch_size, mesh.size) for ids, _ in parts]
    budget = tuple(max(sizes) for sizes in zip(*(one.budget for one in strata), strict=True))
    if config.imitation and removal is None:
        removal = removal_of(models, ids, table, objective)
    problems = [
        problem_of(config, models, scales, drawn, table, seed).replace(train=train, removal=removal)
        for drawn, (_, table) in zip(strata, parts, strict=True)
    ]
    state = replicate(init_state(editor, config, models, scales, seed), mesh)
    state = state.replace(members=members)
    with contextlib.closing(
        Checkpoints(folder, editor, models.template, config.lambda_range)
    ) as checkpoints:
        restored = checkpoints.restore(state, scales)
        if restored is None and online is not None:
            grown = _burnt_in(population, members, train, seed, mesh, should_stop)
            state = state.replace(members=grown)
            checkpoints.save(state, scales)
        state = restored or state
        with contextlib.closing(Writer(folder, int(state.step))) as writer:
            state = _run(
                make_chunk(editor, config, objective, budget, mesh, population),
                state, problems, config, checkpoint_every, should_stop,
                save=lambda state: checkpoints.save(state, scales), write=writer.write,
            )  # fmt: skip
    params, scales = jax.device_get((state.params, scales))
    ranges = lambda_pairs(config.lambda_range)
    return TrainedEditor(params, scales, editor, models.template, ranges)


def _first_members(
    population: OnlinePopulation, template: Template, seed: int, mesh: jax.sharding.Mesh
) -> tuple[tuple[OnlineMembers, ...], Models]:
    """The first members, on the devices of the mesh, and the graphs that hold them."""
    where = jax.sharding.NamedSharding(mesh, P("models"))
    members = jax.jit(lambda: online.start(population, seed), out_shardings=where)()
    stacks = [
        Stack(family.spec, *to_host((one.state[0], one.drawn["activation"])))
        for family, one in zip(population.families, members, strict=True)
    ]
    return members, pack(stacks, template)


def _burnt_in(population, members, train, seed, mesh, should_stop):
    """The members, on their devices, when they are of every age; one program for each family."""
    grown: list[OnlineMembers] = []
    for family, of_family in enumerate(members):
        function = functools.partial(online.burn_in, population, family)
        mapped = over_models(function, mesh, (P("models"), P(), P()), P("models"))
        # Returns before it is computed: the next family's program is compiled meanwhile.
        one = jax.jit(mapped, donate_argnums=0)(of_family, train, jnp.asarray(seed, jnp.int32))
        if grown:
            jax.block_until_ready(grown[-1])
        grown.append(one)
        if should_stop():
            raise Stopped("editor: models in training were not of every age yet")
        if family % 10 == 9:
            logger.info("editor: models of %d of %d specs are grown", family + 1, len(members))
    return jax.block_until_ready(tuple(grown))


def check_lambda_range(requirement: str | tuple[str, ...], config: TrainingConfig) -> None:
    """Raises UserError unless there is a range of lambda for every requirement."""
    count = len(paths_of(requirement))
    ok = len(lambda_pairs(config.lambda_range)) == count
    require(ok, "lambda_range", config.lambda_range, f"{count} of (low, high)")


def settings_of(
    editor: EditorConfig,
    config: TrainingConfig,
    requirement: str | tuple[str, ...],
    seed: int,
    identity: dict,
) -> dict:
    """Everything that determines a trained editor, flat, for JSON; see `train_editor`."""
    shape, training = dataclasses.asdict(editor), dataclasses.asdict(config)
    lambda_range = training.pop("lambda_range")
    flat = {f"editor.{key}": value for key, value in (shape | training).items()}
    rest = {"lambda_range": lambda_range, "requirement": requirement, "seed": seed}
    return flat | rest | identity


def _run(chunk, state, problems, config, checkpoint_every, should_stop, save, write):
    """The state after all steps, in chunks; saved and written as `train_editor` says."""
    rates, ramps = schedules(config)
    done = saved = first = int(state.step)
    start = time.monotonic()
    while done < config.steps:
        here = slice(done, min(done + CHUNK, config.steps))
        problem = problems[done // CHUNK % len(problems)]
        state, metrics, by_model = chunk(state, problem, rates[here], ramps[here])
        metrics = {name: np.asarray(values) for name, values in metrics.items()}
        _check(metrics, by_model, done)
        done = here.stop
        rate = (done - first) / (time.monotonic() - start)
        means = {name: values.mean(0) for name, values in metrics.items()}
        several = {f"requirement_{i}": v for i, v in enumerate(np.ravel(means["requirement"]))}
        if len(several) > 1:
            means |= several
        means = {name: float(values.mean()) for name, values in means.items()}
        write(done, means | {"learning_rate": float(rates[done - 1])})
        stopping = should_stop()
        if stopping or done == config.steps or done - saved >= checkpoint_every:
            save(state)
            saved = done
            logger.info(
                "editor: step %d/%d, loss %.5f, JSD %.5f nats, requirement %.3f, "
                "%.1f steps/s, %.1f min left",
                done, config.steps, means["loss"], means["jsd"], means["requirement"],
                rate, (config.steps - done) / rate / 60,
            )  # fmt: skip
        if stopping and done < config.steps:
            raise Stopped(f"editor: saved at step {done} of {config.steps}")
    return state


def _check(metrics, by_model, done):
    """Raises Diverged about the first of a chunk's steps that is not finite, if there is one."""
    bad = ~(np.isfinite(metrics["loss"]) & np.isfinite(metrics["gradient_norm"]))
    if not bad.any():
        return
    first = int(np.argmax(bad))
    losses, ids = (leaf[first] for leaf in to_host((by_model["model_loss"], by_model["model_id"])))
    guilty = ids[~np.isfinite(losses)]
    raise Diverged(
        f"editor: loss {metrics['loss'][first]}, gradient norm {metrics['gradient_norm'][first]} "
        f"at step {done + first}, models {sorted((guilty if guilty.size else ids).tolist())}; the "
        "last good checkpoint is kept"
    )
