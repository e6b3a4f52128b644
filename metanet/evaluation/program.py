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
from metanet.devices import models_mesh, over_models, to_host
from metanet.editor.edits import Edit, EditFn
from metanet.evaluation.measures import measured
from metanet.evaluation.sweep import Sweep
from metanet.graphs.batch import gather, to_template
from metanet.graphs.packing import Models
from metanet.graphs.padded import PaddedMLP
from metanet.graphs.strata import Strata, stratify
from metanet.graphs.topology import TILE
from metanet.objectives.base import Objective

TIMED_BATCHES = 2  # full ones, with a model of every size class
ROOM = 20  # settings that edits have room for, and multiples
PATIENCE = 20.0  # seconds of warm calls after which no more are timed


def _graphs(models: Models, ids: jax.Array, seed: jax.Array, budget: tuple[int, int]):
    """A batch of the models `ids` [G], and keys [G] that depend on the seed and the model alone."""
    graph = gather(models, ids, jnp.zeros((len(ids), 1), jnp.float32), budget)
    keys = jax.vmap(lambda i: stream(seed, "evaluation", i))(jnp.maximum(ids, 0))
    return graph, keys


def _whole(batch_size: int) -> int:
    """`batch_size`, rounded up to a multiple of the processes."""
    return batch_size + -batch_size % jax.process_count()


def _places(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The index of each of `ids` in the batches `table` [rows, batches], laid end to end: [M]."""
    by_id = np.argsort(table.T.reshape(-1), kind="stable")[-len(ids) :]  # absent ones, -1, first
    rank = np.argsort(np.argsort(ids, kind="stable"), kind="stable")  # [M], of an id among them
    return by_id[rank]


def _settings_rows(ids: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """The index in `ids` [M] of each model of a batch [rows]; any of a row past the last one."""
    order = np.argsort(ids, kind="stable")
    return order[np.searchsorted(ids[order], np.maximum(batch, ids[order[0]]))]


@functools.lru_cache(maxsize=8)
def _mapping(function: Callable, budget: tuple[int, int], mesh: jax.sharding.Mesh):
    """The jitted `function` of all batches: one program for all contexts of one kind."""

    def every_batch(arguments, table):  # table [rows of a device, batches]
        models, context, seed = arguments

        def one_batch(ids):
            return function(context, *_graphs(models, ids, seed, budget))

        return jax.lax.map(one_batch, table.T)  # leaves [batches, rows of a device, ...]

    return jax.jit(over_models(every_batch, mesh, (P(), P("models")), P(None, "models")))


def map_models(function, context, models: Models, ids: np.ndarray, seed: int, batch_size: int = 16):
    """The results of function(context, graph, keys [G]) -> leaves [G, ...] on the models `ids`.

    In one program, shared by calls with the same `function`. A model's key depends on the seed and
    the model alone.

    Returns:
      numpy leaves [M, ...], in the order of `ids`.
    """
    mesh = models_mesh(_whole(batch_size))
    strata = stratify(models, ids, _whole(batch_size), mesh.size)
    body = _mapping(function, strata.budget, mesh)
    results = to_host(body((models, context, jnp.asarray(seed)), jnp.asarray(strata.table)))
    index = _places(strata.table, ids)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[index], results)


@functools.lru_cache(maxsize=8)
def _editing(edit_fn: EditFn, budget: tuple[int, int], mesh: jax.sharding.Mesh, own: bool):
    """The jitted edits of a batch: one program for all contexts of one kind.

    It takes ((models, context, seed), settings [size], count, ids [rows], room), and returns the
    unedited models [rows] and `room` [size, rows] with their edits at the first `count` settings.

    Args:
      own: whether every model has its own settings, [size, rows, numbers].
    """

    def edits(arguments, settings, count, ids, room):  # with the device's part of the rows, R
        models, context, seed = arguments
        graph, keys = _graphs(models, ids, seed, budget)
        edit_at = edit_fn(context, graph, keys)  # computes once what no setting changes

        def put(index, room):
            # The unedited models [R] are returned once, not with every setting's edits.
            edit = edit_at(settings[index]).replace(before=None)
            return jax.tree.map(lambda all, one: all.at[index].set(one), room, edit)

        return to_template(models.template, graph), jax.lax.fori_loop(0, count, put, room)

    of_settings = P(None, "models") if own else P()
    parts = (P(), of_settings, P(), P("models"), P(None, "models"))
    returned = P("models"), P(None, "models")
    # The edits of the last batch are overwritten in place: a call with one setting does the work
    # of one, so that seconds can be taken with the program that sweeps.
    return jax.jit(over_models(edits, mesh, parts, returned), donate_argnums=4)


class Program:
    """A method, compiled once for several sets of models and up to so many settings.

    Args:
      edit_fn, context: the method and its first argument.
      sets: the sets of models that it will run on, rows of `models`, each [M] int.
      size: the most settings.
      between: called before every batch of models; an exception of its own ends the sweep.
      budget: (node tiles, edge tiles) that a batch has room for at least, and `batch_size` rows
        for any number of models: programs of other models with the same budget are the same.
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
        budget: tuple[int, int] = (0, 0),
    ):
        # Rounded up, so that methods of different numbers of settings share the measures' program.
        self._most = size
        self._models, self._size, self._between = models, -(-size // ROOM) * ROOM, between
        rows = batch_size if any(budget) else min(batch_size, max(map(len, sets)))
        self._batch_size = _whole(rows)
        self._mesh = models_mesh(self._batch_size)
        budgets = [budget, *[self._strata(ids).budget for ids in sets if len(ids)]]
        nodes, edges = (max(tiles) for tiles in zip(*budgets, strict=True))
        self._budget = nodes, edges
        self._edit_fn = edit_fn
        self._arguments = models, context, jnp.asarray(seed)
        self._room: Edit | None = None

    def _strata(self, ids: np.ndarray) -> Strata:
        return stratify(self._models, ids, self._batch_size, self._mesh.size)

    def _edited(self, ids: np.ndarray, settings: np.ndarray, batches: int | None = None):
        """The models `ids` batch by batch: unedited [rows], and their edits [size, rows].

        The edits are valid until the next batch is asked for.

        Args:
          settings: [S] or [S, numbers], or of each model, [S, M, numbers].
          batches: so many of the batches, the first; all with None.

        Raises:
          ValueError: the models are not one of the sets, or there are more settings than `size`.
        """
        strata = self._strata(ids)
        if any(map(operator.gt, strata.budget, self._budget)) or len(settings) > self._most:
            raise ValueError(f"ids, settings: found {len(ids)}, {len(settings)}, expected one of "
                             f"the sets, and at most {self._most}")  # fmt: skip
        # [size, ...]: repeated, so that what is computed in vain is finite.
        padded = np.resize(np.asarray(settings, np.float32), (self._size, *settings.shape[1:]))
        own = settings.ndim == 3
        edit = _editing(self._edit_fn, self._budget, self._mesh, own)
        if self._room is None:
            self._room = self._empty()
        for batch in strata.table.T[:batches]:  # [rows], -1 past the last model
            self._between()
            asked = padded[:, _settings_rows(ids, batch)] if own else padded
            arguments = self._arguments, asked, len(settings), batch, self._room
            unedited, self._room = edit(*arguments)
            yield unedited, self._room

    def _empty(self) -> Edit:
        """Room for the edits of a batch: leaves [size, rows, ...], zeros."""
        template, rows = self._models.template, self._batch_size
        targets, sources = template.n_targets * TILE, template.n_sources * TILE
        by_model = jax.sharding.NamedSharding(self._mesh, P(None, "models"))

        def zeros(dtype, *shape):
            whole = (self._size, rows, *shape)
            return jax.make_array_from_callback(
                whole, by_model, lambda index: np.zeros(whole, dtype)[index]
            )

        weights = (np.float32, sources, targets)
        after = PaddedMLP(
            weight=zeros(*weights), edge=zeros(bool, sources, targets),
            bias=zeros(np.float32, targets), scale=zeros(np.float32, targets),
            shift=zeros(np.float32, targets), node=zeros(bool, targets),
            activation=zeros(np.int32), norm=zeros(np.int32),
        )  # fmt: skip
        edits = Edit(after, after, zeros(*weights), zeros(np.float32, template.n_in))
        return edits.replace(before=None)

    def sweep(
        self, ids: np.ndarray, settings: np.ndarray, table: Table, requirement: Objective
    ) -> Sweep:
        """The settings [S] on one of the sets of models, on all rows of `table`: fields [S, M].

        Args:
          settings: [S] or [S, numbers], or of each model in the order of `ids`, [S, M, numbers].

        Raises:
          ValueError: the models are not one of the sets, or there are more settings than `size`.
        """
        rows, template = jax.tree.map(jnp.asarray, table), self._models.template
        batches = [
            to_host(measured(*one, len(settings), rows, template, requirement, self._mesh))
            for one in self._edited(ids, settings)
        ]
        index = _places(self._strata(ids).table, ids)
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves, 1)[:, index], *batches)
        return Sweep(**jax.tree.map(lambda leaf: leaf[: len(settings)], joined))

    def edits(self, ids: np.ndarray, settings: np.ndarray) -> Edit:
        """The edits of one of the sets of models, each at its own setting [M, numbers].

        Returns:
          numpy leaves [M, ...] in the order of `ids`; `before` is None.
        """
        batches = [
            to_host(jax.tree.map(lambda leaf: leaf[0], edits))
            for _, edits in self._edited(ids, settings[None])
        ]
        index = _places(self._strata(ids).table, ids)
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[index], *batches)

    def seconds(self, ids: np.ndarray, setting) -> tuple[float, float]:
        """Wall seconds of editing one of the sets of models once: (first call, warm).

        From parameters in memory to edited parameters, on all devices; of the first TIMED_BATCHES
        batches, in proportion. The first call compiles, unless the program has been used before.
        """
        settings = np.asarray(setting)[None]

        def once():
            for one in self._edited(ids, settings, TIMED_BATCHES):
                jax.block_until_ready(one)

        scale = len(ids) / (self._strata(ids).table[:, :TIMED_BATCHES] >= 0).sum()
        first, warm = timed(once)
        return scale * first, scale * warm


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
    """Every setting [S] of `edit_fn` on the models `ids`, on all rows of `table`: fields [S, M]."""
    program = Program(edit_fn, context, models, [ids], len(settings), seed, batch_size)
    return program.sweep(ids, np.asarray(settings), table, requirement)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds of the first call, and the best of up to three more, while they are short."""
    seconds: list[float] = []
    while len(seconds) < 2 or (len(seconds) < 4 and sum(seconds[1:]) < PATIENCE):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds[0], min(seconds[1:])
