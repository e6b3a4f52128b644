"""Evaluates a method at many settings on many models, in one compiled program."""

import dataclasses
import functools
import time

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jax.sharding import PartitionSpec as P

from metanet.core import over_models, stream
from metanet.data.tabular import Table
from metanet.editor.edit import Edit, Method, as_edit, edit_graph
from metanet.editor.model import TrainedEditor
from metanet.editor.relax import hard_decisions
from metanet.evaluation.pareto import pareto_mask
from metanet.graphs.batching import stratify, usable_devices
from metanet.graphs.convert import Models, gather
from metanet.objectives.base import EditView, Objective, view_of
from metanet.objectives.preservation import mean_jsd


@dataclasses.dataclass(frozen=True)
class Sweep:
    """S settings on M models: every field but `settings` ([S]) is [S, M] float.

    Attributes:
      requirement: of the hard view;  jsd: mean over the data, nats.
      accuracy, accuracy_original: of the edited and of the original models.
    """

    settings: np.ndarray
    requirement: np.ndarray
    jsd: np.ndarray
    accuracy: np.ndarray
    accuracy_original: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """(requirement, jsd), means over models: [S, 2]."""
        return np.stack([self.requirement.mean(1), self.jsd.mean(1)], axis=1)

    @property
    def selected(self) -> np.ndarray:
        """The settings on the Pareto front, by rising requirement."""
        mask = pareto_mask(self.points)
        return self.settings[mask][np.argsort(self.points[mask, 0])]


def editor_method(
    editor: TrainedEditor, graph: jraph.GraphsTuple, keys: jax.Array, setting: jax.Array
) -> Edit:
    """The editor as a method: the setting is lambda, keys are not used."""
    preference = jnp.full_like(graph.globals["preference"], jnp.log10(setting))
    graph = graph._replace(globals=graph.globals | {"preference": preference})
    edited, keep = edit_graph(editor, graph)
    return as_edit(editor, graph, edited, keep)


def _accuracy(view: EditView, logits: jax.Array) -> jax.Array:
    return (logits.argmax(-1) == view.batch.y).mean()


def _measures(view: EditView, requirement: Objective) -> dict[str, jax.Array]:
    return {
        "requirement": requirement(view),
        "jsd": mean_jsd(view),
        "accuracy": _accuracy(view, view.logits_after),
        "accuracy_original": _accuracy(view, view.logits_before),
    }


def _batches(models, ids, batch_size):
    devices = jax.devices()[: usable_devices(batch_size, len(jax.devices()))]
    strata = stratify(models, ids, batch_size, len(devices))
    return strata, jax.sharding.Mesh(devices, ("models",))


def _mapped(one_batch, mesh):
    """jit of one_batch(arguments, ids [rows]) over all batches of strata [rows, batches]."""

    def every_batch(arguments, table):
        return jax.lax.map(lambda ids: one_batch(arguments, ids), table.T)

    body = over_models(every_batch, mesh, (P(), P("models")), P(None, "models"))
    return jax.jit(body)


def evaluate(
    method: Method,
    context,
    models: Models,
    ids: np.ndarray,
    settings: np.ndarray,
    table: Table,
    requirement: Objective,
    seed: int,
    batch_size: int = 16,
) -> Sweep:
    """Every setting of `method` on the models `ids`, on all rows of `table`.

    A model's random draws are keyed by the seed and its number.
    """
    strata, mesh = _batches(models, ids, batch_size)

    def one_batch(arguments, ids):
        models, context, settings, table, seed = arguments
        graph = gather(models, ids, jnp.zeros((len(ids), 1), jnp.float32), strata.budget)
        keys = jax.vmap(lambda i: stream(seed, "evaluation", i))(jnp.maximum(ids, 0))

        def one_setting(setting):
            edit = method(context, graph, keys, setting)

            def one_model(before, after, keep):
                view = view_of(models.template, before, after, keep, table, hard_decisions)
                return _measures(view, requirement)

            return jax.vmap(one_model)(edit.before, edit.after, edit.keep)

        by_setting = jax.lax.map(one_setting, settings)
        return jax.tree.map(lambda leaf: leaf.T, by_setting)  # [rows, S]

    arrays = (jnp.asarray(settings, jnp.float32), jax.tree.map(jnp.asarray, table))
    measured = _mapped(one_batch, mesh)(
        (models, context, *arrays, jnp.asarray(seed)), jnp.asarray(strata.table)
    )
    # [batches, rows, S] to [S, M] in the order of `ids`.
    order = np.argsort(strata.table.T.reshape(-1), kind="stable")[-len(ids) :]
    inverse = np.argsort(np.argsort(ids, kind="stable"), kind="stable")
    flat = {
        k: np.asarray(v).reshape(-1, len(settings))[order][inverse].T for k, v in measured.items()
    }
    return Sweep(settings=np.asarray(settings), **flat)


def seconds_per_model(
    method: Method, context, models: Models, ids: np.ndarray, setting: float, batch_size: int = 16
) -> float:
    """Wall seconds of editing the models `ids`, divided by their number; the best of three.

    From parameters in memory to edited parameters, compiled, all devices.
    """
    strata, mesh = _batches(models, ids, batch_size)

    def one_batch(arguments, ids):
        models, context, setting = arguments
        graph = gather(models, ids, jnp.zeros((len(ids), 1), jnp.float32), strata.budget)
        keys = jax.vmap(lambda i: stream(0, "evaluation", i))(jnp.maximum(ids, 0))
        edit = method(context, graph, keys, setting)
        return jnp.stack([edit.after.weight.sum((1, 2)), edit.after.bias.sum(1)], axis=1)

    program = _mapped(one_batch, mesh)
    arguments = (models, context, jnp.asarray(setting, jnp.float32))
    run = functools.partial(program, arguments, jnp.asarray(strata.table))
    jax.block_until_ready(run())
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - start)
    return min(seconds) / len(ids)
