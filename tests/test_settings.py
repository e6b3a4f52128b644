"""The strict boundary: every key of every config is read once, or refused with its full name."""
# ruff: noqa: E501 (the table of faults has one a line)

import importlib
import itertools
import json
import pathlib
import re
import types

import pytest
from ml_collections import ConfigDict

import configs
from configs import ablation, dm, fairness, joint, presets, pruning, timing
from configs.tasks import TASKS
from experiments import launch, settings
from metanet.core import UserError
from metanet.data import SOURCES
from metanet.editor.model import EditorConfig
from metanet.pipeline.config import (
    EditorPlan,
    EvaluationConfig,
    ExperimentConfig,
    RecipeConfig,
)
from metanet.pipeline.recipes import bound, check_recipes
from metanet.pipeline.testbed import build_testbed
from metanet.probes.rows import ProbeConfig
from metanet.settings import plain

STUDIES = sorted(
    {path.stem for path in pathlib.Path(configs.__file__).parent.glob("*.py")}
    - {
        "__init__",
        "common",
        "tasks",
        "presets",
        "quickstart",
        "faults",
        "scaling",
        "spaces",
        "searched",
    }
)


def experiments_of(config):
    """The experiments that a config asks for, checked as before a run."""
    asked = launch.parsed(config).args[0]
    found = list(getattr(asked, "experiments", {"": asked}).values())
    for experiment in found:
        if isinstance(experiment, ExperimentConfig):
            check_recipes(experiment)
    return found if isinstance(found[0], ExperimentConfig) else [asked]


def refused(config, said):
    """The config is refused, without training, in one line with `said`."""
    with pytest.raises(UserError) as caught:
        for experiment in experiments_of(config):
            build_testbed(experiment, pathlib.Path("/nowhere"))
    text = str(caught.value)
    assert re.search(said, text), text
    assert len(text.splitlines()) == 1 and len(text) < 900


@pytest.mark.parametrize("name", STUDIES)
def test_every_config_passes_the_checks_for_every_dataset(name):
    module = importlib.import_module(f"configs.{name}")
    suffixes = [f"-{task}" for task in TASKS] if "[:DATASET-TASK]" in module.__doc__ else [""]
    # Tasks take turns: presets have those of adult, and no dataset changes another part of them.
    for dataset, suffix in zip(SOURCES, itertools.cycle(suffixes), strict=False):
        config = module.get_config(dataset + suffix)
        assert config.dataset == dataset
        for experiment in experiments_of(config):
            assert experiment.dataset == dataset


@pytest.mark.parametrize("module", [fairness, pruning, dm])
def test_the_small_preset_has_all_methods(module):
    config = module.get_config("adult")
    every = config.methods
    presets.small(config)
    assert config.methods == every


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_the_configs_of_a_preset_pass_the_checks(preset):
    runs, resize = presets.PRESETS[preset]
    for run in runs:
        name, _, which = run.partition(":")
        config = importlib.import_module(f"configs.{name}").get_config(which)
        resize(config)
        experiments_of(config)


def leaves(config, path=()):
    """The paths of all values of a config."""
    for key, value in config.items():
        if isinstance(value, ConfigDict) and len(value):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def inner_of(config, path):
    for key in path:
        config = config[key]
    return config


MODULES = (pruning, dm, fairness)


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_every_key_of_a_config_is_read(module):
    """A value that no key can have is refused wherever it stands, so nothing is ignored."""
    earlier = MODULES[: MODULES.index(module)]
    seen = {path for other in earlier for path in leaves(other.get_config())}
    paths = set(leaves(module.get_config())) - seen
    assert len(paths) > 20
    for path in sorted(paths):
        config = module.get_config()
        inner = inner_of(config, path[:-1])
        with inner.unlocked(), inner.ignore_type():
            inner[path[-1]] = types.SimpleNamespace()
        if path != ("num_cpu_devices",):  # of the command
            with pytest.raises(UserError, match=re.escape(path[-1])):
                experiments_of(config)


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_a_key_that_nothing_reads_is_refused_at_every_depth(module):
    sections = {path[:-1] for path in leaves(module.get_config())}
    assert ("recipes", "GMN + probe, 10 steps", "descent") in sections
    for path in sections - {("editors",), ("recipes",)}:  # where names are the user's
        config = module.get_config()
        inner = inner_of(config, path)
        with inner.unlocked():
            inner.stepz = 3
        expected = ".".join((*path, "stepz"))
        with pytest.raises(UserError, match=rf"config key {re.escape(expected)}: found a key"):
            experiments_of(config)


def test_a_key_of_a_timing_run_that_nothing_reads_is_refused():
    for path in ((), ("experiments", "dm", "editor"), ("population",)):
        config = timing.get_config()
        with inner_of(config, path).unlocked():
            inner_of(config, path).stepz = 3
        with pytest.raises(UserError, match=r"stepz: found a key"):
            experiments_of(config)


LOOP: dict = {}
LOOP["x"] = LOOP
# Settings that were once accepted, or raised something else: (config, changes by dotted key, what the message says).
FAULTS = {
    "a fraction above one": (pruning, {"evaluation.fractions": (1.5, -0.5)}, "evaluation.fractions: found"),
    "no fractions": (pruning, {"evaluation.fractions": ()}, "evaluation.fractions: found"),
    "a fraction of text": (pruning, {"evaluation.fractions": ("a",)}, r"evaluation.fractions.0: found 'a'"),
    "no models in a batch": (pruning, {"evaluation.batch_size": 0}, "evaluation.batch_size: found 0"),
    "no steps of distilling": (
        pruning, {"recipes": {"SNIP & Distil": {"distil": {"steps": 0}}}},
        r"recipes.SNIP & Distil.distil.steps: found 0, expected at least 1",
    ),
    "negative rows": (pruning, {"editor.rows": -5}, "editor.rows: found -5"),
    "no test split": (pruning, {"population.experiments": 3}, "population.experiments: found 3"),
    "a split without test models": (
        pruning, {"population.experiments": 16, "population.split": (0.98, 0.01, 0.01)},
        "population.experiments: found 16",
    ),
    "half a neuron": (pruning, {"population.widths": (8.5,)}, r"population.widths.0: found 8.5"),
    "half a row": (pruning, {"population.batch_sizes": (64.5,)}, r"population.batch_sizes.0: found"),
    "a number for a pair": (pruning, {"population.learning_rate": 0.01}, "population.learning_rate: found 0.01"),
    "dropout of text": (pruning, {"population.dropouts": ("a",)}, r"population.dropouts.0: found 'a'"),
    "lambda of text": (pruning, {"lambda_range": ("a", "b")}, "lambda_range: found"),
    "a split of one number": (pruning, {"population.split": 0.7}, "population.split: found 0.7"),
    "a large seed": (pruning, {"seed": 99999999999}, "seed: found 99999999999"),
    "infinite lambda": (pruning, {"lambda_range": (0.1, 1e400)}, "lambda_range: found"),
    "lambda of 0": (pruning, {"lambda_range": (0.0, 0.5)}, "lambda_range: found"),
    "no function of an edit": (dm, {"dataset": "synthetic", "requirement": "os.getcwd"}, "requirement: found 'os.getcwd', which cannot be called with 1 arg"),
    "a requirement that is negative": (
        dm, {"dataset": "synthetic", "requirement": "tests.test_settings.minus_accuracy"},
        r"requirement: found 'tests.test_settings.minus_accuracy' = -0\.\d+ .*0 or more",
    ),
    "a requirement that does not exist": (dm, {"requirement": "metanet.nope"}, "requirement: found 'metanet.nope'"),
    "an editor's typo": (pruning, {"editors": {"GMN + probe": {"stepz": 3}}}, r"editors.GMN \+ probe.stepz: found a key"),
    "a typo of a descent": (
        pruning, {"recipes": {"GMN + probe, 10 steps": {"descent": {"stepz": 3}}}},
        "recipes.GMN . probe, 10 steps.descent.stepz: found a key",
    ),
    "a typo of a recipe": (pruning, {"recipes": {"SNIP": {"scores": "x.y"}}}, "recipes.SNIP.scores: found a key"),
    "no such score": (pruning, {"recipes": {"SNIP": {"score": "metanet.methods.pruning.snap"}}}, "recipes.SNIP.score: found 'metanet.methods.pruning.snap'"),
    "no such recipe": (pruning, {"recipes": {"SNIP": {"recipe": "metanet.nope"}}}, "recipes.SNIP.recipe: found 'metanet.nope'"),
    "no such method": (pruning, {"methods": ("Guess",)}, "methods: found Guess"),
    "a method twice": (pruning, {"methods": ("SNIP", "SNIP"), "evaluation.main_methods": ()}, "methods: found"),
    "no such editor": (
        dm, {"recipes": {"FS (GMN)": {"editors": ("GNM",)}}}, r"recipes.FS \(GMN\).editors: found GNM",
    ),
    "masks that start closed": (pruning, {"editor.mask_bias": 0.0}, "editor.mask_bias: found 0.0"),
    "a label that post-processing cannot optimise": (
        fairness, {"requirement": "metanet.objectives.fairness.demographic_parity"},
        "requirement: found metanet.objectives.fairness.demographic_parity, expected "
        "metanet.objectives.fairness.equalised_odds",
    ),
    "a shift that cannot be reached": (
        dm, {"dataset": "synthetic", "shifts": {"far": {"feature": "cause_a", "mean_shift": 50.0}}},
        r"shifts.far.mean_shift: found 50.0, expected -\d",
    ),
    "a shift of an unknown feature": (
        dm, {"dataset": "synthetic", "shifts": {"odd": {"feature": "height", "mean_shift": 1.0}}},
        "shifts.odd.feature: found height",
    ),
    "no such dataset": (dm, {"dataset": "irises"}, "dataset: found 'irises'"),
    "a dataset that is none": (dm, {"dataset": "os.getcwd"}, "dataset: found 'os.getcwd', which returns a str"),
    "no such group": (dm, {"dataset": "synthetic", "group": "height"}, "group: found 'height'"),
    "no such mode": (dm, {"population.mode": "sometimes"}, "population.mode: found sometimes"),
    "a box of other dimensions": (joint, {"evaluation.reference_point": (1.0, 0.1)}, "evaluation.reference_point: found"),
    "seven main methods": (pruning, {"evaluation.main_methods": ("SNIP",) * 7}, "evaluation.main_methods: found"),
    "a main method that is not run": (pruning, {"methods": ("SNIP",)}, "evaluation.main_methods: found"),
    "composed editors with probes": (
        pruning,
        {"recipes": {"both": {"recipe": "metanet.methods.editor.composed", "editors": ("GMN - Prune", "GMN + probe")}}, "methods": ("both",), "evaluation.main_methods": ()},
        "recipes.both.editors: found editors with probes",
    ),
    "points of another kind": (
        fairness,
        {"recipes": {"odd": {"recipe": "metanet.methods.editor.edited", "editors": ("GMN + probe",), "probe": {"points": 9}}}, "methods": ("odd",), "evaluation.main_methods": ()},
        r"recipes.odd.probe: found .*9.* expected a probe with labels",
    ),
    "no share": (pruning, {"editors": {"GMN - Prune": {"share": 0.0}}}, "editor.share: found 0.0|share: found 0.0"),
    "no such predicate": (pruning, {"editors": {"GMN - Prune": {"unseen": "long"}}}, "editor.unseen: found 'long'|unseen: found 'long'"),
    "a control for nothing": (pruning, {"editors": {"GMN - Prune": {"control": True}}}, "control: found True"),
    "no seeds": (pruning, {"editors": {"GMN - Prune": {"seeds": 0}}}, "seeds: found 0"),
    "three ends of a range": (pruning, {"editors": {"GMN - Prune": {"lambda_range": (0.1, 0.2, 0.3)}}}, "lambda_range"),
    "a truth value for a number": (pruning, {"evaluation.n_lambdas": True}, "evaluation.n_lambdas: found True, expected a whole number"),
    "a number for a truth value": (pruning, {"evaluation.exclude_constant": 1}, "evaluation.exclude_constant: found 1, expected True or False"),
    "not a number": (dm, {"evaluation.reference_point": (float("nan"), 0.1)}, "evaluation.reference_point.0: found nan"),
    "a number beyond every float": (dm, {"evaluation.reference_point": (10**400, 0.1)}, "evaluation.reference_point.0: found 10000"),
    "a number that float32 has not": (dm, {"lambda_range": (1e-300, 0.5)}, "lambda_range: found .1e-300"),
    "a whole number of more than 32 bits": (dm, {"evaluation.test_models": 2**31}, "evaluation.test_models: found 2147483648"),
    "a million lambdas": (dm, {"evaluation.n_lambdas": 10**6}, "evaluation.n_lambdas: found 1000000, expected 1 to 1000"),
    "two lines of text": (dm, {"task": "data\nminimisation"}, r"task: found 'data\\nminimisation', expected text in one line"),
    "a long label": (dm, {"task": "x" * 5000}, "task: found xxx"),
    "a value that is none": (dm, {"editors": {"GMN": {"steps": object()}}}, "editors.GMN.steps: found <object"),
    "an editor that is text": (dm, {"editors": {"GMN": "metanet"}}, "editors.GMN: found 'metanet', expected keys and values"),
    "a name without letters": (dm, {"editors": {"//": {}}, "methods": ("//",), "evaluation.main_methods": ()}, "methods: found '//', expected a name with a letter"),
    "a name of two lines": (dm, {"editors": {"a\nb": {}}, "methods": ("a\nb",), "evaluation.main_methods": ()}, r"editors: found the name 'a\\nb'|methods.0: found 'a\\nb'"),
    "a name that no folder can have": (dm, {"editors": {"x" * 300: {}}, "methods": ("x" * 300,), "evaluation.main_methods": ()}, "methods: found 'xxx"),
    "editors of one folder": (
        dm, {"editors": {"GMN": {}, "gmn": {}}, "recipes": {"both": {"recipe": "metanet.methods.editor.front_union", "editors": ("GMN", "gmn")}}, "methods": ("both",), "evaluation.main_methods": ()},
        "editors: found gmn, expected another name: its folder is that of GMN",
    ),
    "an editor called as a phase": (dm, {"editors": {"population": {}}, "methods": ("population",), "evaluation.main_methods": ()}, "editors: found population, expected another name"),
    "a shift called as a split": (dm, {"dataset": "synthetic", "shifts": {"test": {"feature": "cause_a", "mean_shift": 1.0}}}, "shifts: found test, expected another name"),
    "a main method twice": (dm, {"evaluation.main_methods": ("GMN", "GMN")}, "evaluation.main_methods: found .*every one once"),
    "a dataset twice": (dm, {"dataset": "synthetic", "other_datasets": ("synthetic",)}, "other_datasets: found"),
    "another dataset that is none": (dm, {"dataset": "synthetic", "other_datasets": ("irises",)}, "other_datasets: found 'irises'"),
    "no requirement": (dm, {"requirement": ()}, "requirement: found"),
    "a requirement twice": (dm, {"requirement": ("metanet.objectives.pruning.weights_kept",) * 2}, "requirement: found .*every one once"),
    "a requirement that is a class": (dm, {"requirement": "metanet.objectives.base.EditView"}, "requirement: found .*, a class"),
    "a requirement with a label of no text": (dm, {"requirement": "tests.test_settings.with_a_number_for_label"}, "requirement: found .* with label 3, expected a label"),
    "an editor's requirement that is none": (
        dm, {"dataset": "synthetic", "editors": {"GMN": {"requirement": "tests.test_settings.minus_accuracy"}}},
        "editors.GMN.requirement: found 'tests.test_settings.minus_accuracy' = -",
    ),
    "a relative path": (dm, {"requirement": "..objectives"}, "requirement: found '..objectives'"),
    "editors that are text": (pruning, {"recipes": {"GMN + probe, 10 steps": {"editors": "GMN"}}}, r"recipes.GMN . probe, 10 steps.editors: found 'GMN', expected a list"),
    "editors for a method without": (pruning, {"recipes": {"SNIP": {"editors": ("GMN - Prune",)}}}, "recipes.SNIP.editors: found 1 editors, expected none"),
    "seeds of a method without editors": (pruning, {"recipes": {"SNIP": {"seeds": 2}}}, "recipes.SNIP.seeds: found 2"),
    "seeds below one": (pruning, {"recipes": {"GMN + probe, 10 steps": {"seeds": 0}}}, r"recipes.GMN . probe, 10 steps.seeds: found 0"),
    "a recipe that is a class": (pruning, {"recipes": {"SNIP": {"recipe": "metanet.methods.retrain.RetrainConfig"}}}, "recipes.SNIP.recipe: found .*, a class"),
    "a recipe that takes no testbed": (pruning, {"recipes": {"SNIP": {"recipe": "os.getcwd"}}}, "recipes.SNIP.recipe: found 'os.getcwd', which cannot be called with 2"),
    "no such ranking": (dm, {"recipes": {"FS": {"ranking": "size"}}}, "recipes.FS.ranking: found 'size', expected one of 'global'"),
    "a negative count": (dm, {"recipes": {"FS & Retrain": {"counts": (-1,)}}}, r"recipes.FS & Retrain.counts: found \(-1,\), expected numbers of"),
    "too many combinations of lambdas": (joint, {"evaluation.n_lambdas": 100}, "evaluation.n_lambdas: found 100, expected so few of 3"),
    "a score of three arguments": (pruning, {"recipes": {"SNIP": {"score": "metanet.methods.pruning.keep_best"}}}, "recipes.SNIP.score: found .*, which cannot be called with 4"),
    "a post-processing method without settings": (
        fairness, {"recipes": {"FairCls": {"method": "metanet.methods.fairness.postprocessed._labelled"}}}, "recipes.FairCls.method: found",
    ),
    "an option that holds itself": (pruning, {"recipes": {"Lottery Ticket": {"recipe": "tests.test_settings.with_any_option", "anything": LOOP}}}, "recipes.Lottery Ticket.anything.x.x.*: found lists or dicts within"),
    "a predicate of something else": (pruning, {"editors": {"GMN - Prune": {"unseen": "json.dumps"}}}, "editors.GMN - Prune.unseen: found 'json.dumps', which raises TypeError"),
    "a predicate that is no answer": (pruning, {"evaluation.subsets": {"all": "builtins.repr"}}, "evaluation.subsets.all: found 'builtins.repr', which returns"),
    "a share of no experiment": (pruning, {"editors": {"GMN - Prune": {"share": 1e-6}}}, "editors.GMN - Prune.share: found 1e-06"),
    "levels of several requirements": (joint, {"evaluation.report_levels": (0.5,)}, "evaluation.report_levels: found"),
    "no models to time": (timing, {"timed_models": 0}, "timed_models: found 0"),
    "a limit of no method": (timing, {"few": {"Guess": 2}}, "few: found Guess"),
    "no experiments to time": (timing, {"experiments": 3}, "experiments: found 3, expected experiments by name"),
    "no steps to time": (timing, {"steps": 0}, "steps: found 0"),
    "a fault in one of several experiments": (timing, {"experiments.dm.levels": ("a",)}, "experiments.dm.levels.0: found 'a'"),
}  # fmt: skip


def with_a_number_for_label(view):
    return view.keep.mean()


with_a_number_for_label.label = 3


def with_any_option(testbed, editors, *, retrain=None, rounds=3, anything=None):
    raise NotImplementedError


def minus_accuracy(view):
    return -(view.logits_after.argmax(-1) == view.batch.y).mean()


def changed(config, changes):
    """The config with values by dotted key; dicts are merged."""
    for key, value in changes.items():
        *outer, last = key.split(".")
        inner = config
        for name in outer:
            inner = inner[name]
        with config.unlocked(), inner.unlocked(), inner.ignore_type():
            merge(inner, last, value)
    return config


def merge(inner, key, value):
    if isinstance(value, dict) and key in inner:
        for name, one in value.items():
            with inner[key].unlocked(), inner[key].ignore_type():
                merge(inner[key], name, one)
    else:
        inner[key] = value


@pytest.mark.parametrize("name", FAULTS)
def test_an_unusable_setting_is_refused_with_its_full_name(name, monkeypatch):
    module, changes, said = FAULTS[name]
    monkeypatch.setenv("METANET_DATA", "/nowhere")
    refused(changed(module.get_config(), changes), said)


MODULES_OF_A_USER = {
    "unfinished": ("def requirement(", "SyntaxError"),
    "unlucky": ("1 / 0", "ZeroDivisionError: division by zero"),
    "leaving": ("raise SystemExit('bye')", "SystemExit: bye"),
    "talking": ("raise OSError('two\\nlines')", "OSError: two lines"),
    "empty": ("", "AttributeError"),
    "numeric": ("requirement = 3", "a int"),
    "raising": ("def requirement(*_): raise KeyError('x')", "which raises KeyError: 'x'"),
    "exiting": ("def requirement(*_): raise SystemExit", "which raises SystemExit"),
}


@pytest.mark.parametrize("name", MODULES_OF_A_USER)
@pytest.mark.parametrize("key", ["requirement", "dataset", "evaluation.subsets.all"])
def test_a_module_may_do_anything(name, key, tmp_path, monkeypatch):
    content, said = MODULES_OF_A_USER[name]
    module = f"{name}_{key.replace('.', '_')}"  # which no other test has imported
    (tmp_path / f"{module}.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    config = dm.get_config("synthetic")
    with config.unlocked(), config.evaluation.subsets.unlocked():
        config.evaluation.subsets = {"all": "metanet.mlp.subsets.wide"}
    changed(config, {key: f"{module}.requirement"})
    refused(config, rf"config key {re.escape(key)}: found '{module}.requirement'.*{said}")


def test_values_that_python_does_not_check_are():
    """Settings are frozen dataclasses, which may be made without a config."""
    path = "metanet.objectives.pruning.weights_kept"
    editors = {"GMN": EditorPlan()}
    for changes, said in [
        ({"methods": "GMN"}, "methods: found 'GMN', expected a list"),
        ({"methods": ["GMN"]}, "methods: found .*a tuple instead of a list"),
        ({"evaluation": EvaluationConfig(exclude_constant="no")}, "exclude_constant: found 'no'"),
        ({"recipes": {"X": RecipeConfig("os.getcwd", editors="GMN")}}, "recipes.X.editors: found"),
        ({"seed": True}, "seed: found True"),
        ({"lambda_range": (0.0, 0.5)}, r"lambda_range: found \(0.0, 0.5\), expected 1 of"),
        (
            {"population": {"experiments": 500}},
            "population: found .* expected an instance of PopulationConfig",
        ),
        ({"editors": {"GMN": {}}}, "editors.GMN: found {}, expected an instance of EditorPlan"),
    ]:
        with pytest.raises(UserError, match=said):
            ExperimentConfig(requirement=path, **({"editors": editors} | changes))


def test_a_method_is_dropped_in_one_place():
    config = pruning.get_config()
    config.methods, config.evaluation.main_methods = ("GMN - Prune", "SNIP"), ()
    (experiment,) = experiments_of(config)
    assert experiment.used_editors == ("GMN - Prune",)
    assert experiment.method_names == ("GMN - Prune", "SNIP")


def test_tables_have_the_order_of_the_config_not_of_the_alphabet():
    from configs import sample_efficiency

    (experiment,) = experiments_of(sample_efficiency.get_config())
    shares = [name.split()[1] for name in experiment.method_names if name.startswith("GMN")]
    assert shares == ["5%", "10%", "25%", "50%", "100%"]


def test_settings_are_as_json_has_them():
    for module in (pruning, fairness, joint):
        (experiment,) = experiments_of(module.get_config())
        found = plain(experiment)
        assert json.loads(json.dumps(found)) == found


def test_options_of_a_recipe_are_converted_by_its_annotations():
    from metanet.methods.pruning import one_shot, snip
    from metanet.methods.retrain import RetrainConfig

    (experiment,) = experiments_of(pruning.get_config())
    function, options = bound(experiment.recipe("SNIP & Distil"), "recipes.SNIP & Distil")
    assert function is one_shot
    assert options == {"score": snip, "distil": RetrainConfig(100, 128, 0.035)}


def test_overrides_of_the_command_line_keep_their_types():
    config = settings.defaults("synthetic")
    config.update_from_flattened_dict({"population.experiments": 300, "editor.gamma": 1})
    assert config.population.experiments == 300 and config.editor.gamma == 1.0


def test_the_ablation_has_every_addition_of_its_task():
    without = {task: {name.removeprefix("GMN without ") for name in ablation.get_config(task).methods
                      if name.startswith("GMN without ")}
               for task in ("adult-dm", "adult-fairness", "adult-pruning")}  # fmt: skip
    always = {"ramp", "power", "conditioning", "learned probe"}
    assert without["adult-dm"] == always | {"noise", "bounds", "path", "imitation", "imputation"}
    assert without["adult-fairness"] == always | {"balanced sampling"}
    assert without["adult-pruning"] == always | {"noise", "bounds"}
    pruned = ablation.get_config("adult-pruning")
    means = {name: pruned.editors[name].get("mean_replacement", False) for name in pruned.methods
             if "+ probe" in name}  # fmt: skip
    assert means == {"GMN + probe": False, "GMN + probe & means": True}


@pytest.mark.parametrize(
    "shape", [{"mask": "inputs"}, {"learned_probe": 4}, {"probe": ProbeConfig(points=4)}]
)
def test_an_editor_of_several_datasets_reads_features_of_none(shape):
    EditorPlan(EditorConfig(), datasets=("adult", "bank"))
    with pytest.raises(UserError, match=r"datasets: .*expected an editor without probes and masks"):
        EditorPlan(EditorConfig(**shape), datasets=("adult", "bank"))
