"""A method at many settings on many models, in two compiled programs."""

import functools
import operator
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from metanet.core import stream
from metanet.data.tabular import Table
from metanet.devices import each_model, models_mesh, over_models, to_host
from metanet.editor.edits import Edit, EditFn
from metanet.editor.relax import hard_decisions
from metanet.evaluation.sweep import Sweep
from metanet.graphs.batch import gather, to_template
from metanet.graphs.packing import Models
from metanet.graphs.padded import PaddedMLP, apply_rows
from metanet.graphs.strata import stratify
from metanet.graphs.topology import TILE
from metanet.objectives.base import EditView, Objective, view_of
from metanet.objectives.preservation import mean_jsd

ROOM = 20  # settings that edits have room for, and multiples
PATIENCE = 20.0  # seconds of warm calls after which no more are timed


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


@functools.lru_cache(maxsize=8)
def _editing(edit_fn: EditFn, budget: tuple[int, int], mesh: jax.sharding.Mesh):
    """The jitted edits of a batch: one program for all contexts of one kind.

    It takes ((models, context, seed), settings [size], count, ids [rows], room), and returns the
    unedited models [rows] and `room` [size, rows] with their edits at the first `count` settings.
    """

    def edits(arguments, settings, count, ids, room):
        models, context, seed = arguments
        graph, keys = _graphs(models, ids, seed, budget)
        edit_at = edit_fn(context, graph, keys)

        def put(index, room):
            edit = edit_at(settings[index]).replace(before=None)
            return jax.tree.map(lambda all, one: all.at[index].set(one), room, edit)

        return to_template(models.template, graph), jax.lax.fori_loop(0, count, put, room)

    shares = (P(), P(), P(), P("models"), P(None, "models")), (P("models"), P(None, "models"))
    # The edits of the last batch are overwritten in place: a call with one setting does the work
    # of one, so that seconds can be taken with the program that sweeps.
    return jax.jit(over_models(edits, mesh, *shares), donate_argnums=4)


class Program:
    """A method, compiled once for several sets of models and up to so many settings.

    Args:
      sets: the sets of models that it will run on, rows of `models`.
      size: the most settings.
      between: called before every batch of models; what it raises ends the sweep.
    """

    def __init__(
        self,
        edit_fn: EditFn,
        context,
        models: Models,
        sets: Sequence[np.ndarray],
        size: int,
        seed: int,
        batch_size: int = 16,
        between: Callable[[], None] = lambda: None,
    ):
        # Rounded up, so that methods of different numbers of settings share the measures' program.
        self._models, self._size, self._between = models, -(-size // ROOM) * ROOM, between
        self._batch_size = _whole(batch_size)
        self._mesh = models_mesh(self._batch_size)
        budgets = [self._strata(ids).budget for ids in sets if len(ids)]
        self._budget = tuple(map(max, zip(*budgets, strict=True)))
        self._edits = _editing(edit_fn, self._budget, self._mesh)
        self._arguments = models, context, jnp.asarray(seed)
        self._room = None

    def _strata(self, ids: np.ndarray):
        return stratify(self._models, ids, self._batch_size, self._mesh.size)

    def _edited(self, ids: np.ndarray, settings: np.ndarray):
        """The models `ids` batch by batch: unedited [rows], and their edits [size, rows].

        The edits are valid until the next batch is asked for.
        """
        strata = self._strata(ids)
        if any(map(operator.gt, strata.budget, self._budget)) or len(settings) > self._size:
            raise ValueError(f"ids, settings: found {len(ids)}, {len(settings)}, expected one of "
                             f"the sets, and at most {self._size}")  # fmt: skip
        padded = np.resize(np.asarray(settings, np.float32), (self._size, *settings.shape[1:]))
        if self._room is None:
            self._room = self._empty()
        for batch in strata.table.T:
            self._between()
            arguments = self._arguments, padded, len(settings), batch, self._room
            unedited, self._room = self._edits(*arguments)
            yield unedited, self._room

    def _empty(self):
        """Room for the edits of a batch: leaves [size, rows, ...], zeros."""
        template, rows = self._models.template, self._batch_size
        targets, sources = template.n_targets * TILE, template.n_sources * TILE
        share = jax.sharding.NamedSharding(self._mesh, P(None, "models"))

        def zeros(dtype, *shape):
            whole = (self._size, rows, *shape)
            return jax.make_array_from_callback(
                whole, share, lambda index: np.zeros(whole, dtype)[index]
            )

        weights = (np.float32, sources, targets)
        after = PaddedMLP(
            weight=zeros(*weights), edge=zeros(bool, sources, targets),
            bias=zeros(np.float32, targets), scale=zeros(np.float32, targets),
            shift=zeros(np.float32, targets), node=zeros(bool, targets),
            activation=zeros(np.int32), norm=zeros(np.int32),
        )  # fmt: skip
        return Edit(None, after, zeros(*weights), zeros(np.float32, template.n_in))

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

        From parameters in memory to edited parameters, on all devices. The first call compiles,
        unless the program has been used before.
        """
        settings = np.asarray(setting)[None]

        def once():
            for one in self._edited(ids, settings):
                jax.block_until_ready(one)

        return timed(once)


def evaluate(
    edit_fn: EditFn,
    context,
    models: Models,
    ids: np.ndarray,
    settings: np.ndarray,
    table: Table,
    requirement: Objective,
    seed: int,
    batch_size: int = 16,
) -> Sweep:
    """Every setting of `edit_fn` on the models `ids`, on all rows of `table`."""
    program = Program(edit_fn, context, models, [ids], len(settings), seed, batch_size)
    return program.sweep(ids, np.asarray(settings), table, requirement)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds of the first call, and the best of up to three more, while they are short."""
    seconds = []
    while len(seconds) < 2 or (len(seconds) < 4 and sum(seconds[1:]) < PATIENCE):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds[0], min(seconds[1:])
