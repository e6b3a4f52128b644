"""A trial of a requirement before anything is trained."""

import logging
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metanet.core import SettingError, raised, require
from metanet.data.tabular import Table, TabularData
from metanet.editor.edits import Edit
from metanet.editor.relax import hard_decisions
from metanet.graphs.padded import PaddedMLP
from metanet.graphs.topology import TILE, Template
from metanet.objectives.base import EditView, Objective, paths_of, resolve, view_of

logger = logging.getLogger(__name__)

ROWS = 256  # of the `edit` data


def check_requirement(
    objective: Objective, requirement: str | tuple[str, ...], data: TabularData
) -> None:
    """Evaluates the requirement on a random edit of a random MLP, on rows of `data`.

    Raises:
      SettingError: it is not a function of an EditView, or its value is not one number that is
        finite in float32 and not negative for each path, or it cannot be compiled. Hypervolumes
        are measured from 0.
    """
    view = _random_view(data)
    value = _tried(lambda: np.asarray(objective(view)), requirement, "a function of an EditView")
    count = len(paths_of(requirement))
    shape: tuple[int, ...] = () if isinstance(requirement, str) else (count,)
    # Not np.issubdtype, to which a duration is an integer; float types of 16 bits and less are
    # floating to jax alone.
    numeric = value.dtype.kind in "iuf" or jnp.issubdtype(value.dtype, jnp.floating)
    ok = value.shape == shape and numeric
    if ok:
        with np.errstate(over="ignore"):
            single = value.astype(np.float32)
        ok = bool((np.isfinite(single) & (single >= 0)).all())
    given = f"{requirement!r} = {value.tolist()} for a random edit"
    expected = "a number" if isinstance(requirement, str) else f"{count} numbers"
    require(ok, "requirement", given, f"{expected}, 0 or more")
    # As training calls it.
    compiled = "a function that jax.jit can trace: no numpy and no branches on values"
    _tried(lambda: jax.eval_shape(objective, view), requirement, compiled)


def _tried(call: Callable, requirement: str | tuple[str, ...], expected: str):
    """call(); what it raises as a SettingError about the requirement."""
    try:
        return call()
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        refused = f"{requirement!r}, which raises {raised(error)}"
        raise SettingError("requirement", refused, expected) from error


def check_cells(path: str, data: TabularData) -> None:
    """Refuses data on which a requirement that compares groups would be 0 because there are none.

    A cell without rows takes no part in a comparison, which is logged; where fewer than two groups
    are left, a value of 0 would claim a fairness that the data say nothing about.

    Args:
      path: of one objective (see `objectives.base.labelled`).

    Raises:
      SettingError: about the key "group".
    """
    objective = resolve(path)
    if not getattr(objective, "grouped", False):
        return
    expected = f"a protected attribute of {data.name}, whose groups {path} compares"
    require(data.train.n_groups > 1, "group", repr(data.group), expected)
    for name in ("edit", "select", "test"):
        for rows, counts in group_counts(path, getattr(data, name), data.classes).items():
            some = int(np.count_nonzero(counts))
            found = f"{data.group!r}, with {rows} in {some} of {len(counts)} groups of {name} data"
            require(some > 1, "group", found, f"two or more, which {path} compares")
            for absent in np.flatnonzero(counts == 0):
                logger.warning("%s: no %s in group %d of %s in %s data: %s leaves it out",
                               data.name, rows, absent, data.group, name, path)  # fmt: skip


def group_counts(path: str, table: Table, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """How many rows that a requirement compares are in every group: [groups], by what rows.

    {} of a requirement that compares no groups. Where fewer than two have rows, its value is 0
    although nothing is known.
    """
    objective = resolve(path)
    if not getattr(objective, "grouped", False):
        return {}
    y, group = np.asarray(table.y), np.asarray(table.group)
    cells = {"rows": np.ones(len(y), bool)}
    compared = getattr(objective, "classes", None)
    if compared is not None:
        cells = {f"rows of class {classes[c]}": y == c for c in range(len(classes))[compared]}
    return {
        rows: np.bincount(group[member], minlength=table.n_groups)
        for rows, member in cells.items()
    }  # fmt: skip


def _random_view(data: TabularData) -> EditView:
    """An edit that keeps about half of everything of an MLP with one hidden layer."""
    template = Template(data.n_features, 1, TILE, data.n_classes)
    sources, targets = template.n_sources * TILE, template.n_targets * TILE
    rng = np.random.default_rng(0)
    real_source = np.zeros(sources, bool)
    real_source[: data.n_features] = real_source[-TILE:] = True
    node = np.zeros(targets, bool)
    node[:TILE] = node[TILE : TILE + data.n_classes] = True
    edge = np.zeros((sources, targets), bool)
    edge[: data.n_features, :TILE] = True
    edge[-TILE:, TILE : TILE + data.n_classes] = True
    before = PaddedMLP(
        weight=jnp.asarray(rng.normal(size=edge.shape) * edge, jnp.float32),
        edge=jnp.asarray(edge),
        bias=jnp.zeros(targets),
        scale=jnp.ones(targets),
        shift=jnp.zeros(targets),
        node=jnp.asarray(node),
        activation=jnp.asarray(0),
        norm=jnp.asarray(0),
    )
    input_keep = (np.arange(data.n_features) % 2).astype(np.float32)
    keep = edge * (rng.random(edge.shape) < 0.5).astype(np.float32)
    keep[: data.n_features] *= input_keep[:, None]
    after = before.replace(weight=before.weight * keep)
    edit = Edit(before, after, jnp.asarray(keep, jnp.float32), jnp.asarray(input_keep))
    rows = jax.tree.map(lambda leaf: jnp.asarray(leaf[:ROWS]), data.edit)
    return view_of(template, edit, rows, hard_decisions)
