"""An edit of one network of somebody else's by a trained editor."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from metanet.core import stream
from metanet.data.tabular import Table
from metanet.dotted import check_known
from metanet.editing.demands import FEWEST, GRID, JSD, Demand, check_demands, choose, parse_demand
from metanet.editing.inputs import (
    check_units,
    imported_of,
    in_units,
    models_of,
    rows_of,
    standard,
)
from metanet.editor.checks import check_lambda, expect
from metanet.editor.edit_fns import editor_fn
from metanet.editor.edits import EditFn
from metanet.editor.newton import NewtonConfig
from metanet.editor.relax import hard_decisions
from metanet.editor.release import Release
from metanet.evaluation.program import Program, map_models
from metanet.evaluation.sweep import Sweep
from metanet.graphs.packing import Models
from metanet.graphs.padded import params_of
from metanet.graphs.topology import Template
from metanet.interop.network import Network
from metanet.interop.units import reading_numbers
from metanet.methods.newton import sample_rows, stepped_in
from metanet.methods.per_model import RefineConfig, sample_of
from metanet.methods.refine import refined_fn, unedited_fn
from metanet.objectives.base import Objective, resolve, view_of
from metanet.training.inputs import sampling_pool

SEED = 0
POINTS = 1024  # rows of Gauss-Newton steps, at most
ONE = np.arange(1)  # the only model


@dataclasses.dataclass(frozen=True)
class Edited:
    """An edited network.

    Attributes:
      model: in the framework that it came in; of linen, variables.
      network: as arrays, reading what the model reads.
      mask: one [n_source, n_target] float32 0/1 array per block of `network.spec`; 0 is removed.
      features: the names of those that may still be read.
      lam: of every requirement.
      before, after: on the given data: "jsd" (nats), every requirement by its function's name, and
        "accuracy" if the data have labels; {} without data.
      demands: what it was to meet.
      tried: (requirements, jsd) of every lambda that was tried: [tried, requirements + 1].
    """

    model: Any
    network: Network
    mask: tuple[np.ndarray, ...]
    features: tuple[str, ...]
    lam: tuple[float, ...]
    before: dict[str, float]
    after: dict[str, float]
    demands: tuple[Demand, ...]
    tried: np.ndarray

    @property
    def unmet(self) -> tuple[Demand, ...]:
        """The demands that it does not meet."""
        return tuple(one for one in self.demands if not one.met(self.after[one.name]))


def edit(
    editor: Release,
    model,
    *,
    lam=None,
    require: str | Sequence[str] = (),
    data: pd.DataFrame | Table | None = None,
    reads: str = "standardised",
    newton: int = 0,
    refine: int = 0,
) -> Edited:
    """Edits one trained classifier.

    Args:
      editor: see `editor.release.load_editor`.
      model: a module of PyTorch or of flax.nnx, a pair (module of flax.linen, variables), a
        classifier or pipeline of scikit-learn, the path of a file, or what an importer of
        metanet.interop returned.
      lam: lambda, one for each requirement; or
      require: what the edit is to meet on `data`, as "features<=6" or "jsd<=0.01": lambda is the
        one that does at the least divergence.
      data: rows of the editor's table. Editors with probes look at some of them.
      reads: what the model reads: features "standardised" as in the editor's table, or the table's
        own "numbers" (categories by their codes), as a pipeline with a scaler does.
      newton: Gauss-Newton steps on `data` after the edit; see NewtonConfig.
      refine: steps of gradient descent on `data` after that.

    Raises:
      ValueError: an argument is none of these, or does not go with the editor; names it.
      UserError: a file, the data or a demand cannot be read.
    """
    require = [require] if isinstance(require, str) else list(require)
    for name, steps in (("newton", newton), ("refine", refine)):
        expect(steps >= 0, name, steps, "0 or more steps")
    expect((lam is None) == bool(require), "lam", lam, "a value for it, or for require")
    source, (table, has) = imported_of(model), rows_of(editor, data)
    ready = table is not None or not (require or newton or refine)
    expect(ready, "data", "none", "rows, on which the edit is chosen or refined")
    network = in_units(editor, source, reads)
    models = models_of(editor, network, table)
    paths = editor.requirement
    method: EditFn = editor_fn
    context: Any = editor.editor

    demands: tuple[Demand, ...] = ()
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    tried = np.zeros((0, len(paths) + 1))
    if table is not None:
        # Only here: where nothing is measured, somebody's own requirement need not be importable.
        for path in paths:
            check_known(path, "editor.requirement")
        objective = resolve(paths if len(paths) > 1 else paths[0])
        if newton:
            method, context = _stepped(editor, models, objective, table, newton)
        if refine:
            method, sample = _refined(editor, method, models, objective, table, refine)
            context = context, sample
        _check_columns(editor, models, objective, table, has)
        unedited = _sweep(unedited_fn(models.template), None, models, len(paths))
        nothing = np.ones((1, len(paths)))
        before = _values(editor, unedited(nothing, table, objective), has)
        if "y" in has:
            check_units(editor, network, reads, table)
        edits = _sweep(method, context, models, len(paths))
    if require and table is not None:
        demands = tuple(parse_demand(one, len(editor.features)) for one in require)
        check_demands(demands, editor.names)
        rows = table
        choice = choose(
            lambda lams: edits(lams, rows, objective),
            editor.editor.lambda_range,
            editor.names,
            demands,
        )
        lam, tried = choice.lam, choice.tried
    lams = check_lambda(lam, 1, len(paths))[0]
    _warn_outside(editor, lams)
    if table is not None:
        after = _values(editor, edits(lams[None], table, objective), has)
    for one in demands:
        if not one.met(after[one.name]):
            warnings.warn(
                f"require: found {one.text} out of reach, {after[one.name]:.4g}", stacklevel=2
            )
    edited, mask = _edited(method, context, models, network, lams)
    if reads == "numbers":
        edited = reading_numbers(edited, *standard(editor))
    leaving = [
        block for block, (begin, _) in zip(mask, network.spec.blocks, strict=True) if begin == 0
    ]
    read = np.flatnonzero(np.concatenate(leaving, 1).any(axis=1))
    features = tuple(editor.features[index] for index in read)
    result = source.restore(edited)
    return Edited(
        result, edited, mask, features, tuple(lams.tolist()), before, after, demands, tried
    )


def _stepped(
    editor: Release, models: Models, objective: Objective, table: Table, steps: int
) -> tuple[EditFn, Any]:
    """The editor and so many Gauss-Newton steps, as a method and its context."""
    config = NewtonConfig(steps, points=POINTS, balanced=editor.balanced, requirement=True)
    method = _stepping(models.template, config, objective)
    return method, (editor.editor, sample_rows(table, config, SEED))


@functools.lru_cache(maxsize=8)  # so that networks of one shape share a program
def _stepping(template: Template, config: NewtonConfig, objective: Objective) -> EditFn:
    return stepped_in(lambda _: editor_fn, config, objective)(template)


def _refined(
    editor: Release,
    method: EditFn,
    models: Models,
    objective: Objective,
    table: Table,
    steps: int,
) -> tuple[EditFn, Any]:
    """`method` and so many steps of descent, and what belongs to its context."""
    config = RefineConfig(steps, points=editor.points, balanced=editor.balanced)
    rows, pool = jax.tree.map(jnp.asarray, sampling_pool(table, config.balanced))
    keys = jnp.stack([jnp.stack([stream(SEED, "refinement"), stream(SEED, "refinement start")])])
    sample = sample_of(rows, pool, keys, config)
    return refined_fn(method, models.template, objective, config), sample


def _sweep(
    method: EditFn, context, models: Models, count: int
) -> Callable[[np.ndarray, Table, Objective], Sweep]:
    """sweep(lams [S, count], table, objective) -> the Sweep of the only model, in one program."""
    size = GRID if count == 1 else FEWEST**count
    program = Program(method, context, models, [ONE], size, SEED, 1)

    def sweep(lams: np.ndarray, table: Table, objective: Objective) -> Sweep:
        return program.sweep(ONE, lams[:, 0] if count == 1 else lams, table, objective)

    return sweep


def _values(editor: Release, sweep: Sweep, has: set[str]) -> dict[str, float]:
    """What a sweep of one setting on one model measures, by name."""
    requirement = sweep.requirement[0, 0].reshape(-1)
    values = dict(zip(editor.names, requirement.tolist(), strict=True))
    values[JSD] = float(sweep.jsd[0, 0])
    return values | ({"accuracy": float(sweep.accuracy[0, 0])} if "y" in has else {})


def _check_columns(
    editor: Release, models: Models, objective: Objective, table: Table, has: set[str]
) -> None:
    """Refuses data without the label or the group if the requirement, or the probe, reads it.

    Raises:
      ValueError: names the column.
    """
    probe, group = editor.editor.config.probe, editor.encoding.group
    columns = {"y": editor.encoding.label, "group": group.column if group else ""}
    lacks = [name for name in columns if name not in has]
    if not lacks:
        return
    reasons = {" and ".join(editor.names): _read_by(objective, models, table)}
    if probe is not None and probe.labelled:
        reasons["the editor's probe"] = set(columns)
    for reason, needed in reasons.items():
        absent = ", ".join(columns[name] for name in lacks if name in needed)
        expect(not absent, "data", f"no column {absent}", f"it: {reason} is about it")


def _read_by(objective: Objective, models: Models, table: Table) -> set[str]:
    """Which of "y" and "group" an objective is a function of."""
    few = jax.tree.map(lambda leaf: jnp.asarray(leaf[:2]), table)
    whole = unedited_fn(models.template)
    edits = map_models(lambda c, g, k: whole(c, g, k)(jnp.float32(0)), None, models, ONE, SEED, 1)

    def value(y, group):
        edit = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), edits)
        batch = few.replace(y=y, group=group)
        return objective(view_of(models.template, edit, batch, hard_decisions))

    jaxpr = jax.make_jaxpr(value)(few.y, few.group).jaxpr
    used = {id(one) for equation in jaxpr.eqns for one in equation.invars}
    return {name for name, one in zip(("y", "group"), jaxpr.invars, strict=True) if id(one) in used}


def _warn_outside(editor: Release, lams: np.ndarray) -> None:
    """Warns of lambdas that the editor never saw in training."""
    for lam, (low, high) in zip(lams, editor.editor.lambda_range, strict=True):
        if not low * (1 - 1e-6) <= lam <= high * (1 + 1e-6):
            warnings.warn(
                f"lam: found {lam:g}, and this editor was trained on {low:g} to {high:g}",
                stacklevel=3,
            )


@functools.lru_cache(maxsize=8)  # so that networks of one shape share a program
def _at(method: EditFn):
    """(the models that a method makes, what it keeps): a function for `map_models`."""

    def at_lams(arguments, graph, keys):
        context, setting = arguments
        edit = method(context, graph, keys)(setting)
        return edit.after, edit.keep

    return at_lams


def _edited(
    method: EditFn, context, models: Models, network: Network, lams: np.ndarray
) -> tuple[Network, tuple[np.ndarray, ...]]:
    """The edited network, on standardised features, and the mask of every block."""
    setting = jnp.asarray(lams[0] if len(lams) == 1 else lams, jnp.float32)
    after, keep = map_models(_at(method), (context, setting), models, ONE, SEED, 1)
    after, keep = jax.tree.map(lambda leaf: np.asarray(leaf[0]), (after, keep))
    params = params_of(models.template, after, network.spec)
    masks = params_of(models.template, after.replace(weight=keep), network.spec)
    return dataclasses.replace(network, params=params), tuple(map(np.asarray, masks.weights))
