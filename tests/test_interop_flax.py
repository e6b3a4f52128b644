"""Flax modules as networks, and edited networks as variables and modules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from flax.core import freeze
from helpers import edited_network

from metanet.interop.flax_modules import from_flax
from metanet.interop.verify import logits

X = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)


class MLP(linen.Module):
    """Its layers' names are in another order than their calls."""

    activation: object = linen.relu
    norm: str = "none"
    skip: bool = False
    last: int = 3

    @linen.compact
    def __call__(self, x, train=False):
        first = x
        for index, width in enumerate((8, 6)):
            x = linen.Dense(width, name=f"hidden{9 - index}")(x)
            if self.skip and index == 1:
                x = x + linen.Dense(width, name="skip")(first)
            if self.norm == "layer":
                x = linen.LayerNorm(name=f"norm{index}")(x)
            if self.norm == "batch":
                x = linen.BatchNorm(use_running_average=not train, name=f"norm{index}")(x)
            x = self.activation(x)
            if self.norm == "after":
                x = linen.BatchNorm(use_running_average=not train, name=f"norm{index}")(x)
        return linen.Dense(self.last, name="a")(x)


def unsettled(like):
    """Variables of these shapes, of which none is neutral."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0.2, 0.8, leaf.shape) - 0.4 * (leaf.ndim > 1)), like
    )


def variables_of(module):
    return unsettled(jax.eval_shape(module.init, jax.random.key(0), X))


def check(module, activation, tolerance=1e-5, variables=None, **options):
    if variables is None:
        variables = variables_of(module)
    read = from_flax(module, variables, **options)
    assert read.network.activation == activation
    for network in (read.network, edited_network(read.network)):
        found = module.apply(read.restore(network), X)
        ours = logits(network, X)
        ours = ours[:, 1:] - ours[:, :1] if found.shape[1] == 1 else ours
        np.testing.assert_allclose(found, ours, atol=tolerance)
    same = read.restore(read.network)
    assert jax.tree.structure(same) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, same, variables)
    return read


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (linen.relu, "relu"),
        (linen.leaky_relu, "leaky_relu"),
        (linen.gelu, "gelu"),
        (lambda x: linen.gelu(x, approximate=False), "gelu_erf"),
        (linen.silu, "silu"),
        (linen.tanh, "tanh"),
    ],
)
def test_every_activation_is_told_apart(function, name):
    check(MLP(function), name)


@pytest.mark.parametrize(
    ("norm", "kind"), [("layer", "layer"), ("batch", "batch"), ("after", "batch")]
)
def test_normalisations_and_skips(norm, kind):
    read = check(MLP(norm=norm, skip=True), "relu", skips={(0, 2): "skip"})
    assert read.network.spec.norm == kind and read.network.spec.skips == ((0, 2),)


def test_one_logit_and_frozen_variables():
    module = MLP(last=1)
    variables = freeze(variables_of(module))
    assert check(module, "relu", variables=variables).network.spec.widths == (5, 8, 6, 2)


class Residual(linen.Module):
    @linen.compact
    def __call__(self, x):
        h = linen.relu(linen.Dense(6)(x))
        return linen.Dense(3)(h + linen.relu(linen.Dense(6)(h)))


class Twice(linen.Module):
    @linen.compact
    def __call__(self, x):
        layer = linen.Dense(5)
        return linen.Dense(3)(layer(linen.relu(layer(x))))


class Convolution(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(linen.relu(linen.Dense(4)(linen.DenseGeneral(5)(x))))


class NoBias(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(linen.relu(linen.Dense(4, use_bias=False)(x)))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (MLP(linen.elu), "module: found logits that differ by .* from all networks of its layers"),
        (Residual(), "module: found logits that differ by"),
        (Twice(), "found a layer that is called twice"),
        (Convolution(), "DenseGeneral_0: found a layer of another class, or unused"),
        (NoBias(), "Dense_1: found no bias, expected one, since edits change it"),
        (MLP(lambda x: linen.softmax(x)), "module: found logits that differ by"),
    ],
)
def test_what_is_no_network_is_refused(module, message):
    with pytest.raises(ValueError, match=message):
        from_flax(module, variables_of(module))


def test_variables_and_modules_are_needed():
    with pytest.raises(
        ValueError, match='variables: found NoneType, expected a dict with "params"'
    ):
        from_flax(MLP())
    with pytest.raises(ValueError, match="module: found int, expected a module"):
        from_flax(3)


class NNX(nnx.Module):
    def __init__(self, rngs, *, batch=True, epsilon=1e-6):
        self.z = nnx.Linear(5, 8, rngs=rngs)
        norm = nnx.BatchNorm if batch else nnx.LayerNorm
        options = {} if batch else {"epsilon": epsilon}
        self.norms = nnx.List([norm(8, rngs=rngs, **options), norm(6, rngs=rngs, **options)])
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.b = nnx.Linear(8, 6, rngs=rngs)
        self.a = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        x = self.drop(nnx.silu(self.norms[0](self.z(x))))
        return self.a(nnx.silu(self.norms[1](self.b(x))))


@pytest.mark.parametrize("batch", [False, True])
def test_nnx(batch):
    module = NNX(nnx.Rngs(0), batch=batch)
    _, parameters, _ = nnx.split(module, nnx.Any(nnx.Param, nnx.BatchStat), ...)
    nnx.update(module, unsettled(parameters))
    before = jax.tree.map(np.asarray, nnx.state(module, nnx.Param))
    read = from_flax(module)
    assert read.network.activation == "silu"
    assert read.network.spec.norm == ("batch" if batch else "layer")
    for network in (read.network, edited_network(read.network)):
        new = read.restore(network)
        new.eval()
        np.testing.assert_allclose(new(X), logits(network, X), atol=1e-5)
    same = nnx.state(read.restore(read.network), nnx.Param)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, same), before)
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(module, nnx.Param))
    assert not module.drop.deterministic
