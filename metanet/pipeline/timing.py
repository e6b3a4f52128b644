"""Seconds per model of every method of several experiments, in one controlled run (table 1)."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
from jax.experimental.compilation_cache import compilation_cache

from metanet.core import require, write_json
from metanet.pipeline.config import ExperimentConfig
from metanet.pipeline.editors import train_editors
from metanet.pipeline.evaluate import make_method, stored
from metanet.pipeline.run import SCHEMA, all_stored, finished
from metanet.pipeline.testbed import Testbed, build_testbed, never
from metanet.settings import plain


@dataclasses.dataclass(frozen=True)
class TimingConfig:
    """What is timed.

    Attributes:
      experiments: by name; they share data, population and seed.
      timed_models: of the batch.
      few: of how many models at most methods are timed that take long, by name.
    """

    experiments: dict[str, ExperimentConfig]
    timed_models: int = 64
    few: dict[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        require(bool(self.experiments), "experiments", "none", "one or more")
        for key, count in {"timed_models": self.timed_models, **self.few}.items():
            require(count >= 1, key, count, "at least 1")


def run(
    timing: TimingConfig,
    folder: str | pathlib.Path,
    *,
    about: dict,
    store: pathlib.Path | None = None,
    should_stop: Callable[[], bool] = never,
) -> dict:
    """Times all methods on models of one population; returns results.json's content.

    Raises:
      UserError, Stopped, Diverged: see the phases of pipeline.run.
    """
    folder, asked = pathlib.Path(folder), plain(timing)
    entries, done = {}, finished(folder, asked)
    for name, experiment in timing.experiments.items():
        testbed = build_testbed(experiment, folder, store=store, should_stop=should_stop)
        home = folder / name
        trained = train_editors(testbed, home, store=store, should_stop=should_stop)
        editors = {editor: of_seed[0] for editor, of_seed in trained.items()}

        def measure(method, testbed=testbed, editors=editors):
            size = timing.few.get(method, timing.timed_models)
            return _time(testbed, method, editors, size)

        names = experiment.method_names
        done = done if all_stored(home / "timing", names) else None
        more = {"timed_models": timing.timed_models, "few": timing.few}
        own = stored(testbed, home / "timing", names, measure, should_stop, more)
        entries |= {f"{name}: {method}": entry for method, entry in own.items()}
    about = done or about  # of the command that timed them
    first = next(iter(timing.experiments.values()))
    results = {"schema": SCHEMA, "kind": "timing", "task": "timing", "dataset": first.dataset,
               "seed": first.seed, "methods": entries, **about}  # fmt: skip
    write_json(folder / "config.json", {"config": asked, **about})
    write_json(folder / "results.json", results)
    return results


def _time(testbed: Testbed, name: str, editors: dict, size: int) -> dict:
    """Seconds of one model, and per model of `size`, at the middle of the method's settings."""
    ids = testbed.split("test")[0]
    ids = ids[~testbed.constant[ids]][:size]
    recipe = testbed.experiment.recipe(name)
    used = [editors[one] for one in recipe.editors]

    def seconds(ids):
        method = make_method(testbed.limited_to(ids), recipe, f"recipes.{name}", used)
        return method.settings, method.seconds(ids, len(method.settings) // 2)

    # The first call is to compile: neither from memory nor from the persistent cache.
    jax.clear_caches()
    enabled = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        (offered, one), (_, batch) = seconds(ids[:1]), seconds(ids)
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        compilation_cache.reset_cache()
    return {
        "first_call": one[0],
        "one_model": one[1],
        "per_model_of_batch": batch[1] / len(ids),
        "batch": len(ids),
        "setting": offered[len(offered) // 2],
    }
