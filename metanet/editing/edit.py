"""An edit of one network of somebody else's by a trained editor."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

from metanet.data.tabular import Table
from metanet.editing.demands import (
    Demand,
    check_demands,
    choose,
    parse_demand,
    settings_of,
)
from metanet.editing.inputs import (
    ONE,
    check_columns,
    check_units,
    imported_of,
    in_units,
    models_of,
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
from metanet.editor.checks import check_lambda, expect
from metanet.editor.edit_fns import editor_fn
from metanet.editor.edits import EditFn
from metanet.editor.release import Release
from metanet.evaluation.program import Program, map_models
from metanet.evaluation.sweep import Sweep
from metanet.graphs.packing import Models
from metanet.interop.network import Network
from metanet.methods.refine import unedited_fn
from metanet.objectives.base import Objective


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
    check_steps(newton, refine)
    expect((lam is None) == bool(require), "lam", lam, "a value for it, or for require")
    source, (table, has) = imported_of(model), rows_of(editor, data)
    ready = table is not None or not (require or newton or refine)
    expect(ready, "data", "none", "rows, on which the edit is chosen or refined")
    network = in_units(editor, source, reads)
    models = models_of(editor, network, table)
    paths = editor.requirement
    method, context = editor_fn, editor.editor  # type: EditFn, Any
    demands: tuple[Demand, ...] = ()
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    tried = np.zeros((0, len(paths) + 1))
    if table is not None:
        # Only here: where nothing is measured, somebody's own requirement need not be importable.
        objective = objective_of(editor)
        method, context = method_of(editor, models.template, objective, table, newton, refine)
        check_columns(editor, models, objective, table, has)
        unedited = _sweep(unedited_fn(models.template), None, models, len(paths))
        nothing = np.ones((1, len(paths)))
        before = values_of(editor, unedited(nothing, table, objective), has)
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
        after = values_of(editor, edits(lams[None], table, objective), has)
    for one in demands:
        if not one.met(after[one.name]):
            warnings.warn(
                f"require: found {one.text} out of reach, {after[one.name]:.4g}", stacklevel=2
            )
    setting = jnp.asarray(lams[0] if len(lams) == 1 else lams, jnp.float32)
    found = map_models(_at(method), (context, setting), models, ONE, SEED, 1)
    edited, mask = network_at(editor, network, reads, models.template, *found)
    features = features_read(editor, network.spec, mask)
    result = source.restore(edited)
    return Edited(
        result, edited, mask, features, tuple(lams.tolist()), before, after, demands, tried
    )


def _sweep(
    method: EditFn, context, models: Models, count: int
) -> Callable[[np.ndarray, Table, Objective], Sweep]:
    """sweep(lams [S, count], table, objective) -> the Sweep of the only model, in one program."""
    program = Program(method, context, models, [ONE], settings_of(count), SEED, 1)

    def sweep(lams: np.ndarray, table: Table, objective: Objective) -> Sweep:
        return program.sweep(ONE, lams[:, 0] if count == 1 else lams, table, objective)

    return sweep


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
