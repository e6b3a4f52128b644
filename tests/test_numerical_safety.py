"""Numbers at their extremes: finite values and gradients, and models that are left out."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_template, random_stack, random_table

from metanet.core import SettingError
from metanet.data import synthetic, tabular
from metanet.editor.edits import Edit
from metanet.editor.inputs import scales_of
from metanet.editor.model import Editor, EditorConfig
from metanet.editor.newton import NewtonConfig, newton
from metanet.graphs.batch import gather
from metanet.graphs.linearised import fisher_root, residual
from metanet.graphs.packing import pack
from metanet.graphs.padded import apply_padded
from metanet.mlp import network
from metanet.mlp.spec import MLPSpec
from metanet.objectives.check import check_cells, group_counts

SPEC = MLPSpec((5, 8, 9, 2), ((0, 2),), "layer")
LARGE = 1e4  # logits


def finite(tree):
    return all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


# Logits


@pytest.mark.parametrize("classes", [2, 4])
def test_divergence_and_residual_of_large_logits_are_finite_and_agree(classes):
    """The residual gives the divergence's gradient also where probabilities underflow."""
    rng = np.random.default_rng(0)
    corners = LARGE * (2 * rng.integers(0, 2, (2, 60, classes)) - 1)
    uniform = rng.uniform(-LARGE, LARGE, (2, 60, classes))
    small = 3 * rng.normal(size=(2, 60, classes))
    p, q = np.concatenate([corners, uniform, small], axis=1).astype(np.float32)
    divergence, left_over = jax.jit(network.js_divergence), jax.jit(residual)
    gradient = jax.jit(jax.grad(lambda a, b: network.js_divergence(a, b).sum(), argnums=(0, 1)))
    for one, other in ((p, q), (q, p), (p, p), (p, np.zeros_like(p)), (np.zeros_like(p), p)):
        value, slopes = divergence(one, other), gradient(one, other)
        assert finite((value, slopes))
        assert value.min() >= -1e-6 and value.max() <= np.log(2) + 1e-6
        left = left_over(other, one)
        assert finite(left) and np.abs(left).max() < 1e3
        # J' residual, J half the derivatives of R times the logits (see `residual`).
        roots = jax.vmap(lambda z: fisher_root(jax.nn.softmax(z)))(other)
        found = 0.5 * jnp.einsum("rpc,rp->rc", roots, left)
        np.testing.assert_allclose(found, slopes[1], atol=1e-4)


@pytest.mark.slow
def test_gauss_newton_steps_with_large_logits_stay_finite_and_lower_the_divergence():
    packed = pack([random_stack(SPEC, activation="tanh")])
    before = in_template(packed)
    x = random_table(40).x
    outputs = jax.jit(jax.vmap(lambda model: apply_padded(packed.template, model, x)))
    weight = np.array(before.weight)
    weight[:, :, -8:] *= (LARGE / np.abs(outputs(before)).max((1, 2)))[:, None, None]
    before = before.replace(weight=jnp.asarray(weight))
    assert np.abs(outputs(before)).max() > 0.5 * LARGE
    keep = (np.random.default_rng(0).random(weight.shape) < 0.7) & np.asarray(before.edge)
    after = before.replace(weight=before.weight * keep)
    edit = Edit(before, after, jnp.asarray(keep, jnp.float32), jnp.ones((3, 5)))
    batch = jax.tree.map(jnp.asarray, random_table(40))
    found = jax.jit(
        jax.vmap(lambda one: newton(packed.template, one, batch, NewtonConfig(steps=4)))
    )(edit)
    assert finite(found.after)
    first, last = (
        network.js_divergence(outputs(before), outputs(model)).mean(1)
        for model in (after, found.after)
    )
    assert finite(last) and (last <= first + 1e-6).all()


# Layer norms


@pytest.mark.parametrize("value", [0.0, 3.0, -1e4, 1e30])
def test_a_layer_norm_of_constant_values_is_its_shift_with_finite_gradients(value):
    scale, shift = jnp.asarray([1.0, 2.0, 3.0]), jnp.asarray([0.5, 0.0, -1.0])

    def norm(z, scale, shift):
        return network.layer_norm(z, scale, shift)

    z = jnp.full((4, 3), value, jnp.float32)
    found, pull = jax.vjp(norm, z, scale, shift)
    np.testing.assert_allclose(found, np.tile(shift, (4, 1)), atol=1e-5)
    assert finite(pull(jnp.ones((4, 3)) * jnp.asarray([[1.0, -2.0, 5.0]])))


def test_a_network_whose_activations_are_constant_has_finite_gradients():
    """Every weight 0: all hidden values of a layer are one number; plain and in the template."""
    stack = random_stack(SPEC, 1)
    zeros = jax.tree.map(np.zeros_like, stack.params).replace(scales=stack.params.scales)
    model = jax.tree.map(
        lambda leaf: leaf[0], in_template(pack([dataclasses.replace(stack, params=zeros)]))
    )
    template, x = pack([stack]).template, random_table(6).x

    def total(weight, scale):
        return (apply_padded(template, model.replace(weight=weight, scale=scale), x) ** 2).sum()

    assert finite(jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(model.weight, model.scale))


# Fairness that cannot be estimated


@pytest.fixture(scope="module")
def data():
    return tabular.split(synthetic.synthetic(rows=500), "group", 0)


def cells_of(data, cells):
    """The data whose `test` rows are of (label, group) pairs alone."""
    y, group = (
        np.resize(one, len(data.test.y)).astype(np.int32) for one in zip(*cells, strict=True)
    )
    return dataclasses.replace(data, test=data.test.replace(y=y, group=group))


@pytest.mark.parametrize(
    ("name", "cells", "said"),
    [
        ("equalised_odds", [(0, 0), (0, 1), (1, 1)], "rows of class positive in 1 of 2 groups"),
        ("equalised_odds", [(0, 0), (1, 1)], "rows of class negative in 1 of 2 groups"),
        ("equalised_odds", [(0, 0), (0, 1)], "rows of class positive in 0 of 2 groups"),
        ("equal_opportunity", [(0, 0), (1, 1)], "rows of class positive in 1 of 2 groups"),
        ("demographic_parity", [(0, 1), (1, 1)], "rows in 1 of 2 groups"),
        ("demographic_parity", [(0, 0), (1, 1)], None),
        ("equal_opportunity", [(1, 0), (1, 1)], None),
    ],
)
def test_data_on_which_fairness_cannot_be_estimated_are_refused(data, name, cells, said):
    path = f"metanet.objectives.fairness.{name}"
    if said is None:
        check_cells(path, cells_of(data, cells))
        return
    with pytest.raises(SettingError, match=f"group: found 'group', with {said} of test data"):
        check_cells(path, cells_of(data, cells))


def test_data_of_one_group_have_no_protected_attribute(data):
    one = dataclasses.replace(data, train=data.train.replace(n_groups=1))
    with pytest.raises(SettingError, match="expected a protected attribute of"):
        check_cells("metanet.objectives.fairness.demographic_parity", one)


def test_a_requirement_of_ones_own_compares_no_groups_unless_it_says_so(
    data, tmp_path, monkeypatch
):
    (tmp_path / "of_ones_own.py").write_text(
        "def norm(view):\n    return abs(view.after.bias).max()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert group_counts("of_ones_own.norm", data.test, data.classes) == {}


def test_a_group_that_takes_no_part_is_logged(data, caplog):
    both = [(0, 0), (0, 1), (1, 0), (1, 1)]
    whole = cells_of(data, both)
    parts = {name: getattr(whole, name).replace(n_groups=3) for name in ("edit", "select", "test")}
    with caplog.at_level(logging.WARNING):
        check_cells("metanet.objectives.fairness.demographic_parity",
                    dataclasses.replace(whole, **parts))  # fmt: skip
    assert "no rows in group 2 of group in test data" in caplog.text


# Editors in bfloat16

# Of the root mean square of the float32 editor's changes: bfloat16 has 8 bits, and errors add up
# over rounds.
BFLOAT16 = 0.05


@pytest.mark.slow
def test_an_editor_in_bfloat16_edits_as_one_in_float32():
    """Within 5%, root mean square, of the changes, and of the mask logits where they differ."""
    models = pack([random_stack(SPEC, 4)])
    config = EditorConfig(16, 8, 8, layers=3, learned_probe=4)
    scales = scales_of(models, np.arange(4))
    largest = tuple(int(n.max()) for n in (models.topologies.n_nodes, models.topologies.n_edges))
    graph = gather(models, jnp.zeros(1, jnp.int32), jnp.zeros((1, 1), jnp.float32), largest)
    params = jax.jit(Editor(config, models.template).init)(jax.random.key(0), graph, scales)
    rng = np.random.default_rng(0)  # not a fresh one, whose masks are all open
    params = jax.tree.map(
        lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32), params["params"]
    )
    changes = []
    for dtype in ("float32", "bfloat16"):
        editor = Editor(dataclasses.replace(config, dtype=dtype), models.template)
        proposal = jax.jit(editor.apply)({"params": params}, graph, scales)
        changes.append(jax.tree.map(np.asarray, proposal))
    for name in ("weight", "bias", "keep"):
        exact, rough = (getattr(one, name) for one in changes)
        spread = np.sqrt(np.mean((exact - (exact.mean() if name == "keep" else 0)) ** 2))
        error = np.sqrt(np.mean((rough - exact) ** 2)) / spread
        assert 0 < error < BFLOAT16, (name, error)
