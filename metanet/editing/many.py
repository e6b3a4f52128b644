"""Edits of many networks of any shapes at once, each at its own lambda."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metanet.data.tabular import Table
from metanet.editing.chunks import Layout, packed
from metanet.editing.demands import (
    Demand,
    check_demands,
    choose_each,
    missed,
    parse_demand,
    settings_of,
)
from metanet.editing.inputs import (
    check_accuracy,
    check_columns,
    in_other_units,
    in_units,
    points_for,
    rows_of,
)
from metanet.editing.method import (
    SEED,
    check_steps,
    features_read,
    method_of,
    network_at,
    objective_of,
    values_of,
)
from metanet.editor.checks import check_stack, expect
from metanet.editor.edits import EditFn
from metanet.editor.release import Release
from metanet.evaluation.program import Program
from metanet.graphs.packing import Models, pack
from metanet.interop.imported import Imported
from metanet.interop.network import Network, stack_of
from metanet.methods.refine import unedited_fn
from metanet.mlp.network import MLPParams, shapes_of
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec
from metanet.objectives.base import Objective
from metanet.probes.rows import Points


@dataclasses.dataclass(frozen=True)
class Task:
    """What is done to every network; arguments as of `edit.edit`.

    Attributes:
      has: which of "y" and "group" the rows of `table` have.
      method, context: the editor and the steps after its edits, see `method.method_of`.
      points: the rows that the editor probes networks on, None without a probe.
    """

    editor: Release
    table: Table
    has: set[str]
    reads: str
    demands: tuple[Demand, ...]
    objective: Objective
    method: EditFn
    context: Any
    points: Points | None


def task_of(
    editor: Release,
    *,
    require: Sequence[str],
    data: pd.DataFrame | Table,
    reads: str = "standardised",
    newton: int = 0,
    refine: int = 0,
) -> Task:
    """The task of these arguments, which are those of `edit.edit`.

    Raises:
      ValueError, UserError: as `edit.edit`, of all but the model.
    """
    check_steps(newton, refine)
    table, has = rows_of(editor, data)
    expect(table is not None, "data", "none", "rows, on which the edits are chosen")
    assert table is not None
    demands = tuple(parse_demand(one, len(editor.features)) for one in require)
    check_demands(demands, editor.names)
    template, objective = editor.editor.template, objective_of(editor)
    check_columns(editor, _blank(editor), objective, table, has)
    method, context = method_of(editor, template, objective, table, newton, refine)
    points = points_for(editor, table)
    return Task(editor, table, has, reads, demands, objective, method, context, points)


def _blank(editor: Release) -> Models:
    """One model that fits the editor: zeros."""
    template = editor.editor.template
    spec = MLPSpec((len(editor.features), template.width, template.n_out))
    leaves: dict[str, Any] = {
        name: tuple(np.zeros((1, *shape), np.float32) for shape in shapes)
        for name, shapes in shapes_of(spec).items()
    }
    return pack([Stack(spec, MLPParams(**leaves), np.zeros(1, np.int32))], template)


def network_for(task: Task, source: Imported) -> Network:
    """A network on standardised features.

    Raises:
      ValueError: it does not fit the editor.
    """
    network = in_units(task.editor, source, task.reads)
    check_stack(stack_of(network), task.editor.editor.template)
    return network


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one network; the fields before `error` are None where it was not edited.

    Attributes:
      network: reading what the model reads.
      weights_left: the number of weights that are kept.
      features, lam, before, after: as of `edit.Edited`.
      error: why there is no edit, or none that meets the demands; "" otherwise.
    """

    network: Network | None
    weights_left: int | None
    features: tuple[str, ...] | None
    lam: tuple[float, ...] | None
    before: dict[str, float]
    after: dict[str, float] | None
    error: str


def edit_chunk(
    task: Task,
    layout: Layout,
    networks: Sequence[Network],
    between: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """The networks of (a part of) one chunk, each edited at its own lambda as `edit.edit` does.

    Args:
      networks: see `network_for`.
      between: called before every batch; an exception of its own ends the work.
    """
    editor, count = task.editor, len(task.editor.requirement)
    models, ids = packed(layout, networks, task.points)

    def program(method: EditFn, context, ids: np.ndarray) -> Program:
        size = settings_of(count)
        return Program(
            method, context, models, [ids], size, SEED, layout.batch, between, layout.budget
        )

    errors, before = _as_they_are(task, program(unedited_fn(layout.template), None, ids), ids)
    good = np.flatnonzero([not error for error in errors])
    outcomes = [
        Outcome(None, None, None, None, values, None, error)
        for values, error in zip(before, errors, strict=True)
    ]
    if not len(good):
        return outcomes
    ids = ids[good]
    edits = program(task.method, task.context, ids)
    lam = choose_each(
        lambda lams: edits.sweep(ids, lams, task.table, task.objective),
        editor.editor.lambda_range, editor.names, task.demands, len(ids),
    ).lam  # [M, requirements]  # fmt: skip
    sweep = edits.sweep(ids, lam[None], task.table, task.objective)
    found = edits.edits(ids, lam)
    for place, number in enumerate(good.tolist()):
        network, after = networks[number], values_of(editor, sweep, task.has, place)
        edited, mask = network_at(
            editor, network, task.reads, layout.template, found.after, found.keep, place
        )
        outcomes[number] = Outcome(
            network=edited,
            weights_left=int(sum(block.sum() for block in mask)),
            features=features_read(editor, network.spec, mask),
            lam=tuple(lam[place].tolist()),
            before=before[number],
            after=after,
            error=missed(task.demands, after),
        )
    return outcomes


def _as_they_are(
    task: Task, unedited: Program, ids: np.ndarray
) -> tuple[list[str], list[dict[str, float]]]:
    """Of every network: why it is refused, or "", and what is measured before the edit."""
    count = len(task.editor.requirement)
    nothing = np.ones(1) if count == 1 else np.ones((1, count))
    sweep = unedited.sweep(ids, nothing, task.table, task.objective)
    values = [values_of(task.editor, sweep, task.has, place) for place in range(len(ids))]
    errors = [""] * len(ids)
    if "y" in task.has:
        moved = task.table.replace(x=in_other_units(task.editor, task.reads, task.table))
        turned = unedited.sweep(ids, nothing, moved, task.objective).accuracy[0]
        for place, (own, other) in enumerate(zip(sweep.accuracy[0], turned, strict=True)):
            try:
                check_accuracy(task.reads, float(own), float(other), task.table)
            except ValueError as error:
                errors[place] = str(error)
    return errors, values
