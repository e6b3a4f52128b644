"""Evaluates a method at many settings on many models, in two compiled programs."""

import dataclasses
import functools
import operator
import time
import warnings
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jax.sharding import PartitionSpec as P

from metanet.core import stream
from metanet.data.tabular import Table
from metanet.devices import each_model, models_mesh, over_models, to_host
from metanet.editor.apply import as_edit, edit_graph
from metanet.editor.edits import Edit, EditFn, Masks
from metanet.editor.model import TrainedEditor
from metanet.editor.relax import hard_decisions
from metanet.evaluation.pareto import pareto_mask
from metanet.graphs.batch import gather, to_template
from metanet.graphs.packing import Models
from metanet.graphs.padded import apply_rows
from metanet.graphs.strata import stratify
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
    """The batch with lambda, [] or [requirements], in the globals of every graph."""
    exponents = jnp.log10(jnp.atleast_1d(setting))[None]
    log10_lambda = jnp.broadcast_to(exponents, (len(graph.n_node), exponents.shape[1]))
    return graph._replace(globals=graph.globals | {"log10_lambda": log10_lambda})


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


def _graphs(models: Models, ids: jax.Array, seed: jax.Array, budget: tuple[int, int]):
    """A batch of the models `ids`, and a key for each, which depends on its number alone."""
    graph = gather(models, ids, jnp.zeros((len(ids), 1), jnp.float32), budget)
    keys = jax.vmap(lambda i: stream(seed, "evaluation", i))(jnp.maximum(ids, 0))
    return graph, keys


def _whole(batch_size: int) -> int:
    """`batch_size`, rounded up to whole shares of the processes."""
    return batch_size + -batch_size % jax.process_count()


def _places(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Where each of `ids` lies in the batches `table` [rows, batches], laid end to end: [M]."""
    place = np.argsort(table.T.reshape(-1), kind="stable")[-len(ids) :]  # absent ones, -1, first
    return place[np.argsort(np.argsort(ids, kind="stable"), kind="stable")]


def map_models(function, context, models: Models, ids: np.ndarray, seed: int, batch_size: int = 16):
    """function(context, graph, keys [G]) -> leaves [G, ...], on the models `ids`, in one program.

    Returns:
      numpy leaves [M, ...] in the order of `ids`. A model's key depends on the seed and its number.
    """
    mesh = models_mesh(_whole(batch_size))
    strata = stratify(models, ids, _whole(batch_size), mesh.size)

    def every_batch(arguments, table):
        models, context, seed = arguments

        def one_batch(ids):
            return function(context, *_graphs(models, ids, seed, strata.budget))

        return jax.lax.map(one_batch, table.T)

    body = jax.jit(over_models(every_batch, mesh, (P(), P("models")), P(None, "models")))
    results = to_host(body((models, context, jnp.asarray(seed)), jnp.asarray(strata.table)))
    place = _places(strata.table, ids)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[place], results)


@functools.partial(jax.jit, static_argnames=("template", "requirement", "mesh"))
def _measured(unedited, edits, count, table, template, requirement, mesh):
    """Measures [S, rows] of the first `count` of the edits [S, rows]; one program for a template.

    What methods do is compiled apart: this part is the same for all of them.
    """

    def of_share(unedited, edits, count, table):
        original = each_model(lambda model: apply_rows(template, model, table.x))(unedited)

        def one_model(edit, logits):
            view = view_of(template, edit, table, hard_decisions, logits)
            return _measures(view, requirement)

        def one_setting(index):
            edit = jax.tree.map(lambda leaf: leaf[index], edits)
            return each_model(one_model)(edit.replace(before=unedited), original)

        return _first(one_setting, count, jax.tree.leaves(edits)[0].shape[0])

    shares = (P("models"), P(None, "models"), P(), P())
    return over_models(of_share, mesh, shares, P(None, "models"))(unedited, edits, count, table)


def _first(function, count: jax.Array, size: int):
    """function(0), ..., function(count - 1), stacked with zeros to leaves [size, ...]."""

    def put(index, stacked):
        return jax.tree.map(lambda all, one: all.at[index].set(one), stacked, function(index))

    shapes = jax.eval_shape(function, 0)
    empty = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), shapes)
    return jax.lax.fori_loop(0, count, put, empty)


class Program:
    """A method, compiled once for several sets of models and up to so many settings.

    Args:
      sets: the sets of models that it will run on, rows of `models`.
      size: the most settings.
      between: called before every batch of models; what it raises ends the sweep.
    """

    def __init__(
        self,
        method: EditFn,
        context,
        models: Models,
        sets: Sequence[np.ndarray],
        size: int,
        seed: int,
        batch_size: int = 16,
        between: Callable[[], None] = lambda: None,
    ):
        self._models, self._size, self._between = models, size, between
        self._batch_size = _whole(batch_size)
        self._mesh = models_mesh(self._batch_size)
        budgets = [self._strata(ids).budget for ids in sets if len(ids)]
        budget = self._budget = tuple(map(max, zip(*budgets, strict=True)))

        def edits(arguments, settings, count, ids):
            models, context, seed = arguments
            graph, keys = _graphs(models, ids, seed, budget)
            at = method(context, graph, keys)
            found = _first(lambda i: at(settings[i]).replace(before=None), count, size)
            return to_template(models.template, graph), found

        shares = (P(), P(), P(), P("models")), (P("models"), P(None, "models"))
        self._edits = jax.jit(over_models(edits, self._mesh, *shares))
        self._arguments = models, context, jnp.asarray(seed)

    def _strata(self, ids: np.ndarray):
        return stratify(self._models, ids, self._batch_size, self._mesh.size)

    def _edited(self, ids: np.ndarray, settings: np.ndarray):
        """The models `ids` batch by batch: unedited [rows], and their edits [size, rows]."""
        strata = self._strata(ids)
        if any(map(operator.gt, strata.budget, self._budget)) or len(settings) > self._size:
            raise ValueError(f"ids, settings: found {len(ids)}, {len(settings)}, expected one of "
                             f"the sets, and at most {self._size}")  # fmt: skip
        padded = np.resize(np.asarray(settings, np.float32), (self._size, *settings.shape[1:]))
        for batch in strata.table.T:
            self._between()
            yield self._edits(self._arguments, padded, len(settings), batch)

    def sweep(
        self, ids: np.ndarray, settings: np.ndarray, table: Table, requirement: Objective
    ) -> Sweep:
        """The settings [S] on one of the sets of models, on all rows of `table`."""
        rows, template = jax.tree.map(jnp.asarray, table), self._models.template
        batches = [
            to_host(_measured(*one, len(settings), rows, template, requirement, self._mesh))
            for one in self._edited(ids, settings)
        ]
        place = _places(self._strata(ids).table, ids)
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves, 1)[:, place], *batches)
        return Sweep(**jax.tree.map(lambda leaf: leaf[: len(settings)], joined))

    def seconds(self, ids: np.ndarray, setting) -> tuple[float, float]:
        """Wall seconds of editing one of the sets of models once: (first call, warm).

        From parameters in memory to edited parameters, on all devices. The first call compiles.
        """
        settings = np.asarray(setting)[None]
        return timed(lambda: jax.block_until_ready(list(self._edited(ids, settings))))


def evaluate(
    method: EditFn,
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
    program = Program(method, context, models, [ids], len(settings), seed, batch_size)
    return program.sweep(ids, np.asarray(settings), table, requirement)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds of the first call, and the best of up to three more, while they are short."""
    seconds = []
    while len(seconds) < 2 or (len(seconds) < 4 and sum(seconds[1:]) < PATIENCE):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds[0], min(seconds[1:])
