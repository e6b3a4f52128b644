"""Evaluates methods that post-process one model's scores, outside of jit."""

import concurrent.futures
import contextlib
import multiprocessing
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from metanet.baselines import fairness
from metanet.data.tabular import Table
from metanet.devices import each_model
from metanet.evaluation.sweep import Sweep, map_models, timed
from metanet.graphs.batch import to_template
from metanet.graphs.packing import Models
from metanet.graphs.padded import apply_rows
from metanet.methods.fairness.scores import Infeasible, Scores

_MEASURES = ("requirement", "jsd", "jsd_label", "accuracy", "accuracy_original")


def probabilities(models: Models, ids: np.ndarray, table: Table) -> np.ndarray:
    """P(y = 1) of the models `ids` on all rows: [M, rows] float64.

    Raises:
      ValueError: the models have more than two classes.
    """
    if models.template.n_out != 2:
        raise ValueError(f"classes: found {models.template.n_out}, expected 2")

    def of_batch(x, graph, keys):
        batch = to_template(models.template, graph)
        logits = each_model(lambda model: apply_rows(models.template, model, x))(batch)
        return jax.nn.sigmoid(logits[..., 1] - logits[..., 0])

    return map_models(of_batch, jnp.asarray(table.x), models, ids, seed=0).astype(np.float64)


def one_class(models: Models, ids: np.ndarray, table: Table) -> np.ndarray:
    """Whether each of the models `ids` decides for the same class on all rows: [M] bool."""
    positive = probabilities(models, ids, table) > 0.5
    return positive.all(1) | ~positive.any(1)


def one_hot_floor(models: Models, ids: np.ndarray, table: Table) -> float:
    """Mean JSD (nats) of unedited decisions, read as one-hot distributions, to probabilities.

    What every method that outputs labels pays before it changes anything.
    """
    p = probabilities(models, ids, table)
    return fairness.one_hot_jsd(p)


def _one_model(task) -> np.ndarray:
    """[settings, measures] of one model; NaN where the method is infeasible."""
    name, indices, fit, test = task
    method, settings = fairness.SETTINGS[name]
    rows = []
    for index in indices:
        try:
            outcome = method(fit, test, settings[index])
        except Infeasible:
            rows.append([np.nan] * len(_MEASURES))
            continue
        correct = outcome.labels[np.arange(len(test.y)), test.y].mean()
        rows.append(
            [
                fairness.eod(outcome.labels, test.y, test.group),
                fairness.jsd_out(outcome, test.probability),
                fairness.jsd_label(outcome.labels, test.probability),
                correct,
                ((test.probability > 0.5) == test.y).mean(),
            ]
        )
    return np.array(rows).reshape(len(indices), len(_MEASURES))


def postprocess(
    name: str,
    models: Models,
    ids: np.ndarray,
    indices: np.ndarray,
    fit: Table,
    test: Table,
    between: Callable[[], None] = lambda: None,
) -> Sweep:
    """The settings `indices` of the fairness method `name`, for each model by itself.

    Fitted on `fit`, measured on `test`; the requirement is the equalised odds difference of the
    method's label distribution. One process per core.

    Args:
      between: called after every model; what it raises ends the sweep.
    """
    tasks, found = _tasks(name, models, ids, indices, fit, test), []
    spawn = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0))
    with (
        concurrent.futures.ProcessPoolExecutor(cores, mp_context=spawn) as pool,
        contextlib.closing(pool.map(_one_model, tasks, chunksize=4)) as coming,
    ):
        for one in coming:
            found.append(one)
            between()
    measured = np.stack(found, axis=1)
    return Sweep(**{measure: measured[..., i] for i, measure in enumerate(_MEASURES)})


def postprocess_seconds(
    name: str, models: Models, ids: np.ndarray, index: int, fit: Table, test: Table
) -> tuple[float, float]:
    """Wall seconds of fitting and applying one setting to the models `ids`: (first call, warm).

    In one process, from scores in memory.
    """
    tasks = _tasks(name, models, ids, np.array([index]), fit, test)
    return timed(lambda: [_one_model(task) for task in tasks])


def scores_of(models: Models, ids: np.ndarray, table: Table) -> list[Scores]:
    """What the post-processing methods read, of each of the models `ids`."""
    rows = np.asarray(table.y), np.asarray(table.group), np.asarray(table.weight)
    return [Scores(p, *rows) for p in probabilities(models, ids, table)]


def _tasks(name, models, ids, indices, fit, test) -> list[tuple]:
    pairs = zip(scores_of(models, ids, fit), scores_of(models, ids, test), strict=True)
    return [(name, indices, *pair) for pair in pairs]
