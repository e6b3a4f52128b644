"""Seconds per model of every method of every task, in one controlled run (paper table 1)."""

import json
import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict

from experiments import methods, stages
from experiments.study import Study
from metanet.core import write_json
from metanet.evaluation.postprocess import scores_of
from metanet.evaluation.sweep import timed
from metanet.methods.fairness.reject_option import reject_option_by_aif360

REJECT_OPTION = "RejectOption (aif360)"  # the library itself; ours tabulates its grid


def run(
    config: ConfigDict,
    workdir: pathlib.Path,
    about: dict,
    should_stop: Callable[[], bool],
    store: pathlib.Path | None = None,
) -> dict:
    """Times all methods of `config.parts` on models of one population; returns the results.

    Editors are trained for `editor.steps` only: how long an edit takes does not depend on how good
    it is.

    Raises:
      UserError, Stopped, Diverged: see stages.
    """
    asked, results = json.loads(config.to_json()), {}
    done = stages.finished(config, workdir)
    for task, part in config.parts.items():
        for key in ("seed", "dataset", "group", "population"):
            part[key] = config[key]
        part.editor.steps, part.editor.seeds = config.editor.steps, 1
        with part.unlocked():
            part.evaluation.timed_models = config.timed_models  # the stored seconds depend on it
        study = stages.prepare(part, workdir, should_stop, store)
        folder = workdir / task
        folder.mkdir(exist_ok=True)
        trained = stages.train(study, folder, should_stop, store)
        editors = {name: of_seed[0] for name, of_seed in trained.items()}
        names = [
            *editors,
            *part.refined,
            *part.baselines,
            *([REJECT_OPTION] if task == "fairness" else []),
        ]

        def measure(name, study=study, editors=editors):
            return _time(study, name, editors, config.timed_models)

        done = stages.all_stored(folder / "timing", names) and done
        entries = stages.stored(study, folder / "timing", names, measure, should_stop)
        results |= {f"{task}: {name}": entry for name, entry in entries.items()}
    about = done or about  # of the command that timed them
    everything = {"schema": stages.SCHEMA, "task": "timing", "dataset": config.dataset,
                  "seed": config.seed, "methods": results, **about}  # fmt: skip
    write_json(workdir / "config.json", {"config": asked, **about})
    write_json(workdir / "results.json", everything)
    return everything


def _time(study: Study, name: str, editors: dict, size: int) -> dict:
    """Seconds of one model, and per model of `size`, at the middle of the method's settings."""
    ids = study.split("test")[0]
    ids = ids[~study.degenerate[ids]][:size]
    if name == REJECT_OPTION:
        few = ids[:2]  # about ten seconds each
        return _entry(_library_seconds(study, few[:1]), _library_seconds(study, few), few)
    swept = methods.swept(name, study, editors)
    middle = len(swept.settings) // 2
    # The first call is to compile: neither from memory nor from the persistent cache.
    jax.clear_caches()
    enabled = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        one, batch = swept.seconds(ids[:1], middle), swept.seconds(ids, middle)
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        compilation_cache.reset_cache()
    return _entry(one, batch, ids) | {"setting": swept.settings[middle]}


def _entry(one: tuple, batch: tuple, ids: np.ndarray) -> dict:
    return {
        "first_call": one[0],
        "one_model": one[1],
        "per_model_of_batch": batch[1] / len(ids),
        "batch": len(ids),
    }


def _library_seconds(study: Study, ids: np.ndarray) -> tuple[float, float]:
    fit = scores_of(study.models, ids, study.data.edit)
    test = scores_of(study.models, ids, study.data.test)
    pairs = list(zip(fit, test, strict=True))
    return timed(lambda: [reject_option_by_aif360(*pair, bound=0.05) for pair in pairs])
