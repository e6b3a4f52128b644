"""Other people's networks as a population: by file, split at random or by a list."""

import dataclasses
import itertools
import types

import jax
import numpy as np
import pytest

from metanet.core import UserError
from metanet.data import load
from metanet.interop import files
from metanet.interop.arrays import from_arrays
from metanet.interop.imported import Imported
from metanet.interop.network import Network, network_of
from metanet.interop.units import reading_numbers
from metanet.interop.verify import logits
from metanet.interop.zoo import read_zoo
from metanet.mlp.sampling import PopulationConfig

SHAPES = ((8,), (8, 6), (8,), (12,), (8,), (8, 6), (5,), (8,))


@pytest.fixture(scope="module")
def data():
    return load("synthetic", None, 0)


def random_network(hidden, seed) -> Network:
    rng, widths = np.random.default_rng(seed), (10, *hidden, 2)
    weights = [rng.normal(size=pair) / pair[0] ** 0.5 for pair in itertools.pairwise(widths)]
    biases = [rng.normal(size=width) / 4 for width in widths[1:]]
    return from_arrays(weights, biases, ("relu", "tanh")[seed % 2]).network


@pytest.fixture
def zoo(tmp_path):
    networks = [random_network(hidden, seed) for seed, hidden in enumerate(SHAPES)]
    for number, network in enumerate(networks):
        files.write(network, tmp_path / f"model_{number}.npz")
    (tmp_path / "notes.md").write_text("not a model")
    return types.SimpleNamespace(folder=tmp_path, networks=networks)


def config(zoo, **changes):
    return PopulationConfig(**({"source": str(zoo.folder), "split": (0.5, 0.25, 0.25)} | changes))


def test_every_file_is_an_experiment_and_equal_shapes_share_a_stack(zoo, data):
    found = read_zoo(config(zoo), data, 0)
    assert [stack.spec.widths[1:-1] for stack in found.stacks] == [(8,), (8, 6), (12,), (5,)]
    assert [len(stack.activation) for stack in found.stacks] == [4, 2, 1, 1]
    assert found.table["experiment"].tolist() == [0, 2, 4, 7, 1, 5, 3, 6]
    assert found.table["family"].tolist() == [0, 0, 0, 0, 1, 1, 2, 3]
    assert [len(found.ids(split)) for split in ("train", "validation", "test")] == [4, 2, 2]
    row = 0
    for stack in found.stacks:
        for index in range(len(stack.activation)):
            network, expected = (
                network_of(stack, index),
                zoo.networks[found.table["experiment"][row]],
            )
            assert (network.spec, network.activation) == (expected.spec, expected.activation)
            for ours, theirs in zip(network.params.weights, expected.params.weights, strict=True):
                np.testing.assert_array_equal(ours, theirs)
            right = (logits(expected, data.select.x).argmax(1) == data.select.y).mean()
            assert found.table["accuracy"][row] == pytest.approx(right)
            row += 1
    other = read_zoo(config(zoo), data, 1)
    assert (found.table["split"] != other.table["split"]).any()
    again = read_zoo(config(zoo), data, 0)
    assert again.digest == found.digest and again.table.equals(found.table)


def test_a_pattern_takes_some_and_content_is_in_the_digest(zoo, data):
    whole = read_zoo(config(zoo), data, 0)
    some = read_zoo(config(zoo, source=str(zoo.folder / "model_[0-3].npz")), data, 0)
    assert len(some.table) == 4 and some.digest != whole.digest
    files.write(random_network((8,), 99), zoo.folder / "model_0.npz")
    assert read_zoo(config(zoo), data, 0).digest != whole.digest


def test_a_network_far_larger_than_the_others_is_left_out_by_name(zoo, data, caplog):
    whole = read_zoo(config(zoo), data, 0)
    huge = zoo.networks[3]
    params = jax.tree.map(lambda leaf: np.float32(1e9) * leaf, huge.params)
    files.write(dataclasses.replace(huge, params=params), zoo.folder / "model_3.npz")
    found = read_zoo(config(zoo), data, 0).table
    assert found["split"][found["experiment"] == 3].tolist() == ["diverged"]
    others = found["experiment"] != 3
    assert found["split"][others].equals(whole.table["split"][others])
    assert "model_3.npz is left out" in caplog.text


def test_a_list_may_say_the_split(zoo, data):
    names = ["train", "test", "train", "validation", "train", "train", "test", "train"]
    rows = [f"model_{number}.npz,{name}" for number, name in enumerate(names)]
    listing = zoo.folder / "split.csv"
    listing.write_text("\n".join(["file,split", *rows]))
    found = read_zoo(config(zoo, split_by=str(listing)), data, 0).table
    assert found["split"].tolist() == [names[number] for number in found["experiment"]]
    for text, message in (
        ("\n".join(["file,split", *rows[1:]]), "found no row for model_0.npz and 0 more files"),
        ("\n".join(["file,split", *rows, rows[0]]), "found a file twice"),
        ("\n".join(["file,split", *rows]).replace("test", "held-out"), "found split 'held-out'"),
        ("\n".join(["file,part", *rows]), "found columns file, part, expected file and split"),
        ("\n".join(["file,split", *rows]).replace("validation", "train"), "none for validation"),
    ):
        listing.write_text(text)
        with pytest.raises(UserError, match=message):
            read_zoo(config(zoo, split_by=str(listing)), data, 0)


def test_a_list_is_of_the_files_that_there_are(zoo, data):
    listing = zoo.folder / "split.csv"
    rows = [f"model_{number}.npz,train" for number in range(9)]
    listing.write_text("\n".join(["file,split", *rows]))
    with pytest.raises(UserError, match=r"found a row for model_8.npz, expected files"):
        read_zoo(config(zoo, split_by=str(listing)), data, 0)
    (zoo.folder / "more").mkdir()
    files.write(zoo.networks[0], zoo.folder / "more" / "model_0.npz")
    with pytest.raises(UserError, match=r"found several files called model_0.npz"):
        read_zoo(config(zoo, source=f"{zoo.folder}/**/*.npz", split_by=str(listing)), data, 0)


def test_features_or_classes_in_another_order_and_huge_outputs_are_refused(zoo, data):
    first = zoo.folder / "model_0.npz"
    for name in ("features", "classes"):
        turned = Imported(zoo.networks[0], lambda n: n, **{name: getattr(data, name)[::-1]})
        files.write(turned, first)
        with pytest.raises(UserError, match=f"model_0.npz: found {name} "):
            read_zoo(config(zoo), data, 0)
    weights = [weight * 1e30 for weight in zoo.networks[0].params.weights]
    files.write(from_arrays(weights, zoo.networks[0].params.biases, "relu").network, first)
    with pytest.raises(UserError, match=r"model_0.npz: found outputs on synthetic that are"):
        read_zoo(config(zoo), data, 0)


def test_networks_of_the_tables_numbers_are_put_into_standardised_ones(zoo, data):
    for number, network in enumerate(zoo.networks):
        own = reading_numbers(network, data.mean, data.std)
        files.write(own, zoo.folder / f"model_{number}.npz")
    found = read_zoo(config(zoo, reads="numbers"), data, 0)
    x = data.select.x
    np.testing.assert_allclose(
        logits(network_of(found.stacks[2]), x), logits(zoo.networks[3], x), atol=1e-4
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "nowhere/*.npz"}, "population.source: found no files of 'nowhere/.* expected"),
        ({"split": (0.01, 0.01, 0.98)}, "found 8 files and none for train"),
    ],
)
def test_a_zoo_that_is_none_is_refused(zoo, data, change, message):
    with pytest.raises(UserError, match=message):
        read_zoo(config(zoo, **change), data, 0)


def test_a_file_that_is_no_network_of_the_data_is_refused_by_name(zoo, data, monkeypatch):
    wide = from_arrays([np.ones((9, 4)), np.ones((4, 2))], [np.ones(4), np.ones(2)], "relu").network
    files.write(wide, zoo.folder / "model_3.npz")
    with pytest.raises(UserError, match=r"model_3.npz: found 9 inputs and 2 outputs, expected 10"):
        read_zoo(config(zoo), data, 0)
    with monkeypatch.context() as patch:
        patch.setattr("metanet.interop.guard.MAX_BYTES", 10)
        patch.delattr("pathlib.Path.read_bytes")  # refused before it is read
        with pytest.raises(UserError, match=r"found \d+ bytes, expected at most 10"):
            read_zoo(config(zoo), data, 0)
    (zoo.folder / "model_3.npz").write_bytes(b"rubbish")
    with pytest.raises(UserError, match=r"model_3.npz: "):
        read_zoo(config(zoo), data, 0)


@pytest.mark.parametrize(
    ("change", "key"),
    [({"reads": "raw"}, "reads"), ({"reads": "numbers"}, "reads"), ({"split_by": "x"}, "split_by"),
     ({"activation": "relu"}, "activation"), ({"source": "x", "mode": "online"}, "mode"),
     ({"source": "x", "activation": "swish"}, "activation")],
)  # fmt: skip
def test_keys_of_files_want_files(change, key):
    with pytest.raises(UserError, match=rf"population.{key}"):
        PopulationConfig(**change)


def test_a_trained_population_has_the_identity_that_it_had():
    identity = PopulationConfig().identity
    assert not {"source", "reads", "activation", "split_by"} & identity.keys()
    assert dataclasses.replace(PopulationConfig(), source="x").identity["source"] == "x"
