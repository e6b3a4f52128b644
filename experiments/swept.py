"""A method with the settings that its front is swept over, run on models of a study."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.plan import editor_settings, tuples
from experiments.study import Study
from metanet.data.tabular import Table
from metanet.editor.edits import EditFn
from metanet.evaluation.sweep import Program, Sweep, timed
from metanet.graphs.packing import Models
from metanet.graphs.topology import Template
from metanet.probes.rows import Points, ProbeConfig
from metanet.probes.store import probe_stack
from metanet.training.config import lambda_pairs


@dataclasses.dataclass(frozen=True)
class Swept:
    """A method with the settings that its front is swept over.

    Attributes:
      settings: what each setting is, for results.json.
      run: (models, table, indices of settings) -> their Sweep.
      seconds: (models, index of a setting) -> wall seconds of editing them: (first call, warm).
      at: (models, table, values) -> the Sweep of other settings, as many at most; of methods that
        are compiled.
    """

    settings: tuple[dict, ...]
    run: Callable[[np.ndarray, Table, np.ndarray], Sweep]
    seconds: Callable[[np.ndarray, int], tuple[float, float]]
    at: Callable[[np.ndarray, Table, np.ndarray], Sweep] | None = None


def all_models(models: Models) -> tuple[np.ndarray, Models]:
    """All models as one group, see `compiled`."""
    return np.arange(len(models.spec)), models


def compiled(
    study: Study,
    recipe: Callable[[Template], EditFn],
    context,
    label: str,
    values: np.ndarray,
    groups: list[tuple[np.ndarray, Models]] | None = None,
) -> Swept:
    """A method that runs in compiled programs, one per group of models, on test and validation.

    Args:
      recipe: the method in a template.
      groups: (rows of `study.models`, the same models in a template of theirs) that together are
        all models; by default one group.
    """
    seed, batch_size = study.config.seed, study.config.evaluation.batch_size
    groups = groups or [all_models(study.models)]
    splits = [study.split(name)[0] for name in ("validation", "test")]
    recipes = [recipe(models.template) for _, models in groups]

    def parts(ids):
        """(where in `ids`, group, their numbers in it) of every group that `ids` has."""
        for number, (rows, _) in enumerate(groups):
            where = np.flatnonzero(np.isin(ids, rows))
            if where.size:
                yield where, number, np.searchsorted(rows, ids[where])

    @functools.cache
    def program(number):
        rows, models = groups[number]
        sets = [np.searchsorted(rows, ids[np.isin(ids, rows)]) for ids in splits]
        size = len(values)
        own = (sets, size, seed, batch_size, study.go_on)
        return Program(recipes[number], context, models, *own)

    def at(ids, table, values):
        order, sweeps = [], []
        for where, number, local in parts(ids):
            order.append(where)
            sweeps.append(program(number).sweep(local, values, table, study.requirement))
        place = np.argsort(np.concatenate(order))
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves, 1)[:, place],
                              *map(dataclasses.asdict, sweeps))  # fmt: skip
        return Sweep(**joined)

    def seconds(ids, index):
        total = np.zeros(2)
        for _, number, local in parts(ids):
            size, (_, models) = min(batch_size, len(local)), groups[number]
            one = Program(recipes[number], context, models, [local], 1, seed, size)
            total += one.seconds(local, values[index])
        return tuple(total.tolist())

    settings = tuple({label: value.tolist()} for value in values)
    return Swept(settings, lambda ids, table, i: at(ids, table, values[i]), seconds, at)


def lambdas_of(config: ConfigDict, count: int | None, editor: str = "") -> np.ndarray:
    """`count` values of lambda: [S], or [S, requirements], a grid, where there are several.

    Over the range that the editor called `editor` was trained on; by default the config's range and
    number.
    """
    count = count or config.evaluation.n_lambdas
    pairs = (
        editor_settings(config, editor)["lambda_range"] if editor else tuples(config.lambda_range)
    )
    axes = [np.geomspace(*pair, 1 if pair[0] == pair[1] else count)
            for pair in lambda_pairs(pairs)]  # fmt: skip
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
