"""Evaluates a method at many settings on many models, in one compiled program."""

import dataclasses
import functools
import time
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jax.sharding import PartitionSpec as P

from metanet.core import each_model, models_mesh, over_models, stream, to_host
from metanet.data.tabular import Table
from metanet.editor.edit import Edit, Masks, Method, as_edit, edit_graph
from metanet.editor.model import TrainedEditor
from metanet.editor.relax import hard_decisions
from metanet.evaluation.pareto import pareto_mask
from metanet.graphs.batching import stratify
from metanet.graphs.convert import Models, gather, to_template
from metanet.graphs.template import apply_rows
from metanet.objectives.base import EditView, Objective, view_of
from metanet.objectives.preservation import mean_jsd

PATIENCE = 20.0  # seconds of warm calls after which no more are timed
COMPARABLE = 0.9  # the share of models on which a setting must be feasible to be selected


@dataclasses.dataclass(frozen=True)
class Sweep:
    """S settings on M models: every field is [S, M] float; NaN where a method has no result.

    Attributes:
      requirement: of the hard view; [S, M, requirements] where there are several.
      jsd: between outputs, mean over the data, nats.
      jsd_label: between decisions read as one-hot distributions, mean over the data, nats.
      accuracy, accuracy_original: of the edited and of the original models.
    """

    requirement: np.ndarray
    jsd: np.ndarray
    jsd_label: np.ndarray
    accuracy: np.ndarray
    accuracy_original: np.ndarray

    @property
    def infeasible(self) -> np.ndarray:
        """How many models each setting has no result on: [S]."""
        return np.isnan(self.jsd).sum(1)

    @property
    def points(self) -> np.ndarray:
        """(requirements, jsd), means over the models that have a result: [S, objectives]."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # no model has a result: NaN
            means = [np.nanmean(self.requirement, axis=1), np.nanmean(self.jsd, axis=1)]
        return np.column_stack(means)

    @property
    def selected(self) -> np.ndarray:
        """The settings on the Pareto front, by rising requirement: indices.

        A setting that is infeasible on more models than COMPARABLE allows is not compared: its
        means would be over other models than those of the rest.
        """
        n_models = self.jsd.shape[1]
        lost = n_models - self.infeasible < COMPARABLE * n_models
        points = np.where(lost[:, None] | np.isnan(self.points), np.inf, self.points)
        index = np.flatnonzero(pareto_mask(points) & np.isfinite(points).all(1))
        return index[np.argsort(points[index, 0], kind="stable")]


def editor_method(
    editor: TrainedEditor, graph: jraph.GraphsTuple, keys: jax.Array
) -> Callable[[jax.Array], Edit]:
    """The editor as a method: the setting is lambda, [] or [requirements]."""

    def edit(setting):
        asked = _asked(graph, setting)
        return as_edit(editor, asked, *edit_graph(editor, asked))

    return edit


def _asked(graph: jraph.GraphsTuple, setting: jax.Array) -> jraph.GraphsTuple:
    """The batch with lambda, [] or [requirements], as the preference of every graph."""
    weights = jnp.log10(jnp.atleast_1d(setting))[None]
    preference = jnp.broadcast_to(weights, (len(graph.n_node), weights.shape[1]))
    return graph._replace(globals=graph.globals | {"preference": preference})


def composed_method(
    editors: tuple[TrainedEditor, ...], graph: jraph.GraphsTuple, keys: jax.Array
) -> Callable[[jax.Array], Edit]:
    """Editors, without probes, of one template one after another (paper A.7).

    The setting is the lambda of each, [editors]. What one removes stays removed.
    """

    def edit(setting):
        edited, kept = graph, Masks(jnp.ones(()), jnp.ones(()))
        for editor, weight in zip(editors, setting, strict=True):
            edited, masks = edit_graph(editor, _asked(edited, weight))
            kept = jax.tree.map(jnp.multiply, kept, masks)
            weights = edited.edges["weight"] * kept.edges
            edited = edited._replace(edges=edited.edges | {"weight": weights})
        return as_edit(editors[0], graph, edited, kept)

    return edit


def masked_method(
    editor: TrainedEditor, graph: jraph.GraphsTuple, keys: jax.Array
) -> Callable[[jax.Array], Edit]:
    """The editor's masks on the unedited parameters."""
    edit = editor_method(editor, graph, keys)

    def mask(setting):
        proposed = edit(setting)
        kept = proposed.before.replace(weight=proposed.before.weight * proposed.keep)
        return proposed.replace(after=kept)

    return mask


def _accuracy(view: EditView, logits: jax.Array) -> jax.Array:
    return (logits.argmax(-1) == view.batch.y).mean()


def _measures(view: EditView, requirement: Objective) -> dict[str, jax.Array]:
    return {
        "requirement": requirement(view),
        "jsd": mean_jsd(view),
        # Two different one-hot distributions are ln 2 apart.
        "jsd_label": jnp.log(2.0)
        * (view.logits_before.argmax(-1) != view.logits_after.argmax(-1)).mean(),
        "accuracy": _accuracy(view, view.logits_after),
        "accuracy_original": _accuracy(view, view.logits_before),
    }


def _program(function, context, models, ids, seed, batch_size):
    """function(context, graph, keys [rows]) over all batches of the models `ids`, in one program.

    Returns:
      A call without arguments that gives leaves [batches, rows, ...], and the models in these
      places: [rows, batches], -1 for none.
    """
    batch_size += -batch_size % jax.process_count()
    mesh = models_mesh(batch_size)
    strata = stratify(models, ids, batch_size, mesh.size)

    def one_batch(arguments, ids):
        models, context, seed = arguments
        graph = gather(models, ids, jnp.zeros((len(ids), 1), jnp.float32), strata.budget)
        keys = jax.vmap(lambda i: stream(seed, "evaluation", i))(jnp.maximum(ids, 0))
        return function(context, graph, keys)

    def every_batch(arguments, table):
        return jax.lax.map(lambda ids: one_batch(arguments, ids), table.T)

    body = jax.jit(over_models(every_batch, mesh, (P(), P("models")), P(None, "models")))
    arguments = (models, context, jnp.asarray(seed))
    return functools.partial(body, arguments, jnp.asarray(strata.table)), strata.table


def map_models(function, context, models: Models, ids: np.ndarray, seed: int, batch_size: int = 16):
    """function(context, graph, keys [G]) -> leaves [G, ...], on the models `ids`, in one program.

    Returns:
      numpy leaves [M, ...] in the order of `ids`. A model's key depends on the seed and its number.
    """
    run, table = _program(function, context, models, ids, seed, batch_size)
    results = to_host(run())
    # [batches, rows] of models to [M] in the order of `ids`; absent models (-1) sort first.
    place = np.argsort(table.T.reshape(-1), kind="stable")[-len(ids) :]
    place = place[np.argsort(np.argsort(ids, kind="stable"), kind="stable")]
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[place], results)


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
    """Every setting of `method` on the models `ids`, on all rows of `table`."""

    def measure(arguments, graph, keys):
        context, settings, table = arguments
        edit = method(context, graph, keys)
        unedited = to_template(models.template, graph)
        original = each_model(lambda model: apply_rows(models.template, model, table.x))(unedited)

        def one_setting(setting):
            def one_model(edit, logits):
                view = view_of(models.template, edit, table, hard_decisions, logits)
                return _measures(view, requirement)

            return each_model(one_model)(edit(setting), original)

        by_setting = jax.lax.map(one_setting, settings)
        return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), by_setting)  # [G, S, ...]

    arguments = (context, jnp.asarray(settings, jnp.float32), jax.tree.map(jnp.asarray, table))
    measured = map_models(measure, arguments, models, ids, seed, batch_size)
    return Sweep(**{k: np.swapaxes(v, 0, 1) for k, v in measured.items()})


def seconds_of(
    method: Method, context, models: Models, ids: np.ndarray, setting, batch_size: int = 16
) -> tuple[float, float]:
    """Wall seconds of editing the models `ids` once: (first call, warm).

    From parameters in memory to edited parameters, on all devices. The first call compiles.
    """

    def edited(arguments, graph, keys):
        context, setting = arguments
        edit = method(context, graph, keys)(setting)
        return jnp.stack([edit.after.weight.sum((1, 2)), edit.after.bias.sum(1)], axis=1)

    arguments = (context, jnp.asarray(setting, jnp.float32))
    run, _ = _program(edited, arguments, models, ids, 0, batch_size)
    return timed(lambda: jax.block_until_ready(run()))


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds of the first call, and the best of up to three more, while they are short."""
    seconds = []
    while len(seconds) < 2 or (len(seconds) < 4 and sum(seconds[1:]) < PATIENCE):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds[0], min(seconds[1:])
