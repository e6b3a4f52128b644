"""Trained editors as folders, and networks in an editor's units."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from helpers import random_stack

from metanet.core import UserError
from metanet.data import load
from metanet.editor.inputs import scales_of
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.editor.release import Release, load_editor, write_release
from metanet.graphs.packing import pack
from metanet.interop.network import network_of
from metanet.interop.units import reading_numbers, reading_standardised
from metanet.mlp.network import apply
from metanet.mlp.spec import MLPSpec
from metanet.probes.rows import ProbeConfig

SPEC = MLPSpec((5, 8, 6, 2), ((0, 2),), "layer")


@pytest.fixture(scope="module")
def release():
    models = pack([random_stack(SPEC)])
    rng = np.random.default_rng(0)
    params = {"a": {"kernel": rng.normal(size=(3, 2)).astype(np.float32)},
              "gamma": np.float32(0.1)}  # fmt: skip
    config = EditorConfig(4, 4, 4, layers=1, mask="inputs", probe=ProbeConfig(points=7, seed=3))
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
        ("editor.json", edited_json("lambda_range", [1, 2]), "the file is damaged"),
        ("editor.json", edited_json("requirement", ["a", "b"]), "found 2 requirements, expected"),
        ("editor.json", edited_json("template", {"n_in": 5}), "the file is damaged"),
    ],
)
def test_a_damaged_release_is_refused_in_one_line(release, tmp_path, name, change, message):
    write_release(tmp_path, release)
    damaged(tmp_path, name, change)
    with pytest.raises(UserError, match=message) as caught:
        load_editor(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


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
