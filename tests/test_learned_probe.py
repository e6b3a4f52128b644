"""Learned probes: what networks do on an editor's own rows, against plain derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import exact_budget, in_template, random_stack

from metanet.core import SettingError
from metanet.editor.learned_probe import SLOPE, LearnedProbe, seen
from metanet.editor.model import EditorConfig
from metanet.graphs.batch import gather
from metanet.graphs.linearised import fisher_root
from metanet.graphs.packing import pack
from metanet.graphs.padded import apply_padded, source_values
from metanet.graphs.topology import TILE, tiles
from metanet.mlp.spec import MLPSpec

SPECS = (MLPSpec((5, 6, 9, 2), skips=((0, 2),), norm="layer"), MLPSpec((5, 8, 3)))
ROWS = 7


@pytest.fixture(scope="module", params=SPECS, ids=["two classes", "three"])
def case(request):
    """(template, three smooth models, rows)."""
    packed = pack([random_stack(request.param, activation="tanh")])
    x = np.random.default_rng(0).normal(size=(ROWS, 5)).astype(np.float32)
    return packed.template, jax.tree.map(jnp.asarray, in_template(packed)), x


def seen_by(case):
    template, models, x = case
    return jax.jit(jax.vmap(lambda model: seen(template, model, x)))(models)


def test_nodes_show_what_they_pass_on(case):
    template, models, x = case
    nodes, _ = seen_by(case)
    values = jax.jit(jax.vmap(lambda model: source_values(template, model, x)))(models)
    logits = jax.jit(jax.vmap(lambda model: apply_padded(template, model, x)))(models)
    classes = logits.shape[-1]
    passed = np.sinh(np.asarray(nodes)).reshape(3, -1, ROWS, classes)[..., 0]  # [3, slots, rows]
    np.testing.assert_allclose(passed[:, : values.shape[2]], values.swapaxes(1, 2), atol=1e-4)
    margins = (logits - logits[..., :1]).swapaxes(1, 2)  # [3, C, rows]
    outputs = passed[:, -tiles(classes) * TILE :][:, :classes]
    np.testing.assert_allclose(outputs, margins, atol=1e-4)


@functools.partial(jax.jit, static_argnums=0)
def derivatives(template, model, x):
    """Of outputs by an input, a bias, a weight: [rows, C - 1, ...], their squares information."""

    def of_row(row):
        def logits(row, bias, weight):
            changed = model.replace(bias=bias, weight=weight)
            return apply_padded(template, changed, row[None])[0]

        by = jax.jacrev(logits, argnums=(0, 1, 2))(row, model.bias, model.weight)
        root = fisher_root(jax.nn.softmax(logits(row, model.bias, model.weight)))
        return [jnp.einsum("pc,c...->p...", root, leaf) for leaf in by]

    return jax.vmap(of_row)(x)


def test_nodes_and_weights_show_what_they_do_to_the_outputs(case):
    template, models, x = case
    model = jax.tree.map(lambda leaf: leaf[0], models)
    nodes, weights = (leaf[0] for leaf in seen_by(case))
    by_input, by_bias, by_weight = derivatives(template, model, x)
    n_inputs, classes = tiles(template.n_in) * TILE, by_bias.shape[1] + 1
    found = np.sinh(np.asarray(nodes)).reshape(-1, ROWS, classes)[..., 1:] / SLOPE
    found = np.moveaxis(found, 0, -1)  # [rows, C - 1, slots]
    np.testing.assert_allclose(found[..., :5], by_input, atol=1e-5)
    np.testing.assert_allclose(found[..., n_inputs:], by_bias, atol=1e-5)

    edge = np.asarray(model.edge)
    square = (np.asarray(model.weight) * np.asarray(by_weight)) ** 2  # [rows, C - 1, s, t]
    cost = np.log(square.sum(1).mean(0)[edge] + 1e-6)
    np.testing.assert_allclose(np.asarray(weights)[edge], cost - cost.mean(), atol=1e-3)
    assert not np.asarray(weights)[~edge].any()


def test_rows_have_finite_gradients_where_outputs_are_certain():
    """Of a network whose probabilities underflow, which has no information there."""
    packed, ids = pack([random_stack(SPECS[1], size=40.0)]), np.arange(3)
    graph = gather(packed, ids, np.zeros((3, 1), np.float32), exact_budget(packed, ids))
    probe = LearnedProbe(ROWS, packed.template)
    params = jax.jit(probe.init)(jax.random.key(0), graph)

    @jax.jit
    def gradient(params):
        def total(params):
            nodes, edges = probe.apply(params, graph)
            return (nodes**2).sum() + (edges**2).sum()

        return jax.grad(total)(params)

    found = jax.tree.leaves(gradient(params))
    assert all(np.isfinite(leaf).all() for leaf in found)
    assert any(np.abs(leaf).max() > 0 for leaf in found)


def test_of_a_network_whose_values_overflow_what_is_seen_is_finite(case):
    template, models, x = case
    huge = jax.tree.map(lambda leaf: leaf * 1e12 if leaf.dtype == np.float32 else leaf, models)
    assert all(np.isfinite(leaf).all() for leaf in seen_by((template, huge, 1e12 * x)))


def test_the_number_of_rows_is_checked():
    for rows in (-1, 4097):
        expected = rf"editor\.learned_probe: found {rows}, expected 0 to 4096"
        with pytest.raises(SettingError, match=expected):
            EditorConfig(learned_probe=rows)
