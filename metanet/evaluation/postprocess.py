"""Evaluates methods that post-process the scores of one model at a time, outside of jit."""

import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
from collections.abc import Callable, Generator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metanet.data.tabular import Table
from metanet.devices import each_model
from metanet.evaluation.program import map_models, timed
from metanet.evaluation.scores import (
    Infeasible,
    Outcome,
    Scores,
    calibration_error,
    jsd_label,
    jsd_out,
)
from metanet.evaluation.sweep import Sweep
from metanet.graphs.batch import to_template
from metanet.graphs.packing import Models
from metanet.graphs.padded import PaddedMLP, apply_rows
from metanet.objectives.base import Objective, view_of_logits

# method(fit, test, setting) -> Outcome; see evaluation.scores.
PostProcess = Callable[[Scores, Scores, dict], Outcome]
# Labels [rows, 2], mean output [rows, 2] and _MEASURES; None where the method is infeasible.
Result = tuple[np.ndarray, np.ndarray, list[float]] | None

Task = tuple[PostProcess, Sequence[dict], Scores, Scores]

SHARE = 12  # models, for which a process of their own is worth its start of some seconds
_MEASURES = ("jsd", "jsd_label", "accuracy", "accuracy_original", "constant", "calibration")


def probabilities(models: Models, ids: np.ndarray, table: Table) -> np.ndarray:
    """P(y = 1) of the models `ids` on all rows: [M, rows] float64.

    Raises:
      ValueError: the models have more than two classes.
    """
    return _padded(models, ids, table)[1]


def _padded(models: Models, ids: np.ndarray, table: Table) -> tuple[PaddedMLP, np.ndarray]:
    """The models `ids` in their template, [M, ...], and their probabilities [M, rows]."""
    if models.template.n_out != 2:
        raise ValueError(f"classes: found {models.template.n_out}, expected 2")

    def of_batch(x, graph, keys):
        batch = to_template(models.template, graph)
        logits = each_model(lambda model: apply_rows(models.template, model, x))(batch)
        return batch, jax.nn.sigmoid(logits[..., 1] - logits[..., 0])

    batch, p = map_models(of_batch, jnp.asarray(table.x), models, ids, seed=0)
    return batch, p.astype(np.float64)


def one_class(models: Models, ids: np.ndarray, table: Table) -> np.ndarray:
    """Whether each of the models `ids` decides for the same class on all rows: [M] bool."""
    positive = probabilities(models, ids, table) > 0.5
    return np.asarray(positive.all(1) | ~positive.any(1))


def _one_model(task: Task) -> list[Result]:
    """The results of one model at every setting."""
    method, settings, fit, test = task
    results: list[Result] = []
    for setting in settings:
        try:
            outcome = method(fit, test, setting)
        except Infeasible:
            results.append(None)
            continue
        measures = [
            jsd_out(outcome, test.probability),
            jsd_label(outcome.labels, test.probability),
            outcome.labels[np.arange(len(test.y)), test.y].mean(),
            ((test.probability > 0.5) == test.y).mean(),
            float((outcome.labels == outcome.labels[0]).all()),
            calibration_error(outcome, test.y),
        ]
        parts = [weight[:, None] * part for weight, part in outcome.outputs]  # each [rows, 2]
        mean = np.sum(parts, axis=0)
        results.append((outcome.labels.astype(np.float32), mean.astype(np.float32), measures))
    return results


@functools.partial(jax.jit, static_argnames="requirement")
def _required(model, labels, before, after, table, requirement):
    """The requirement of an unedited model whose decisions are the label distribution `labels`.

    Args:
      labels, before, after: [rows, 2] float32: the distribution of decisions, and the probabilities
        that stand for the logits before and after.
    """
    logits_before, logits_after = (jnp.log(jnp.maximum(p, 1e-30)) for p in (before, after))
    return requirement(view_of_logits(model, model, logits_before, logits_after, labels, table))


def _in_turn(tasks: list[Task]) -> Generator[list[Result], None, None]:
    """The results of every task; closing it drops the tasks that have not begun."""
    processes = min(len(os.sched_getaffinity(0)), len(tasks) // SHARE)
    if processes < 2:
        yield from map(_one_model, tasks)
        return
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        yield from pool.map(_one_model, tasks, chunksize=4)


def postprocess(
    method: PostProcess,
    settings: Sequence[dict],
    models: Models,
    ids: np.ndarray,
    fit: Table,
    test: Table,
    requirement: Objective,
    between: Callable[[], None] = lambda: None,
) -> Sweep:
    """The post-processing method at every setting [S], for each of the models `ids` [M] by itself.

    One process per core, or this one where there are few models. Fitted on `fit`, measured on
    `test`; the requirement sees the unedited model, the mean of the method's outputs for logits,
    and its label distribution for decisions.

    Args:
      between: called after every model; an exception of its own ends the sweep.

    Returns:
      fields [S, M], JSD in nats; NaN where the method is infeasible.
    """
    padded, probability = _padded(models, ids, test)
    tasks = _tasks(method, settings, scores_of(models, ids, fit), _scores(probability, test))
    table = jax.tree.map(jnp.asarray, test)
    measured = np.full((1 + len(_MEASURES), len(settings), len(ids)), np.nan)
    with contextlib.closing(_in_turn(tasks)) as coming:
        for column, results in enumerate(coming):
            model = jax.tree.map(lambda leaf, column=column: leaf[column], padded)
            before = np.stack([1 - probability[column], probability[column]], -1)  # [rows, 2]
            for row, result in enumerate(results):
                if result is None:
                    continue
                labels, mean, measures = result
                views = model, labels, before.astype(np.float32), mean, table
                measured[0, row, column] = _required(*views, requirement)
                measured[1:, row, column] = measures
            between()
    return Sweep(measured[0], **dict(zip(_MEASURES, measured[1:], strict=True)))


def postprocess_seconds(
    method: PostProcess, setting: dict, models: Models, ids: np.ndarray, fit: Table, test: Table
) -> tuple[float, float]:
    """Wall seconds of fitting and applying one setting to the models `ids`: (first call, warm).

    In one process, from scores in memory.
    """
    scores = (scores_of(models, ids, table) for table in (fit, test))
    tasks = _tasks(method, [setting], *scores)
    return timed(lambda: [_one_model(task) for task in tasks])


def scores_of(models: Models, ids: np.ndarray, table: Table) -> list[Scores]:
    """The scores that post-processing methods read, one for each of the models `ids` [M]."""
    return _scores(probabilities(models, ids, table), table)


def _scores(probability: np.ndarray, table: Table) -> list[Scores]:
    rows = np.asarray(table.y), np.asarray(table.group), np.asarray(table.weight)
    return [Scores(p, *rows) for p in probability]


def _tasks(
    method: PostProcess, settings: Sequence[dict], fit: list[Scores], test: list[Scores]
) -> list[Task]:
    return [(method, settings, *pair) for pair in zip(fit, test, strict=True)]
