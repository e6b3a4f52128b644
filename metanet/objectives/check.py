"""A trial of a requirement before anything is trained."""

import jax
import jax.numpy as jnp
import numpy as np

from metanet.core import SettingError, raised, require
from metanet.data.tabular import TabularData
from metanet.editor.edits import Edit
from metanet.editor.relax import hard_decisions
from metanet.graphs.padded import PaddedMLP
from metanet.graphs.topology import TILE, Template
from metanet.objectives.base import EditView, Objective, paths_of, view_of

ROWS = 256  # of the `edit` data


def check_requirement(
    objective: Objective, requirement: str | tuple[str, ...], data: TabularData
) -> None:
    """Evaluates the requirement on a random edit of a random MLP, on rows of `data`.

    Raises:
      SettingError: it is not a function of an EditView, or its value is not one number that is
        finite and not negative for each path. Hypervolumes are measured from 0.
    """
    view = _random_view(data)
    try:
        value = np.asarray(objective(view))
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        refused = f"{requirement!r}, which raises {raised(error)}"
        raise SettingError("requirement", refused, "a function of an EditView") from error
    count = len(paths_of(requirement))
    shape: tuple[int, ...] = () if isinstance(requirement, str) else (count,)
    real = np.issubdtype(value.dtype, np.floating) or np.issubdtype(value.dtype, np.integer)
    numeric = real or value.dtype == jnp.bfloat16
    ok = value.shape == shape and numeric and bool((np.isfinite(value) & (value >= 0)).all())
    given = f"{requirement!r} = {value.tolist()} for a random edit"
    expected = "a number" if isinstance(requirement, str) else f"{count} numbers"
    require(ok, "requirement", given, f"{expected}, 0 or more")


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
