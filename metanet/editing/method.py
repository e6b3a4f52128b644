"""An editor as a method, with the steps that may follow its edits, and what its edits come to."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metanet.core import stream
from metanet.data.tabular import Table
from metanet.dotted import check_known
from metanet.editing.demands import JSD
from metanet.editing.inputs import standard
from metanet.editor.checks import expect
from metanet.editor.edit_fns import editor_fn
from metanet.editor.edits import EditFn
from metanet.editor.newton import NewtonConfig
from metanet.editor.release import Release
from metanet.evaluation.sweep import Sweep
from metanet.graphs.padded import PaddedMLP, params_of
from metanet.graphs.topology import Template
from metanet.interop.network import Network
from metanet.interop.units import reading_numbers
from metanet.methods.newton import sample_rows, stepped_in
from metanet.methods.per_model import RefineConfig, sample_of
from metanet.methods.refine import refined_fn
from metanet.mlp.spec import MLPSpec
from metanet.objectives.base import Objective, resolve
from metanet.training.inputs import sampling_pool

SEED = 0
POINTS = 1024  # rows of Gauss-Newton steps, at most


def check_steps(newton: int, refine: int) -> None:
    """Raises ValueError unless these are numbers of steps that may follow an edit."""
    for name, steps in (("newton", newton), ("refine", refine)):
        expect(steps >= 0, name, steps, "0 or more steps")


def objective_of(editor: Release) -> Objective:
    """What the editor's requirements measure, as one objective.

    Raises:
      UserError: they are code that nobody has imported, see `dotted.check_known`.
    """
    for path in editor.requirement:
        check_known(path, "editor.requirement")
    return resolve(editor.requirement if len(editor.requirement) > 1 else editor.requirement[0])


def method_of(
    editor: Release,
    template: Template,
    objective: Objective,
    table: Table,
    newton: int,
    refine: int,
) -> tuple[EditFn, Any]:
    """The editor as a method, and its context.

    Args:
      template: of the models, as the editor's.
      newton: Gauss-Newton steps on `table` after the edit;  refine: steps of descent after that.
    """
    method, context = editor_fn, editor.editor  # type: EditFn, Any
    if newton:
        steps = NewtonConfig(newton, points=POINTS, balanced=editor.balanced, requirement=True)
        method = _stepping(template, steps, objective)
        context = context, sample_rows(table, steps, SEED)
    if refine:
        config = RefineConfig(refine, points=editor.points, balanced=editor.balanced)
        rows, pool = jax.tree.map(jnp.asarray, sampling_pool(table, config.balanced))
        uses = "refinement", "refinement start"
        keys = jnp.stack([jnp.stack([stream(SEED, use) for use in uses])])
        method = refined_fn(method, template, objective, config)
        context = context, sample_of(rows, pool, keys, config)
    return method, context


@functools.lru_cache(maxsize=8)  # so that networks of one shape share a program
def _stepping(template: Template, config: NewtonConfig, objective: Objective) -> EditFn:
    return stepped_in(lambda _: editor_fn, config, objective)(template)


def values_of(editor: Release, sweep: Sweep, has: set[str], model: int = 0) -> dict[str, float]:
    """What a sweep of one setting measures of one of its models, by name."""
    requirement = sweep.requirement[0, model].reshape(-1)
    values = dict(zip(editor.names, requirement.tolist(), strict=True))
    values[JSD] = float(sweep.jsd[0, model])
    return values | ({"accuracy": float(sweep.accuracy[0, model])} if "y" in has else {})


def network_at(
    editor: Release,
    network: Network,
    reads: str,
    template: Template,
    after: PaddedMLP,
    keep: jax.Array,
    model: int = 0,
) -> tuple[Network, tuple[np.ndarray, ...]]:
    """One of edited models as a network that reads what the model reads, and its mask.

    Args:
      network: before the edit, on standardised features.
      after: the models, leaves [M, ...];  keep: [M, sources, targets].

    Returns:
      The network, and one [n_source, n_target] float32 0/1 array per block.
    """
    one, kept = jax.tree.map(lambda leaf: np.asarray(leaf[model]), (after, keep))
    params = params_of(template, one, network.spec)
    masks = params_of(template, one.replace(weight=kept), network.spec)
    edited = dataclasses.replace(network, params=params)
    if reads == "numbers":
        edited = reading_numbers(edited, *standard(editor))
    return edited, tuple(map(np.asarray, masks.weights))


def features_read(editor: Release, spec: MLPSpec, mask: tuple[np.ndarray, ...]) -> tuple[str, ...]:
    """The names of the features that a weight which is kept reads; `mask`: see `network_at`."""
    leaving = [block for block, (begin, _) in zip(mask, spec.blocks, strict=True) if begin == 0]
    read = np.flatnonzero(np.concatenate(leaving, 1).any(axis=1))
    return tuple(editor.features[index] for index in read)
