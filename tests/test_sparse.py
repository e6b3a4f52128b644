"""Sparse arrays and files hold a network exactly; damaged ones are refused in one line."""

import re

import jax
import numpy as np
import pytest
from test_compact import networks

from metanet.core import UserError
from metanet.interop.sparse import dense, read_sparse, sparse, write_sparse
from metanet.mlp.spec import NORMS


@pytest.fixture
def network():
    """One with a layer norm, a skip and weights that are 0 and not."""
    return next(
        one
        for one in networks("layer", 100)
        if one.spec.skips and 3 < np.count_nonzero(one.params.weights[0]) < one.spec.n_weights
    )


def equal(one, other):
    assert (one.spec, one.activation) == (other.spec, other.activation)
    for ours, theirs in zip(*map(jax.tree.leaves, (one.params, other.params)), strict=True):
        assert ours.dtype == theirs.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("norm", NORMS)
def test_dense_is_the_inverse_of_sparse(norm):
    for network in networks(norm, 200):
        arrays = sparse(network)
        stored = sum(arrays[f"data_{k}"].size for k in range(len(network.spec.blocks)))
        assert stored == sum(map(np.count_nonzero, network.params.weights))
        equal(dense(arrays), network)


@pytest.mark.parametrize("norm", NORMS)
def test_files_hold_the_network(norm, tmp_path):
    path = tmp_path / "models" / "one.npz"
    for network in networks(norm, 20):
        write_sparse(path, network)
        equal(read_sparse(path), network)
    assert [found.name for found in path.parent.iterdir()] == ["one.npz"]


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


# What is written instead of one array, and what is said about it; None removes it.
DAMAGE = {
    "missing": ("data_0", lambda a: None, "data_0: found no array of this name, expected one"),
    "none": ("widths", lambda a: None, "widths: found no array"),
    "unknown": ("extra", lambda a: np.zeros(1), "extra: found an array of this name"),
    "dtype": ("biases_0", lambda a: a.astype(np.float64), "biases_0: found float64"),
    "fraction": ("widths", lambda a: a + 0.5, "widths: found float64, expected int64"),
    "bias": ("biases_1", lambda a: a[:-1], r"biases_1: found shape"),
    "scale": ("scales_0", lambda a: np.append(a, a), "scales_0: found shape"),
    "width": ("widths", lambda a: a + 1, "found shape"),
    "huge": ("widths", lambda a: changed(a, 1, 2**40), "found [0-9]+ weights, expected at most"),
    "empty": ("widths", lambda a: changed(a, 1, 0), "widths: found"),
    "square": ("widths", lambda a: a[None], "widths, skips: found shapes"),
    "skip": ("skips", lambda a: a + 7, "skips: found"),
    "pairs": ("skips", lambda a: a.ravel(), "widths, skips: found shapes"),
    "norm": ("norm", lambda a: np.array("group"), "norm: found 'group'"),
    "other norm": ("norm", lambda a: np.array("batch"), "scales_0: found an array"),
    "names": ("activation", lambda a: np.array(["relu"] * 2), r"activation: found shape \(2,\)"),
    "activation": ("activation", lambda a: np.array("swish"), "activation: found 'swish'"),
    "rows": ("indptr_0", lambda a: a[:-1], "indptr_0: found shape"),
    "end": ("indptr_0", lambda a: changed(a, -1, a[-1] - 1), "indices_0: found shape"),
    "negative end": ("indptr_0", lambda a: changed(a, -1, -1), "indices_0: found shape"),
    "start": ("indptr_0", lambda a: changed(a, 0, 1), "indptr_0: found no compressed rows"),
    "order": ("indptr_0", lambda a: changed(a, 1, a[-1] + 1), "found no compressed rows"),
    "column": ("indices_0", lambda a: changed(a, 0, 99), "indices_0, indptr_0: found no"),
    "sign": ("indices_0", lambda a: changed(a, 0, -1), "indices_0, indptr_0: found no"),
    "twice": ("indices_0", lambda a: a * 0, "indices_0: found a row that does not ascend"),
    "weights": ("data_0", lambda a: a[1:], "data_0: found shape"),
    "nan": ("data_0", lambda a: changed(a, 0, np.nan), r"weights\[0\]: found a number"),
    "object": ("data_0", lambda a: a.astype(object), "found dtype object, expected numbers"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_arrays_that_are_no_network_are_refused_by_name(name, network, tmp_path):
    key, change, message = DAMAGE[name]
    arrays = sparse(network)
    arrays[key] = change(arrays.get(key))
    if arrays[key] is None:
        del arrays[key]
    if name != "object":
        with pytest.raises(ValueError, match=message):
            dense(arrays)
    path = tmp_path / "one.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=f"{re.escape(str(path))}: found.*{message}") as refused:
        read_sparse(path)
    assert "\n" not in str(refused.value)


def test_files_with_any_damage_are_refused_in_one_line(network, tmp_path):
    path = tmp_path / "one.npz"
    write_sparse(path, network)
    whole, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for index in range(600):
        damaged = bytearray(whole)
        if index % 3 == 0:
            damaged = damaged[: rng.integers(len(damaged))]
        else:
            for place in rng.integers(len(damaged), size=1 + index % 4):
                damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            equal(read_sparse(path), network)  # a bit that nobody reads: of a date, a permission
        except UserError as error:
            refused += 1
            assert str(error).startswith(f"{path}: found ") and "\n" not in str(error)
    assert refused > 300


def test_a_small_file_that_claims_much_memory_is_refused(network, tmp_path):
    arrays = sparse(network)
    path = tmp_path / "one.npz"
    np.savez_compressed(path, **arrays | {"data_0": np.zeros(5 * 10**7, np.float32)})
    assert path.stat().st_size < 10**6
    with pytest.raises(UserError, match=r"found 200\d* bytes when unpacked, expected at most"):
        read_sparse(path)
    deep = {"widths": np.ones(10**6, np.int64), "skips": np.zeros((0, 2), np.int64)}
    np.savez_compressed(path, **arrays | deep)
    with pytest.raises(UserError, match="found 1000000 layers, expected at most 1000"):
        read_sparse(path)


def test_files_that_are_no_archive_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"none\.npz: found No such file or directory"):
        read_sparse(tmp_path / "none.npz")
    with pytest.raises(UserError, match="found Is a directory"):
        read_sparse(tmp_path)
    for name, content in (("empty", b""), ("text", b"a network\n" * 9)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name}: found a damaged file"):
            read_sparse(tmp_path / name)
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(UserError, match=r"array\.npy: found a damaged file"):
        read_sparse(tmp_path / "array.npy")
