"""Compact networks have the outputs of the original, and nothing that has no effect."""

import math

import jax
import numpy as np
import pytest
from helpers import apply

from metanet.interop.activations import activate
from metanet.interop.compact import compact
from metanet.interop.network import ACTIVATIONS, Network
from metanet.mlp import network as mlp
from metanet.mlp.network import MLPParams, shapes_of
from metanet.mlp.spec import NORMS, MLPSpec

DENSITIES = (0.0, 0.03, 0.1, 0.3, 0.6, 1.0)
ROWS = np.random.default_rng(0).normal(size=(64, 14)).astype(np.float32)  # of up to 14 features


def random_spec(rng, norm):
    depth = rng.integers(1, 5)
    widths = (rng.integers(1, 15), *rng.integers(1, 17, size=depth), rng.integers(1, 4))
    pairs = [(s, t) for t in range(2, depth + 1) for s in range(t - 1) if rng.random() < 0.5]
    return MLPSpec(tuple(map(int, widths)), tuple(pairs), norm)


def masked(spec, activation, density, rng):
    """A network like an untrained one, in which weights, neurons and blocks are 0."""
    fan_in = {t: sum(spec.widths[s] for s, u in spec.blocks if u == t) for _, t in spec.blocks}
    weights = []
    for source, target in spec.blocks:
        shape, bound = (spec.widths[source], spec.widths[target]), fan_in[target] ** -0.5
        weight = rng.uniform(-bound, bound, shape) * (rng.random(shape) < density)
        whole = density**0.25  # of rows, columns and skips; those are 0 more often than by chance
        weight *= (rng.random((shape[0], 1)) < whole) & (rng.random(shape[1]) < whole)
        if source < target - 1:
            weight *= rng.random() < whole
        weights.append(weight.astype(np.float32))
    shapes = shapes_of(spec)
    biases = [rng.uniform(-0.5, 0.5, shape) for shape in shapes["biases"]]
    scales = [
        rng.uniform(0.5, 1.5, shape) * (rng.random(shape) < 0.8) for shape in shapes["scales"]
    ]
    shifts = [rng.uniform(-0.5, 0.5, shape) for shape in shapes["shifts"]]
    leaves = (tuple(leaf.astype(np.float32) for leaf in one) for one in (biases, scales, shifts))
    return Network(spec, MLPParams(tuple(weights), *leaves), activation)


def outputs(network, x):
    """Logits of x [rows, features] in the dtype of x: `mlp.network.apply` in numpy."""
    spec, values = network.spec, [x]
    params = jax.tree.map(lambda leaf: leaf.astype(x.dtype), network.params)
    for layer in range(1, spec.n_layers + 1):
        blocks = zip(spec.blocks, params.weights, strict=True)
        z = sum(values[s] @ weight for (s, t), weight in blocks if t == layer)
        z = z + params.biases[layer - 1]
        if layer in spec.hidden:
            if spec.norm == "layer":
                z = z - z.mean(-1, keepdims=True)
                z = z / np.sqrt((z**2).mean(-1, keepdims=True) + np.float32(mlp.NORM_EPSILON))
                z = z * params.scales[layer - 1] + params.shifts[layer - 1]
            z = activate(network.activation, z)
        values.append(z)
    return values[-1]


def networks(norm, count, seed=0):
    """Random networks: all activations and densities, widths and skips."""
    for index in range(count):
        rng = np.random.default_rng([seed, NORMS.index(norm), index])
        spec = random_spec(rng, norm)
        yield masked(spec, ACTIVATIONS[index % len(ACTIVATIONS)], rng.choice(DENSITIES), rng)


def tolerance(spec):
    """Layer norms of two or three neurons are steep where these are equal, and amplify rounding."""
    steep = spec.norm == "layer" and {2, 3} & set(spec.widths[1:-1])
    return 1e-5 if steep else 1e-6


def network_of(widths, weights, skips=(), norm="none", activation="relu", bias=1.0, **leaves):
    """A network with these weights by block, 0 elsewhere, and the same bias everywhere."""
    spec = MLPSpec(widths, skips, norm)
    shapes = shapes_of(spec)
    full = dict(zip(spec.blocks, (np.zeros(s, np.float32) for s in shapes["weights"]), strict=True))
    for block, rows in weights.items():
        full[block][:] = rows
    biases = tuple(np.full(shape, bias, np.float32) for shape in shapes["biases"])
    return Network(spec, MLPParams(tuple(full.values()), biases, **leaves), activation)


@pytest.mark.parametrize("norm", NORMS)
def test_outputs_stay_equal(norm):
    seen = set()
    for network in networks(norm, 400):
        small = compact(network)
        x = ROWS[:, : network.spec.widths[0]]
        for rows in (x, x.astype(np.float64)):
            before, after = outputs(network, rows), outputs(small.network, rows[:, small.features])
            assert after.dtype == rows.dtype
            np.testing.assert_allclose(after, before, rtol=0, atol=tolerance(network.spec))
        seen |= {name for name in ("features", "neurons", "blocks") if getattr(small.report, name)}
    assert seen == {"features", "neurons", "blocks"}


@pytest.mark.parametrize("norm", NORMS)
def test_outputs_of_the_forward_pass_of_populations_stay_equal(norm):
    """`outputs` is made here of the same activations as the constants."""
    mine = mlp.ACTIVATIONS[NORMS.index(norm) :: len(NORMS)]  # every network is a program
    for network in networks(norm, len(ACTIVATIONS), seed=1):
        if network.activation in mine:
            index, small = mlp.ACTIVATIONS.index(network.activation), compact(network)
            x = ROWS[:, : network.spec.widths[0]]
            before = apply(network.spec, network.params, index, x)
            one = small.network
            after = apply(one.spec, one.params, index, x[:, small.features])
            np.testing.assert_allclose(after, before, rtol=0, atol=tolerance(network.spec))


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_more_can_be_removed_from_a_compact_network(norm):
    for network in networks(norm, 200):
        small = compact(network).network
        again = compact(small)
        assert again.network.spec == small.spec
        assert (again.report.features, again.report.neurons, again.report.blocks) == (0, 0, 0)
        jax.tree.map(np.testing.assert_array_equal, again.network.params, small.params)
        assert all(small.params.weights[small.spec.blocks.index(skip)].any()
                   for skip in small.spec.skips)  # fmt: skip


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_every_neuron_that_is_left_reads_and_is_read(norm):
    for network in networks(norm, 200):
        small = compact(network).network
        blocks = dict(zip(small.spec.blocks, small.params.weights, strict=True))
        for layer, width in enumerate(small.spec.widths[:-1]):
            read = np.any([w.any(1) for (s, _), w in blocks.items() if s == layer], axis=0)
            assert read.all() or width == 1
            reads = [w.any(0) for (_, t), w in blocks.items() if t == layer]
            assert layer == 0 or np.any(reads, axis=0).all() or not read.any()


@pytest.mark.parametrize("norm", NORMS)
def test_indices_and_report_describe_the_smaller_network(norm):
    for network in networks(norm, 100):
        small = compact(network)
        spec, report = small.network.spec, small.report
        kept = [small.features, *small.neurons]
        assert tuple(map(len, kept)) == spec.widths[:-1]
        for indices, width in zip(kept, network.spec.widths, strict=False):
            assert (np.diff(indices) > 0).all() and indices[0] >= 0 and indices[-1] < width
        sizes = [sum(leaf.size for leaf in jax.tree.leaves(one.params))
                 for one in (network, small.network)]  # fmt: skip
        assert report.parameters == tuple(sizes)
        assert report.bytes == tuple(
            sum(leaf.nbytes for leaf in jax.tree.leaves(one.params))
            for one in (network, small.network)
        )
        assert report.features == network.spec.widths[0] - spec.widths[0]
        assert report.neurons == sum(network.spec.widths[1:-1]) - sum(spec.widths[1:-1])
        assert report.blocks == len(network.spec.blocks) - len(spec.blocks)
        for name, leaves in vars(small.network.params).items():
            assert all(leaf.dtype == np.float32 for leaf in leaves), name


def test_features_unread_and_constant_neurons_and_empty_skips_go():
    """Neuron 1 of layer 1 is constant, 2 is unread; of layer 2, 0 reads the constant one alone."""
    weights = {
        (0, 1): [[0, 0, 0], [1, 0, 2], [3, 0, 0]],
        (1, 2): [[0, 4], [5, 6], [0, 0]],
        (2, 3): [[7, 0], [8, 9]],
    }
    network = network_of((3, 3, 2, 2), weights, skips=((0, 2),), bias=0.5)
    small = compact(network)
    assert small.features.tolist() == [1, 2]
    assert [one.tolist() for one in small.neurons] == [[0], [1]]
    assert small.network.spec == MLPSpec((2, 1, 1, 2))
    first, second, last = small.network.params.weights
    assert (first.tolist(), second.tolist(), last.tolist()) == ([[1], [3]], [[4]], [[8, 9]])
    # relu(0.5) = 0.5 goes to layer 2: 0.5 * 5 + 0.5 = 3 is constant and goes on, 0.5 * 6 + 0.5.
    biases = [bias.tolist() for bias in small.network.params.biases]
    assert biases == [[0.5], [3.5], [0.5 + 7 * 3, 0.5]]
    assert (small.report.features, small.report.neurons, small.report.blocks) == (1, 3, 1)
    assert small.report.parameters == (32, 9) and small.report.bytes == (128, 36)


def test_a_constant_goes_through_a_skip_connection():
    weights = {(0, 1): [[0, 1]], (1, 2): [[0], [1]], (2, 3): [[1]], (1, 3): [[2], [0]],
               (3, 4): [[1]]}  # fmt: skip
    small = compact(network_of((1, 2, 1, 1, 1), weights, skips=((1, 3),)))
    assert small.network.spec == MLPSpec((1, 1, 1, 1, 1))
    assert [bias.tolist() for bias in small.network.params.biases] == [[1], [1], [3], [1]]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", NORMS)
def test_a_network_without_weights_keeps_one_neuron_per_layer(norm, activation):
    rng = np.random.default_rng(3)
    network = masked(MLPSpec((5, 6, 7, 3), ((0, 2),), norm), activation, 0.0, rng)
    small = compact(network)
    assert small.network.spec == MLPSpec((1, 1, 1, 3), (), norm)
    assert not any(weight.any() for weight in small.network.params.weights)
    x = ROWS[:, :5]
    np.testing.assert_allclose(
        outputs(small.network, x[:, small.features]), outputs(network, x), atol=1e-6
    )


def test_a_layer_norm_keeps_its_neurons_while_one_is_read():
    """Without the second neuron, which is neither read nor reads, the variance is another."""
    ones = (np.ones(2, np.float32),)
    leaves = {"scales": ones, "shifts": (np.zeros(2, np.float32),)}
    weights = {(0, 1): [[1, 0]], (1, 2): [[1], [0]]}
    network = network_of((1, 2, 1), weights, norm="layer", **leaves)
    assert compact(network).network.spec == network.spec
    # Unread altogether, or alike in all neurons, the layer is of no use.
    for changed in ({(0, 1): [[1, 0]]}, {(0, 1): [[2, 2]], (1, 2): [[1], [1]]}):
        small = compact(network_of((1, 2, 1), changed, norm="layer", **leaves))
        assert small.network.spec.widths == (1, 1, 1)


def test_neurons_of_scale_0_are_constant_but_stay_in_the_statistics():
    leaves = {"scales": (np.array([1, 0, 1], np.float32),),
              "shifts": (np.array([0, 3, 0], np.float32),)}  # fmt: skip
    weights = {(0, 1): [[1, 2, 4]], (1, 2): [[1], [5], [0]]}
    network = network_of((1, 3, 1), weights, norm="layer", **leaves)
    small = compact(network).network
    assert small.spec == network.spec
    assert small.params.weights[1].tolist() == [[1], [0], [0]]
    assert small.params.biases[1].tolist() == [1 + 3 * 5]
    np.testing.assert_allclose(outputs(small, ROWS[:, :1]), outputs(network, ROWS[:, :1]), 1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_every_feature_that_is_left_is_read(norm):
    for network in networks(norm, 200):
        small = compact(network).network
        blocks = zip(small.spec.blocks, small.params.weights, strict=True)
        read = np.any([weight.any(1) for (source, _), weight in blocks if source == 0], axis=0)
        assert read.all() or len(read) == 1


def test_the_original_is_not_changed():
    network = next(networks("layer", 1))
    before = jax.tree.map(np.copy, network.params)
    compact(network)
    jax.tree.map(np.testing.assert_array_equal, network.params, before)


def test_activations_on_the_host_are_those_of_populations():
    x = np.concatenate([np.linspace(-9, 9, 181), [-60.0, 60.0]]).astype(np.float32)
    for index, name in enumerate(mlp.ACTIVATIONS):
        np.testing.assert_allclose(activate(name, x), jax.jit(mlp.activate)(index, x), atol=1e-6)
    exact = [0.5 * value * (1 + math.erf(value / 2**0.5)) for value in x.tolist()]
    np.testing.assert_allclose(activate("gelu_erf", x.astype(np.float64)), exact, atol=1e-12)
    with pytest.raises(ValueError, match="activation: found 'swish', expected the name of one"):
        activate("swish", x)
