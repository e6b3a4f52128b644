"""Searches: studies that survive whatever happens to their processes, spaces, the command."""

import contextlib
import dataclasses
import functools
import importlib
import json
import math
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optuna
import pytest
import sqlalchemy
from helpers import run_commands

from configs import dm, fairness, presets, pruning, quickstart, searched, tasks
from configs.spaces import SPACES
from experiments import settings
from metanet.core import Stopped, UserError
from metanet.evaluation.pareto import mixed_hypervolume
from metanet.pipeline import search, study
from metanet.pipeline.provenance import about_this_process
from metanet.pipeline.spaces import Choice, Log, Uniform, check, space_of, with_values
from metanet.pipeline.testbed import Testbed, never
from metanet.report import searches
from metanet.storage import read_json

ROOT = pathlib.Path(__file__).parents[1]
SPACE = {"rate": Log(1e-4, 1.0), "share": Uniform(0.0, 1.0), "size": Choice((8, 16, 32))}
OWN = {"rate": 3e-3, "share": 0.5, "size": 16}
SLOW = "SNIP & Distil"
PROGRESS = re.compile(r"^\d\d:\d\d:\d\d ")


def height(values):
    """A smooth hill with its top at rate .05, share .25, size 32."""
    far = math.log10(values["rate"] / 0.05) ** 2 + (values["share"] - 0.25) ** 2
    return math.exp(-far) - 0.01 * (32 - values["size"]), None


def tried(folder, trials, measure=height, *, seed=0, own=OWN, should_stop=never):
    """(values, hypervolume) of a study's trials after work on it."""
    study.work(folder, "hill", SPACE, own, seed, trials, measure, should_stop)
    return [(one["values"], one["hypervolume"]) for one in study.trials_of(folder, "hill")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Trials of a study that nothing has happened to."""
    return tried(tmp_path_factory.mktemp("study"), 14)


def states(folder):
    stored = optuna.load_study(study_name="hill", storage=f"sqlite:///{folder / study.DATABASE}")
    return [one.state.name for one in stored.trials]


def test_the_first_trial_is_the_config_s_and_others_are_in_the_space(undisturbed):
    (first, value), *rest = undisturbed
    assert first == OWN and value == height(OWN)[0]
    for values, value in rest:
        assert value == height(values)[0]
        assert 1e-4 <= values["rate"] <= 1 and 0 <= values["share"] <= 1
        assert values["size"] in (8, 16, 32)
        for name in ("rate", "share"):  # what a table shows is what was tried
            assert values[name] == float(f"{values[name]:.2g}")
    # Every ninth of a range, and every choice, before anything is drawn.
    design = [values for values, _ in undisturbed[1 : study.DESIGN]]
    places = [(math.log10(one["rate"]) / 4 + 1, one["share"]) for one in design]
    ninths = np.arange(9)[:, None] / 9
    inside = np.sort(places, axis=0) - ninths  # of two digits
    assert (inside > -0.02).all() and (inside < 1 / 9 + 0.02).all()
    assert sorted(one["size"] for one in design) == [8] * 3 + [16] * 3 + [32] * 3


@pytest.mark.slow
def test_a_search_comes_near_the_top(tmp_path):
    found = tried(tmp_path, 40)
    best = max(found, key=lambda one: one[1])[0]
    assert best["size"] == 32 and abs(math.log10(best["rate"] / 0.05)) < 0.4
    early, late = ([value for _, value in part] for part in (found[1:11], found[-10:]))
    assert np.median(late) > np.median(early)


@pytest.mark.slow
def test_a_study_that_is_continued_is_that_of_one_go(undisturbed, tmp_path):
    assert tried(tmp_path, 3) == undisturbed[:3]
    assert tried(tmp_path, 12) == undisturbed[:12]  # past the ten that are drawn at random
    assert tried(tmp_path, 14) == undisturbed
    assert tried(tmp_path, 5) == undisturbed  # nothing is left to do
    assert tried(tmp_path / "other", 3, seed=1)[1:] != undisturbed[1:3]


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 2, 12])
def test_a_trial_that_was_left_is_marked_as_failed_and_tried_again(at, undisturbed, tmp_path):
    left = []

    def measure(values):
        if len(left) == at:
            left.append(values)
            raise KeyboardInterrupt
        left.append(values)
        return height(values)

    with pytest.raises(KeyboardInterrupt):
        tried(tmp_path, 14, measure)
    assert states(tmp_path) == ["COMPLETE"] * at + ["RUNNING"]
    assert tried(tmp_path, 14) == undisturbed
    assert states(tmp_path) == ["COMPLETE"] * at + ["FAIL"] + ["COMPLETE"] * (14 - at)


def test_values_that_the_config_has_since_are_tried_next(tmp_path):
    tried(tmp_path, 2)
    better = OWN | {"rate": 0.052}
    found = tried(tmp_path, 4, own=better)
    assert found[2][0] == better and better not in (found[1][0], found[3][0])
    assert tried(tmp_path, 5, own=found[1][0])[4][0] not in [values for values, _ in found]


@pytest.mark.slow
def test_a_study_stops_between_trials_and_keeps_what_is_done(undisturbed, tmp_path):
    done = []

    def measure(values):
        done.append(values)
        return height(values)

    with pytest.raises(Stopped, match="2 of 14 trials"):
        tried(tmp_path, 14, measure, should_stop=lambda: len(done) == 2)
    assert tried(tmp_path, 14) == undisturbed


def test_a_trial_without_a_result_counts_as_0_and_says_why(tmp_path):
    def measure(values):
        return height(values) if values == OWN else (0.0, "a loss of nan")

    study.work(tmp_path, "hill", SPACE, OWN, 0, 3, measure, never)
    found = study.trials_of(tmp_path, "hill")
    assert [one.get("failed") for one in found] == [None, "a loss of nan", "a loss of nan"]
    assert [one["hypervolume"] for one in found[1:]] == [0.0, 0.0]


# A process that works on a study: FOLDER TRIALS SECONDS, and writes a line per trial it begins.
WORKER = """\
import os, pathlib, sys, time
from test_search import OWN, SPACE, height
from metanet.pipeline import study

folder, trials, seconds = pathlib.Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])

def measure(values):
    with open(folder / "begun", "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(seconds)
    return height(values)

study.work(folder, "hill", SPACE, OWN, 0, trials, measure, lambda: False)
"""


def worker(folder, trials, seconds):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-c", WORKER, str(folder), str(trials), str(seconds)]
    return subprocess.Popen(command, env=environment, cwd=ROOT)


def begun(folder):
    path = folder / "begun"
    return path.read_text().split() if path.exists() else []


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_process_s_trial_is_replaced_by_one_that_waits_for_it(undisturbed, tmp_path):
    other = worker(tmp_path, 3, 600.0)
    wait_for(lambda: begun(tmp_path))

    def kill():
        time.sleep(1.0)
        other.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    # Two trials beside the one that the other process is at, then its own.
    found = tried(tmp_path, 3)
    killer.join()
    assert other.wait() == -signal.SIGKILL
    assert states(tmp_path) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert found[-1] == undisturbed[0]
    assert not list((tmp_path / "running").iterdir())


@pytest.mark.long
@pytest.mark.slow
def test_processes_share_a_study(tmp_path):
    processes = [worker(tmp_path, 30, 0.05) for _ in range(3)]
    assert [one.wait(timeout=120) for one in processes] == [0, 0, 0]
    found = study.trials_of(tmp_path, "hill")
    assert [one["number"] for one in found] == list(range(30))
    assert found[0]["values"] == OWN
    assert all(one["hypervolume"] == height(one["values"])[0] for one in found)
    counts = [begun(tmp_path).count(str(one.pid)) for one in processes]
    assert sum(counts) == 30 and min(counts) > 0


def test_a_damaged_database_is_refused_in_one_line(tmp_path):
    tried(tmp_path, 1)
    path = tmp_path / study.DATABASE
    for content in (b"no database", path.read_bytes()[:5000]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"study.sqlite3: found .*expected the database"):
            tried(tmp_path, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("update trial_values set value = value + 0.001", "trial 0, which its digest does not fit"),
        ("update trial_params set param_value = param_value * 1.1", "trial 0, which its digest"),
        ("update trial_user_attributes set key = 'v' where key = 'values'", "trial 0, which its"),
        ("update trial_user_attributes set value_json = '{' where key = 'values'", "Expecting"),
        ("delete from trial_user_attributes where key = 'digest'", "trial 0 of an earlier"),
    ],
)  # fmt: skip
def test_a_trial_that_was_changed_is_found(change, said, tmp_path):
    tried(tmp_path, 2)
    with contextlib.closing(sqlite3.connect(tmp_path / study.DATABASE)) as database, database:
        assert database.execute(change).rowcount
    with pytest.raises(UserError, match=rf"study.sqlite3: found {said}.*, expected the database"):
        tried(tmp_path, 3)


def test_whole_numbers_of_the_config_are_what_is_stored(tmp_path):
    own = OWN | {"rate": 1, "share": 0}  # as a recipe's defaults may be written
    for trials in (1, 2):
        assert tried(tmp_path, trials, own=own)[0] == (own, height(own)[0])


def test_a_full_disk_is_no_damage(tmp_path):
    """What is whole must not be removed."""
    before = tried(tmp_path, 1)

    def full(connection, _):
        pages = connection.execute("pragma page_count").fetchone()[0]
        connection.execute(f"pragma max_page_count = {pages}")

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", full)
    try:
        expected = "a database that can be written; the same command continues then"
        with pytest.raises(UserError, match=f"is full, expected {expected}$"):
            tried(tmp_path, 40)
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", full)
    assert tried(tmp_path, 2)[:1] == before


def test_a_database_that_another_program_holds_is_no_damage(tmp_path, monkeypatch):
    tried(tmp_path, 1)
    monkeypatch.setattr(study, "BUSY", 0.1)
    with contextlib.closing(sqlite3.connect(tmp_path / study.DATABASE)) as other:
        other.execute("begin exclusive")
        with pytest.raises(UserError, match="is locked, expected a database that can be written"):
            tried(tmp_path, 2)


def test_an_emptied_database_is_no_new_study(tmp_path):
    tried(tmp_path, 1)
    (tmp_path / study.DATABASE).write_bytes(b"")
    with pytest.raises(UserError, match="found nothing, although trials were begun, expected the"):
        tried(tmp_path, 2)


def spaces_of(config, method, spaces=SPACES):
    return search.prepare(settings.parse(config), method, spaces)


def test_the_space_of_a_method_is_of_those_of_its_options_that_are_named():
    found = spaces_of(pruning.get_config(), SLOW)
    assert set(found.space) == {"distil.learning_rate", "distil.batch_size"}
    assert found.own == {"distil.learning_rate": 0.035, "distil.batch_size": 128}
    found = spaces_of(pruning.get_config(), "Per-model optimisation")
    assert set(found.space) == {
        f"descent.{name}"
        for name in ("learning_rate", "points", "mask_learning_rate", "mask_temperature")
    }
    # Options with defaults too, but not those without effect: no masks are trained.
    found = spaces_of(fairness.get_config(), "GMN + probe, 100 steps")
    assert set(found.space) == {"descent.learning_rate", "descent.points"}
    assert found.space["descent.points"] == Choice((64, 128, 256, 1024))  # the config's own


def test_settings_that_have_no_effect_are_not_searched():
    refined = spaces_of(dm.get_config(), "GMN + probe, 100 steps")
    assert refined.space and not any("mask" in path for path in refined.space)
    paths = {}
    for impute in (False, True):
        recipe = {"recipe": "metanet.methods.data_minimisation.selection", "impute": impute}
        config = dm.get_config()
        config.recipes, config.methods = {"FS": recipe}, ("FS",)
        config.evaluation.main_methods = ()
        try:
            paths[impute] = set(spaces_of(config, "FS").space)
        except UserError:
            paths[impute] = set()
    assert paths == {False: set(), True: {"damping"}}


@pytest.mark.parametrize("config, method", [(pruning, "GMN - Prune"), (dm, "FS (GMN)")])
def test_the_space_of_an_editor_is_that_of_the_paper(config, method):
    space = spaces_of(config.get_config(), method).space
    names = {"batch_size", "node_width", "learning_rate", "weight_decay", "layers"}
    assert {f"editor.{name}" for name in names} <= set(space)
    assert set(space) <= {name for name in SPACES if name.startswith("editor.")}


def test_a_baseline_of_ones_own_is_searched_by_the_names_of_its_options(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Fit:
        learning_rate: float = 0.5
        ridge: float = 1e-3

    def recipe(testbed, editors, *, ridge: float = 2.0, fit: Fit = Fit(), name: str = "x"):
        raise NotImplementedError

    module = type(sys)("mine")
    module.recipe = recipe
    recipe.__annotations__ = {"ridge": float, "fit": Fit, "name": str}
    monkeypatch.setitem(sys.modules, "mine", module)
    config = pruning.get_config()
    config.recipes = {"Mine": {"recipe": "mine.recipe", "fit": {"ridge": 0.1}}}
    config.methods, config.evaluation.main_methods = ("Mine",), ()
    spaces = {
        "ridge": Log(1e-3, 1.0),
        "fit.ridge": Choice((0.1, 0.2)),
        "learning_rate": Log(0.01, 1),
    }
    asked = spaces_of(config, "Mine", spaces)
    assert asked.own == {"ridge": 2.0, "fit.ridge": 0.1, "fit.learning_rate": 0.5}
    assert (
        asked.space["ridge"] == Log(1e-3, 2.0) and asked.space["fit.ridge"] == spaces["fit.ridge"]
    )
    values = {"ridge": 0.7, "fit.ridge": 0.2, "fit.learning_rate": 0.3}
    changed = with_values(asked.experiment, "Mine", values)
    assert space_of(changed, "Mine", spaces)[1] == values
    assert with_values(changed, "Mine", asked.own) == with_values(
        asked.experiment, "Mine", asked.own
    )


def test_values_of_an_editor_reach_its_shape_and_its_training():
    asked = spaces_of(pruning.get_config(), "GMN + probe")
    values = asked.own | {"editor.layers": 4, "editor.learning_rate": 7e-3}
    plan = with_values(asked.experiment, "GMN + probe", values).editors["GMN + probe"]
    assert (plan.editor.layers, plan.training.learning_rate) == (4, 7e-3)
    assert plan.seeds == 1 and plan.editor.probe is not None
    assert with_values(asked.experiment, "GMN + probe", asked.own) == asked.experiment


def test_editors_that_differ_in_what_is_searched_are_refused():
    config = pruning.get_config()
    config.editors = {"A": {}, "B": {"layers": 2}}
    config.recipes = {
        "both": {"recipe": "metanet.methods.editor.front_union", "editors": ("A", "B")}
    }
    config.methods, config.evaluation.main_methods = ("both",), ()
    with pytest.raises(UserError, match=r"editors.B: found .*layers': 2.*expected those of A"):
        spaces_of(config, "both")


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: Log(0.0, 1.0), "0 < low < high"),
        (lambda: Log(1.0, 0.1), "0 < low < high"),
        (lambda: Uniform(1, 1), "low < high"),
        (lambda: Choice(()), "a tuple of numbers or text"),
        (lambda: Choice((1, 1)), "every one once"),
        (lambda: Choice([8, 16]), "a tuple"),
        (lambda: Log(0.1, 1.0).including(0.0), "a positive number"),
        (lambda: Uniform(0.1, 1.0).including("a"), "a number"),
        (lambda: check({"ridge": (0.1, 1.0)}, "mine.SPACES"), r"mine.SPACES: found ridge = \(0.1"),
        (lambda: check([Log(0.1, 1.0)], "mine.SPACES"), "found list, expected ranges by option"),
    ],
)
def test_an_unusable_range_is_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()


def experiments():
    """The experiments of all configs on their default dataset."""
    for path in sorted((ROOT / "configs").glob("*.py")):
        module = importlib.import_module(f"configs.{path.stem}")
        config = module.get_config() if hasattr(module, "get_config") else {"experiments": {}}
        if "experiments" not in config and "evaluation" in config:
            yield settings.parse(config)


@pytest.mark.slow
def test_the_values_of_a_config_that_name_a_study_are_its_best():
    kept = {one["study"]: searches.best(one)["values"]
            for one in searches.read_all(ROOT / "results" / "search")}  # fmt: skip
    checked = set()
    for experiment in experiments():
        for name in experiment.method_names:
            recipe = experiment.recipe(name)
            for source in (recipe, *(experiment.editors[editor] for editor in recipe.editors)):
                if source.study is not None:
                    best = kept[source.study]
                    alike = {path: Choice((value,)) for path, value in best.items()}
                    assert space_of(experiment, name, alike)[1] == best, (name, source.study)
                    checked.add(source.study)
    assert checked


# On real models: a handful, of one kind of spec.


def tiny():
    config = quickstart.get_config()
    presets.smoke(config)
    config.population.norms = ("none",)
    config.recipes[SLOW].distil = {"steps": 4, "batch_size": 32, "learning_rate": 3e-3}
    return config


def parsed(config=None):
    return settings.parse(config or tiny())


ONE = {"learning_rate": Log(1e-3, 1e-1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def found(folder):
    """A search of two trials."""
    return search.run(parsed(), folder, SLOW, ONE, trials=2)


@pytest.mark.slow
def test_a_search_leaves_its_study_with_where_it_is_from(found, folder):
    assert read_json(folder / "search" / "snip-distil.json") == found
    assert found["study"].startswith("snip-distil-") and found["method"] == SLOW
    first, second = found["trials"]
    assert first["values"] == {"distil.learning_rate": 3e-3} != second["values"]
    assert 0 < first["hypervolume"] < 1 and first["seconds"] > 0
    best = max(found["trials"], key=lambda one: one["hypervolume"])
    assert found["best"] == best["number"]
    assert found["space"] == {
        "distil.learning_rate": {"Log": {"low": 1e-3, "high": 0.1, "unless": None}}
    }
    assert {"command", "commit", "dirty", "device"} <= found.keys()
    assert {"optuna", "jax"} <= found["versions"].keys()
    assert found["settings"]["recipe.options.distil.steps"] == 4
    assert found["settings"]["recipe.options.distil.learning_rate"] == "searched"
    text = searches.table(found)
    assert f"{best['hypervolume']:.4f}" in text.splitlines()[2]
    assert text.splitlines()[-1] == f'config.recipes["{SLOW}"].study = {found["study"]!r}'


def test_the_lines_put_the_values_and_the_study_into_the_config(found, folder):
    config = tiny()
    for line in found["lines"]:
        exec(line, {"config": config})
    experiment = parsed(config)
    best = searches.best(found)["values"]
    assert experiment.recipes[SLOW].study == found["study"]
    # The study goes on with them: they are among what was tried.
    assert search.prepare(experiment, SLOW, ONE).own == best
    later = about_this_process() | {"command": "later"}
    again = search.run(experiment, folder, SLOW, ONE, trials=2, about=later)
    assert again == found  # the command that did the work


def test_the_objective_is_of_validation_models_and_no_test_data_is_looked_at(
    found, folder, monkeypatch
):
    split = Testbed.split
    monkeypatch.setattr(
        Testbed,
        "split",
        lambda self, name: split(self, name)[:1] if name == "test" else split(self, name),
    )
    asked = search.prepare(parsed(), SLOW, ONE)
    testbed = search.testbed_of(asked, folder, never)
    assert "validation" in (testbed.population.table["split"].unique())
    recipe = asked.experiment.recipes[SLOW]
    method = search.make_method(testbed, recipe, "", ())
    ends = search.ends_of(testbed)
    value = search.validation_hypervolume(testbed, method, ends)
    assert value == pytest.approx(found["trials"][0]["hypervolume"], abs=1e-6)
    ids, table = split(testbed, "validation")
    assert set(ids) <= set(testbed.population.ids("validation")) and table is testbed.data.select
    sweep = method.sweep(ids, table, np.arange(len(method.settings)))
    both = ends.sweep(ids, table, np.arange(2))
    points = np.concatenate([sweep.points(), both.points()])
    assert value == pytest.approx(mixed_hypervolume(points, (1.0, 0.1)))


def test_a_study_of_other_settings_or_spaces_is_refused(found, folder):
    config = tiny()
    config.recipes[SLOW].distil.steps = 5
    with pytest.raises(UserError, match=r"snip-distil/settings.json: found recipe.options.distil"):
        search.run(parsed(config), folder, SLOW, ONE, trials=3)
    wider = {"learning_rate": Log(1e-3, 1.0)}
    with pytest.raises(
        UserError, match=r"found space.distil.learning_rate.Log.high = 0.1, expected"
    ):
        search.run(parsed(), folder, SLOW, wider, trials=3)


@pytest.mark.slow
def test_a_value_that_cannot_be_used_is_a_trial_without_a_result(found, folder, monkeypatch):
    asked = search.prepare(parsed(), SLOW, ONE)
    testbed = search.testbed_of(asked, folder, never)
    measure = functools.partial(search._measured, asked, testbed, folder)
    value, failed = measure({"distil.learning_rate": -1.0})
    assert value == 0 and "learning_rate: found -1.0" in failed
    ends = search.ends_of(testbed).sweep(*testbed.split("validation"), np.arange(2))
    # Training that makes all models worse leaves them as they were: as a rate of 0 does.
    untrained, failed = measure({"distil.learning_rate": 0.0})
    assert failed is None
    assert measure({"distil.learning_rate": 1e30}) == (pytest.approx(untrained), None)

    def lost(template, model, *arguments, **more):
        return jax.tree.map(
            lambda leaf: leaf + jnp.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, model
        )

    monkeypatch.setattr("metanet.methods.pruning.retrain", lost)
    value, failed = measure({"distil.learning_rate": 1e30})
    # Not finite at any setting: constant outputs and no edit are all that is left.
    assert value == pytest.approx(mixed_hypervolume(ends.points(), (1.0, 0.1))) and failed is None
    assert value < untrained
    with pytest.raises(UserError, match=r"learning_rate: found -1\.0"):  # the config's own
        own = {"distil.learning_rate": -1.0}
        search._measured(dataclasses.replace(asked, own=own), testbed, folder, own)


@pytest.mark.slow
def test_an_editor_is_searched_and_one_that_diverges_counts_as_0(folder):
    config = tiny()
    config.editor.learning_rate, config.editor.ramp = 0.02, 0.0
    config.lambda_range = (0.1, 10.0)
    space = {"editor.learning_rate": Choice((0.02, 1e30))}
    found = search.run(parsed(config), folder, "GMN - Prune & Edit", space, trials=3)
    by_rate = {one["values"]["editor.learning_rate"]: one for one in found["trials"]}
    assert set(by_rate) == {0.02, 1e30}
    assert by_rate[0.02]["hypervolume"] > 0 and "failed" not in by_rate[0.02]
    assert by_rate[1e30]["hypervolume"] == 0 and "editor: loss" in by_rate[1e30]["failed"]
    assert "trial" in searches.table(found) and "has no result: editor: loss" in searches.table(
        found
    )


def test_kept_searches_are_a_table(found, tmp_path):
    assert searches.keep(found, tmp_path) == tmp_path / f"{found['study']}.json"
    searches.keep(found | {"study": "b", "dataset": "adult"}, tmp_path)
    rows = [line for line in (tmp_path / "README.md").read_text().splitlines() if "snip" in line]
    (row,) = (line for line in rows if found["study"] in line)
    best = searches.best(found)
    assert f"{best['hypervolume']:.4f}" in row and f"{found['trials'][0]['hypervolume']:.4f}" in row
    assert f"`distil.learning_rate` {best['values']['distil.learning_rate']:g}" in row
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(UserError, match=r"c.json: found schema None, expected a search"):
        searches.write(tmp_path)


# The command.

TINY = """\
from configs import presets, quickstart


def get_config():
    config = quickstart.get_config()
    presets.smoke(config)
    config.population.norms = ("none",)
    config.num_cpu_devices = 1
    distil = {"steps": 4, "batch_size": 32, "learning_rate": 3e-3}
    config.recipes["SNIP & Distil"].distil = distil
    return config
"""
RANGES = """\
from metanet.pipeline.spaces import Log

RANGES = {"learning_rate": Log(1e-3, 1e-1)}
WRONG = {"learning_rate": (1e-3, 1e-1)}
"""
METHOD = f"--method={SLOW}"
UNUSABLE = {
    "no method": ([], "--method: found nothing, expected one of GMN - Prune & Edit, "),
    "an unknown method": (["--method=SNIPE"], "--method: found 'SNIPE', expected one of GMN"),
    "a method without a space": (["--method=Magnitude"], "--spaces: found no range for Magnitude"),
    "no trials": ([METHOD, "--trials=0"], "--trials: found 0, expected 1 to"),
    "no processes": ([METHOD, "--processes=0"], "--processes: found 0, expected 1 to"),
    "other settings": ([METHOD, "--config.evaluation.n_lambdas=7"], "n_lambdas = 2, expected 7"),
    "another space": ([METHOD, "--spaces=configs.spaces.SPACES"], "= 32, expected searched"),
    "no spaces": ([METHOD, "--spaces=configs.absent"], "found 'configs.absent' (AttributeError"),
    "spaces that are none": ([METHOD, "--spaces=ranges.WRONG"], "found learning_rate = (0.001"),
    "a timing run": (["--config=configs/timing.py", METHOD], "--config: found a timing run"),
    "a database that is none": ([METHOD, "--workdir=damaged"], "study.sqlite3: found "),
}  # fmt: skip


@pytest.fixture(scope="module")
def home(found, folder):
    """A folder with the user's files; the study of `found` is in work/, damaged in damaged/."""
    (folder / "tiny.py").write_text(TINY)
    (folder / "ranges.py").write_text(RANGES)
    for name in ("work", "damaged"):
        for part in ("population", "search"):
            shutil.copytree(folder / part, folder / name / part)
    (folder / "damaged" / "search" / "snip-distil" / study.DATABASE).write_text("damaged")
    return folder


def flags_of(home, *flags, trials=2, workdir="work"):
    """The flags of a search in `home`, of which later ones count."""
    given = [f"--config={home / 'tiny.py'}", f"--workdir={home / workdir}", f"--trials={trials}",
             "--spaces=ranges.RANGES"]  # fmt: skip
    return [*given, *(flag.replace("=damaged", f"={home / 'damaged'}") for flag in flags)]


@pytest.fixture(scope="module")
def failures(home):
    """(status, stdout, stderr) of every unusable command."""
    commands = [(flags_of(home, *flags), {}) for flags, _ in UNUSABLE.values()]
    return dict(zip(UNUSABLE, run_commands("experiments.search", "_main", commands), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_command_exits_with_2_and_one_line_that_says_what(name, failures):
    status, _, err = failures[name]
    assert status == 2, err
    (line,) = [line for line in err.splitlines() if not PROGRESS.match(line)]
    assert UNUSABLE[name][1] in line and len(line) < 900


def command(home, *flags, **options):
    """The running command."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.search", METHOD, *flags_of(home, *flags, **options)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and "Traceback" not in err, err
    return out, err


def outcome(home, workdir):
    """The values and hypervolumes of a command's trials."""
    stored = read_json(home / workdir / "search" / "snip-distil.json")
    return [
        (one["values"], pytest.approx(one["hypervolume"], abs=1e-6)) for one in stored["trials"]
    ]


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_or_stopped_search_goes_on_to_the_same_trials(home):
    out, _ = finish(command(home, trials=4, workdir="whole"))
    assert "config.recipes[" in out and out.splitlines()[1].split()[:2] == ["trial", "hypervolume"]
    for sent in (signal.SIGKILL, signal.SIGTERM):
        process = command(home, trials=4, workdir=sent.name)
        locks = home / sent.name / "search" / "snip-distil" / "running"
        wait_for(lambda locks=locks: (locks / "1").exists())
        process.send_signal(sent)
        _, err = process.communicate(timeout=300)
        assert process.returncode == (-sent if sent == signal.SIGKILL else 0)
        assert sent == signal.SIGKILL or "the same command continues" in err.splitlines()[-1]
        finish(command(home, trials=4, workdir=sent.name))
        assert outcome(home, sent.name) == outcome(home, "whole")


@pytest.mark.long
@pytest.mark.slow
def test_several_processes_and_commands_work_on_one_study(home):
    kept = home / "kept"
    commands = [
        command(home, "--processes=2", f"--results={kept}", trials=6, workdir="together"),
        command(home, trials=6, workdir="together"),
    ]
    for one in commands:
        finish(one)
    stored = read_json(home / "together" / "search" / "snip-distil.json")
    assert [one["number"] for one in stored["trials"]] == list(range(6))
    assert stored["trials"][0]["values"] == {"distil.learning_rate": 3e-3}
    assert (kept / f"{stored['study']}.json").exists()
    assert stored["study"] in (kept / "README.md").read_text()
    # A process that is stopped stops those that it started.
    process = command(home, "--processes=2", trials=100, workdir="together")
    running = home / "together" / "search" / "snip-distil" / "running"
    wait_for(lambda: len(list(running.iterdir())) == 2)
    process.terminate()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0 and err.count("the same command continues") == 1
    assert "[2] ended: " in err


@pytest.mark.parametrize("task", searched.VALUES)
def test_searched_values_of_the_configs_are_the_best_of_their_studies(task):
    config = tasks.config_of(f"adult-{task}")
    for name, values in searched.VALUES[task].items():
        recipe = config.recipes[name].to_dict()
        study = json.loads((ROOT / "results" / "search" / f"{values['study']}.json").read_text())
        assert (study["method"], study["task"], recipe["study"]) == (name, task, values["study"])
        best = max(study["trials"], key=lambda one: one["hypervolume"])["values"]
        assert best == {path: value for path, value in values.items() if path != "study"}
        assert len(study["trials"]) >= 10
        for path, value in best.items():
            section, _, key = path.rpartition(".")
            assert (recipe[section] if section else recipe)[key] == value
