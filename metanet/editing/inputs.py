"""Somebody else's network and rows as an editor reads them, checked against what it is for."""

import pathlib
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from metanet.data.columns import canonical
from metanet.data.tabular import Table
from metanet.editor.checks import check_points, check_stack, expect
from metanet.editor.relax import hard_decisions
from metanet.editor.release import Release
from metanet.evaluation.program import map_models
from metanet.graphs.packing import Models, pack, pack_probes
from metanet.interop.imported import Imported
from metanet.interop.network import Network, stack_of
from metanet.interop.units import reading_standardised
from metanet.methods.refine import unedited_fn
from metanet.mlp.network import ACTIVATIONS, apply
from metanet.mlp.sampling import READS
from metanet.objectives.base import Objective, view_of
from metanet.objectives.check import group_counts
from metanet.probes.rows import Points, points_of
from metanet.probes.store import probe_stack

ONE = np.arange(1)  # the only model
CLEARLY = 0.02  # of accuracy, by which other units show


def imported_of(model) -> Imported:
    """A model of a framework, a file, or what an importer returned; see `edit.edit`.

    Raises:
      ValueError: it is none.
      UserError: a file cannot be read.
    """
    if isinstance(model, Imported):
        return model
    if isinstance(model, Network):
        return Imported(model, lambda network: network)
    if isinstance(model, (str, pathlib.Path)):
        from metanet.interop.files import read

        return read(model)
    # A model of a framework that was never imported cannot be here.
    torch, sklearn = sys.modules.get("torch"), sys.modules.get("sklearn.base")
    if torch is not None and isinstance(model, torch.nn.Module):
        from metanet.interop.pytorch import from_torch

        return from_torch(model)
    if sklearn is not None and isinstance(model, sklearn.BaseEstimator):
        from metanet.interop.sklearn_models import from_sklearn

        return from_sklearn(model)
    pair = model if isinstance(model, tuple) and len(model) == 2 else (model,)
    of_flax = (sys.modules.get("flax.nnx"), sys.modules.get("flax.linen"))[len(pair) - 1]
    if of_flax is not None and isinstance(pair[0], of_flax.Module):
        from metanet.interop.flax_modules import from_flax

        return from_flax(*pair)
    raise ValueError(
        f"model: found {type(model).__name__}, expected a module of PyTorch or nnx, a pair (module "
        "of linen, variables), a scikit-learn classifier or pipeline, the path of a file, or what "
        "an importer of metanet.interop returns"
    )


def standard(editor: Release) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every feature: [features] float64 each."""
    features = editor.encoding.features
    return np.array([one.mean for one in features]), np.array([one.std for one in features])


def in_units(editor: Release, source: Imported, reads: str) -> Network:
    """The network on standardised features.

    Raises:
      ValueError: its inputs or outputs are not those of the editor.
    """
    expect(reads in READS, "reads", repr(reads), f"one of {', '.join(READS)}")
    names, widths = editor.features, source.network.spec.widths
    listed = ", ".join(names)
    classes = editor.encoding.classes
    if sorted(source.classes) == sorted(classes):
        expected = f"those of the editor: {', '.join(classes)}"
        expect(source.classes == classes, "model", f"classes {', '.join(source.classes)}", expected)
    if source.features and source.features != names:
        gone = ", ".join(one for one in names if one not in source.features) or "none"
        new = ", ".join(one for one in source.features if one not in names) or "none"
        same = gone == new == "none"
        found = "features in another order" if same else f"features: absent {gone}; more {new}"
        raise ValueError(f"model: found {found}, expected those of the editor: {listed}")
    expect(widths[0] == len(names), "model", f"{widths[0]} inputs", f"{len(names)}: {listed}")
    expected = f"{len(classes)}, one for each class: {', '.join(classes)}"
    expect(widths[-1] == len(classes), "model", f"{widths[-1]} outputs", expected)
    network = source.network
    return network if reads == "standardised" else reading_standardised(network, *standard(editor))


def rows_of(editor: Release, data) -> tuple[Table | None, set[str]]:
    """The data as a table, and which of "y" and "group" it has.

    Raises:
      ValueError: it is neither a DataFrame nor a Table.
      UserError: a column or value is not of the editor's encoding.
    """
    if data is None:
        return None, set()
    if isinstance(data, Table):
        _check_table(editor, data)
        return data, {"y", "group"}
    expect(isinstance(data, pd.DataFrame), "data", type(data).__name__, "a DataFrame or a Table")
    encoding, columns = editor.encoding, set(map(canonical, data))
    has = {"y"} if encoding.tells_label(data.rename(columns=canonical)) else set()
    if encoding.group is None or encoding.group.column in columns:
        has.add("group")
    return encoding.encode(data, "data"), has


def _check_table(editor: Release, table: Table) -> None:
    """Refuses encoded rows that are not of the editor's table.

    Raises:
      ValueError: names the array.
    """
    width, group = len(editor.features), editor.encoding.group
    x = np.asarray(table.x)
    shaped = x.ndim == 2 and x.shape[1] == width and len(x) > 0
    expect(shaped, "data.x", f"shape {x.shape}", f"[rows, {width}], at least one row")
    expect(bool(np.isfinite(x).all()), "data.x", "NaN or infinity", "finite numbers")
    groups = 1 if group is None else group.n_groups
    expect(table.n_groups == groups, "data.n_groups", table.n_groups, f"{groups}")
    for name, most in (("y", len(editor.encoding.classes)), ("group", groups)):
        codes = np.asarray(getattr(table, name))
        inside = codes.shape == (len(x),) and codes.min() >= 0 and codes.max() < most
        expect(
            inside, f"data.{name}", "other codes", f"{len(x)} whole numbers from 0, below {most}"
        )


def models_of(editor: Release, network: Network, table: Table | None) -> Models:
    """The network, packed, with the probe statistics that the editor reads.

    Raises:
      ValueError: the network does not fit the editor, or there are no rows to probe it on.
    """
    stack = stack_of(network)
    check_stack(stack, editor.editor.template)
    models = pack([stack], editor.editor.template)
    points = points_for(editor, table)
    return (
        models
        if points is None
        else models.replace(probe=pack_probes([probe_stack(stack, points)]))
    )


def points_for(editor: Release, table: Table | None) -> Points | None:
    """The rows that the editor probes networks on; None where it has no probe.

    Raises:
      ValueError: there are none.
    """
    config = editor.editor.config
    if config.probe is None:
        return None
    if table is None:
        raise ValueError("data: found none, expected rows, on which this editor probes networks")
    if len(table.y) < config.probe.points:
        warnings.warn(
            f"data: found {len(table.y)} rows, and this editor was trained on probes of "
            f"{config.probe.points}", stacklevel=4,
        )  # fmt: skip
    points = points_of(config.probe, table, len(editor.encoding.classes))
    check_points(points, config, len(editor.features))
    return points


def check_columns(
    editor: Release, models: Models, objective: Objective, table: Table, has: set[str]
) -> None:
    """Refuses data without the label or the group if the requirement, or the probe, reads it, and
    rows of fewer than two of the groups that it compares: their difference would be 0.

    Raises:
      ValueError: names the column, or the rows.
    """
    _check_labels(editor, models, objective, table, has)
    for path in editor.requirement:
        for rows, counts in group_counts(path, table, editor.encoding.classes).items():
            some = int(np.count_nonzero(counts))
            name = path.rpartition(".")[2]
            expect(some > 1, "data", f"{rows} in {some} of {len(counts)} groups",
                   f"two or more, which {name} compares")  # fmt: skip


def _check_labels(
    editor: Release, models: Models, objective: Objective, table: Table, has: set[str]
) -> None:
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
    edits = map_models(lambda c, g, k: whole(c, g, k)(jnp.float32(0)), None, models, ONE, 0, 1)

    def value(y, group):
        edit = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), edits)
        batch = few.replace(y=y, group=group)
        return objective(view_of(models.template, edit, batch, hard_decisions))

    jaxpr = jax.make_jaxpr(value)(few.y, few.group).jaxpr
    used = {id(one) for equation in jaxpr.eqns for one in equation.invars}
    return {name for name, one in zip(("y", "group"), jaxpr.invars, strict=True) if id(one) in used}


def check_units(editor: Release, network: Network, reads: str, table: Table) -> None:
    """Refuses a model that is clearly more accurate if it is taken to read the other units.

    Args:
      network: as `in_units` returns it for `reads`.

    Raises:
      ValueError: see `check_accuracy`.
    """
    index = jnp.asarray(ACTIVATIONS.index(network.activation))
    logits = jax.jit(lambda x: apply(network.spec, network.params, index, x))
    own, other = (
        float((np.asarray(logits(one)).argmax(1) == table.y).mean())
        for one in (np.float32(table.x), in_other_units(editor, reads, table))
    )
    check_accuracy(reads, own, other, table)


def in_other_units(editor: Release, reads: str, table: Table) -> np.ndarray:
    """The rows as they would be if models read the other units: [rows, features] float32."""
    mean, std = standard(editor)
    x = np.asarray(table.x)
    with np.errstate(over="ignore", invalid="ignore"):
        moved = x * std + mean if reads == "standardised" else (x - mean) / std
        return moved.astype(np.float32)


def check_accuracy(reads: str, own: float, other: float, table: Table) -> None:
    """Refuses a model that is clearly more accurate on rows `in_other_units`.

    And more accurate than the most frequent class, too: in wrong units many decide for one class.

    Args:
      own, other: its accuracy on the rows in units that it is said to read, and in the other.

    Raises:
      ValueError: it is.
    """
    turned = "numbers" if reads == "standardised" else "standardised"
    found = f"{reads!r}, with which the model is right on {own:.1%} of the rows"
    expected = f"perhaps {turned!r}, with which it is on {other:.1%}"
    frequent = float(np.bincount(np.asarray(table.y)).max() / len(table.y))
    expect(other <= max(own, frequent) + CLEARLY, "reads", found, expected)
