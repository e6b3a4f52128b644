"""Edits of somebody else's network: in its own units and framework, to what is demanded."""

import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest
from flax import linen, nnx
from helpers import apply, gathered, init, init_editor, run_commands

from metanet.core import UserError
from metanet.data import load
from metanet.editing.edit import edit
from metanet.editing.inputs import check_units
from metanet.editing.places import staged
from metanet.editor.inputs import scales_of
from metanet.editor.model import Editor, EditorConfig, TrainedEditor
from metanet.editor.release import Release, release_digest, write_release
from metanet.graphs.packing import pack
from metanet.interop import files
from metanet.interop.imported import Imported
from metanet.interop.network import Network, network_of
from metanet.interop.units import reading_numbers
from metanet.mlp import network as networks
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec
from metanet.probes.rows import ProbeConfig
from metanet.training.config import TrainingConfig
from metanet.training.loop import train_editor

ROOT = pathlib.Path(__file__).parents[1]
SPEC = MLPSpec((10, 8, 2))
PATH = "metanet.objectives.data_minimisation.inputs_kept"


@pytest.fixture(scope="module")
def data():
    return load("synthetic", None, 0)


@pytest.fixture(scope="module")
def stack(data):
    """Linear networks of the synthetic labels: which inputs matter differs from one to another."""
    rng = np.random.default_rng(0)
    keys = jax.random.split(jax.random.key(0), 24)
    params = jax.jit(jax.vmap(lambda key: networks.init(SPEC, key)))(keys)
    importance = rng.exponential(size=(24, 10, 1)).astype(np.float32)
    params = jax.tree.map(np.asarray, params)
    params = params.replace(weights=(params.weights[0] * importance, 4 * params.weights[1]))
    return Stack(SPEC, params, np.zeros(24, np.int32))


@pytest.fixture(scope="module")
def release(data, stack, tmp_path_factory):
    models = pack([stack])
    config = TrainingConfig(steps=150, batch_size=4, points=64, learning_rate=1e-2, ramp=0.3)
    editor = train_editor(
        folder=tmp_path_factory.mktemp("editor"), editor=EditorConfig(8, 4, 4, 1, mask="inputs"),
        config=config, requirement=PATH, models=models, ids=np.arange(20), table=data.edit, seed=0,
        identity={},
    )  # fmt: skip
    return Release(editor, (PATH,), data.encoding)


@pytest.fixture(scope="module")
def network(stack):
    return network_of(stack, 21)


def logits(network, x):
    index = networks.ACTIVATIONS.index(network.activation)
    return np.asarray(apply(network.spec, network.params, index, x))


def test_an_edit_meets_what_is_demanded_at_the_rows_that_it_is_given(release, network, data):
    found = edit(release, network, require=["features<=6"], data=data.select)
    assert not found.unmet and len(found.features) <= 6
    assert found.after["inputs_kept"] == pytest.approx(len(found.features) / 10)
    assert found.before["inputs_kept"] == 1.0
    assert found.before["jsd"] == pytest.approx(0.0, abs=1e-7)
    read = np.isin(release.features, found.features)
    np.testing.assert_array_equal(found.mask[0].any(1), read)
    assert not found.model.params.weights[0][~read].any()
    edited, original = (logits(one, data.select.x) for one in (found.model, network))
    jsd = float(networks.js_divergence(edited, original).mean())
    assert found.after["jsd"] == pytest.approx(jsd, rel=1e-3)
    right = (edited.argmax(1) == data.select.y).mean()
    assert found.after["accuracy"] == pytest.approx(right, abs=1e-6)
    assert found.tried.shape == (120, 2)
    fewer = edit(release, network, require=["features<=3"], data=data.select)
    assert fewer.lam[0] > found.lam[0] and fewer.after["jsd"] > found.after["jsd"]


def test_demands_out_of_reach_are_said_with_the_edit_that_misses_by_the_least(
    release, network, data
):
    with pytest.warns(UserWarning, match="require: found .* out of reach"):
        found = edit(release, network, require=["features<=3", "jsd<=1e-7"], data=data.select)
    assert "jsd<=1e-7" in [one.text for one in found.unmet]


def test_lambda_may_be_given_instead_and_no_data_are_needed(release, network):
    found = edit(release, network, lam=0.1)
    assert found.before == found.after == {} and found.lam == (0.1,)
    assert found.tried.shape == (0, 2) and not found.unmet
    with pytest.warns(UserWarning, match=r"lam: found 3, .* trained on 0.001 to 0.5"):
        edit(release, network, lam=3.0)


def test_a_network_of_the_tables_numbers_is_edited_as_the_one_of_standardised_features(
    release, network, data
):
    mean = np.array([one.mean for one in release.encoding.features])
    std = np.array([one.std for one in release.encoding.features])
    own = reading_numbers(network, mean, std)
    one = edit(release, network, lam=0.1, data=data.select)
    other = edit(release, own, lam=0.1, data=data.select, reads="numbers")
    assert one.features == other.features
    x = data.select.x
    ours = logits(other.model, np.float32(x * std + mean))
    np.testing.assert_allclose(ours, logits(one.model, x), atol=2e-3)
    assert other.after["jsd"] == pytest.approx(one.after["jsd"], rel=1e-2)


@pytest.mark.slow
def test_refinement_lowers_the_objective_and_reads_no_other_feature(release, network, data):
    plain = edit(release, network, lam=0.1, data=data.edit)
    refined = edit(release, network, lam=0.1, data=data.edit, refine=100)
    assert refined.features == plain.features
    assert refined.after["jsd"] < 0.9 * plain.after["jsd"]


def test_the_model_comes_back_through_its_importer(release, network):
    seen = []
    source = Imported(network, lambda edited: seen.append(edited) or "restored")
    found = edit(release, source, lam=0.1)
    assert found.model == "restored" and seen == [found.network]


def frame_of(data):
    """The select rows as the table that they were read from."""
    columns = {one.column: data.select.x[:, i] * one.std + one.mean
               for i, one in enumerate(data.encoding.features)}  # fmt: skip
    columns[data.encoding.label] = np.array(data.encoding.classes)[data.select.y]
    return pd.DataFrame(columns)


def test_rows_may_be_a_frame_of_the_editors_table(release, network, data):
    one = edit(release, network, lam=0.1, data=data.select)
    frame = frame_of(data)
    other = edit(release, network, lam=0.1, data=frame)
    assert other.after == pytest.approx(one.after, rel=1e-3)
    without = edit(release, network, lam=0.1, data=frame.drop(columns=data.encoding.label))
    assert without.after.keys() == {"inputs_kept", "jsd"}


def refused(message, error=ValueError, **arguments):
    with pytest.raises(error, match=message) as caught:
        edit(**arguments)
    assert "\n" not in str(caught.value)


def test_what_does_not_go_with_the_editor_is_refused_by_name(release, network, data):
    good = {"editor": release, "model": network}
    refused("lam: found None, expected a value for it, or for require", **good)
    refused("lam: found 0.1", **good, lam=0.1, require=["features<=3"], data=data.select)
    refused("data: found none, expected rows", **good, require=["features<=3"])
    refused("data: found none, expected rows", **good, lam=0.1, refine=10)
    refused("data: found list, expected a DataFrame", **good, lam=0.1, data=[1])
    refused("refine: found -1", **good, lam=0.1, refine=-1)
    refused("newton: found -1", **good, lam=0.1, newton=-1)
    refused("reads: found 'raw', expected one of standardised, numbers", **good, lam=1, reads="raw")
    refused("lam: found 0", **good, lam=0)
    refused("model: found dict, expected a module of PyTorch", editor=release, model={}, lam=0.1)
    refused("model: found tuple, expected a module", editor=release, model=(1, {}), lam=0.1)
    refused("--require: found weights<=0.1, but this editor knows features", UserError, **good,
            require=["weights<=0.1"], data=data.select)  # fmt: skip


def test_networks_of_other_inputs_outputs_or_features_are_refused(release, data):
    def model(widths):
        return network_of(Stack(MLPSpec(widths), jax.tree.map(
            lambda leaf: np.asarray(leaf)[None],
            init(MLPSpec(widths), jax.random.key(0))), np.zeros(1, np.int32)))  # fmt: skip

    refused("model: found 9 inputs, expected 10: ", editor=release, model=model((9, 8, 2)), lam=0.1)
    refused("model: found 3 outputs, expected 2", editor=release, model=model((10, 8, 3)), lam=0.1)
    refused("stack.spec: found .* width of 64", editor=release, model=model((10, 64, 2)), lam=0.1)
    names = ("age", *release.features[1:])
    refused(f"model: found features: absent {release.features[0]}; more age, expected those of the",
            editor=release, lam=0.1,
            model=Imported(model((10, 8, 2)), lambda n: n, features=names))  # fmt: skip
    swapped = (release.features[1], release.features[0], *release.features[2:])
    refused("model: found features in another order", editor=release, lam=0.1,
            model=Imported(model((10, 8, 2)), lambda n: n, features=swapped))  # fmt: skip


def test_the_wrong_units_are_noticed_by_the_accuracy(release, data):
    """A network that is right on standardised features, and on the table's numbers a constant."""
    fitted = np.linalg.lstsq(data.train.x, 2.0 * data.train.y - 1, rcond=None)[0].astype(np.float32)
    first = np.stack([fitted, -fitted, *np.zeros((6, 10), np.float32)], 1)
    last = np.zeros((8, 2), np.float32)
    last[:2] = [[-1, 1], [1, -1]]
    zeros = (np.zeros(8, np.float32), np.zeros(2, np.float32))
    params = networks.MLPParams((first, last), zeros)
    model = Network(SPEC, params, "relu")
    edit(release, model, lam=0.1, data=data.select)
    refused("reads: found 'numbers', with which the model is right on .* perhaps 'standardised'",
            editor=release, model=model, lam=0.1, data=data.select, reads="numbers")  # fmt: skip


def test_encoded_rows_that_are_not_of_the_editors_table_are_refused(release, network, data):
    good = {"editor": release, "model": network, "lam": 0.1}
    rows = data.select
    nan = np.where(np.arange(len(rows.y))[:, None] == 3, np.nan, rows.x)
    for change, message in (
        ({"x": rows.x[:, :9]}, r"data.x: found shape \(600, 9\), expected \[rows, 10\]"),
        ({"x": rows.x[:0]}, r"data.x: found shape \(0, 10\)"),
        ({"x": nan}, "data.x: found NaN or infinity"),
        (
            {"y": rows.y + 1},
            "data.y: found other codes, expected 600 whole numbers .* below 2",
        ),
        ({"group": rows.group[:5]}, "data.group: found other codes"),
        ({"n_groups": 5}, "data.n_groups: found 5, expected 2"),
    ):
        refused(message, **good, data=rows.replace(**change))


def test_classes_in_another_order_are_refused(release, network):
    turned = Imported(network, lambda n: n, classes=release.encoding.classes[::-1])
    refused("model: found classes .*, expected those of the editor", editor=release, model=turned,
            lam=0.1)  # fmt: skip


def test_a_model_is_not_refused_because_wrong_units_guess_the_most_frequent_class(release, data):
    rare = data.select.replace(y=(np.arange(len(data.select.y)) % 10 == 0).astype(np.int32))
    ones = (np.ones((10, 8), np.float32), np.zeros((8, 2), np.float32))
    often = networks.MLPParams(ones, (np.zeros(8, np.float32), np.float32([0.0, 0.1])))
    check_units(release, Network(SPEC, often, "relu"), "standardised", rare)


@pytest.mark.slow
def test_gauss_newton_steps_lower_the_divergence_and_read_no_other_feature(release, network, data):
    plain = edit(release, network, lam=0.1, data=data.edit)
    stepped = edit(release, network, lam=0.1, data=data.edit, newton=2)
    assert stepped.features == plain.features
    assert stepped.after["jsd"] < 0.9 * plain.after["jsd"]
    further = edit(release, network, lam=0.1, data=data.edit, newton=2, refine=20)
    assert further.features == plain.features


@pytest.mark.slow
def test_several_requirements_are_edited_and_refined_together(network, data, stack):
    paths = (PATH, "metanet.objectives.pruning.weights_kept")
    models = pack([stack])
    config = EditorConfig(4, 4, 4, 1, mask="both")
    graph = gathered(models, np.arange(1), np.zeros((1, 2), np.float32), (4, 4))
    scales = scales_of(models, np.arange(20))
    params = init_editor(Editor(config, models.template), jax.random.key(0), graph, scales)
    editor = TrainedEditor(params, scales, config, models.template, ((0.01, 0.1),) * 2)
    both = Release(editor, paths, data.encoding, points=16)
    found = edit(both, network, lam=(0.02, 0.05), data=data.select, refine=2)
    assert found.after.keys() == {"inputs_kept", "weights_kept", "jsd", "accuracy"}
    chosen = edit(both, network, require="features<=10", data=data.select)
    assert not chosen.unmet and len(chosen.lam) == 2 and chosen.tried.shape == (108, 3)


def test_modules_of_flax_are_edited_as_they_are(release, data):
    linear = nnx.Sequential(nnx.Linear(10, 8, rngs=nnx.Rngs(0)), nnx.relu,
                            nnx.Linear(8, 2, rngs=nnx.Rngs(1)))  # fmt: skip
    found = edit(release, linear, lam=0.05)
    assert isinstance(found.model, nnx.Sequential)
    x = data.select.x[:50]
    np.testing.assert_allclose(found.model(x), logits(found.network, x), atol=1e-5)
    module = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(2)])
    variables = module.init(jax.random.key(0), x)
    found = edit(release, (module, variables), lam=0.05)
    np.testing.assert_allclose(module.apply(found.model, x), logits(found.network, x), atol=1e-5)


def test_an_editor_with_probes_asks_for_rows(release, network):
    config = dataclasses.replace(release.editor.config, probe=ProbeConfig(points=8))
    probed = dataclasses.replace(release, editor=release.editor.replace(config=config))
    refused("data: found none, expected rows, on which", editor=probed, model=network, lam=0.1)


def test_a_requirement_of_labels_and_groups_asks_for_their_columns(release, network, data):
    path = "metanet.objectives.fairness.equalised_odds"
    fair = dataclasses.replace(release, requirement=(path,))
    label = data.encoding.label
    frame = frame_of(data).drop(columns=label)  # the group is a feature, and so has a column
    message = f"data: found no column {label}, expected it: equalised_odds is about it"
    refused(message, editor=fair, model=network, lam=0.1, data=frame)


def test_rows_without_a_group_that_a_requirement_compares_are_refused(release, network, data):
    """Their difference would be 0, whatever the network does."""
    fair = dataclasses.replace(release, requirement=("metanet.objectives.fairness.equalised_odds",))
    rows, (negative, positive) = data.select, release.encoding.classes
    only = rows.replace(group=np.zeros_like(rows.group))
    message = rf"data: found rows of class {negative} in 1 of 2 groups, expected two or more, which"
    refused(message, editor=fair, model=network, lam=0.1, data=only)
    cell = rows.replace(group=np.where(rows.y == 1, 0, rows.group).astype(np.int32))
    message = f"data: found rows of class {positive} in 1 of 2 groups"
    refused(message, editor=fair, model=network, lam=0.1, data=cell)


# The command


@pytest.fixture(scope="module")
def place(release, network, data, tmp_path_factory):
    """A folder with an editor, a model and a table."""
    folder = tmp_path_factory.mktemp("command")
    write_release(folder / "editor", release)
    files.write(network, folder / "model.npz")
    frame_of(data).to_csv(folder / "audit.csv", index=False)
    return folder


def options(place, **changes):
    given = {"editor": place / "editor", "model": place / "model.npz", "data": place / "audit.csv",
             "out": place / "out"} | changes  # fmt: skip
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


def command(place, *flags, **changes):
    return subprocess.run(
        [sys.executable, "-m", "experiments.edit", *options(place, **changes), *flags],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_writes_an_edited_model_its_numbers_and_a_picture(
    place, release, network, data
):
    done = command(place, "--require=features<=6", "--require=jsd<=0.5")
    assert done.returncode == 0, done.stderr
    found = json.loads((place / "out" / "edit.json").read_text())
    assert found["require"] == ["features<=6", "jsd<=0.5"]
    assert len(found["features_read"]) <= 6
    assert set(found["features_read"]) | set(found["features_removed"]) == set(release.features)
    edited = files.read(place / "out" / "model.npz").network
    before, after = logits(network, data.select.x), logits(edited, data.select.x)
    jsd = float(networks.js_divergence(before, after).mean())
    assert found["after"]["jsd"] == pytest.approx(jsd, rel=1e-2)
    digest = hashlib.sha256((place / "model.npz").read_bytes()).hexdigest()
    assert found["model"] == {"file": "model.npz", "sha256": digest}
    assert found["rows"] == len(data.select.y)
    digest = hashlib.sha256((place / "out" / "model.npz").read_bytes()).hexdigest()
    assert found["edited"] == {"file": "model.npz", "sha256": digest}
    assert found["command"].startswith("python -m experiments.edit")
    assert (place / "out" / "front.png").read_bytes().startswith(b"\x89PNG")
    assert "no longer reads: " in done.stdout


@pytest.mark.slow
def test_a_certified_edit_has_a_report_that_verify_agrees_with(place, release):
    out = place / "certified"
    done = command(place, "--require=features<=6", "--certify=0.9", "--report",
                   "--purpose=asked for by somebody", out=out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "features<=6, confidence 0.9: certified" in done.stdout
    found = json.loads((out / "edit.json").read_text())["certificate"]
    assert found["certified"] and found["rows"] == 450  # of 600
    stored = json.loads((out / "report.json").read_text())
    assert len(stored["findings"]["features_read"]) <= 6
    assert stored["rows"] == {"total": 600, "chosen_on": 150, "tested_on": 450, "seed": 0}
    assert stored["editor"]["sha256"] == release_digest(place / "editor")
    page = (out / "report.html").read_text()
    digest = hashlib.sha256((out / "report.json").read_bytes()).hexdigest()
    assert digest in page and "asked for by somebody" in page
    done = subprocess.run(
        [sys.executable, "-m", "experiments.verify", out / "report.json",
         f"--model={out}/model.npz", f"--original={place}/model.npz", f"--data={place}/audit.csv",
         f"--editor={place}/editor"],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "alternatives, tests and all numbers of the repeated edit" in done.stdout
    assert f"the same: {out}/report.html" in done.stdout
    refused = command(place, "--require=jsd<=1e-9", "--certify=0.9", out=place / "refused")
    assert refused.returncode == 1 and "jsd<=1e-9, confidence 0.9: not certified" in refused.stdout
    assert not json.loads((place / "refused" / "edit.json").read_text())["certificate"]["certified"]


UNUSABLE = [
    (["--require=features<=3", "--require=jsd<=1e-9"], {}, "out of this editor's reach; noth"),
    (["--require=features<6"], {}, "--require: found 'features<6', expected NAME<=NUMBER"),
    ([], {}, "--require: found nothing"),
    (["--require=features<=3"], {"editor": "nothing"}, "nothing: found no editor.json there"),
    (["--require=features<=3"], {"model": None}, "--model: found nothing"),
    (["--require=weights<=30"], {}, "expected a fraction up to 1"),
    (["--require=features<=3"], {"model": "x.pkl"}, "x.pkl: found extension '.pkl'"),
    (["--require=features<=3"], {"data": "absent.csv"}, "absent.csv"),
    (["--require=weights<=0.3"], {}, "this editor knows features<=NUMBER"),
    (["--require=features<=3", "--reads=raw"], {}, "reads"),
    (["--require=features<=3", "--imports=absent_module"], {}, "--imports: found absent_module"),
    (["--require=features<=3", "--report"], {}, "--report: found True, expected it only with --ce"),
    (["--require=features<=3", "--certify=0.9", "--report_by=x"], {}, "--report_by: found ['x'],"),
    (["--require=features<=3", "--groups=sex"], {}, "--groups: found ['sex'], expected it only w"),
    (["--require=features<=3", "--certify=0.9", "--purpose=x"], {}, "--purpose: found x, expected"),
    (["--require=features<=3", "--require=jsd<=1", "--certify=0.9"], {}, "only with one --require"),
    (["--require=features<=3", "--certify=1.5"], {}, "--certify: found 1.5, expected a number"),
    (["--require=features<=3", "--certify=0.9", "--groups=no"], {}, "groups: found no column no"),
    (
        ["--require=features<=3", "--certify=0.9", "--report", "--report_by=no"],
        {},
        "report_by: found no column no",
    ),
    (
        ["--require=features<=3", "--certify=0.9", "--report", "--purpose=a\nb"],
        {},
        "--purpose: found",
    ),
]


@pytest.mark.slow
def test_unusable_commands_end_in_one_line_and_write_nothing(place):
    out = place / "none"
    commands = [
        ([*options(place, **({"out": out} | changes)), *flags], {})
        for flags, changes, _ in UNUSABLE
    ]
    ended = run_commands("experiments.edit", "_main", commands)
    for (status, _, err), (flags, _, message) in zip(ended, UNUSABLE, strict=True):
        lines = err.strip().splitlines()
        assert status == 2 and not out.exists(), flags
        assert lines[-1].startswith("error: ") and message in lines[-1]
        assert "Traceback" not in err


@pytest.mark.slow
def test_the_command_never_writes_over_its_input(place):
    before = (place / "model.npz").read_bytes()
    done = command(place, "--require=features<=6", out=place)
    assert done.returncode == 2 and "--out: found the folder of" in done.stderr
    assert (place / "model.npz").read_bytes() == before and not (place / "edit.json").exists()


@pytest.mark.long
@pytest.mark.slow
def test_the_command_imports_what_it_is_told_to_and_nothing_for_an_editor(
    place, release, tmp_path, monkeypatch
):
    (tmp_path / "stranger.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('imported').touch()\n"
        "def paid(view): return view.input_keep.mean()\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    write_release(tmp_path / "own", dataclasses.replace(release, requirement=("stranger.paid",)))
    asked = {"editor": tmp_path / "own", "out": tmp_path / "out"}
    done = command(place, "--require=paid<=0.6", **asked)
    assert done.returncode == 2 and not (tmp_path / "imported").exists()
    assert "error: editor.requirement: found stranger.paid, expected" in done.stderr
    done = command(place, "--require=paid<=0.6", "--imports=stranger", **asked)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "edit.json").read_text())["after"]["paid"] <= 0.6
    # Nothing bounds a requirement of one's own, but what the edit costs; that report is verified.
    certified = "--imports=stranger", "--certify=0.95", "--report"
    asked["out"] = tmp_path / "report"
    done = command(place, "--require=paid<=0.6", *certified, **asked)
    assert done.returncode == 2
    assert "error: require: found 'paid<=0.6', expected NAME<=NUMBER of jsd, which" in done.stderr
    done = command(place, "--require=jsd<=0.5", *certified, **asked)
    assert done.returncode == 0, done.stderr
    files = asked["out"] / "report.json", asked["out"] / "model.npz", place / "audit.csv"
    report, model, rows = map(str, files)
    checked = [sys.executable, "-m", "experiments.verify", report, f"--model={model}",
               f"--data={rows}", f"--original={place / 'model.npz'}",
               f"--editor={tmp_path / 'own'}"]  # fmt: skip
    for more, status, text in (
        ([], 2, "editor.requirement: found stranger.paid"),
        (["--imports=stranger"], 0, ": certified: jsd<=0.5, confidence 0.95"),
    ):
        done = subprocess.run([*checked, *more], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert text in done.stdout + done.stderr


@pytest.mark.slow
def test_the_command_replaces_links_in_its_folder_and_does_not_write_through_them(place, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("model.npz", "edit.json", "front.png"):
        (tmp_path / name).write_text("not to be touched")
        (out / name).symlink_to(tmp_path / name)
    done = command(place, "--require=features<=6", out=out)
    assert done.returncode == 0, done.stderr
    for name in ("model.npz", "edit.json", "front.png"):
        assert (tmp_path / name).read_text() == "not to be touched"
        assert not (out / name).is_symlink()


def test_files_of_an_earlier_edit_stay_until_all_new_ones_are_written(tmp_path):
    names = ("model.npz", "edit.json", "report.json")
    for name in names:
        (tmp_path / name).write_text("earlier")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match="no room for the rest"):
        with staged(tmp_path, "edit.json", ("report.json",)) as place:
            (place / "model.npz").write_text("new")
            raise UserError("no room for the rest")
    (tmp_path / ".lock").unlink()
    assert sorted(tmp_path.iterdir()) == before
    assert all((tmp_path / name).read_text() == "earlier" for name in names)
    (tmp_path / ".partial").mkdir()  # of a command that was killed
    (tmp_path / ".partial" / "report.json").write_text("of another edit")
    with staged(tmp_path, "edit.json", ("report.json",)) as place:
        for name in ("edit.json", "model.npz"):
            (place / name).write_text("new")
    (tmp_path / ".lock").unlink()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "model.npz": "new",
        "edit.json": "new",
    }


def test_a_kill_between_two_files_leaves_no_edit_json_of_others(tmp_path, monkeypatch):
    for name in ("model.npz", "edit.json", "front.png"):
        (tmp_path / name).write_text("earlier")
    moves, real = [], os.replace

    def third_fails(source, target):
        moves.append(target)
        if len(moves) == 3:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", third_fails)
    with pytest.raises(KeyboardInterrupt), staged(tmp_path, "edit.json") as place:
        for name in ("edit.json", "front.png", "model.npz"):
            (place / name).write_text("new")
    assert moves[-1] == tmp_path / "edit.json" and not moves[-1].exists()


def test_two_edits_into_one_folder_are_refused(tmp_path):
    with staged(tmp_path, "edit.json"), pytest.raises(UserError, match="in use by another"):
        with staged(tmp_path, "edit.json"):
            pass


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    (tmp_path / "model.npz").mkdir()
    (tmp_path / "edit.json").write_text("earlier")
    with pytest.raises(UserError, match=r"model.npz: found a folder, expected a file or nothing"):
        with staged(tmp_path, "edit.json") as place:
            (place / "model.npz").write_text("new")
    assert (tmp_path / "edit.json").read_text() == "earlier"
