"""What an objective sees, and how a config names one.

An objective is a pure function `objective(view: EditView) -> scalar`, to be minimised. Write it for
one edit; vmap, batching and sharding happen outside. Hyperparameters are keyword arguments that a
config binds with functools.partial. Nothing has to be registered: a config names any importable
function by its dotted path. Its attribute `label`, if it has one, names its axis in pictures.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

import metanet.objectives
from metanet import dotted
from metanet.data.tabular import Table
from metanet.editor.edits import Edit
from metanet.graphs.padded import PaddedMLP, apply_rows
from metanet.graphs.topology import Template


@struct.dataclass
class EditView:
    """One edit, as an objective sees it.

    The relaxation is in the view, not in the objective: in training, masks are straight-through and
    decisions tempered; in evaluation masks are 0/1 and decisions one-hot. The same function is the
    training loss and the reported metric.

    Attributes:
      before, after: the model in its template, without and with the edit.
      keep: [sources, targets] float32, 1 where a weight is kept; 0 where `before.edge` is False.
      input_keep: [features] float32, 1 where an input feature may be read.
      logits_before, logits_after: [rows, classes] float32.
      decisions: [rows, classes] float32, rows sum to 1, from `logits_after`.
      batch: the data: x [rows, features], y [rows], group [rows].
    """

    before: PaddedMLP
    after: PaddedMLP
    keep: jax.Array
    input_keep: jax.Array
    logits_before: jax.Array
    logits_after: jax.Array
    decisions: jax.Array
    batch: Table


Objective = Callable[[EditView], jax.Array]


def view_of(
    template: Template,
    edit: Edit,
    batch: Table,
    decide: Callable[[jax.Array], jax.Array],
    logits_before: jax.Array | None = None,
) -> EditView:
    """The view of one edit (an Edit without its leading axis) on `batch`.

    `decide` turns logits into decisions. `logits_before` is computed where it is not given.
    """
    if logits_before is None:
        logits_before = apply_rows(template, edit.before, batch.x)
    logits_after = apply_rows(template, edit.after, batch.x)
    return EditView(
        before=edit.before,
        after=edit.after,
        keep=edit.keep,
        input_keep=edit.input_keep,
        logits_before=logits_before,
        logits_after=logits_after,
        decisions=decide(logits_after),
        batch=batch,
    )


def known_objectives() -> list[str]:
    """The dotted paths of the objectives that come with metanet."""
    names = []
    for module in pkgutil.iter_modules(metanet.objectives.__path__, "metanet.objectives."):
        if module.name != __name__:
            found = vars(importlib.import_module(module.name)).items()
            names += [
                f"{module.name}.{name}"
                for name, value in found
                if not name.startswith("_")
                and getattr(value, "__module__", None) == module.name
                and getattr(value, "__annotations__", {}).get("view") is EditView
            ]
    return sorted(names)


def paths_of(requirement: str | tuple[str, ...]) -> tuple[str, ...]:
    """The dotted paths that a config's `requirement` names, one or several."""
    return (requirement,) if isinstance(requirement, str) else tuple(requirement)


@functools.cache
def resolve(requirement: str | tuple[str, ...]) -> Objective:
    """The function that a config names as `package.module.function`.

    Several paths make one objective whose value is the vector of theirs, [requirements].

    Raises:
      UserError: there is no such function; the message lists metanet's own.
    """
    if isinstance(requirement, str):
        return _resolve_one(requirement)
    objectives = [_resolve_one(path) for path in requirement]
    return lambda view: jnp.stack([objective(view) for objective in objectives])


def labels_of(requirement: str | tuple[str, ...]) -> tuple[str, ...]:
    """What the axes of a requirement's values say, one label for each path.

    An objective carries its own as the attribute `label`; without one it is the function's name.
    """
    found = []
    for path in paths_of(requirement):
        name = path.rpartition(".")[2].replace("_", " ")
        found.append(str(getattr(_resolve_one(path), "label", name)))
    return tuple(found)


def _resolve_one(path: str) -> Objective:
    known = f"a function of an EditView, for example one of {', '.join(known_objectives())}"
    return dotted.resolve(path, "requirement", known)
