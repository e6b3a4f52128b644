"""Whatever a file holds, it is read as a network of finite numbers or refused in one line."""

import time

import jax
import numpy as np
import pytest

from metanet.core import UserError
from metanet.interop.files import read

for package in ("onnx", "safetensors", "torch"):
    pytest.importorskip(package)
hostile_files = pytest.importorskip("hostile_files")

SECONDS = 10
CASES = {f"{name}{extension}": content for extension, name, content in hostile_files.hostile()}


def outcome(path):
    """What becomes of a file: a network, or the error's line."""
    start = time.monotonic()
    try:
        return read(path, "relu").network
    except UserError as error:
        line = str(error)
        assert line.startswith(f"{path}: ") and "found" in line and "expected" in line
        assert "\n" not in line and len(line) < len(str(path)) + 950
        return line
    finally:
        assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_refused_in_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(CASES[name])
    assert isinstance(outcome(path), str)
    assert list(tmp_path.iterdir()) == [path]  # no payload was run


def test_a_damaged_file_is_refused_or_a_network(tmp_path):
    kinds = {"cut": 0, "flipped": 0}
    for extension, name, content in hostile_files.damaged(200):
        path = tmp_path / f"file{extension}"
        path.write_bytes(content)
        found = outcome(path)
        if not isinstance(found, str):
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.params))
            kinds[name.split("-")[0]] += 1
    assert 0 < kinds["flipped"] < 90  # some changes are of a weight's digits


def test_valid_files_are_networks(tmp_path):
    for extension, content in hostile_files.valid():
        path = tmp_path / f"file{extension}"
        path.write_bytes(content)
        assert read(path, "relu").network.spec.widths == hostile_files.WIDTHS


def test_what_is_no_file_is_refused(tmp_path):
    folder = tmp_path / "folder.onnx"
    folder.mkdir()
    with pytest.raises(UserError, match=r"folder\.onnx: found no regular file, expected an ONNX"):
        read(folder)
    with pytest.raises(UserError, match=r"none\.npz: found what cannot be read \(FileNotFound"):
        read(tmp_path / "none.npz")
    with pytest.raises(UserError, match=r"found no regular file"):
        (tmp_path / "zero.pt").symlink_to("/dev/zero")
        read(tmp_path / "zero.pt")
    large = tmp_path / "large.safetensors"
    with open(large, "wb") as file:
        file.truncate(10_000_000_000)
    with pytest.raises(UserError, match=r"large.*: found 10000000000 bytes, expected at most"):
        read(large)
