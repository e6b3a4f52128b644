"""Networks in files: written and read again, in every format, and state dicts."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers import edited_network

from metanet.core import UserError
from metanet.interop.arrays import from_arrays
from metanet.interop.files import read, write
from metanet.interop.network import ACTIVATIONS, Network
from metanet.interop.state_dict import from_state_dict, to_state_dict
from metanet.interop.verify import logits
from metanet.mlp.network import MLPParams, shapes_of
from metanet.mlp.spec import MLPSpec

OWN = [".safetensors", ".npz"]
X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def random_network(spec, activation="silu"):
    rng = np.random.default_rng(0)
    leaves = {
        name: tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)
        for name, shapes in shapes_of(spec).items()
    }
    return Network(spec, MLPParams(**leaves), activation)


SKIPS = MLPSpec((3, 4, 5, 6, 2), ((0, 2), (0, 3)), "layer")
PLAIN = MLPSpec((3, 4, 5, 2))


def same(one, other):
    assert one.spec == other.spec and one.activation == other.activation
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


@pytest.mark.parametrize("extension", OWN)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_metanet_s_own_files(tmp_path, extension, activation):
    if extension == ".safetensors":
        pytest.importorskip("safetensors")
    network = random_network(dataclasses.replace(SKIPS, norm="batch"), activation)
    path = tmp_path / f"network{extension}"
    write(network, path)
    found = read(path)
    same(found.network, network)
    same(found.restore(edited_network(network)), edited_network(network))
    assert found.classes == found.features == ()
    other = next(name for name in ACTIVATIONS if name != activation)
    with pytest.raises(UserError, match=f"found activation {activation}, expected {other}"):
        read(path, other)
    named = dataclasses.replace(found, classes=("no", "yes"), features=("a", "b", "ü"))
    write(named, path)
    assert read(path).classes == ("no", "yes") and read(path).features == ("a", "b", "ü")


@pytest.mark.parametrize("extension", [".onnx", ".pt", ".pth"])
def test_a_network_in_others_formats(tmp_path, extension):
    pytest.importorskip("onnx" if extension == ".onnx" else "torch")
    path = tmp_path / f"network{extension}"
    for activation in ACTIVATIONS:
        network = random_network(dataclasses.replace(PLAIN, norm="layer"), activation)
        write(network, path)
        same(read(path, None if extension == ".onnx" else activation).network, network)


def test_a_network_with_skips_as_onnx(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    write(random_network(SKIPS), tmp_path / "n.onnx")
    same(read(tmp_path / "n.onnx").network, random_network(SKIPS))
    session = runtime.InferenceSession(tmp_path / "n.onnx")
    np.testing.assert_allclose(
        session.run(None, {"x": X})[0], logits(random_network(SKIPS), X), atol=1e-5
    )


@pytest.mark.parametrize("extension", [".safetensors", ".npz", ".pt"])
def test_a_state_dict_goes_back_as_one(tmp_path, extension):
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    torch.manual_seed(0)
    nn = torch.nn
    module = nn.Sequential(  # twelve layers: their names are no order of texts
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.BatchNorm1d(4),
        nn.ReLU(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2),
    ).eval()  # fmt: skip
    module[1].running_mean.normal_()
    path = tmp_path / f"state{extension}"
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    if extension == ".pt":
        torch.save(module.state_dict(), path)
    elif extension == ".npz":
        np.savez(path, **state)
    else:
        pytest.importorskip("safetensors.numpy").save_file(state, path)
    with pytest.raises(
        UserError, match=r"state\.\w+: file: found a state dict, which does not tell"
    ):
        read(path)
    found = read(path, "relu")
    with torch.no_grad():
        np.testing.assert_allclose(module(torch.from_numpy(X)), logits(found.network, X), atol=1e-5)
    for network in (found.network, edited_network(found.network)):
        write(dataclasses.replace(found, network=network), path)
        if extension == ".pt":
            back = torch.load(path, weights_only=True)
        elif extension == ".npz":
            back = {key: torch.from_numpy(value) for key, value in np.load(path).items()}
        else:
            back = pytest.importorskip("safetensors.torch").load_file(path)
        assert back.keys() == module.state_dict().keys()
        if network is found.network:
            assert all(torch.equal(back[key], value) for key, value in module.state_dict().items())
        module.load_state_dict(back)
        with torch.no_grad():
            np.testing.assert_allclose(module(torch.from_numpy(X)), logits(network, X), atol=1e-5)


@pytest.mark.parametrize("extension", [".safetensors", ".pt"])
def test_bfloat16_comes_back(tmp_path, extension):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    state = module.bfloat16().state_dict()
    path = tmp_path / f"state{extension}"
    torch.save(state, path) if extension == ".pt" else safetensors.save_file(state, path)
    write(read(path, "relu"), path)
    again = torch.load(path) if extension == ".pt" else safetensors.load_file(path)
    assert all(torch.equal(again[key], value) for key, value in state.items())


def test_skips_of_a_state_dict_are_named():
    network = random_network(SKIPS)
    state = to_state_dict(network)
    names = {(0, 2): "skips.0", (0, 3): "skips.1"}
    found = from_state_dict(state, "silu", norm="layer", skips=names)
    same(found.network, network)
    back = found.restore(found.network)
    assert back.keys() == state.keys()
    jax.tree.map(np.testing.assert_array_equal, back, state)


def changed(key, value):
    return to_state_dict(random_network(PLAIN)) | {key: value}


@pytest.mark.parametrize(
    ("state", "options", "message"),
    [
        (changed("layers.1.weight", np.zeros((5, 7), "f4")), {},
         r"^layers.1: found a weight of shape \(7, 5\), expected \(4, 5\)"),
        (changed("layers.1.bias", np.zeros(4, "f4")), {}, r"^layers.1: found a bias of"),
        (changed("layers.1.weight", np.zeros((5, 4), int)), {}, "^layers.1.weight: found d"),
        (changed("layers.1.gain", np.zeros(4, "f4")), {}, "^layers.1.gain: found an"),
        (changed("layers.1.running_mean", np.zeros(4, "f4")), {}, None),
        (changed("n.running_mean", np.zeros(4, "f4")), {}, "^n: found a part of a layer"),
        (changed("n.weight", np.zeros(4, "f4")), {}, "^model: found 1 normalisations, expected 2"),
        (changed("n.weight", np.zeros((2, 2, 2), "f4")), {}, "^model: found 1 normalisations"),
        (changed("layers.0.bias", np.zeros(4, "f4")), {"norm": "batch"}, "^norm: found 'batch'"),
        (changed("layers.0.bias", np.zeros(4, "f4")), {"skips": {(0, 2): "x"}}, r"^skips\(0, 2\)"),
        (changed("layers.0.bias", np.zeros(4, "f4")), {"skips": {(0, 2): "layers.1"}}, "^layers"),
        ({}, {}, "^model: found 0 linear layers"),
    ],
)  # fmt: skip
def test_state_dicts_that_do_not_fit_are_refused(state, options, message):
    if message is None:
        from_state_dict(state, "relu")
        return
    with pytest.raises(ValueError, match=message):
        from_state_dict(state, "relu", **options)


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_plain_arrays_and_back(norm, dtype):
    rng = np.random.default_rng(0)
    given = {
        "weights": [rng.normal(size=s).astype(dtype) for s in [(3, 4), (3, 5), (4, 5), (5, 1)]],
        "biases": [rng.normal(size=n).astype(dtype) for n in (4, 5, 1)],
    }
    groups = {"none": (), "layer": ("scales", "shifts")}
    for group in groups.get(norm, ("scales", "shifts", "means", "variances")):
        given[group] = [rng.uniform(0.5, 1, size=n).astype(dtype) for n in (4, 5)]
    found = from_arrays(activation="gelu_erf", skips=[(0, 2)], epsilon=1e-3, **given)
    assert found.network.spec == MLPSpec((3, 4, 5, 2), ((0, 2),), norm)
    back = found.restore(found.network)
    assert {array.dtype for group in back.values() for array in group} == {np.dtype(dtype)}
    for group, arrays in given.items():
        jax.tree.map(np.testing.assert_array_equal, back[group], arrays)
    other = edited_network(found.network)
    again = from_arrays(activation="gelu_erf", skips=[(0, 2)], epsilon=1e-3, **found.restore(other))
    difference = np.diff(logits(again.network, X)) - np.diff(logits(other, X))
    assert np.abs(difference).max() < (0.1 if dtype is np.float16 else 1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"weights": [np.zeros((3, 4)), np.zeros((5, 2))]},
            r"weights\[1\]: found a weight of shape",
        ),
        ({"weights": [np.zeros((3, 4))]}, "weights: found 1 for 2 biases and 0 skips, expected 2"),
        ({"biases": [np.zeros(4), np.zeros(3)]}, r"weights\[1\]: found a bias of shape \(3,\)"),
        ({"weights": [np.zeros((3, 0)), np.zeros((0, 2))]}, r"weights\[0\]: found shape \(3, 0\)"),
        (
            {"biases": [np.zeros(4), np.full(2, np.nan)]},
            r"weights\[1\]: found a number that is not",
        ),
        ({"biases": [np.full(4, 1e300), np.zeros(2)]}, r"not finite in float32"),
        ({"activation": "swish"}, "activation: found 'swish', expected one of relu"),
        ({"scales": [np.ones(4)]}, "shifts: found 0 arrays, expected 1, one per hidden layer"),
        ({"skips": [(1, 5)]}, "weights: found 2 for 2 biases and 1 skips"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    given = {
        "weights": [np.zeros((3, 4)), np.zeros((4, 2))],
        "biases": [np.zeros(4), np.zeros(2)],
        "activation": "relu",
    }
    with pytest.raises(ValueError, match=message):
        from_arrays(**(given | change))


def test_unknown_extensions_and_missing_packages(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"x\.h5: found extension '\.h5', expected \.safetensors"):
        read(tmp_path / "x.h5")
    with pytest.raises(UserError, match=r"extension ''"):
        write(random_network(PLAIN), tmp_path / "x")
    for name in ("onnx", "torch", "safetensors"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    for extension, name in [(".onnx", "onnx"), (".pt", "torch"), (".safetensors", "safetensors")]:
        path = tmp_path / f"x{extension}"
        path.write_bytes(b"x" * 20)
        with pytest.raises(UserError, match=rf"^{name} is not installed: pip install -e '\.\[inte"):
            read(path, "relu")
