"""Networks as arrays: what does not fit its spec is refused by name."""

import dataclasses

import jax
import numpy as np
import pytest

from metanet.interop.network import Network, network_of, stack_of
from metanet.mlp.network import MLPParams, shapes_of
from metanet.mlp.spec import MLPSpec

SPEC = MLPSpec((3, 4, 5, 2), ((0, 2),), "layer")


@pytest.fixture
def network():
    rng = np.random.default_rng(0)
    leaves = {
        name: tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)
        for name, shapes in shapes_of(SPEC).items()
    }
    return Network(SPEC, MLPParams(**leaves), "gelu")


def test_a_network_as_a_stack_is_the_same_network(network):
    stack = stack_of(network)
    assert stack.spec == SPEC and stack.activation.tolist() == [2]
    again = network_of(stack)
    assert again.activation == "gelu"
    jax.tree.map(np.testing.assert_array_equal, again.params, network.params)


def changed(network, name, index, value):
    leaves = list(getattr(network.params, name))
    leaves[index] = value
    params = network.params.replace(**{name: tuple(leaves)})
    return dataclasses.replace(network, params=params)


@pytest.mark.parametrize(
    ("name", "index", "value", "message"),
    [
        ("weights", 0, np.zeros((4, 3)), r"weights\[0\]: found shape \(4, 3\), expected \(3, 4\)"),
        ("biases", 2, np.zeros(5), r"biases\[2\]: found shape \(5,\), expected \(2,\)"),
        ("scales", 1, np.full(5, np.nan), r"scales\[1\]: found a number that is not finite"),
        ("shifts", 0, np.full(4, np.inf), r"shifts\[0\]: found a number that is not finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(network, name, index, value, message):
    with pytest.raises(ValueError, match=message):
        changed(network, name, index, value)


def test_missing_arrays_and_unknown_activations_are_refused(network):
    fewer = network.params.replace(biases=network.params.biases[:2])
    with pytest.raises(ValueError, match="biases: found 2 arrays, expected 3"):
        dataclasses.replace(network, params=fewer)
    with pytest.raises(ValueError, match="activation: found 'swish', expected one of relu"):
        dataclasses.replace(network, activation="swish")
