"""Edits of a folder of networks: as those of single files, resumed, with bad files among them."""

import builtins
import dataclasses
import errno
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings

import jax
import numpy as np
import pandas as pd
import pytest
from helpers import gathered, init_editor, random_stack

from metanet.core import Stopped, UserError
from metanet.data import load
from metanet.editing import chunks, summary
from metanet.editing.chunks import layout_of
from metanet.editing.demands import choose, choose_each, parse_demand, settings_of
from metanet.editing.edit import edit
from metanet.editing.folder import Job, edit_folder
from metanet.editing.many import edit_chunk, network_for, task_of
from metanet.editing.places import check_places, files_of
from metanet.editor.inputs import scales_of
from metanet.editor.model import Editor, EditorConfig, TrainedEditor
from metanet.editor.release import Release, write_release
from metanet.evaluation import measures, program
from metanet.evaluation.sweep import Sweep
from metanet.graphs.packing import pack, pack_probes
from metanet.interop import files
from metanet.interop.imported import Imported
from metanet.interop.network import network_of
from metanet.interop.units import reading_numbers
from metanet.mlp.spec import MLPSpec
from metanet.objectives.base import paths_of
from metanet.pipeline.locks import try_hold
from metanet.probes.rows import ProbeConfig, points_of
from metanet.probes.store import probe_stack

ROOT = pathlib.Path(__file__).parents[1]
KEPT = "metanet.objectives.data_minimisation.inputs_kept"
SPECS = (MLPSpec((10, 8, 2)), MLPSpec((10, 16, 8, 2), norm="layer"))
ROWS = 120


@pytest.fixture(scope="module")
def data():
    return load("synthetic", None, 0)


@pytest.fixture(scope="module")
def rows(data):
    return jax.tree.map(lambda leaf: leaf[:ROWS], data.select)


@pytest.fixture(scope="module")
def networks():
    """Of two architectures, one of them with layer norms, and of all activations."""
    stacks = [random_stack(spec, count) for spec, count in zip(SPECS, (7, 5), strict=True)]
    return [network_of(stack, one) for stack in stacks for one in range(len(stack.activation))]


def release_of(data, paths=KEPT, probe=None):
    """An editor whose masks depend on lambda and the network, as chance has it."""
    paths = paths_of(paths)
    stacks = [random_stack(spec) for spec in SPECS]
    models = pack(stacks)
    config = EditorConfig(8, 4, 4, 1, mask="inputs" if len(paths) == 1 else "both", probe=probe)
    if probe is not None:
        points = points_of(probe, data.select, 2)
        models = models.replace(probe=pack_probes([probe_stack(one, points) for one in stacks]))
    log10 = np.zeros((1, len(paths)), np.float32)
    graph = gathered(models, np.arange(1), log10, (10, 20))
    scales = scales_of(models, np.arange(6))
    params = init_editor(Editor(config, models.template), jax.random.key(0), graph, scales)
    # A fresh editor keeps everything: masks are given a last layer that does not.
    moved = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: leaf + 0.7 * moved.normal(size=leaf.shape), params)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params)
    ranges = ((0.001, 5.0),) * len(paths)
    editor = TrainedEditor(params, scales, config, models.template, ranges)
    return Release(editor, paths, data.encoding, points=16)


@pytest.fixture(scope="module")
def release(data):
    return release_of(data)


@pytest.mark.slow
def test_the_editor_of_these_tests_decides_by_the_network(release, networks, rows):
    found = [edit(release, one, lam=0.1, data=rows).features for one in networks[:4]]
    assert len(set(found)) > 1


def test_lambdas_of_many_models_are_those_of_each():
    """Of two requirements, on fronts that differ; some settings have no result."""
    scale = np.array([1.0, 7.0, 0.2])
    demands = [parse_demand("kept<=0.4", 14), parse_demand("jsd<=0.3", 14)]

    def sweep(lams, scale):  # [S, M, 2], [M]
        kept = np.ceil(10 / (1 + scale[:, None] * lams)) / 10
        jsd = np.where(lams[..., 0] > 3.5, np.nan, (scale * lams.prod(-1)) % 0.7)
        empty = np.zeros(jsd.shape)
        return Sweep(kept, jsd, empty, empty, empty, empty, empty)

    ranges, names = [(0.01, 4.0), (0.02, 2.0)], ["kept", "other"]
    many = choose_each(lambda lams: sweep(lams, scale), ranges, names, demands, 3)
    assert many.lam.shape == (3, 2) and many.tried.shape == (3, 108, 3)
    assert len({tuple(one) for one in many.lam.tolist()}) == 3
    for place in range(3):
        one = choose(
            lambda lams, of=scale[[place]]: sweep(lams[:, None], of), ranges, names, demands
        )
        np.testing.assert_array_equal(one.lam, many.lam[place])
        np.testing.assert_array_equal(one.tried, many.tried[place])


def by_chunks(task, networks):
    """Outcomes of networks, in their order."""
    given = [network_for(task, Imported(one, lambda n: n)) for one in networks]
    settings = settings_of(len(task.editor.requirement))
    layout = layout_of(task.editor.editor.template, settings, [one.spec for one in given])
    found = {}
    for chunk in layout.chunks:
        parts = edit_chunk(task, layout, [given[one] for one in chunk])
        found |= dict(zip(chunk.tolist(), parts, strict=True))
    return [found[number] for number in range(len(networks))]


def compare(release, networks, rows, require, reads="standardised", **steps):
    """Chunks and single edits come to the same."""
    task = task_of(release, require=require, data=rows, reads=reads, **steps)
    outcomes = by_chunks(task, networks)
    assert len(outcomes) == len(networks)
    for network, found in zip(networks, outcomes, strict=True):
        one = edit(release, network, require=require, data=rows, reads=reads, **steps)
        assert found.lam == pytest.approx(one.lam, rel=1e-6)
        assert found.features == one.features
        assert found.before == pytest.approx(one.before, rel=1e-4, abs=1e-6)
        assert found.after == pytest.approx(one.after, rel=1e-3, abs=1e-6)
        assert found.weights_left == sum(block.sum() for block in one.mask)
        assert bool(found.error) == bool(one.unmet)
        assert found.network.spec == one.network.spec
        assert found.network.activation == one.network.activation
        jax.tree.map(
            lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3),
            found.network.params,
            one.network.params,
        )
    return outcomes


@pytest.mark.slow
def test_edits_of_many_are_those_of_each(release, networks, rows):
    found = compare(release, networks, rows, ["features<=6"])
    assert len({one.lam for one in found}) > len(found) // 2  # each at its own lambda


@pytest.mark.long
@pytest.mark.slow
def test_also_with_steps_after_the_edit(release, networks, rows):
    few = networks[:2] + networks[-1:]
    compare(release, few, rows, ["features<=6"], newton=1, refine=2)


@pytest.mark.slow
def test_also_of_networks_that_read_the_tables_numbers(release, networks, rows):
    mean = np.array([one.mean for one in release.encoding.features])
    std = np.array([one.std for one in release.encoding.features])
    own = [reading_numbers(one, mean, std) for one in networks[:3]]
    unlabelled = frame_of(release, rows).drop(columns=release.encoding.label)
    compare(release, own, unlabelled, ["features<=6"], "numbers")


@pytest.mark.long
@pytest.mark.slow
def test_also_of_an_editor_with_probes_and_two_requirements(data, networks, rows):
    paths = (KEPT, "metanet.objectives.pruning.weights_kept")
    both = release_of(data, paths, ProbeConfig(points=16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of demands out of reach
        found = compare(both, networks[4:8], rows, ["features<=7", "weights<=0.6"])
    assert len({one.lam for one in found}) > 1 and all(len(one.lam) == 2 for one in found)


def frame_of(release, rows):
    """The rows as the table that they were read from."""
    columns = {one.column: rows.x[:, i] * one.std + one.mean
               for i, one in enumerate(release.encoding.features)}  # fmt: skip
    columns[release.encoding.label] = np.array(release.encoding.classes)[rows.y]
    return pd.DataFrame(columns)


@pytest.mark.slow
def test_networks_in_the_wrong_units_are_refused_alone(release, networks, data):
    """One is right on standardised features, the other a constant on all."""
    table = data.select
    fitted = np.linalg.lstsq(data.train.x, 2.0 * data.train.y - 1, rcond=None)[0]
    params = jax.tree.map(np.zeros_like, networks[0].params)
    params.weights[0][:, :2] = np.stack([fitted, -fitted], 1)
    params.weights[1][:2] = [[-1, 1], [1, -1]]
    right = dataclasses.replace(networks[0], params=params, activation="relu")
    nothing = jax.tree.map(np.zeros_like, params)
    constant = dataclasses.replace(right, params=nothing)
    task = task_of(release, require=["features<=10"], data=table, reads="numbers")
    wrong, good = by_chunks(task, [right, constant])
    assert wrong.error.startswith("reads: found 'numbers', with which the model is right on")
    assert wrong.network is None and wrong.lam is None
    assert good.network is not None and not good.error


# A folder


@pytest.fixture
def small_chunks(monkeypatch):
    """Three chunks of the folder's networks."""
    monkeypatch.setattr(chunks, "BATCH", 4)
    monkeypatch.setattr(chunks, "CHUNK", 1)


@pytest.fixture
def place(tmp_path, networks):
    """A folder of networks, two of them in a sub-folder."""
    folder = tmp_path / "models"
    for number, network in enumerate(networks):
        name = f"sub/n{number}.npz" if number in (2, 9) else f"n{number}.npz"
        files.write(network, folder / name)
    return folder


def job_of(place, task, **changes):
    return Job(**({"task": task, "folder": place, "out": place.parent / "out"} | changes))


@pytest.fixture(scope="module")
def task(release, rows):
    return task_of(release, require=["features<=6"], data=rows)


def state_of(network):
    """The state dict of a network with one hidden layer."""
    (first, last), biases = network.params.weights, network.params.biases
    names = ("0.weight", "0.bias", "2.weight", "2.bias")
    return dict(zip(names, (first.T, biases[0], last.T, biases[1]), strict=True))


def contents(out):
    return {path.relative_to(out).as_posix(): path.read_bytes()
            for path in sorted(out.rglob("*.npz"))}  # fmt: skip


def test_a_folder_is_edited_file_by_file_in_its_own_formats(place, task, networks, release, rows):
    np.savez(place / "state.npz", **state_of(networks[0]))
    (place / ".hidden.npz").write_bytes(b"no")
    job = job_of(place, task, activation=None)
    found = edit_folder(job, {"require": "features<=6"})
    assert found.rows["state.npz"]["error"].endswith("expected the argument activation")
    assert set(contents(job.out)) == set(files_of(place)) - {"state.npz"}
    rows_now = summary.read(job.out)
    assert found.rows == json.loads(json.dumps(rows_now)) and len(rows_now) == len(networks) + 1
    one = edit(release, place / "sub/n2.npz", require=["features<=6"], data=rows)
    row = rows_now["sub/n2.npz"]
    assert row["status"] == "edited" and row["error"] is None
    assert row["model_sha256"] == hashlib.sha256((place / "sub/n2.npz").read_bytes()).hexdigest()
    written = job.out / "sub" / "n2.npz"
    assert row["edited_sha256"] == hashlib.sha256(written.read_bytes()).hexdigest()
    assert row["features_read"] == list(one.features) and row["lambda"] == pytest.approx(one.lam)
    assert row["after"] == pytest.approx(one.after, rel=1e-3)
    assert row["weights_left"] < row["weights"] == 96
    edited = files.read(written).network
    np.testing.assert_allclose(edited.params.weights[0], one.network.params.weights[0], atol=1e-3)


@pytest.mark.slow
def test_a_state_dict_stays_one(tmp_path, networks, task):
    relu = next(one for one in networks if one.activation == "relu")
    state = state_of(relu)
    (tmp_path / "models").mkdir()
    np.savez(tmp_path / "models" / "state.npz", **state)
    job = job_of(tmp_path / "models", task, activation="relu")
    assert edit_folder(job, {}).count("edited") == 1
    with np.load(job.out / "state.npz") as found:
        assert set(found) == set(state) and found["0.weight"].shape == (8, 10)


def test_bad_files_are_named_and_the_others_edited(place, task, networks, caplog):
    content = (place / "n0.npz").read_bytes()
    (place / "damaged.npz").write_bytes(content[: len(content) // 2])
    (place / "notes.txt").write_text("these are models")
    (place / "settings.json").write_text("{}")  # called as a file of ours
    files.write(network_of(random_stack(MLPSpec((9, 8, 2)))), place / "narrow.npz")
    files.write(network_of(random_stack(MLPSpec((10, 64, 2)))), place / "wide.npz")
    os.mkfifo(place / "pipe.npz")
    job = job_of(place, task)
    found = edit_folder(job, {})
    reasons = {
        "damaged.npz": "damaged.npz: found what cannot be read",
        "notes.txt": "notes.txt: found extension '.txt', expected .safetensors",
        "settings.json": "settings.json: found extension '.json'",
        "narrow.npz": "narrow.npz: model: found 9 inputs, expected 10",
        "wide.npz": "wide.npz: stack.spec: found .* width of 64",
        "pipe.npz": "pipe.npz: found no regular file",
    }
    assert found.count("edited") == len(networks) and found.count("skipped") == len(reasons)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == len(reasons) and not any("\n" in line for line in said)
    for name, reason in reasons.items():
        assert re.search(reason, found.rows[name]["error"])
        assert any(re.search(reason, line) for line in said)
        assert found.rows[name]["after"] is None
    assert set(contents(job.out)) == {f for f in files_of(place) if f not in reasons}
    # Our own file of that name is still there, and the same call does nothing.
    assert edit_folder(job, {}).tried == 0


def test_a_demand_out_of_reach_of_one_model_stops_no_other(place, networks, release, rows):
    task = task_of(release, require=["features<=3"], data=rows)
    job = job_of(place, task)
    found = edit_folder(job, {})
    out = [name for name, row in found.rows.items() if row["status"] == "out of reach"]
    assert out == ["n4.npz"] and found.count("edited") == len(networks) - 1
    row = found.rows["n4.npz"]
    assert re.search(r"n4.npz: found features<=3 \(0.4 against 0.3\) out of", row["error"])
    assert row["after"]["inputs_kept"] == pytest.approx(0.4) and row["edited_sha256"] is None
    assert not (job.out / "n4.npz").exists()
    assert edit_folder(job, {}).tried == 0  # nor is it tried again


def stopping(job, calls):
    """The job, which is asked to stop after so many batches."""
    asked = iter(range(10**6))
    return dataclasses.replace(job, should_stop=lambda: next(asked) >= calls)


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(place, task, networks, small_chunks):
    whole = job_of(place, task, out=place.parent / "whole")
    assert edit_folder(whole, {}).tried == len(networks)
    job, reading = job_of(place, task), len(networks)
    batches = 1 + 1 + 3 + 1 + 1  # of a chunk of one batch: as it is, in other units, lambdas, edits
    with pytest.raises(Stopped, match=r"out: 4 of 12 files are done"):
        edit_folder(stopping(job, reading + batches + 3), {})
    assert len(summary.read(job.out)) == 4
    # As a kill between an edited file and its row leaves it:
    torn = next(name for name in files_of(place) if name not in summary.read(job.out))
    (job.out / torn).parent.mkdir(exist_ok=True)
    (job.out / torn).write_bytes(b"torn")
    first = {name: (job.out / name).stat().st_mtime_ns for name in summary.read(job.out)}
    assert edit_folder(job, {}).tried == 8
    assert {name: (job.out / name).stat().st_mtime_ns for name in first} == first
    assert contents(job.out) == contents(whole.out) and len(contents(job.out)) == 12
    assert (job.out / "edits.jsonl").read_bytes() == (whole.out / "edits.jsonl").read_bytes()


def refuse(monkeypatch, path):
    """Lets the system refuse to read a file from now on."""
    real = open

    def opened(file, *args, **kwargs):
        if str(file) == str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
        return real(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", opened)
    monkeypatch.setattr(io, "open", opened)


@pytest.mark.slow
def test_only_files_that_are_new_or_changed_are_edited_again(
    place, task, networks, caplog, monkeypatch
):
    job = job_of(place, task)
    edit_folder(job, {})
    (job.out / "n1.npz").unlink()
    shutil.copy(place / "n3.npz", place / "new.npz")
    files.write(networks[7], place / "n0.npz")
    (place / "n5.npz").write_bytes(b"damaged")
    (place / "n6.npz").unlink()
    whole = (job.out / "n4.npz").read_bytes()
    (job.out / "n4.npz").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = edit_folder(job, {})
    assert "n4.npz is not as it was written" in caplog.text and caplog.text.count("as it was") == 1
    assert found.tried == 4  # n0, n1, n4, new
    assert (job.out / "n4.npz").read_bytes() == whole
    assert found.rows["n5.npz"]["status"] == "skipped" and not (job.out / "n5.npz").exists()
    assert found.rows["n0.npz"]["spec"]["widths"] == [10, 16, 8, 2]
    assert "n6.npz" not in found.rows and summary.read(job.out)["n6.npz"]["status"] == "edited"
    assert (job.out / "n6.npz").exists()
    refuse(monkeypatch, place / "n7.npz")
    row = edit_folder(job, {}).rows["n7.npz"]
    assert row["status"] == "skipped" and "Input/output error" in row["error"]
    assert (job.out / "n7.npz").exists()  # it may be of what the file is


@pytest.mark.slow
def test_all_chunks_share_their_programs(place, task, small_chunks, monkeypatch):
    """Though one architecture is in one of the four alone."""
    files.write(network_of(random_stack(MLPSpec((10, 16, 16, 2)))), place / "other.npz")
    editing, made = program._editing, []
    monkeypatch.setattr(program, "_editing", lambda *key: made.append(editing(*key)) or made[-1])
    job = job_of(place, task)
    with pytest.raises(Stopped, match="4 of 13 files are done"):
        edit_folder(stopping(job, 13 + 7 + 3), {})
    measured = measures.measured._cache_size()
    assert edit_folder(job, {}).tried == 9
    assert len(set(made)) == 2  # networks as they are, and the edits
    assert [one._cache_size() for one in set(made)] == [1, 1]
    assert measures.measured._cache_size() == measured


def test_other_settings_another_process_and_files_of_others_are_refused(place, task):
    job = job_of(place, task)
    (job.out / "sub").mkdir(parents=True)
    (job.out / "sub" / "n2.npz").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"n2.npz: found a file of others, expected a folder in"):
        edit_folder(job, {"editor": "one"})
    (job.out / "sub" / "n2.npz").unlink()
    with pytest.raises(Stopped, match="0 of 12 files are read"):
        edit_folder(stopping(job, 0), {"editor": "one"})
    other = r"settings.json: found editor = one, expected two as in the command; give another --out"
    with pytest.raises(UserError, match=other):
        edit_folder(job, {"editor": "two"})
    with try_hold(job.out / ".lock"), pytest.raises(UserError, match="in use by another process"):
        edit_folder(job, {"editor": "one"})
    (job.out / "edits.jsonl").write_text('{"file": "n0.npz"}\n')
    with pytest.raises(UserError, match=r"edits.jsonl: found no row of an edit in line 1"):
        edit_folder(job, {"editor": "one"})


def test_places_where_inputs_could_be_written_over_are_refused(tmp_path):
    models, data = tmp_path / "models", tmp_path / "data" / "rows.csv"
    for out in (models, models / "edited", tmp_path, models / ".." / "models"):
        with pytest.raises(UserError, match=r"expected a folder neither in .* nor around it"):
            check_places(models, out, data)
    with pytest.raises(UserError, match=r"the folder of .*rows.csv, expected another one"):
        check_places(models, data.parent, data)
    check_places(models, tmp_path / "out", data)
    models.mkdir()
    with pytest.raises(UserError, match="models: found no files, expected networks in files of"):
        files_of(models)


# The command


@pytest.fixture(scope="module")
def command_place(release, networks, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    write_release(folder / "editor", release)
    for number in range(40):
        files.write(networks[number % len(networks)], folder / "models" / f"n{number:02}.npz")
    frame_of(release, rows).to_csv(folder / "audit.csv", index=False)
    return folder


def started(place, out, *flags, require="features<=6", code=""):
    """The command in a process of its own, in which `code` runs first."""
    given = {"editor": place / "editor", "model": place / "models", "data": place / "audit.csv",
             "out": place / out, "require": require}  # fmt: skip
    lines = [
        "import sys", "from experiments import edit, launch", code,
        "sys.exit(launch.status(edit._main, sys.argv))",
    ]  # fmt: skip
    arguments = [*(f"--{name}={value}" for name, value in given.items()), *flags]
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines), *arguments], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"},
    )  # fmt: skip


SMALL = "from metanet.editing import chunks; chunks.BATCH, chunks.CHUNK = 4, 1"
# Waits after three chunks until there is a file `go` in its output folder.
WAITING = f"""{SMALL}
import time
from metanet.editing import summary
write, written = summary.write, []
def wait(out, rows):
    write(out, rows)
    written.append(out)
    while len(written) == 3 and not (out / "go").exists():
        time.sleep(0.02)
summary.write = wait
"""


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_the_command_goes_on_after_a_kill_and_says_so_when_all_is_done(command_place, sent):
    place, out = command_place, f"out-{sent.name}"
    whole = started(place, f"whole-{sent.name}", code=SMALL)
    first = started(place, out, code=WAITING)
    deadline = time.monotonic() + 200
    while len(summary.read(place / out)) < 12:
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    second = started(place, out, code=SMALL)
    assert second.wait(200) == 2
    assert "in use by another process" in second.communicate()[1]
    first.send_signal(sent)
    (place / out / "go").touch()
    _, err = first.communicate(timeout=200)
    assert first.returncode == (0 if sent == signal.SIGTERM else -sent)
    assert ("; the same command continues" in err) == (sent == signal.SIGTERM)
    assert len(summary.read(place / out)) == 12 and not (place / out / "edit.json").exists()
    text, err = started(place, out, code=SMALL).communicate(timeout=200)
    assert "edited: 40 of 40 files" in text, err
    assert "28 of them to be edited" in err
    assert whole.wait(200) == 0
    assert contents(place / out) == contents(place / f"whole-{sent.name}")
    found = json.loads((place / out / "edit.json").read_text())
    assert found["edited"] == 40
    assert (found["family"]["models"], found["family"]["met"]) == (40, 40)
    assert 0.9 < found["family"]["at_least"] < 1.0
    again = started(place, out)
    text, err = again.communicate(timeout=200)
    assert again.returncode == 0 and text.startswith("nothing to do: all files of")


@pytest.mark.long
@pytest.mark.slow
def test_the_command_says_how_many_files_it_has_edited(command_place):
    place = command_place
    ended = started(place, "few", require="features<=3")
    text, err = ended.communicate(timeout=200)
    assert ended.returncode == 2
    last = err.strip().splitlines()[-1]
    assert re.search(r"error: .*models: found \d+ of 40 files that are not edited", last)
    assert re.search(r"edited: \d+ of 40 files", text)
    assert re.search(r"inputs_kept, mean: 1 -> 0\.\d+", text)
    other = started(place, "few", require="features<=4")
    _, err = other.communicate(timeout=200)
    assert other.returncode == 2 and "found require = ['features<=3'], expected" in err
    for flag, message in (("--require=weights<=0.3", "this editor knows features<=NUMBER"),
                          (f"--out={place}", "expected a folder neither in"),
                          (f"--model={place / 'editor'}", "of 2 files that are not")):  # fmt: skip
        bad = started(place, "none", flag)
        _, err = bad.communicate(timeout=200)
        assert bad.returncode == 2 and message in err.strip().splitlines()[-1]
