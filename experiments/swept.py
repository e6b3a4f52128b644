"""A method with the settings that its front is swept over, run on models of a study."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.plan import editor_settings, tuples
from experiments.study import Study
from metanet.data.tabular import Table
from metanet.editor.edit import Method
from metanet.evaluation.sweep import Sweep, evaluate, seconds_of, timed
from metanet.graphs.convert import Models
from metanet.graphs.topology import Template
from metanet.mlp.probe import Points, ProbeConfig
from metanet.mlp.probing import probe_stack
from metanet.training.step import preference_pairs


@dataclasses.dataclass(frozen=True)
class Swept:
    """A method with the settings that its front is swept over.

    Attributes:
      settings: what each setting is, for results.json.
      run: (models, table, indices of settings) -> their Sweep.
      seconds: (models, index of a setting) -> wall seconds of editing them: (first call, warm).
    """

    settings: tuple[dict, ...]
    run: Callable[[np.ndarray, Table, np.ndarray], Sweep]
    seconds: Callable[[np.ndarray, int], tuple[float, float]]


def everyone(models: Models) -> tuple[np.ndarray, Models]:
    """All models as one group, see `compiled`."""
    return np.arange(len(models.spec)), models


def compiled(
    study: Study,
    recipe: Callable[[Template], Method],
    context,
    label: str,
    values: np.ndarray,
    groups: list[tuple[np.ndarray, Models]] | None = None,
) -> Swept:
    """A method that runs in compiled programs, one per group of models.

    Args:
      recipe: the method in a template.
      groups: (rows of `study.models`, the same models in a template of theirs) that together are
        all models; by default one group.
    """
    seed, batch_size = study.config.seed, study.config.evaluation.batch_size
    groups = groups or [everyone(study.models)]

    def parts(ids):
        """(where in `ids`, method, models, their numbers there) of every group that `ids` has."""
        for rows, models in groups:
            where = np.flatnonzero(np.isin(ids, rows))
            if where.size:
                yield where, recipe(models.template), models, np.searchsorted(rows, ids[where])

    def run(ids, table, indices):
        order, sweeps = [], []
        for where, method, models, local in parts(ids):
            order.append(where)
            sweeps.append(evaluate(method, context, models, local, values[indices], table,
                                   study.requirement, seed, batch_size))  # fmt: skip
        place = np.argsort(np.concatenate(order))
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves, 1)[:, place],
                              *map(dataclasses.asdict, sweeps))  # fmt: skip
        return Sweep(**joined)

    def seconds(ids, index):
        total = np.zeros(2)
        for _, method, models, local in parts(ids):
            size = min(batch_size, len(local))
            total += seconds_of(method, context, models, local, values[index], size)
        return tuple(total.tolist())

    return Swept(tuple({label: value.tolist()} for value in values), run, seconds)


def preferences_of(config: ConfigDict, count: int | None, editor: str = "") -> np.ndarray:
    """`count` values of lambda: [S], or [S, requirements], a grid, where there are several.

    Over the range that the editor called `editor` was trained on; by default the config's range and
    number.
    """
    count = count or config.evaluation.preferences
    pairs = editor_settings(config, editor)["preference"] if editor else tuples(config.preference)
    axes = [np.geomspace(*pair, 1 if pair[0] == pair[1] else count)
            for pair in preference_pairs(pairs)]  # fmt: skip
    return axes[0] if len(axes) == 1 else grid(*axes)


def grid(*axes: np.ndarray) -> np.ndarray:
    """All combinations: [product, axes]."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def probing(study: Study, probe: ProbeConfig | None, swept: Swept) -> Swept:
    """`swept`, whose seconds hold those of probing the models too."""
    if probe is None:
        return swept
    points = study.points(probe)

    def seconds(ids, index):
        return tuple(np.add(swept.seconds(ids, index), _probe_seconds(study, ids, points)))

    return dataclasses.replace(swept, seconds=seconds)


def _probe_seconds(study: Study, ids: np.ndarray, points: Points) -> tuple[float, float]:
    """Wall seconds of probing the models `ids`: (first call, warm)."""
    first = np.cumsum([0, *[len(stack.activation) for stack in study.population.stacks]])
    spec = np.asarray(study.models.spec)[ids]
    total = np.zeros(2)
    for number in np.unique(spec):
        stack, rows = study.population.stacks[number], ids[spec == number] - first[number]
        params = jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf[rows]), stack.params)
        part = dataclasses.replace(stack, params=params, activation=stack.activation[rows])
        total += timed(lambda part=part: jax.block_until_ready(probe_stack(part, points)))
    return tuple(total.tolist())
