"""Probes: statistics against plain numpy, storage, and what an editor makes of them."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import apply, gathered, init_editor, permuted, random_stack

from metanet.core import Stopped, UserError
from metanet.data.tabular import Table
from metanet.editor.api import edit_stack
from metanet.editor.inputs import scales_of
from metanet.editor.model import Editor, EditorConfig, TrainedEditor
from metanet.graphs.packing import pack, pack_probes
from metanet.mlp import network
from metanet.mlp.spec import MLPSpec
from metanet.probes.rows import Points, ProbeConfig, points_of
from metanet.probes.statistics import MEAN, SALIENCY, statistics
from metanet.probes.store import probe_population, probe_stack

NORMED = MLPSpec((5, 8, 12, 3), ((0, 2),), "layer")
PLAIN = MLPSpec((5, 9, 3))
SPECS = [NORMED, PLAIN]
CELLS = 4
PROBE = ProbeConfig(points=64, labelled=True)
SMALL = EditorConfig(node_width=8, edge_width=4, message_width=4, layers=2, gamma=0.3)
PROBED = dataclasses.replace(SMALL, probe=PROBE, mean_replacement=True)


@pytest.fixture(scope="module")
def stacks():
    return [random_stack(spec, 2, seed, activation="tanh") for seed, spec in enumerate(SPECS)]


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(3)
    return Points(
        x=jnp.asarray(rng.normal(size=(64, 5)), jnp.float32),
        cell=jnp.asarray(np.arange(64) % (CELLS - 1), jnp.int32),  # the last cell has no row
        weight=jnp.asarray(rng.uniform(0.5, 1.5, 64), jnp.float32),
        n_cells=CELLS,
    )


@pytest.fixture(scope="module")
def probes(stacks, points):
    return [jax.tree.map(np.asarray, probe_stack(stack, points)) for stack in stacks]


def table_of(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    y = (rng.uniform(size=rows) < 0.2).astype(np.int32)
    group = (rng.uniform(size=rows) < 0.3).astype(np.int32)
    x = rng.normal(size=(rows, 5)).astype(np.float32)
    return Table(x, y, group, np.ones(rows, np.float32), n_groups=2)


def by_hand(spec, params, x, moved=None, delta=0.0):
    """Values before norm and activation, outputs and logits of one row; one value moved."""
    values, outputs = {}, {0: np.array(x, np.float64)}
    for layer in range(spec.n_layers + 1):
        if layer == 0:
            values[0] = outputs[0]
        else:
            values[layer] = np.array(params.biases[layer - 1], np.float64)
            for (source, target), weight in zip(spec.blocks, params.weights, strict=True):
                if target == layer:
                    values[layer] = values[layer] + outputs[source] @ weight
        if moved is not None and moved[0] == layer:
            values[layer] = values[layer] + delta * np.eye(spec.widths[layer])[moved[1]]
        z = values[layer]
        if 0 < layer < spec.n_layers:
            if spec.norm == "layer":
                z = (z - z.mean()) / np.sqrt(z.var() + network.NORM_EPSILON)
                z = z * params.scales[layer - 1] + params.shifts[layer - 1]
            z = np.tanh(z)
        outputs[layer] = z
    return values, outputs, outputs[spec.n_layers]


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


@pytest.mark.parametrize("number", [0, 1])
def test_statistics_are_those_of_a_plain_loop(number, stacks, points, probes):
    stack = stacks[number]
    spec, params = stack.spec, jax.tree.map(lambda leaf: leaf[1], stack.params)
    rows = [by_hand(spec, params, x) for x in np.asarray(points.x)]
    share = np.asarray(points.weight / points.weight.sum(), np.float64)
    step = 1e-5
    for layer, width in enumerate(spec.widths):
        value = np.array([row[0][layer] for row in rows])
        output = np.array([row[1][layer] for row in rows])
        for neuron in range(width):
            found = probes[number].node[layer][1, neuron]
            fisher = 0.0
            for x, weight in zip(np.asarray(points.x), share, strict=True):
                up, down = (
                    by_hand(spec, params, x, (layer, neuron), sign * step)[2] for sign in (1, -1)
                )
                slope, p = (up - down) / (2 * step), softmax((up + down) / 2)
                fisher += weight * (p @ slope**2 - (p @ slope) ** 2)
            mean = share @ output[:, neuron]
            deviation = np.sqrt(share @ (output[:, neuron] - mean) ** 2)
            centre = share @ value[:, neuron]
            spread = np.sqrt(share @ (value[:, neuron] - centre) ** 2)
            np.testing.assert_allclose(found[[0, 2]], [mean, np.arcsinh(centre)], atol=1e-5)
            np.testing.assert_allclose(found[[1, 3]], np.log([deviation, spread]), atol=1e-3)
            np.testing.assert_allclose(found[5], 0.5 * np.log(fisher + 1e-6), atol=5e-3)
            for cell in range(CELLS - 1):
                inside = np.asarray(points.cell) == cell
                of_cell = np.average(output[inside, neuron], weights=share[inside])
                np.testing.assert_allclose(found[7 + cell], (of_cell - mean) / deviation, atol=1e-3)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(probes[number]))


@pytest.mark.parametrize("replaced", [False, True])
def test_saliency_is_the_divergence_of_a_small_change(replaced, stacks, points, probes):
    """Shrinking a weight by a little costs a little squared of its saliency."""
    stack, little, with_bias = stacks[1], 0.05, np.zeros(9)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), stack.params)
    expected = np.exp(probes[1].edge[0][0, :, :, SALIENCY if replaced else 0])
    before = apply(stack.spec, params, 4, points.x)
    share = points.weight / points.weight.sum()
    for source, target in ((0, 0), (2, 5), (4, 8)):
        change = little * params.weights[0][source, target]
        with_bias = params.biases[0]
        if replaced:
            with_bias = with_bias.at[target].add(change * (share @ points.x[:, source]))
        weight = params.weights[0].at[source, target].add(-change)
        changed = params.replace(
            weights=(weight, params.weights[1]), biases=(with_bias, params.biases[1])
        )
        after = apply(stack.spec, changed, 4, points.x)
        # float32 cannot resolve a divergence this small: from its second-order form in float64.
        p = np.asarray(jax.nn.softmax(before), np.float64)
        slope = np.asarray(after, np.float64) - np.asarray(before, np.float64)
        cost = np.asarray(share) @ ((p * slope**2).sum(1) - (p * slope).sum(1) ** 2) / 8
        assert cost / little**2 == pytest.approx(expected[source, target], rel=0.1)


def test_the_divergence_of_a_dropped_input_is_nearly_that_of_linear_logits(stacks, points, probes):
    stack = stacks[0]
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), stack.params)

    @jax.jit
    def logits(change):
        def of(x):
            return network.apply(stack.spec, params, 4, x)

        return jax.jvp(of, (points.x,), (change,))

    for feature in range(5):
        change = np.asarray(points.x) * (np.arange(5) != feature)[None] - np.asarray(points.x)
        before, moved = logits(change)
        after = before + moved
        divergence = (points.weight @ network.js_divergence(before, after)) / points.weight.sum()
        p, q = jax.nn.softmax(before), jax.nn.softmax(after)
        expected = points.weight @ ((p - q) ** 2 / (p + q)).sum(1) / points.weight.sum() / 4
        found = np.exp(probes[0].node[0][0, feature, 6])
        assert found == pytest.approx(float(expected) + 1e-6, rel=1e-3)
        assert found <= 1.001 * divergence + 1e-6 and divergence <= 2.001 * np.log(2) * found


def test_saliencies_are_also_relative_to_the_models_others(probes):
    for model in range(2):
        flat = np.concatenate([leaf[model].reshape(-1, 3) for leaf in probes[0].edge])
        saliency = flat[:, SALIENCY]
        expected = (saliency - saliency.mean()) / saliency.std()
        np.testing.assert_allclose(flat[:, 2], expected, atol=1e-4)


def test_labelled_points_are_even_over_cells_and_weighted_back():
    table = table_of(2000)
    points = points_of(ProbeConfig(points=400, labelled=True), table, 2)
    assert (np.bincount(points.cell, minlength=4) == 100).all() and points.n_cells == 4
    weight, cell = np.asarray(points.weight), 2 * table.y + table.group
    shares = [weight[np.asarray(points.cell) == one].sum() / weight.sum() for one in range(4)]
    np.testing.assert_allclose(shares, np.bincount(cell, minlength=4) / 2000, atol=1e-6)
    assert weight.mean() == pytest.approx(1)
    rows = [np.flatnonzero((table.x == np.asarray(x)).all(1))[0] for x in points.x]
    np.testing.assert_array_equal(cell[rows], points.cell)
    assert len(np.unique(np.asarray(points.cell)[:20])) == 4  # in random order


def test_unlabelled_points_depend_on_neither_labels_nor_groups():
    table = table_of()
    other = table.replace(y=1 - table.y, group=1 - table.group)
    config = ProbeConfig(points=50)
    ours, theirs = points_of(config, table, 2), points_of(config, other, 2)
    np.testing.assert_array_equal(ours.x, theirs.x)
    assert ours.n_cells == 1 and len(np.unique(ours.x, axis=0)) == 50
    assert len(points_of(ProbeConfig(points=10**6), table, 2).x) == 200
    assert (points_of(ProbeConfig(50, seed=1), table, 2).x != ours.x).any()


def test_tilted_points_prefer_rows_with_a_large_first_feature():
    table = table_of(4000)
    means = []
    for tilt in (-1.0, 0.0, 1.0):
        points = points_of(ProbeConfig(points=400, tilt=tilt), table, 2)
        means.append(float(points.x[:, 0].mean()))
    # exp(tilt x) moves a standard normal distribution by tilt.
    assert means == pytest.approx([-1, 0, 1], abs=0.2)


def test_a_probe_without_points_is_refused():
    with pytest.raises(UserError, match=r"editor.probe.points: found 0"):
        ProbeConfig(points=0)
    with pytest.raises(UserError, match=r"editor.mean_replacement.*editor.probe"):
        EditorConfig(mean_replacement=True)


def population_of(stacks):
    return types.SimpleNamespace(stacks=tuple(stacks))


def test_probes_are_computed_once_and_stored(monkeypatch, tmp_path, stacks, points, probes):
    def stop():
        raise Stopped

    with pytest.raises(Stopped):
        probe_population(tmp_path, population_of(stacks), points, {"seed": 0}, stop)
    assert [path.name for path in tmp_path.glob("*.npz")] == ["family_000.npz"]
    found = probe_population(tmp_path, population_of(stacks), points, {"seed": 0})
    (tmp_path / "family_000.npz").unlink()
    probed = []

    def counted(stack, *args, **kwargs):
        probed.append(stack.spec)
        return probe_stack(stack, *args, **kwargs)

    monkeypatch.setattr("metanet.probes.store.probe_stack", counted)
    again = probe_population(tmp_path, population_of(stacks), points, {"seed": 0})
    assert probed == [stacks[0].spec]
    jax.tree.map(np.testing.assert_array_equal, again, found)
    expected = [probe_stack(stack, points, once=True) for stack in stacks]  # on one device of four
    for results, rtol, atol in ((expected, 1e-5, 1e-5), (probes, 1e-3, 1e-4)):
        close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
        jax.tree.map(close, found, results)
    with pytest.raises(UserError, match="seed = 0, expected 1"):
        probe_population(tmp_path, population_of(stacks), points, {"seed": 1})
    (tmp_path / "family_001.npz").write_bytes(b"rubbish")
    with pytest.raises(UserError, match=r"family_001.npz: found .*remove it"):
        probe_population(tmp_path, population_of(stacks), points, {"seed": 0})


@pytest.fixture(scope="module")
def editor_of(stacks, points):
    """editor_of(config) -> an editor with random parameters for the models of `stacks`."""
    return functools.cache(functools.partial(_editor_of, stacks, points))


def _editor_of(stacks, points, config):
    models = pack(stacks)
    if config.probe is not None:
        probes = [probe_stack(stack, points) for stack in stacks]
        models = models.replace(probe=pack_probes(probes))
    scales = scales_of(models, np.arange(len(models.spec)))
    graph = gathered(models, np.arange(2), np.zeros((2, 1), np.float32), (12, 24))
    # Without a limit, so that logits can be moved to where half of the edges are kept.
    editor = Editor(dataclasses.replace(config, mask_limit=1e6), models.template)
    params = init_editor(editor, jax.random.key(1), graph, scales)
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: np.asarray(leaf) + np.float32(0.3 * rng.normal(size=leaf.shape)), params
    )
    logits = jax.jit(editor.apply)({"params": params}, graph, scales).keep
    exists = np.asarray(graph.edges["exists"])
    params["keep"]["last"]["bias"] -= np.median(np.asarray(logits)[exists])
    return TrainedEditor(params, scales, config, models.template)


def test_a_batch_has_the_statistics_of_every_node_and_edge(stacks, points):
    probes = [probe_stack(stack, points) for stack in stacks]
    models = pack(stacks).replace(probe=pack_probes(probes))
    graph = gathered(models, np.arange(2), np.zeros((2, 1), np.float32), (12, 24))
    assert graph.edges["probe"].shape == (len(graph.senders), models.probe.edge.shape[-1])
    assert graph.nodes["probe"].shape == (len(graph.nodes["bias"]), models.probe.node.shape[-1])
    assert graph.globals["probe"].shape == (3, models.probe.graph.shape[-1])  # and padding


def test_edits_with_probes_are_equivariant_to_permutations_of_hidden_neurons(
    editor_of, stacks, points
):
    editor, stack = editor_of(PROBED), stacks[0]
    order = np.random.default_rng(5).permutation(8)
    moved = permuted(stack, {1: order})
    edited, mask = edit_stack(editor, stack, 0.1, points)
    other, other_mask = edit_stack(editor, moved, 0.1, points)
    kept = np.concatenate([leaf.reshape(-1) for leaf in mask])
    assert 0.05 < kept.mean() < 0.95
    np.testing.assert_allclose(edited.params.biases[0][:, order], other.params.biases[0], atol=2e-4)
    for (s, t), ours, theirs in zip(stack.spec.blocks, mask, other_mask, strict=True):
        ours = ours[:, :, order] if t == 1 else ours[:, order] if s == 1 else ours
        assert (ours != theirs).mean() < 0.01  # rounding may move a logit across 0
    assert np.abs(edited.params.biases[0] - other.params.biases[0]).max() > 0.05


def test_an_editor_sees_what_models_do(editor_of, stacks, points):
    """Other points, other edits."""
    shifted = points.replace(x=points.x + 1.0)
    editor = editor_of(PROBED)
    edited = [edit_stack(editor, stacks[0], 0.1, one)[0].params for one in (points, shifted)]
    pairs = zip(*map(jax.tree.leaves, edited), strict=True)
    assert any((a != b).any() for a, b in pairs)


def test_an_editor_without_probes_has_the_parameters_and_edits_it_always_had(
    editor_of, stacks, points
):
    """Statistics that lie beside the models change an editor only if it asks for them."""
    plain, probed = editor_of(SMALL), editor_of(PROBED)
    shapes = {jax.tree_util.keystr(k): v.shape for k, v in jax.tree.leaves_with_path(plain.params)}
    others = {jax.tree_util.keystr(k): v.shape for k, v in jax.tree.leaves_with_path(probed.params)}
    wider = {name for name in shapes if shapes[name] != others[name]}
    assert shapes.keys() == others.keys()
    assert wider == {"['init_nodes_hidden']['kernel']", "['init_edges']['edge']['kernel']"}
    assert shapes["['init_nodes_hidden']['kernel']"] == (6, 16)
    assert plain.scales.probe_node is None


def test_an_editor_with_probes_asks_for_points(editor_of, stacks, points):
    editor = editor_of(PROBED)
    with pytest.raises(ValueError, match="points: found None"):
        edit_stack(editor, stacks[0], 0.1)


def test_the_mean_effect_of_removed_weights_goes_into_the_bias(editor_of, stacks, points, probes):
    without = dataclasses.replace(PROBED, mean_replacement=False)
    editor = editor_of(PROBED)
    plain = dataclasses.replace(editor, config=without)
    (ours, mask), (theirs, same) = (
        edit_stack(one, stacks[1], 0.1, points) for one in (editor, plain)
    )
    jax.tree.map(np.testing.assert_array_equal, mask, same)
    # All of a neuron's weights before masking: those of an editor that keeps everything.
    everything = jax.tree.map(np.copy, editor.params)
    everything["keep"]["last"]["bias"] += 1e3
    edited, _ = edit_stack(dataclasses.replace(plain, params=everything), stacks[1], 0.1, points)
    for layer in (1, 2):
        means = probes[1].node[layer - 1][:, :, MEAN, None]
        removed = edited.params.weights[layer - 1] * (1 - mask[layer - 1])
        moved = ours.params.biases[layer - 1] - theirs.params.biases[layer - 1]
        np.testing.assert_allclose(moved, (removed * means).sum(1), atol=1e-4)
        assert np.abs(moved).max() > 0.01


def test_two_classes_have_one_margin():
    spec = MLPSpec((5, 4, 2))
    stack = random_stack(spec, 2, activation="tanh")
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), stack.params)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(40, 5)), jnp.float32)
    points = Points(x, jnp.zeros(40, jnp.int32), jnp.ones(40), 1)
    probe = jax.jit(statistics, static_argnums=0)(spec, params, 4, points)
    p = jax.nn.softmax(apply(spec, params, 4, x))
    # Of the margin at the outputs: sqrt(p (1 - p)), of either sign.
    size = np.log(np.sqrt(np.mean(p[:, 0] * p[:, 1]) + 1e-6))
    np.testing.assert_allclose(probe.node[2][:, 5], [size, size], atol=1e-3)
    np.testing.assert_allclose(probe.node[2][:, 4], [-1, 1], atol=1e-6)
    np.testing.assert_allclose(probe.graph[:1], p[:, 1].mean(), atol=1e-5)
