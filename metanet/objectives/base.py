"""Objectives: the view of an edit that they are functions of, and their names in a config.

An objective is a pure function `objective(view: EditView) -> scalar`, to be minimised. Write it for
one edit; vmap, batching and sharding happen outside. Nothing has to be registered: a config names
any importable function by its dotted path. Its attribute `label`, if it has one, names its axis in
pictures (see `labelled`).
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import struct

import metanet.objectives
from metanet.core import require
from metanet.data.tabular import Table
from metanet.dotted import resolve_function
from metanet.editor.edits import Edit
from metanet.graphs.padded import PaddedMLP, apply_rows
from metanet.graphs.topology import Template


class EditView(struct.PyTreeNode):
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
F = TypeVar("F", bound=Callable)


def labelled(
    text: str,
    floor: Callable | None = None,
    grouped: bool = False,
    classes: slice | None = None,
    of_edit: bool = False,
) -> Callable[[F], F]:
    """A decorator of objectives: `text` is the label of their axis, as the attribute `label`.

    Args:
      floor: (table, decisions of M models for the second class [M, rows] bool) -> the value below
        which the objective is noise on that table; the attribute `floor`.
      grouped: it compares groups, so data need two or more; the attribute `grouped`.
      classes: the classes of which it compares the groups' rows apart, so each needs rows of two
        groups or more; None: it does not read labels. The attribute `classes`.
      of_edit: it is the same on all data, so that every model can be brought to a level of it,
        and results are read at levels of each model, not of means; the attribute `of_edit`.
    """

    def decorate(objective: F) -> F:
        vars(objective).update(
            label=text, floor=floor, grouped=grouped, classes=classes, of_edit=of_edit
        )
        return objective

    return decorate


def view_of(
    template: Template,
    edit: Edit,
    batch: Table,
    decide: Callable[[jax.Array], jax.Array],
    logits_before: jax.Array | None = None,
) -> EditView:
    """The view of one edit (an Edit without its leading axis) on `batch`.

    Args:
      decide: turns logits [rows, classes] into decisions [rows, classes].
      logits_before: of the unedited model, [rows, classes]; computed where they are not given.
    """
    x = jnp.asarray(batch.x)
    if logits_before is None:
        logits_before = apply_rows(template, edit.before, x)
    logits_after = apply_rows(template, edit.after, x)
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


def view_of_logits(
    before: PaddedMLP,
    after: PaddedMLP,
    logits_before: jax.Array,
    logits_after: jax.Array,
    decisions: jax.Array,
    batch: Table,
) -> EditView:
    """The view of an edit of one model that keeps everything, whose logits are known already.

    Args:
      logits_before, logits_after, decisions: [rows, classes].
    """
    return EditView(
        before=before,
        after=after,
        keep=before.edge.astype(jnp.float32),
        input_keep=jnp.ones(batch.x.shape[1]),
        logits_before=logits_before,
        logits_after=logits_after,
        decisions=decisions,
        batch=batch,
    )


def known_objectives() -> list[str]:
    """The dotted paths of the objectives that come with metanet."""
    names: list[str] = []
    for module in pkgutil.iter_modules(metanet.objectives.__path__, "metanet.objectives."):
        if module.name != __name__:
            names += [
                f"{module.name}.{name}"
                for name, value in vars(importlib.import_module(module.name)).items()
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
      SettingError: there is no such function; the message lists metanet's own.
    """
    if isinstance(requirement, str):
        return _resolve_one(requirement)
    objectives = [_resolve_one(path) for path in requirement]
    return lambda view: jnp.stack([objective(view) for objective in objectives])


def labels_of(requirement: str | tuple[str, ...]) -> tuple[str, ...]:
    """The axes' labels of a requirement's values, one for each path.

    An objective carries its own as the attribute `label`; without one it is the function's name.

    Raises:
      SettingError: there is no such function, or its label is not text in one line.
    """
    labels = []
    for path in paths_of(requirement):
        name = path.rpartition(".")[2].replace("_", " ")
        label = getattr(_resolve_one(path), "label", name)
        ok = isinstance(label, str) and label.isprintable() and bool(label)
        require(ok, "requirement", f"{path!r} with label {label!r}", "a label of one line of text")
        labels.append(label)
    return tuple(labels)


def _resolve_one(path: str) -> Objective:
    known = f"a function of an EditView, for example one of {', '.join(known_objectives())}"
    return resolve_function(path, "requirement", known, 1)
