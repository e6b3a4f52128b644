"""What README and docs/ tell users to type works, to the letter."""

import contextlib
import dataclasses
import importlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pages import PAGES, ROOT, blocks, by_name

from configs import common, pruning
from experiments import settings
from metanet.core import UserError
from metanet.data import TableConfig
from metanet.data.columns import MISSING_VALUES
from metanet.graphs.padded import PaddedMLP
from metanet.graphs.topology import TILE, Template
from metanet.interop.sparse import read_sparse
from metanet.mlp.network import ACTIVATIONS, apply
from metanet.objectives.base import EditView, resolve
from metanet.pipeline.recipes import check_recipes
from metanet.settings import build
from metanet.training.checkpoint import load_checkpoint

# A small study with everything that docs/extending.md adds, except for the scores of weights.
TINY = """\
from configs import dm, presets


def get_config():
    config = dm.get_config("cancer.breast_cancer")
    config.methods = ("GMN", "FS")
    presets.smoke(config)
    config.population.norms = ("none",)
    config.evaluation.main_methods = ()
    config.editor.layer = "gated.Layer"
    return config
"""

# Runs each command of a list up to where it would use a device or write.
DRIVER = """\
import os, runpy, sys
from experiments import launch
import metanet.pipeline, ml_collections.config_flags

class Reached(BaseException):
    pass

def reached(*args, **kwargs):
    raise Reached

launch.setup_jax = launch.writable = reached
failed = []
for command in sys.stdin.read().splitlines():
    module, *arguments = command.split("\\t")
    child = os.fork()
    if not child:
        sys.argv = [module, *arguments]
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            os._exit(0)
        except Reached:
            os._exit(0)
        except SystemExit as error:
            os._exit(error.code or 0)
    if os.waitpid(child, 0)[1]:
        failed.append(command)
sys.exit("\\n".join(failed) or 0)
"""


def name_of_file(text: str) -> str | None:
    """The name of the user's file that a block is."""
    found = re.match(r"# (\w+\.py)\n", text)
    return found and found[1]


def commands(path: pathlib.Path) -> list[list[str]]:
    """The command lines of a page, in words."""
    lines = [line for language, text in blocks(path) if not language for line in text.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [found for found in words if found and found[0] in ("make", "python", "pip", ".")]


def snippets(path: pathlib.Path) -> list[str]:
    """What a page writes into a config, in blocks and between backquotes."""
    text = [text for language, text in blocks(path) if language == "python"]
    text += re.findall(r"`(config\.\w[^`]* = [^`]*)`", path.read_text())
    return [part for part in text if part.startswith("config.")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder with all files that the pages show, beside the repository's configs."""
    home = tmp_path_factory.mktemp("user")
    for path in PAGES:
        for _, text in blocks(path):
            if name_of_file(text):
                (home / name_of_file(text)).write_text(text)
    (home / "configs").symlink_to(ROOT / "configs")
    (home / "runs").mkdir()
    for run in (ROOT / "results").iterdir():
        (home / "runs" / run.name).symlink_to(run)
    (home / "tiny.py").write_text(TINY)
    sys.path.insert(0, str(home))
    yield home
    sys.path.remove(str(home))


def execute(path: pathlib.Path, folder: pathlib.Path) -> dict:
    """Runs the Python of a page, in order, in the user's folder; what it defines."""
    found = {}
    with contextlib.chdir(folder):
        for language, text in blocks(path):
            if language == "python" and not text.startswith("config."):
                exec(compile(text, path.name, "exec"), found)
    return found


@pytest.fixture(scope="module")
def notebook(folder):
    return execute(ROOT / "README.md", folder)


@pytest.mark.slow
def test_commands_are_accepted(folder):
    """Targets and extras exist; flags, configs and overrides pass all checks before training."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    lines = set()
    for program, *arguments in (words for path in PAGES for words in commands(path)):
        if program == "make":
            assert set(arguments) <= targets, arguments
        elif program == "pip":
            # From the checkout: the package index has another metanet.
            (extra,) = re.fullmatch(r"install -e \.\[(\w+)\]", " ".join(arguments)).groups()
            assert extra in extras
        elif program == ".":
            assert arguments == [".venv/bin/activate"]
        elif arguments[0].startswith("examples/"):  # need packages of others, see test_examples
            assert (ROOT / arguments[0]).is_file()
        else:
            assert arguments[0] == "-m"
            lines.add("\t".join(arguments[1:]))
    assert len(lines) > 10
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], input="\n".join(sorted(lines)), cwd=folder, text=True,
        env=environment, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [path for path in PAGES if snippets(path)], **by_name)
def test_what_pages_write_into_a_config_is_accepted(path, folder):
    for snippet in snippets(path):
        config = pruning.get_config("synthetic")
        config.methods = config.evaluation.main_methods = ()  # all
        exec(snippet, {"config": config, "common": common})
        check_recipes(settings.parse(config))


@pytest.mark.slow
def test_the_library_example_trains_and_evaluates_an_editor(notebook, folder):
    (example,) = (text for language, text in blocks(ROOT / "README.md") if language == "python")
    assert len(example.splitlines()) <= 16
    entries, values = notebook["evaluated"]
    assert list(entries) == list(values) == ["ends", "GMN", "Magnitude"]
    assert all(entry["front"] for entry in entries.values())
    assert (folder / "front.png").stat().st_size > 10_000


@pytest.mark.slow
def test_models_of_ones_own_are_edited(notebook, folder):
    found = execute(ROOT / "docs" / "own-models.md", folder)
    assert 0 < found["kept"] <= 1
    edited = found["edited"]
    weights = edited.network.params.weights
    for weight, kept in zip(weights, edited.mask, strict=True):
        assert not weight[kept == 0].any()
    assert not edited.unmet and edited.after["weights_kept"] <= 0.3
    assert edited.before["jsd"] < 1e-6 < edited.after["jsd"]
    assert set(edited.features) <= set(found["editor"].features)
    small = found["small"]
    assert small.report.parameters[1] <= small.report.parameters[0]
    x = found["data"].select.x
    whole, less = (
        apply(one.spec, one.params, ACTIVATIONS.index("relu"), rows)
        for one, rows in ((edited.network, x), (small.network, x[:, small.features]))
    )
    np.testing.assert_allclose(less, whole, rtol=0, atol=1e-5)
    assert read_sparse(folder / "small.npz").spec == small.network.spec


def test_a_table_of_ones_own_is_encoded_and_its_settings_are_known(folder):
    page = ROOT / "docs" / "own-tables.md"
    found = execute(page, folder)
    assert found["table"].x.shape == (2, 2) and found["table"].group.tolist() == [0, 1]
    (toml,) = (text for language, text in blocks(page) if language == "toml")
    said = build(TableConfig, tomllib.loads(toml))
    assert said.label == "repaid" and said.rare == 20
    keys = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", page.read_text(), re.M)))
    assert keys == [field.name for field in dataclasses.fields(TableConfig)]
    cell = re.search(r"^\| `missing_values` .*\| (.*) \|$", page.read_text(), re.M)[1]
    assert ("", *re.findall(r"`(.*?)`", cell)) == MISSING_VALUES


def test_the_objective_is_the_price_of_the_features_that_are_kept(folder):
    view = EditView(*[None] * 8).replace(input_keep=jnp.array([1.0, 0.0, 1.0, 0.0]))
    np.testing.assert_allclose(resolve("prices.paid")(view), (1 + 3) / (1 + 2 + 3 + 4))


def test_the_score_is_a_weight_times_the_norm_of_what_it_reads(folder):
    import wanda

    rng, template = np.random.default_rng(0), Template(3, 1, 4, 2)
    weight = np.zeros((2 * TILE, 2 * TILE), np.float32)
    first, last = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
    weight[:3, :4], weight[TILE : TILE + 4, TILE : TILE + 2] = first, last
    node = (np.arange(2 * TILE) % TILE) < np.repeat([4, 2], TILE)
    zeros = jnp.zeros(2 * TILE)
    model = PaddedMLP(
        weight, weight != 0, zeros, zeros + 1, zeros, node, jnp.array(0), jnp.array(0)
    )
    x = rng.normal(size=(7, 3)).astype(np.float32)
    table = types.SimpleNamespace(x=jnp.asarray(x))
    score = jax.jit(lambda model: wanda.score(template, model, table, None))(model)
    hidden = np.maximum(x @ first, 0)
    np.testing.assert_allclose(
        score[:3, :4], np.abs(first) * np.linalg.norm(x, axis=0)[:, None], rtol=1e-5
    )
    np.testing.assert_allclose(
        score[TILE : TILE + 4, TILE : TILE + 2],
        np.abs(last) * np.linalg.norm(hidden, axis=0)[:, None],
        rtol=1e-5,
    )


def run(folder: pathlib.Path, *flags: str) -> dict:
    """The methods in results.json of a run of experiments.run in a process of its own."""
    command = [sys.executable, "-m", "experiments.run", *flags, f"--workdir={folder / 'work'}"]
    environment = {"PYTHONPATH": f"{ROOT}:{folder}", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "work" / "results.json").read_text())["methods"]


@pytest.mark.long
@pytest.mark.slow
def test_an_editor_with_a_layer_and_data_of_ones_own_is_trained_for_the_objective(
    folder, monkeypatch
):
    methods = run(
        folder, f"--config={folder / 'tiny.py'}", "--config.requirement=prices.paid",
        "--config.methods=('GMN', 'Greedy')", "--config.evaluation.main_methods=()",
    )  # fmt: skip
    # Greedy keeps what changes least, whatever it costs: k of 30, but not in steps of 1/30.
    costs = np.array([point["requirement"] for point in methods["Greedy"]["front"]])
    assert ((costs >= 0) & (costs < 1)).all()  # none is kept at last
    np.testing.assert_allclose(930 * costs, np.round(930 * costs), atol=1e-3)  # of two models
    assert (np.abs(30 * costs - np.round(30 * costs)) > 1e-3).any()
    home = folder / "work" / "checkpoints" / "gmn" / "seed-0"
    monkeypatch.delitem(sys.modules, "gated", raising=False)
    with pytest.raises(UserError, match=r"config\.layer: found gated\.Layer"):
        load_checkpoint(home)  # code of somebody else's, as long as nobody has imported it
    importlib.import_module("gated")
    editor = load_checkpoint(home)
    assert editor.config.layer == "gated.Layer"
    assert set(editor.params["layers"]) == {"edge", "node"}


@pytest.mark.long
@pytest.mark.slow
def test_baselines_of_ones_own_are_evaluated_beside_the_others(folder, tmp_path):
    methods = run(tmp_path, f"--config={folder / 'my_study.py'}")
    assert list(methods) == ["Magnitude", "Wanda", "Rescaled"]
    fronts = {name: method["front"] for name, method in methods.items()}
    for front in fronts.values():
        for point in front:
            np.testing.assert_allclose(
                point["requirement"], point["setting"]["fraction"], atol=0.01
            )
    assert [point["jsd"] for point in fronts["Wanda"]] != [p["jsd"] for p in fronts["Magnitude"]]
