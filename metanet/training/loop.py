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

from metanet.core import (
    Diverged,
    Stopped,
    claim,
    models_mesh,
    over_models,
    replicate,
    require,
    to_host,
)
from metanet.data.tabular import Table
from metanet.editor.inputs import scales_of
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.graphs.batching import stratify
from metanet.graphs.convert import Models, pack
from metanet.graphs.topology import Template
from metanet.mlp import resident
from metanet.mlp.population import Stack
from metanet.mlp.resident import Residence
from metanet.objectives.base import requirement_count, resolve
from metanet.training.checkpoint import Checkpoints
from metanet.training.step import (
    TrainingConfig,
    init_state,
    make_chunk,
    preference_pairs,
    problem_of,
    schedules,
)
from metanet.training.writer import Writer

logger = logging.getLogger(__name__)

CHUNK = 50  # steps per call of the compiled program, and per row of metrics.csv


@dataclasses.dataclass(frozen=True)
class Online:
    """Models that train beside the editor; train: the data that they train on."""

    residence: Residence
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
    online: Online | None = None,
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
      checkpoint_every: steps, rounded up to whole chunks.

    Raises:
      UserError: `folder` holds an editor of other settings, or there are too few models.
      Diverged: a loss or gradient was not finite; names the step and the models.
      Stopped: `should_stop()` became true; the state is saved.
    """
    parts = [(ids, table), *others]
    mesh = models_mesh(config.batch_size)
    if online is not None:
        members, whole = online.residence.members, f"a multiple of the {mesh.size} devices"
        require(members % mesh.size == 0, "online.members", members, whole)
        fewest = members * len(online.residence.families)
    else:
        fewest = min(len(ids) for ids, _ in parts)
    enough = f"at most the {fewest} models that it is trained on"
    require(config.batch_size <= fewest, "editor.batch_size", config.batch_size, enough)
    objective = resolve(requirement)
    check_preference(requirement, config)
    claim(folder, settings_of(editor, config, requirement, seed, identity))
    scales = replicate(scales_of(models, np.concatenate([ids for ids, _ in parts])), mesh)
    residence, residents, train = None, (), None
    if online is not None:
        residence, train = online.residence, jax.tree.map(jnp.asarray, online.train)
        residents, models = _residents(residence, models.template, seed, mesh)
        parts = [(np.arange(len(models.spec)), table)]
    strata = [stratify(models, ids, config.batch_size, mesh.size) for ids, _ in parts]
    budget = tuple(max(sizes) for sizes in zip(*(one.budget for one in strata), strict=True))
    problems = [
        problem_of(config, models, scales, drawn, table, seed).replace(train=train)
        for drawn, (_, table) in zip(strata, parts, strict=True)
    ]
    state = replicate(init_state(editor, config, models, scales, seed), mesh)
    state = state.replace(residents=residents)
    with contextlib.closing(Checkpoints(folder, editor, models.template)) as checkpoints:
        restored = checkpoints.restore(state, scales)
        if restored is None and online is not None:
            grown = _burnt_in(residence, residents, train, seed, mesh, should_stop)
            state = state.replace(residents=grown)
            checkpoints.save(state, scales)
        state = restored or state
        with contextlib.closing(Writer(folder, int(state.step))) as writer:
            state = _run(
                make_chunk(editor, config, objective, budget, mesh, residence),
                state, problems, config, checkpoint_every, should_stop,
                save=lambda state: checkpoints.save(state, scales), write=writer.write,
            )  # fmt: skip
    params, scales = jax.device_get((state.params, scales))
    return TrainedEditor(params, scales, editor, models.template)


def _residents(residence: Residence, template: Template, seed: int, mesh: jax.sharding.Mesh):
    """The first residents, on the devices of the mesh, and the graphs that hold them."""
    where = jax.sharding.NamedSharding(mesh, P("models"))
    residents = jax.jit(lambda: resident.start(residence, seed), out_shardings=where)()
    stacks = [
        Stack(family.spec, *to_host((one.state[0], one.drawn["activation"])))
        for family, one in zip(residence.families, residents, strict=True)
    ]
    return residents, pack(stacks, template)


def _burnt_in(residence, residents, train, seed, mesh, should_stop):
    """The residents, on their devices, when they are of every age; one program for each family."""
    grown = []
    for family, members in enumerate(residents):
        function = functools.partial(resident.burn_in, residence, family)
        mapped = over_models(function, mesh, (P("models"), P(), P()), P("models"))
        # Returns before it is computed: the next family's program is compiled meanwhile.
        one = jax.jit(mapped, donate_argnums=0)(members, train, jnp.asarray(seed, jnp.int32))
        if grown:
            jax.block_until_ready(grown[-1])
        grown.append(one)
        if should_stop():
            raise Stopped("editor: models in training were not of every age yet")
        if family % 10 == 9:
            logger.info("editor: models of %d of %d specs are grown", family + 1, len(residents))
    return jax.block_until_ready(tuple(grown))


def check_preference(requirement: str | tuple[str, ...], config: TrainingConfig) -> None:
    """Raises UserError unless there is a range of lambda for every requirement."""
    count = requirement_count(requirement)
    ok = len(preference_pairs(config.preference)) == count
    require(ok, "preference", config.preference, f"{count} of (low, high)")


def settings_of(
    editor: EditorConfig,
    config: TrainingConfig,
    requirement: str | tuple[str, ...],
    seed: int,
    identity: dict,
) -> dict:
    """Everything that determines a trained editor, flat, for JSON; see `train_editor`."""
    shape, training = dataclasses.asdict(editor), dataclasses.asdict(config)
    preference = training.pop("preference")
    flat = {f"editor.{key}": value for key, value in (shape | training).items()}
    own = {"preference": preference, "requirement": requirement, "seed": seed}
    return flat | own | identity


def _run(chunk, state, problems, config, checkpoint_every, should_stop, save, write):
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
