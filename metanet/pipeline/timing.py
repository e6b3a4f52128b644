"""Seconds per model of every method of several experiments, in one controlled run (table 1)."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
from jax.experimental.compilation_cache import compilation_cache

from metanet.core import keys_below, require
from metanet.data.files import label_of
from metanet.pipeline.config import ExperimentConfig
from metanet.pipeline.editors import train_editors
from metanet.pipeline.evaluate import make_method, stored
from metanet.pipeline.locks import alone
from metanet.pipeline.names import check_names
from metanet.pipeline.recipes import check_recipes
from metanet.pipeline.run import all_stored, finished
from metanet.pipeline.testbed import Testbed, build_testbed, never
from metanet.report.stored import SCHEMA
from metanet.settings import plain, verify
from metanet.storage import slug, write_json


@dataclasses.dataclass(frozen=True)
class TimingConfig:
    """Settings of a timing run.

    Attributes:
      experiments: by name; they share data, population and seed.
      timed_models: of the batch.
      few: by name of a method that takes long, the models at most that it is timed on.
    """

    experiments: dict[str, ExperimentConfig]
    timed_models: int = 64
    few: dict[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        verify(self)
        require(bool(self.experiments), "experiments", "none", "one or more")
        check_names(self.experiments, "experiments", taken=("population", "probes"))
        first = next(iter(self.experiments.values()))
        for name, one in self.experiments.items():
            for key in ("dataset", "table", "group", "seed", "population"):
                same, expected = getattr(one, key) == getattr(first, key), getattr(first, key)
                known = f"{plain(expected)}, as in the first experiment"
                require(same, f"experiments.{name}.{key}", plain(getattr(one, key)), known)
        require(self.timed_models >= 1, "timed_models", self.timed_models, "at least 1")
        names = {one for each in self.experiments.values() for one in each.method_names}
        for name, count in self.few.items():
            require(name in names, "few", name, f"some of {', '.join(sorted(names))}")
            require(count >= 1, f"few.{name}", count, "at least 1")


@alone
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
    entries: dict[str, dict] = {}
    done = finished(folder, asked)
    for name, experiment in timing.experiments.items():
        with keys_below(f"experiments.{name}"):
            check_recipes(experiment)
    for name, experiment in timing.experiments.items():
        with keys_below(f"experiments.{name}"):
            testbed = build_testbed(experiment, folder, store=store, should_stop=should_stop)
        home = folder / slug(name)
        trained = train_editors(testbed, home, store=store, should_stop=should_stop)
        editors = {editor: of_seed[0] for editor, of_seed in trained.items()}

        def measure(method, testbed=testbed, editors=editors):
            size = timing.few.get(method, timing.timed_models)
            return _time(testbed, method, editors, size)

        names = experiment.method_names
        done = done if all_stored(home / "timing", names) else None
        more = {"timed_models": timing.timed_models, "few": timing.few}
        timed = stored(testbed, home / "timing", names, measure, should_stop, more)
        entries |= {f"{name}: {method}": entry for method, entry in timed.items()}
    about = done or about  # of the command that timed them
    first = next(iter(timing.experiments.values()))
    dataset = label_of(first.dataset)
    results = {"schema": SCHEMA, "kind": "timing", "task": "timing", "dataset": dataset,
               "seed": first.seed, "methods": entries, **about}  # fmt: skip
    write_json(folder / "config.json", {"config": asked, **about})
    write_json(folder / "results.json", results)
    return results


def _time(testbed: Testbed, name: str, editors: dict, size: int) -> dict:
    """Wall seconds of one model, and per model of `size`, at the middle one of the settings."""
    ids = testbed.split("test")[0]
    ids = ids[~testbed.constant[ids]][:size]
    recipe = testbed.experiment.recipe(name)
    used = [editors[one] for one in recipe.editors]

    def seconds(ids):
        method = make_method(testbed.limited_to(ids), recipe, f"recipes.{name}", used)
        return method.settings, method.seconds(ids, len(method.settings) // 2)

    # The first call is to compile: neither from memory nor from the persistent cache.
    jax.clear_caches()
    enabled = jax.config.values["jax_enable_compilation_cache"]
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
