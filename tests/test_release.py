"""Trained editors as folders, and networks in an editor's units."""

import dataclasses
import hashlib
import importlib
import io
import json
import os
import sys
import zipfile

import jax
import numpy as np
import pytest
from helpers import random_stack

from metanet.core import UserError
from metanet.data import load
from metanet.editing.edit import edit
from metanet.editor.inputs import scales_of
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.editor.release import Release, load_editor, write_release
from metanet.graphs.packing import pack
from metanet.graphs.topology import Template
from metanet.interop.network import network_of
from metanet.interop.units import reading_numbers, reading_standardised
from metanet.mlp.network import apply
from metanet.mlp.spec import MLPSpec
from metanet.pipeline.releases import write_changed
from metanet.probes.rows import ProbeConfig
from metanet.storage import read_json, write_json

SPEC = MLPSpec((5, 8, 6, 2), ((0, 2),), "layer")


@pytest.fixture(scope="module")
def release():
    models = pack([random_stack(SPEC)])
    rng = np.random.default_rng(0)
    params = {"a": {"kernel": rng.normal(size=(3, 2)).astype(np.float32)},
              "gamma": np.float32(0.1)}  # fmt: skip
    config = EditorConfig(
        4, 4, 4, layers=1, mask="inputs", learned_probe=6, probe=ProbeConfig(points=7, seed=3)
    )
    editor = TrainedEditor(params, scales_of(models, np.arange(3)), config, models.template)
    encoding = load("synthetic", None, 0).encoding
    path = "metanet.objectives.data_minimisation.inputs_kept"
    return Release(editor, (path,), encoding, True, 64, {"task": "dm", "seed": 3})


def test_a_release_is_read_as_it_was_written(release, tmp_path):
    write_release(tmp_path / "gmn", release)
    found = load_editor(tmp_path / "gmn")
    pairs = (found.editor.params, release.editor.params), (
        vars(found.editor.scales), vars(release.editor.scales))  # fmt: skip
    for ours, theirs in pairs:
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    for name in ("config", "template", "lambda_range"):
        assert getattr(found.editor, name) == getattr(release.editor, name)
    for name in ("requirement", "encoding", "balanced", "points", "about", "names"):
        assert getattr(found, name) == getattr(release, name)
    assert found.names == ("inputs_kept",) and len(found.features) == 10


def test_a_release_is_written_anew_if_it_is_damaged_or_edits_otherwise(release, tmp_path, caplog):
    home = tmp_path / "gmn"
    write_changed(home, release)
    before = [path.stat().st_mtime_ns for path in sorted(home.iterdir())]
    write_changed(home, dataclasses.replace(release, about={"command": "another"}))
    assert [path.stat().st_mtime_ns for path in sorted(home.iterdir())] == before

    (home / "arrays.npz").write_bytes((home / "arrays.npz").read_bytes()[:-9])
    write_changed(home, release)
    assert "arrays.npz: its SHA-256 is" in caplog.text and "written anew" in caplog.text
    for changes in (
        {"params": release.editor.params | {"gamma": np.float32(0.2)}},
        {"lambda_range": ((0.01, 0.2),)},
    ):
        write_changed(home, dataclasses.replace(release, editor=release.editor.replace(**changes)))
        for name, value in changes.items():
            stored = getattr(load_editor(home).editor, name)
            jax.tree.map(np.testing.assert_array_equal, stored, value)


@pytest.mark.parametrize("covariance", [None, np.eye(4)])
def test_an_editor_that_imputes_has_moments_of_its_inputs(release, tmp_path, covariance):
    config = dataclasses.replace(release.editor.config, imputation=True)
    moments = {"input_mean": np.zeros(5, np.float32), "input_covariance": np.eye(5)}
    good = release.editor.replace(config=config, scales=release.editor.scales.replace(**moments))
    write_release(tmp_path, dataclasses.replace(release, editor=good))
    found = load_editor(tmp_path).editor
    np.testing.assert_array_equal(found.scales.input_covariance, np.eye(5))
    bad = good.replace(scales=good.scales.replace(input_covariance=covariance))
    write_release(tmp_path, dataclasses.replace(release, editor=bad))
    with pytest.raises(UserError, match=r"editor.json: found no scales/input_covariance of shape"):
        load_editor(tmp_path)


def test_writing_again_leaves_nothing_of_the_first(release, tmp_path):
    write_release(tmp_path, release)
    params = {"b": np.ones(2, np.float32)}
    other = dataclasses.replace(release, editor=release.editor.replace(params=params))
    write_release(tmp_path, other)
    assert load_editor(tmp_path).editor.params.keys() == {"b"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.npz", "editor.json"]


def damaged(folder, name, change):
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if change is not None:
        path.write_bytes(change(content))


def edited_json(key, value=None):
    def change(content):
        stored = json.loads(content)
        del stored[key], stored["sha256"]  # as one without a checksum: its values are looked at
        return json.dumps(stored if value is None else stored | {key: value}).encode()

    return change


def template(**sizes):
    return edited_json("template", {"n_in": 5, "depth": 2, "width": 8, "n_out": 2} | sizes)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("arrays.npz", None, "arrays.npz"),
        ("arrays.npz", lambda c: c[:-100], "its SHA-256 is .* the file is damaged"),
        ("arrays.npz", lambda c: bytes([c[0] ^ 1]) + c[1:], "its SHA-256 is"),
        ("arrays.npz", lambda c: b"", "its SHA-256 is"),
        ("editor.json", None, r"found no editor.json there, expected a folder RUN/editors/NAME"),
        ("editor.json", lambda c: c[: len(c) // 2], "the file is damaged"),
        ("editor.json", lambda c: b"[]", "found a list, expected"),
        ("editor.json", lambda c: b"\xff\xfe\x00", "the file is damaged"),
        ("editor.json", lambda c: c.replace(b'"points": ', b'"points": 1'), "sha256 does not fit"),
        ("editor.json", edited_json("format", 7), "found format 7, expected 1"),
        ("editor.json", edited_json("arrays"), "found no 'arrays'"),
        ("editor.json", edited_json("encoding"), "found no 'encoding'"),
        ("editor.json", edited_json("config", {"node_width": "x"}), "the file is damaged|expected"),
        ("editor.json", edited_json("config", {"width": 3}), "the file is damaged"),
        *[
            ("editor.json", edited_json("config", {key: value}), f"config.{key} {value!r}, not of")
            for key, value in {"learned_probe": 2.0, "layers": True, "edit": 1}.items()
        ],
        ("editor.json", edited_json("config", {"learned_probe": 5000}), "found 5000, expected 0"),
        *[
            ("editor.json", edited_json("config", {"probe": probe}), message)
            for probe, message in (
                ({"points": 2.5}, "config.probe.points 2.5, not of type int"),
                ({"points": 0}, "config key editor.probe.points: found 0, expected at least 1"),
                (5, "the file is damaged"),
            )
        ],
        ("editor.json", edited_json("lambda_range", [1, 2]), "the file is damaged"),
        ("editor.json", edited_json("requirement", ["a", "b"]), "found 2 requirements, expected"),
        ("editor.json", edited_json("template", {"n_in": 5}), "the file is damaged"),
        (
            "editor.json",
            template(width=10**12),
            "found .*: 1000000000000.*expected positive",
        ),
        ("editor.json", template(depth=10**5), "expected positive numbers of layers and neurons"),
        ("editor.json", template(n_in=0), "expected positive numbers of layers and neurons"),
        ("editor.json", template(depth=True), "expected positive numbers of layers and neurons"),
        ("editor.json", edited_json("points", 10**12), "found points 1000000000000, expected 1 to"),
        ("editor.json", edited_json("points", -1), "found points -1, expected 1 to"),
        ("editor.json", lambda c: b"[" * 10**6, "maximum recursion depth.*the file is damaged"),
    ],
)
def test_a_damaged_release_is_refused_in_one_line(release, tmp_path, name, change, message):
    write_release(tmp_path, release)
    damaged(tmp_path, name, change)
    with pytest.raises(UserError, match=message) as caught:
        load_editor(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def rewritten(folder, content):
    """Replaces the arrays of a release, and their digest."""
    (folder / "arrays.npz").write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    path = folder / "editor.json"
    path.write_bytes(edited_json("arrays", found)(path.read_bytes()))


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(f"{name.replace('__', '/')}.npy", content)
    return buffer.getvalue()


def npy(array=None, header=None):
    buffer = io.BytesIO()
    if header is None:
        np.save(buffer, array, allow_pickle=True)
        return buffer.getvalue()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


class Payload:
    """Whoever unpickles this makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive(params__a=npy(np.array([Payload()], object))), "dtype object, expected numbers"),
        (archive(params__a=npy(header=b"{'descr': '<f4', 'fortran_order': False, 'shape': (10**12,)"
                               b", }\n")), "the file is damaged"),
        (archive(params__a=npy(header=b"{'descr': '<f4', 'fortran_order': False, 'shape': "
                               b"(1000000000000,), }\n")), "found 0 bytes, expected 4000000000000"),
        (archive(params__a=bytes(2**28 + 1)), "found 268435457 bytes when unpacked, expected at"),
        (b"no archive", "no archive"),
    ],
    ids=["object", "code", "claim", "bomb", "text"],
)  # fmt: skip
def test_arrays_are_numbers_of_the_size_that_they_are(
    release, tmp_path, monkeypatch, content, message
):
    monkeypatch.chdir(tmp_path)
    write_release(tmp_path / "gmn", release)
    rewritten(tmp_path / "gmn", content)
    with pytest.raises(UserError, match=message) as caught:
        load_editor(tmp_path / "gmn")
    assert "\n" not in str(caught.value) and not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("name", ["editor.json", "arrays.npz"])
def test_a_link_out_of_a_release_is_refused_and_one_to_it_is_not(release, tmp_path, name):
    write_release(tmp_path / "gmn", release)
    (tmp_path / "link").symlink_to("gmn")
    assert load_editor(tmp_path / "link").names == release.names
    moved = tmp_path / "elsewhere" / name
    moved.parent.mkdir()
    (tmp_path / "gmn" / name).rename(moved)
    (tmp_path / "gmn" / name).symlink_to(moved)
    for place in ("gmn", "link"):
        with pytest.raises(UserError, match=f"{name}: found a link to {moved}, expected a file in"):
            load_editor(tmp_path / place)


def test_what_is_no_file_in_the_place_of_arrays_is_refused(release, tmp_path):
    write_release(tmp_path, release)
    (tmp_path / "arrays.npz").unlink()
    os.mkfifo(tmp_path / "arrays.npz")
    with pytest.raises(UserError, match="found 0 bytes, expected a file of at most"):
        load_editor(tmp_path)


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A module on Python's path that leaves a trace when it is imported."""
    (tmp_path / "stranger.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('imported').touch()\n"
        "from metanet.editor.layers import Layer\ndef paid(view): return view.input_keep.mean()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "imported"
    sys.modules.pop("stranger", None)


def with_layer(folder, layer):
    path = folder / "editor.json"
    stored = read_json(path)
    stored["config"]["layer"] = layer
    write_json(path, stored)


@pytest.mark.parametrize(
    "layer", ["stranger.Layer", "metanet", "metanet./tmp/x.Layer", "..stranger.Layer", "", 3, None]
)
def test_a_layer_of_a_file_is_not_imported_for_that_file(release, tmp_path, stranger, layer):
    write_release(tmp_path / "gmn", release)
    with_layer(tmp_path / "gmn", layer)
    with pytest.raises(UserError, match=r"editor.json: config.layer: found .*expected metanet's"):
        load_editor(tmp_path / "gmn")
    assert not stranger.exists()


def test_a_layer_that_the_program_has_imported_is_known(release, tmp_path, stranger):
    write_release(tmp_path / "gmn", release)
    with_layer(tmp_path / "gmn", "stranger.Layer")
    importlib.import_module("stranger")
    assert load_editor(tmp_path / "gmn").editor.config.layer == "stranger.Layer"


def test_a_requirement_of_a_file_is_not_imported_for_that_file(release, tmp_path, stranger):
    data = load("synthetic", None, 0)
    config = dataclasses.replace(release.editor.config, probe=None)
    editor = release.editor.replace(config=config, template=Template(10, 1, 8, 2))
    other = dataclasses.replace(release, requirement=("stranger.paid",), editor=editor)
    write_release(tmp_path / "gmn", other)
    found = load_editor(tmp_path / "gmn")
    assert found.names == ("paid",)
    network = network_of(random_stack(MLPSpec((10, 8, 2))), 0)
    with pytest.raises(UserError, match=r"editor.requirement: found stranger.paid, expected metan"):
        edit(found, network, require=["paid<=0.5"], data=data.select)
    assert not stranger.exists()


@pytest.mark.parametrize("name", ["../editors/adult-dm", "adult-dm/../bank-dm", "adult-dm/", "."])
def test_a_name_of_an_editor_is_no_path_into_the_package(name):
    with pytest.raises(UserError, match=r"found no editor\.json there"):
        load_editor(name)


def test_an_unknown_name_is_refused_with_those_that_come_with_metanet():
    with pytest.raises(UserError, match=r"adult-nothing: found no editor.json there"):
        load_editor("adult-nothing")


@pytest.mark.parametrize("skips", [(), ((0, 2),)])
def test_a_network_in_other_units_computes_the_same(skips):
    spec = MLPSpec((5, 8, 6, 2), skips, "layer")
    network = network_of(random_stack(spec), 1)
    rng = np.random.default_rng(0)
    numbers = rng.normal(3.0, 10.0, size=(50, 5)).astype(np.float32)
    mean, std = rng.normal(size=5), rng.uniform(0.5, 20.0, size=5)
    standardised = ((numbers - mean) / std).astype(np.float32)

    def logits(network, x):
        return np.asarray(apply(spec, network.params, 1, x))

    expected = logits(network, numbers)
    other = reading_standardised(network, mean, std)
    np.testing.assert_allclose(logits(other, standardised), expected, rtol=1e-4, atol=1e-4)
    again = reading_numbers(other, mean, std)
    np.testing.assert_allclose(logits(again, numbers), expected, rtol=1e-4, atol=1e-4)
    dropped = other.params.weights[0].copy()
    dropped[2] = 0.0
    params = other.params.replace(weights=(dropped, *other.params.weights[1:]))
    back = reading_numbers(dataclasses.replace(other, params=params), mean, std)
    assert not back.params.weights[0][2].any()
