"""Target MLPs: the spec, the activations, inference, initialisation and batch-norm folding."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import apply, init
from scipy import special

from metanet.mlp import network
from metanet.mlp.network import ACTIVATIONS, MLPParams
from metanet.mlp.spec import NORMS, MLPSpec

SHAPES = {
    "shallow": ((5, 8, 2), ()),
    "deep": ((5, 8, 8, 3), ()),
    "skip from the input": ((5, 8, 8, 2), ((0, 2),)),
    "several skips, unordered": ((5, 8, 4, 6, 7, 3), ((1, 4), (0, 3), (0, 2), (1, 3), (2, 4))),
}
REFERENCES = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=True),
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "gelu_erf": lambda x: jax.nn.gelu(x, approximate=False),
}
NUMPY_ACTIVATIONS = (
    lambda x: np.where(x > 0, x, 0),
    lambda x: np.where(x > 0, x, 0.01 * x),
    lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    lambda x: x / (1 + np.exp(-x)),
    np.tanh,
    lambda x: x / 2 * (1 + special.erf(x / math.sqrt(2))),
)


def random_params(spec, rng, scales=None):
    """Parameters without any structure; scales and shifts where `scales`, or a norm keeps them."""
    normed = spec.hidden if (spec.norm == "layer" if scales is None else scales) else ()

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    weights = tuple(
        normal(spec.widths[s], spec.widths[t]) / np.float32(math.sqrt(spec.widths[s]))
        for s, t in spec.blocks
    )
    return MLPParams(
        weights=weights,
        biases=tuple(normal(width) for width in spec.widths[1:]),
        scales=tuple(1 + normal(spec.widths[layer]) / 2 for layer in normed),
        shifts=tuple(normal(spec.widths[layer]) for layer in normed),
    )


def numpy_logits(spec, params, activation, x, normalise):
    """The forward pass in float64, one block at a time."""
    outputs = {0: x.astype(np.float64)}
    last = len(spec.widths) - 1
    for layer in range(1, last + 1):
        z = np.tile(params.biases[layer - 1].astype(np.float64), (len(x), 1))
        for number, (source, target) in enumerate(spec.blocks):
            if target == layer:
                z += np.einsum("ri,io->ro", outputs[source], params.weights[number])
        if layer < last:
            z = NUMPY_ACTIVATIONS[activation](normalise(layer, z))
        outputs[layer] = z
    return outputs[last]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((5, 2),), "widths: found (5, 2), expected at least 3 positive integers"),
        (((5, 0, 2),), "widths: found (5, 0, 2), expected at least 3 positive integers"),
        (((5, 8, 2), (), "group"), "norm: found 'group', expected one of ('none', 'batch', 'lay"),
        (((5, 8, 8, 2), ((0, 1),)), "skips: found (0, 1), expected source < target - 1"),
        (((5, 8, 8, 2), ((2, 2),)), "skips: found (2, 2), expected source < target - 1"),
        (((5, 8, 8, 2), ((-1, 2),)), "skips: found (-1, 2), expected source < target - 1"),
        (((5, 8, 8, 2), ((0, 3),)), "skips: found (0, 3), expected source < target - 1 and a ta"),
        (((5, 8, 8, 2), ((0, 2), (0, 2))), "skips: found a pair twice in ((0, 2), (0, 2))"),
    ],
)
def test_a_bad_spec_says_what_was_found_and_what_was_expected(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MLPSpec(*arguments)


def test_blocks_are_ordered_by_target_then_source_and_weights_are_counted_by_hand():
    spec = MLPSpec((5, 8, 4, 6, 3), ((1, 3), (0, 2), (0, 3)))
    assert spec.blocks == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (3, 4))
    assert spec.n_weights == 5 * 8 + 5 * 4 + 8 * 4 + 5 * 6 + 8 * 6 + 4 * 6 + 6 * 3
    assert spec.n_layers == 4
    assert list(spec.hidden) == [1, 2, 3]


def test_equal_specs_are_one_dictionary_key():
    assert len({MLPSpec((5, 8, 2)), MLPSpec((5, 8, 2)), MLPSpec((5, 8, 2), norm="layer")}) == 2


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_and_its_gradient_equal_those_of_jax(name):
    x = jnp.asarray(np.linspace(-6, 6, 241)[np.arange(241) != 120], jnp.float32)  # without 0
    x = jnp.concatenate([x, jnp.asarray([-100.0, -20.0, 20.0, 100.0], jnp.float32)])
    index = jnp.asarray(ACTIVATIONS.index(name))
    ours = jax.jit(jax.vmap(jax.value_and_grad(network.activate, argnums=1), in_axes=(None, 0)))
    values, gradients = ours(index, x)
    expected, slopes = jax.jit(jax.vmap(jax.value_and_grad(REFERENCES[name])))(x)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=2e-6)
    # 1 + tanh cancels for negative x, in either implementation.
    np.testing.assert_allclose(gradients, slopes, rtol=1e-5, atol=1e-5)


def test_the_exact_gelu_is_exact():
    """Not one of its approximations, of which the nearest is 5e-4 away."""
    x = np.linspace(-9, 9, 20_001, dtype=np.float32)
    exact = x / 2 * (1 + special.erf(x.astype(np.float64) / math.sqrt(2)))
    found = jax.jit(network.activate)(jnp.asarray(ACTIVATIONS.index("gelu_erf")), x)
    assert np.abs(found - exact).max() < 1.2e-6  # of 9: float32 of the largest


def test_huge_values_have_no_nan():
    x = jnp.asarray([-3e38, -1e20, 1e20, 3e38], jnp.float32)
    for index, name in enumerate(ACTIVATIONS):
        limits = [-1.0, -1.0, 1.0, 1.0] if name == "tanh" else [0.0, 0.0, *x[2:]]
        if name == "leaky_relu":
            limits[:2] = 0.01 * x[:2]
        np.testing.assert_allclose(jax.jit(network.activate)(index, x), limits, rtol=1e-6)


@pytest.mark.parametrize(("name", "slope"), [("relu", 0.0), ("leaky_relu", 0.01)])
def test_a_rectifier_has_the_left_gradient_at_zero(name, slope):
    index = jnp.asarray(ACTIVATIONS.index(name))
    assert jax.jit(jax.grad(network.activate, argnums=1))(index, 0.0) == pytest.approx(slope)


def test_vmapped_models_each_choose_their_own_activation():
    x = jnp.linspace(-3, 3, 50)
    together = jax.jit(jax.vmap(network.activate, (0, None)))(jnp.arange(len(ACTIVATIONS)), x)
    expected = np.stack([jax.jit(REFERENCES[name])(x) for name in ACTIVATIONS])
    np.testing.assert_allclose(together, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_apply_equals_a_loop_over_blocks(shape, norm):
    widths, skips = SHAPES[shape]
    spec = MLPSpec(widths, skips, norm)
    rng = np.random.default_rng(0)
    params, x = random_params(spec, rng), rng.normal(size=(20, 5)).astype(np.float32)

    def normalise(layer, z):
        if norm != "layer":
            return z
        deviation = np.sqrt(z.var(1, keepdims=True) + 1e-5)
        scale, shift = params.scales[layer - 1], params.shifts[layer - 1]
        return (z - z.mean(1, keepdims=True)) / deviation * scale + shift

    for index, name in enumerate(ACTIVATIONS):
        expected = numpy_logits(spec, params, index, x, normalise)
        found = apply(spec, params, jnp.asarray(index), x)
        assert found.shape == (20, widths[-1])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("shape", SHAPES)
def test_folded_batch_norm_equals_the_unfolded_network_at_its_running_statistics(shape):
    spec = MLPSpec(*SHAPES[shape], "batch")
    rng = np.random.default_rng(1)
    params, x = random_params(spec, rng, scales=True), rng.normal(size=(20, 5)).astype(np.float32)
    widths = [spec.widths[layer] for layer in spec.hidden]
    means = tuple(rng.normal(size=n).astype(np.float32) for n in widths)
    variances = tuple(rng.uniform(0.3, 3, n).astype(np.float32) for n in widths)

    def normalise(layer, z):
        deviation = np.sqrt(variances[layer - 1] + 1e-5)
        scaled = (z - means[layer - 1]) / deviation * params.scales[layer - 1]
        return scaled + params.shifts[layer - 1]

    folded = network.fold(spec, params, means, variances)
    assert folded.scales == folded.shifts == ()
    for index, name in enumerate(ACTIVATIONS):
        expected = numpy_logits(spec, params, index, x, normalise)
        found = apply(spec, folded, jnp.asarray(index), x)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=name)


def test_folding_a_neuron_of_vanishing_variance_uses_the_epsilon_of_training():
    spec = MLPSpec((5, 8, 2), norm="batch")
    params = random_params(spec, np.random.default_rng(2), scales=True)
    zeros = (np.zeros(8, np.float32),)
    folded = network.fold(spec, params, zeros, zeros)
    gain = params.scales[0] / math.sqrt(1e-5)
    np.testing.assert_allclose(folded.weights[0], params.weights[0] * gain, rtol=1e-5)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_folding_changes_nothing_without_batch_norm(norm):
    spec = MLPSpec((5, 8, 2), norm=norm)
    params = random_params(spec, np.random.default_rng(3))
    assert network.fold(spec, params, (), ()) is params


@pytest.mark.parametrize("norm", NORMS)
def test_fresh_parameters_fill_the_uniform_range_of_the_whole_fan_in(norm):
    spec = MLPSpec((60, 50, 40, 2), ((0, 2),), norm)
    params = init(spec, jax.random.key(0))
    fan_in = {1: 60, 2: 60 + 50, 3: 40}
    assert [w.shape for w in params.weights] == [(60, 50), (60, 40), (50, 40), (40, 2)]
    assert [b.shape for b in params.biases] == [(50,), (40,), (2,)]
    for (_, target), weight in zip(spec.blocks, params.weights, strict=True):
        bound = fan_in[target] ** -0.5
        assert 0.9 * bound < weight.max() <= bound
        assert -bound <= weight.min() < -0.9 * bound
    for layer, bias in enumerate(params.biases, 1):
        assert 0 < abs(bias).max() <= fan_in[layer] ** -0.5
    normed = [] if norm == "none" else [(50,), (40,)]
    assert [s.shape for s in params.scales] == [s.shape for s in params.shifts] == normed
    assert all((scale == 1).all() for scale in params.scales)
    assert all((shift == 0).all() for shift in params.shifts)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}


def test_fresh_parameters_depend_on_the_key_alone():
    spec = MLPSpec((5, 8, 8, 2), ((0, 2),))
    first, again, other = (init(spec, jax.random.key(seed)) for seed in (0, 0, 1))
    for a, b, c in zip(*map(jax.tree.leaves, (first, again, other)), strict=True):
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)
