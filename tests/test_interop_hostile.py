"""Whatever a file holds, it is read as a network of finite numbers or refused in one line."""

import re
import time

import jax
import numpy as np
import pytest
from helpers import measured_commands

from metanet.core import UserError
from metanet.interop.files import read

for package in ("onnx", "safetensors", "torch"):
    pytest.importorskip(package)
hostile_files = pytest.importorskip("hostile_files")

SECONDS, BYTES = 10, 2**31
CASES = {f"{name}{extension}": content for extension, name, content in hostile_files.hostile()}
# What stops a file: where one guard falls, another's message must not pass for it.
REASONS = {
    "endless-header.safetensors": "a header too long, or none",
    "ten-gigabytes.safetensors": "invalid shape, data type, or offset",
    "int8.safetensors": "array '0.weight': found data type I8",
    "nan.safetensors": "0: found a number that is not finite",
    "own-nan.safetensors": r"weights\[0\]: found a number that is not finite",
    "own-nested-json.safetensors": "header: found no JSON",
    "own-huge-widths.safetensors": "header: found 50000000000 weights",
    "own-float64.safetensors": r"array 'biases.1': found float64 of shape \(2,\), expected float32",
    "own-missing.npz": r"array 'biases.0': found none, expected float32 of shape \(4,\)",
    "objects.npz": "array '0.weight.npy': found dtype object, expected numbers",
    "bomb.npz": "file: found 209715200 bytes when unpacked",
    "lying-directory.npz": "file: found 2147484128 bytes when unpacked",
    "ten-gigabytes.npz": "found 0 bytes, expected 40000000000 of float32",
    "negative.npz": r"found 48 bytes, expected 48 of float32 of shape \(-4, -3\)",
    "short.npz": "found 47 bytes, expected 48",
    "duplicate-name.npz": "found 2 arrays, 1 names",
    "payload.pt": r"pickle: found (posix|nt).mkdir, expected a state dict",
    "bytearray.pt": "pickle: found builtins.bytearray",
    "storage-larger-than-the-file.pt": "found storage 0 of 2147483647 numbers in 48 bytes",
    "storage-without-end.pt": "found storage 0 of -1 numbers in 48 bytes",
    "shape-larger-than-its-storage.pt": r"found a tensor of shape \(65535, 65535\) in 12 numbers",
    "offset.pt": r"found a tensor of shape \(4, 3\) in 12 numbers",
    "negative-shape.pt": r"found a tensor of shape \(-1, 3\) in 12 numbers",
    "expanded.pt": r"found a tensor of shape \(100000, 100000\) in 1 numbers",
    "nested-tuples.pt": "tuples in tuples in tuples",
    "doubled-tuples.pt": "tuples in tuples in tuples",
    "compressed.pt": "found compression, expected none",
    "wrong-checksum.pt": "Bad CRC-32",
    "many-empty-nodes.onnx": "bytes beside the numbers of tensors",
    "many-empty-messages.onnx": "bytes beside the numbers of tensors",
    "many-nodes.onnx": "graph: found 21003 nodes",
    "ten-gigabytes.onnx": r"initialiser 'w': found shape \(10000000000, 1\)",
    "short-data.onnx": "initialiser 'w': found 11.75 numbers, expected 12",
    "external-root.onnx": "initialiser 'w': found numbers in another file",
    "cycle.onnx": r"Relu \(node 0\): found input 'b', which nothing before it computes",
    "duplicate-name.onnx": "initialiser 'w': found its name twice",
    "loop.onnx": r"Loop \(node 1\): found attribute 'body'",
    "a-weight-for-every-node.onnx": "found 21000000 numbers up to it",
}


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
    line = outcome(path)
    assert isinstance(line, str) and re.search(REASONS.get(name, "found"), line)
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


@pytest.mark.slow
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long)])
def test_the_command_refuses_hostile_and_damaged_files_in_one_line_in_little_time_and_memory(
    tmp_path, every
):
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    contents = dict(CASES)
    for number, (extension, name, content) in enumerate(hostile_files.damaged(100, seed=1)):
        contents[f"damaged-{number}-{name}{extension}"] = content
    assert len(contents) >= 200
    contents = dict(list(contents.items())[::every])
    for name, content in contents.items():
        (given / name).write_bytes(content)
    flags = [f"--out={out}", "--editor=adult-pruning", "--data=none.csv",
             "--require=weights<=0.2", "--activation=relu"]  # fmt: skip
    commands = [([f"--model={given / name}", *flags], {}) for name in contents]
    ended = measured_commands("experiments.edit", "_main", commands, cwd=tmp_path, timeout=900)
    wrong = [
        (name, status, seconds, kib, err)
        for name, (status, _, err, seconds, kib) in zip(contents, ended, strict=True)
        if status != 2 or seconds > SECONDS or kib * 1024 > BYTES or not one_error(err)
    ]
    assert wrong == [] and not out.exists()
    assert sorted(path.name for path in given.iterdir()) == sorted(contents)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given"]


def one_error(text):
    lines = text.splitlines()
    return len(lines) == 1 and lines[0].startswith("error: ") and "found" in text
