"""The editor: relaxations, equivariance, independence of padding, and what an edit may change."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import struct
from helpers import exact_budget, permuted, random_stack
from scipy import stats

from configs import pruning
from metanet.editor import layers
from metanet.editor.api import edit_stack
from metanet.editor.apply import apply_proposal, as_edit, edit_graph, propose, with_template
from metanet.editor.edits import Edit, Masks
from metanet.editor.inputs import N_KINDS, Scales, scales_of, type_counts
from metanet.editor.model import Editor, EditorConfig, Proposal, TrainedEditor
from metanet.editor.noise import Dropout, drop_change, logistic_noise
from metanet.editor.relax import (
    bounded,
    hard_decisions,
    keep_mask,
    soft_decisions,
    straight_through,
)
from metanet.graphs.batch import edge_matrix, gather, to_template
from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.packing import pack, unpack
from metanet.graphs.padded import apply_padded
from metanet.graphs.topology import TILE
from metanet.mlp import network
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec

# Hidden layers of more than one tile, so that a permutation moves neurons between tiles.
NORMED = MLPSpec((5, 8, 12, 2), ((0, 2),), "layer")
DEEP = MLPSpec((5, 6, 9, 9, 3), ((0, 2), (1, 3)), "none")
FOLDED = MLPSpec((5, 8, 8, 3), (), "batch")
TWO_OUTPUTS = [NORMED, MLPSpec((5, 5, 2), (), "none"), MLPSpec((5, 8, 8, 2), (), "batch")]
THREE_OUTPUTS = [DEEP, FOLDED, MLPSpec((5, 7, 9, 3), ((0, 2),), "layer")]

FIELDS = {field.name for field in dataclasses.fields(EditorConfig)}
REAL = EditorConfig(**{k: v for k, v in pruning.get_config().editor.items() if k in FIELDS})
ONLY_EDIT = dataclasses.replace(REAL, mask="none")  # these read part of the same parameters
ONLY_MASK = dataclasses.replace(REAL, edit=False)
BOTH = dataclasses.replace(REAL, mask="both")
INPUTS = dataclasses.replace(REAL, mask="inputs")  # reads part of the parameters of BOTH


# Halves the time to compile.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.partial(jit, static_argnames="budget")
def _gathered(models, ids, log10_lambda, budget):
    return gather(models, ids, log10_lambda, budget)


def gathered(models, ids, budget=None, log10_lambda=-1.0):
    """A batch, exactly budgeted by default; log10_lambda: one, or one per graph."""
    if budget is None:
        budget = exact_budget(models, ids)
    asked = np.resize(np.float32(log10_lambda), (len(ids), 1))
    return _gathered(models, np.asarray(ids), asked, budget)


def all_models(models, log10_lambda=-1.0):
    """The batch of all 9 models and an absent one, with some padding."""
    return some_models(models, range(9), log10_lambda)


def some_models(models, ids, log10_lambda=-1.0):
    """A batch of some models, in the shape of that of all: one program for both."""
    return gathered(models, [*ids, *[-1] * (10 - len(ids))], (80, 200), log10_lambda)


@struct.dataclass
class Outcome:
    """All that an editor makes of a batch; `logits` of the edges' mask in the template."""

    proposal: Proposal
    edited: GraphsTuple
    masks: Masks
    edit: Edit
    logits: jax.Array | None


to_template_jitted = jit(to_template, static_argnums=0)


@jit
def _outcome(editor, graph):
    proposals = []

    def note(method, args, kwargs, context):
        found = method(*args, **kwargs)
        if isinstance(context.module, Editor) and context.method_name == "__call__":
            proposals.append(found)
        return found

    with nn.intercept_methods(note):  # asked twice, the editor would be compiled twice
        edited, masks = edit_graph(editor, graph)
    (proposal,) = proposals
    logits = None
    if proposal.keep is not None:
        logits = edge_matrix(editor.template, graph, proposal.keep)
    return Outcome(proposal, edited, masks, as_edit(editor, graph, edited, masks), logits)


def outcome_of(editor, graph):
    return jax.tree.map(np.asarray, _outcome(editor, graph))


@functools.cache
def fresh(specs, config=REAL):
    """An untrained editor and the models (3 of each spec) it is for."""
    models = pack([random_stack(spec, seed=seed) for seed, spec in enumerate(specs)])
    editor = Editor(config, models.template)
    scales = scales_of(models, np.arange(len(models.spec)))
    params = jit(editor.init)(jax.random.key(3), all_models(models), scales)["params"]
    return TrainedEditor(params, scales, config, models.template), models


@functools.cache
def loud(specs, config=REAL):
    """As `fresh`, with random biases everywhere, large edits, and masks that drop about half."""
    editor, models = fresh(specs, config)
    leaves, structure = jax.tree.flatten(editor.params)
    rng = np.random.default_rng(1)
    leaves = [leaf + np.float32(0.1 * rng.normal(size=leaf.shape)) for leaf in leaves]
    params = jax.tree.unflatten(structure, leaves)
    params["node_delta"] = jax.tree.map(lambda leaf: 3 * leaf, params["node_delta"])
    params["gamma"] = jnp.float32(1.0)
    graph = all_models(models)
    proposal = outcome_of(editor.replace(params=params), graph).proposal
    exists = np.asarray(graph.edges["exists"])
    # The heads' last layers, such that deltas and logits have mean 0 and a deviation of 1.
    for head, values in (("delta", proposal.weight), ("keep", proposal.keep)):
        mean, deviation = values[exists].mean(), values[exists].std()
        unit = 0.5 if head == "delta" else 1.0
        last = params[head]["last"]
        last["kernel"] = last["kernel"] / deviation
        last["bias"] = (last["bias"] - mean / unit) / deviation
        if head == "keep":  # its mean includes the mask's constant bias
            last["bias"] += REAL.mask_bias / deviation - REAL.mask_bias
    if proposal.input_keep is not None:
        last = params["input_keep"]
        values = proposal.input_keep[np.isfinite(proposal.input_keep) & graph.nodes["exists"]]
        middle, deviation = np.median(values) - REAL.mask_bias, values.std()
        last["kernel"] = last["kernel"] / deviation
        last["bias"] = (last["bias"] - middle) / deviation - REAL.mask_bias
    return editor.replace(params=params), models


def by_block(models, spec, weight, nodes):
    """The models of one spec, whose values are the first of a batch."""
    nodes = {name: leaf.reshape(-1, TILE)[: len(models.bias)] for name, leaf in nodes.items()}
    weight = weight.reshape(-1, TILE, TILE)[: len(models.weight)]
    packed = models.replace(weight=weight, **nodes)
    return unpack(packed, [spec])[0]


def outcome_of_stack(editor, stack):
    """Deltas, mask logits and edited models of a stack, each in the layout of a stack."""
    models = pack([stack], editor.template)
    found = outcome_of(editor, some_models(models, range(len(stack.activation))))
    nodes = {name: getattr(found.proposal, name) for name in ("bias", "scale", "shift")}
    edited = {name: found.edited.nodes[name] for name in nodes}
    return (
        by_block(models, stack.spec, found.proposal.weight, nodes),
        by_block(models, stack.spec, found.proposal.keep, {}),
        by_block(models, stack.spec, found.edited.edges["weight"], edited),
    )


def with_params(stack, params):
    return dataclasses.replace(stack, params=params)


def relative_difference(a, b):
    """The largest difference of two trees of arrays, leaf by leaf in units of its deviation."""
    pairs = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    return max(np.abs(x - y).max() / np.std(y) for x, y in pairs)


def orders_of(spec, which):
    """A permutation of each of the layers that leaves no neuron in its place."""
    rng, orders = np.random.default_rng(11), {}
    for layer in which:
        cycle = rng.permutation(spec.widths[layer])
        orders[layer] = np.empty_like(cycle)
        orders[layer][cycle] = np.roll(cycle, 1)
    return orders


def family_of(spec):
    return tuple(TWO_OUTPUTS if spec.widths[-1] == 2 else THREE_OUTPUTS)


# Relaxations


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_keep_mask_is_hard_forwards_and_logistic_backwards(temperature):
    logits = np.array([-20.0, -2.0, -0.7, -1e-6, 0.0, 1e-6, 0.3, 1.4, 20.0], np.float32)
    upstream = np.arange(1, 10, dtype=np.float32)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def masked(logits):
        mask = keep_mask(logits, temperature)
        return (upstream * mask).sum(), mask

    (_, mask), gradient = masked(logits)
    np.testing.assert_array_equal(mask, [0, 0, 0, 0, 0, 1, 1, 1, 1])
    soft = 1 / (1 + np.exp(-logits.astype(np.float64) / temperature))
    expected = upstream * soft * (1 - soft) / temperature
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_masks_at_a_random_place_have_the_gradient_of_what_dropping_costs():
    """Of a function whose slope at 0 has the wrong sign."""

    def cost(mask):
        return jnp.sin(5.0 * mask) - mask  # from 0 up at first, but lower at 1

    logits, learns = jnp.full(2, -1.0), jnp.array([True, False])

    def gradient(place):
        return jax.grad(lambda x: cost(keep_mask(x, 1.0, place, learns)).sum())(logits)

    places = (np.arange(1000) + 0.5) / 1000
    slope = float(jax.nn.sigmoid(-1.0) * jax.nn.sigmoid(1.0))
    found = jax.jit(gradient)(0.0), np.asarray(jax.jit(jax.vmap(gradient))(places)).mean(0)
    assert found[0][0] == pytest.approx(float(slope) * 4.0, rel=1e-3)
    expected = float(slope * (cost(1.0) - cost(0.0)))
    assert found[1][0] == pytest.approx(expected, rel=1e-3) and expected < 0
    assert found[0][1] == found[1][1] == 0
    both, always = jnp.array([-1.0, 1.0]), jnp.array(True)
    mask, pull = jax.vjp(lambda x: keep_mask(x, 1.0, jnp.float32(0.3), always), both)
    np.testing.assert_array_equal(mask, np.float32([0.3, 1]))
    np.testing.assert_allclose(pull(jnp.ones(2))[0], [slope, slope], rtol=1e-5)


def test_bounded_logits_pass_gradients_that_point_back_inside():
    logits = jnp.array([-7.0, -7.0, -4.0, -4.0, 0.0, 6.0, 6.0])
    gradient = jnp.array([1.0, -1.0, 1.0, -1.0, 2.0, 1.0, -1.0])  # descent moves the other way
    values, pull = jax.vjp(lambda logits: bounded(logits, 5.0), logits)
    np.testing.assert_array_equal(values, [-5, -5, -4, -4, 0, 5, 5])
    np.testing.assert_array_equal(pull(gradient)[0], [0, -1, 1, -1, 2, 1, 0])


def test_straight_through_has_the_hard_value_and_the_soft_gradient():
    soft = jnp.asarray([0.25, 0.75, 0.5])
    value, gradient = jax.value_and_grad(
        lambda s: (jnp.asarray([1.0, 2.0, 4.0]) * straight_through(jnp.round(s), s**2)).sum()
    )(soft)
    assert value == 2.0
    np.testing.assert_allclose(gradient, 2 * np.array([0.25, 1.5, 2.0]), rtol=1e-6)


def test_soft_decisions_become_hard_ones_as_temperature_falls():
    logits = jnp.asarray([[1.0, 2.0, -1.0], [0.5, 0.0, 0.4]])
    np.testing.assert_array_equal(hard_decisions(logits), [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(soft_decisions(logits, 0.01), hard_decisions(logits), atol=1e-4)
    exponential = np.exp(np.asarray(logits) / 2)
    expected = exponential / exponential.sum(1, keepdims=True)
    np.testing.assert_allclose(soft_decisions(logits, 2.0), expected, rtol=1e-5)


@jit
def noise_of(graph, keys):
    return logistic_noise(graph, *jax.vmap(jax.random.split)(keys).T)


def test_noise_is_standard_logistic_and_never_repeats():
    _, models = fresh(family_of(NORMED))
    graph = all_models(models)
    drawn = noise_of(graph, jax.random.split(jax.random.key(0), 10))
    everything = []
    for noise, like, sizes in (
        (drawn.edges, graph.senders, graph.n_edge),
        (drawn.inputs, graph.nodes["slot"], graph.n_node),
    ):
        assert noise.shape == like.shape and noise.dtype == np.float32
        noise = np.asarray(noise)[: -int(sizes[-1])]  # padding takes any values
        assert stats.kstest(noise, stats.logistic.cdf).pvalue > 0.01
        assert abs(noise.std() - np.pi / np.sqrt(3)) < 0.15
        everything.append(noise)
    everything = np.concatenate(everything)
    assert len(np.unique(everything)) > 0.99 * everything.size


@pytest.mark.parametrize("part", ["edges", "inputs"])
def test_noise_depends_on_the_graphs_key_alone(part):
    _, models = fresh(family_of(NORMED))
    keys = jax.random.split(jax.random.key(0), 9)

    def noise_of_model(ids, numbers, budget=None):
        graph = gathered(models, ids, budget)
        noise = np.asarray(getattr(noise_of(graph, keys[np.array(numbers)]), part))
        sizes = graph.n_edge if part == "edges" else graph.n_node
        ends = np.cumsum(sizes)
        number = ids.index(1)
        return noise[ends[number] - sizes[number] : ends[number]]

    reference = noise_of_model([1], [7])
    for ids, numbers, others in (
        ([1, 3, 8, 0], [7, 1, 2, 3], [1, 7, 2, 3]),
        ([7, 4, 0, 1], [1, 2, 3, 7], [7, 7, 7, 1]),
        ([-1, 8, 1, -1], [1, 2, 7, 3], [7, 2, 1, 7]),
    ):
        np.testing.assert_array_equal(noise_of_model(ids, numbers, (40, 90)), reference)
        assert not (noise_of_model(ids, others, (40, 90)) == reference).any()


RATE = 77 / 256


@jit
def dropped_ones(graph, keys, number=2):
    """Round `number`, which adds 1 to every state, with dropout: [V, 3] and [T, TILE, TILE, 2]."""
    before = jnp.zeros((len(graph.nodes["slot"]), 3)), jnp.zeros((len(graph.senders), 2))
    before = before[0], before[1].reshape(-1, TILE, TILE, 2)
    after = jax.tree.map(lambda leaf: leaf + 1.0, before)
    dropout = Dropout(*jax.vmap(jax.random.split)(keys).T, jnp.float32(RATE))
    return drop_change(graph, dropout, number, before, after)


def test_dropout_drops_a_share_of_the_change_and_scales_the_rest():
    _, models = fresh(family_of(NORMED))
    graph = all_models(models)
    found = dropped_ones(graph, jax.random.split(jax.random.key(0), 10))
    for leaf, sizes in zip(found, (graph.n_node, graph.n_edge), strict=True):
        leaf = np.asarray(leaf).reshape(-1, leaf.shape[-1])[: -int(sizes[-1])]
        np.testing.assert_allclose(np.unique(leaf), [0, 1 / (1 - RATE)], rtol=1e-6)
        share, deviation = (leaf == 0).mean(), np.sqrt(RATE * (1 - RATE) / leaf.size)
        assert abs(share - RATE) < 4 * deviation
        assert len(np.unique(leaf, axis=0)) == 2 ** leaf.shape[1]  # features one by one


@pytest.mark.parametrize("part", [0, 1], ids=["nodes", "edges"])
def test_dropout_depends_on_the_graphs_key_alone(part):
    _, models = fresh(family_of(NORMED))
    keys = jax.random.split(jax.random.key(0), 9)

    def of_model(ids, numbers, budget=None):
        graph = gathered(models, ids, budget)
        found = np.asarray(dropped_ones(graph, keys[np.array(numbers)])[part])
        sizes = np.asarray((graph.n_node, graph.n_edge)[part])
        first, number = np.cumsum(sizes) - sizes, ids.index(1)
        rows = found.reshape(-1, found.shape[-1])
        return rows[first[number] : first[number] + sizes[number]]

    reference = of_model([1], [7])
    for ids, numbers, others in (
        ([1, 3, 8, 0], [7, 1, 2, 3], [1, 7, 2, 3]),
        ([7, 4, 0, 1], [1, 2, 3, 7], [7, 7, 7, 1]),
        ([-1, 8, 1, -1], [1, 2, 7, 3], [7, 2, 1, 7]),
    ):
        np.testing.assert_array_equal(of_model(ids, numbers, (40, 90)), reference)
        assert (of_model(ids, others, (40, 90)) != reference).mean() > 0.2


@pytest.mark.slow
def test_every_round_drops_others_and_a_rate_of_nearly_0_nothing():
    editor, models = loud(family_of(NORMED))
    graph, network = all_models(models), Editor(editor.config, editor.template)
    keys = jax.random.split(jax.random.key(0), 10)
    first, second = (dropped_ones(graph, keys, number) for number in (0, 1))
    assert all((np.asarray(a) != b).mean() > 0.2 for a, b in zip(first, second, strict=True))

    @jit
    def proposed(rate):
        dropout = Dropout(*jax.vmap(jax.random.split)(keys).T, rate)
        return network.apply({"params": editor.params}, graph, editor.scales, dropout)

    plain = outcome_of(editor, graph).proposal.keep
    assert relative_difference(proposed(jnp.float32(1e-3)).keep, plain) < 1e-3
    assert relative_difference(proposed(jnp.float32(RATE)).keep, plain) > 0.1


# Message passing


def test_messages_are_sums_over_edges():
    _, models = fresh(family_of(DEEP))
    graph = all_models(models)
    tiles, n_nodes = layers.tiles_of(graph), len(graph.nodes["slot"])
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    rng = np.random.default_rng(0)
    nodes = rng.normal(size=(n_nodes, 3)).astype(np.float32)
    edges = rng.normal(size=(len(senders), 3)).astype(np.float32)
    grid = edges.reshape(-1, TILE, TILE, 3)
    for ends, at, total in (
        (senders, layers.at_sources, layers.sum_at_sources),
        (receivers, layers.at_targets, layers.sum_at_targets),
    ):
        at_edges = np.broadcast_to(jit(at)(tiles, nodes), grid.shape).reshape(edges.shape)
        np.testing.assert_array_equal(at_edges, nodes[ends])
        expected = np.zeros((n_nodes, 3))
        np.add.at(expected, ends, edges)
        found = jit(total, static_argnums=2)(tiles, grid, n_nodes)
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_softmax_at_targets_is_that_of_a_loop_over_nodes(size):
    _, models = fresh(family_of(DEEP))
    graph = jax.tree.map(np.asarray, all_models(models))
    tiles, n_nodes = layers.tiles_of(graph), len(graph.nodes["slot"])
    exists, receivers = graph.edges["exists"], graph.receivers
    rng = np.random.default_rng(0)
    logits = (size * rng.normal(size=(len(exists), 3))).astype(np.float32)
    logits[~exists] = np.resize(np.float32([np.inf, -np.inf, np.nan, 1e30]), (~exists).sum())[
        :, None
    ]
    pull = rng.normal(size=logits.shape).astype(np.float32)

    @jit
    def softmax(logits, pull):
        grid = logits.reshape(*tiles.exists.shape[:-1], 3)
        found, back = jax.vjp(lambda g: layers.softmax_at_targets(tiles, g, n_nodes), grid)
        return found.reshape(logits.shape), back(pull.reshape(grid.shape))[0].reshape(logits.shape)

    expected, gradient = np.zeros((2, *logits.shape))
    for node in range(n_nodes):
        edges = np.flatnonzero(exists & (receivers == node))
        if not len(edges):
            continue
        of_node = logits[edges].astype(np.float64)
        powers = np.exp(of_node - of_node.max(0))
        expected[edges] = share = powers / powers.sum(0)
        gradient[edges] = share * (pull[edges] - (share * pull[edges]).sum(0))
    found = softmax(logits, pull)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    np.testing.assert_allclose(found[1], gradient, atol=1e-4)
    assert not np.asarray(found[0])[~exists].any() and (found[0][exists] > 0).any()
    half = layers.softmax_at_targets(
        tiles, jnp.asarray(logits, jnp.bfloat16).reshape(*tiles.exists.shape[:-1], 3), n_nodes
    )
    assert half.dtype == jnp.bfloat16


@pytest.mark.parametrize("spec", [NORMED, DEEP], ids=str)
def test_softmax_at_targets_is_equivariant_to_permutations_of_hidden_neurons(spec):
    def shares(stack):
        models = pack([stack])
        graph = gathered(models, range(3))
        tiles, n_nodes = layers.tiles_of(graph), len(graph.nodes["slot"])
        grid = graph.edges["weight"].reshape(-1, TILE, TILE, 1)
        softmax = jit(layers.softmax_at_targets, static_argnums=2)
        return by_block(models, spec, softmax(tiles, grid, n_nodes), {})

    stack, orders = random_stack(spec), orders_of(spec, spec.hidden)
    before, after = shares(stack), shares(permuted(stack, orders))
    moved = permuted(before, orders).params.weights
    assert relative_difference(after.params.weights, moved) < 1e-5
    assert relative_difference(after.params.weights, before.params.weights) > 0.1


@pytest.mark.slow
# Chunks of one tile, of three.
@pytest.mark.parametrize("n_bytes", [pytest.param(1, marks=pytest.mark.long), 3 * 4 * 4 * TILE**2])
def test_chunks_of_edges_change_neither_outputs_nor_gradients(monkeypatch, n_bytes):
    _, models = fresh(family_of(DEEP))
    graph = all_models(models)
    tiles = layers.tiles_of(graph)
    assert len(tiles.source) % 3  # the last chunk is padded
    edges = jax.random.normal(jax.random.key(0), (*tiles.exists.shape[:-1], 3))
    nodes = jax.random.normal(jax.random.key(1), (len(graph.nodes["slot"]), 5))
    layer = layers.Layer(4, jnp.dtype("float32"))
    params = jit(layer.init)(jax.random.key(2), (nodes, edges), tiles)

    def outcome():
        @jit
        def run(params, nodes, edges):
            def loss(*args):
                (nodes, edges), _ = layer.apply(args[0], args[1:], tiles)
                return (jnp.sin(nodes)).sum() + jnp.cos(edges).sum(), (nodes, edges)

            return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, nodes, edges)

        return run(params, nodes, edges)

    whole = outcome()
    monkeypatch.setattr(layers, "CHUNK_BYTES", n_bytes)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(outcome()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_one_round_reaches_exactly_the_neighbours():
    _, models = fresh(family_of(DEEP))
    graph = jax.tree.map(np.asarray, all_models(models))
    tiles, n_nodes = layers.tiles_of(graph), len(graph.nodes["slot"])
    layer = layers.Layer(16, jnp.dtype("float32"))
    rng = np.random.default_rng(0)
    nodes = rng.normal(size=(n_nodes, 8)).astype(np.float32)
    edges = rng.normal(size=(*tiles.exists.shape[:-1], 4)).astype(np.float32)

    @jit
    def one_round(nodes, edges):
        (state, _), _ = layer.init_with_output(jax.random.key(0), (nodes, edges), tiles)
        return state

    def changes(nodes_after, edges_after):
        before, after = one_round(nodes, edges), one_round(nodes_after, edges_after)
        node, edge = (
            np.asarray(a != b).reshape(-1, a.shape[-1]).any(1)
            for a, b in zip(before, after, strict=True)
        )
        return set(np.flatnonzero(node)), set(np.flatnonzero(edge & real))

    real, senders, receivers = graph.edges["exists"], graph.senders, graph.receivers
    node = TILE * 2 + 2  # of the first model's second hidden layer: neighbours on both sides
    leaves, enters = real & (senders == node), real & (receivers == node)
    assert leaves.sum() == 9 and enters.sum() == 6 + 5
    other = nodes.copy()
    other[node] *= -3.0
    neighbours = {node, *receivers[leaves], *senders[enters]}
    assert changes(other, edges) == (neighbours, set(np.flatnonzero(leaves | enters)))
    edge = np.flatnonzero(enters)[4]
    other = edges.copy()
    other.reshape(-1, 4)[edge] *= -3.0
    assert changes(nodes, other) == ({senders[edge], receivers[edge]}, {edge})


@pytest.mark.slow
@pytest.mark.parametrize(("changed", "seen"), [(0, -1), (-1, 0)])
def test_information_flows_from_inputs_to_outputs_and_back(changed, seen):
    editor, _ = loud(family_of(DEEP))
    stack = random_stack(DEEP)
    weights = [block.copy() for block in stack.params.weights]
    weights[changed][0, 1, 2] += 1.0
    other = with_params(stack, stack.params.replace(weights=tuple(weights)))
    before, after = outcome_of_stack(editor, stack), outcome_of_stack(editor, other)
    for a, b in zip(before[:2], after[:2], strict=True):  # deltas and mask logits
        a, b = a.params.weights[seen], b.params.weights[seen]
        assert relative_difference(a[0], b[0]) > 1e-3
        np.testing.assert_array_equal(a[1:], b[1:])


# Equivariance


@pytest.mark.parametrize("spec", [NORMED, DEEP, FOLDED], ids=str)
def test_editor_is_equivariant_to_permutations_of_hidden_neurons(spec):
    editor, _ = loud(family_of(spec))
    stack = random_stack(spec)
    deltas, logits, _ = outcome_of_stack(editor, stack)
    # A dead editor would be equivariant too.
    assert all(delta.std() > 0.05 for delta in jax.tree.leaves(deltas.params))
    assert all(block.std() > 0.1 for block in logits.params.weights)
    choices = [[layer] for layer in spec.hidden] + [list(spec.hidden)]
    for orders in (orders_of(spec, choice) for choice in choices):
        found, found_logits, _ = outcome_of_stack(editor, permuted(stack, orders))
        assert relative_difference(found.params, permuted(deltas, orders).params) < 1e-4
        moved = permuted(logits, orders).params.weights
        assert relative_difference(found_logits.params.weights, moved) < 1e-4


@pytest.mark.parametrize("spec", [NORMED, DEEP], ids=str)
@pytest.mark.parametrize(
    ("layer", "sides"),
    [
        (1, {"outgoing": False}),
        (2, {"outgoing": False}),
        (2, {"incoming": False}),
        (0, {}),
        (-1, {}),
    ],
    ids=["only incoming 1", "only incoming 2", "only outgoing 2", "inputs", "outputs"],
)
def test_editor_sees_every_other_permutation(spec, layer, sides):
    editor, _ = loud(family_of(spec))
    stack = random_stack(spec)
    orders = orders_of(spec, [layer % len(spec.widths)])
    found = outcome_of_stack(editor, permuted(stack, orders, **sides))
    for other, unmoved in zip(found[:2], outcome_of_stack(editor, stack)[:2], strict=True):
        moved = permuted(unmoved, orders, **sides).params
        assert relative_difference(other.params.weights, moved.weights) > 0.1


@pytest.mark.parametrize("spec", [NORMED, DEEP], ids=str)
def test_permuted_models_and_their_edits_compute_the_same(spec):
    editor, _ = loud(family_of(spec))
    stack = random_stack(spec)
    x = np.random.default_rng(2).normal(size=(7, 5)).astype(np.float32)
    apply = jax.jit(jax.vmap(functools.partial(network.apply, spec), (0, 0, None)))

    def logits(stack):
        return np.asarray(apply(stack.params, stack.activation, x))

    other = permuted(stack, orders_of(spec, spec.hidden))
    assert relative_difference(logits(other), logits(stack)) < 1e-5
    wrong = permuted(stack, orders_of(spec, [1]), outgoing=False)
    assert relative_difference(logits(wrong), logits(stack)) > 0.1
    *_, edited = outcome_of_stack(editor, stack)
    *_, other_edited = outcome_of_stack(editor, other)
    assert relative_difference(logits(edited), logits(stack)) > 0.1
    assert relative_difference(logits(other_edited), logits(edited)) < 1e-3


# Batches


def in_template(outcome, number):
    """Mask logits, mask and edited parameters of one graph of a batch, in the template."""
    edit = jax.tree.map(lambda leaf: leaf[number], outcome.edit)
    assert not (edit.keep[~edit.before.edge].any() or edit.after.weight[~edit.before.edge].any())
    assert not (edit.after.bias[~edit.before.node].any())
    logits = np.where(edit.before.edge, outcome.logits[number], 0.0)
    after = {name: getattr(edit.after, name) for name in ("weight", "bias", "scale", "shift")}
    return {"logits": logits, "keep": edit.keep, **after}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "ids", "budget"),
    [
        (NORMED, [1], (21, 50)),
        (NORMED, [1, 3, 8, 0], (40, 90)),
        (NORMED, [7, 4, 0, 1], (40, 90)),
        (NORMED, [-1, 8, 1, -1], (40, 90)),
        (DEEP, [4, 6, 0, 1], None),
        (DEEP, [-1, 8, 1, -1], (60, 160)),
    ],
    ids=["larger budget", "first", "last", "beside absent", "deep", "deep beside absent"],
)
def test_an_edit_does_not_depend_on_the_batch(spec, ids, budget):
    editor, models = loud(family_of(spec))
    number = ids.index(1)
    log10_lambda = np.linspace(-3.0, 0.0, len(ids))
    log10_lambda[number] = -1.0
    alone = in_template(outcome_of(editor, gathered(models, [1])), 0)
    batch = outcome_of(editor, gathered(models, ids, budget, log10_lambda))
    for name, value in in_template(batch, number).items():
        np.testing.assert_allclose(value, alone[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_edits_depend_on_the_preference():
    editor, models = loud(family_of(NORMED))
    one, other = (
        in_template(outcome_of(editor, some_models(models, [1], value)), 0)
        for value in (-1.0, -2.0)
    )
    for name in ("logits", "weight", "bias", "scale", "shift"):
        assert np.abs(one[name] - other[name]).max() > 0.01, name


@pytest.mark.parametrize(
    ("specs", "numbers"), [(TWO_OUTPUTS, [0, 1]), (THREE_OUTPUTS, [0])], ids=["2", "3"]
)
def test_edit_stack_agrees_with_edit_graph(specs, numbers):
    editor, models = loud(tuple(specs))
    batch = outcome_of(editor, all_models(models, np.log10(0.03))).edit
    assert 0.2 < batch.keep.sum() / batch.before.edge.sum() < 0.8
    for number in numbers:
        stack = random_stack(specs[number], seed=number)
        after, mask = edit_stack(editor, stack, 0.03)
        assert after.spec == stack.spec
        np.testing.assert_array_equal(after.activation, stack.activation)
        masked = with_params(stack, stack.params.replace(weights=mask))
        rows = slice(3 * number, 3 * number + 3)
        for stacked, expected in ((after, batch.after), (masked, None)):
            graph = gathered(pack([stacked], editor.template), range(3))
            alone = to_template_jitted(editor.template, graph)
            if expected is None:
                np.testing.assert_array_equal(alone.weight, batch.keep[rows])
                continue
            for name in ("weight", "bias", "scale", "shift"):
                a, b = getattr(alone, name), getattr(expected, name)[rows]
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=name)
        for block, kept in zip(after.params.weights, mask, strict=True):
            assert set(np.unique(kept)) <= {0.0, 1.0}
            np.testing.assert_array_equal(block != 0, kept == 1)


def test_models_may_have_a_lambda_each():
    editor, _ = loud(tuple(TWO_OUTPUTS))
    stack, lams = random_stack(TWO_OUTPUTS[0]), (0.003, 0.03, 0.3)
    together, mask = edit_stack(editor, stack, np.array(lams)[:, None])
    for index, lam in enumerate(lams):
        alone, expected = edit_stack(editor, stack, lam)
        for ours, theirs in ((mask, expected), (together.params, alone.params)):
            pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
            for a, b in pairs:
                np.testing.assert_allclose(a[index], b[index], rtol=1e-5, atol=1e-5)
    assert any((a[0] != a[2]).any() for a in mask)


def test_edit_stack_refuses_models_that_do_not_fit():
    editor, _ = fresh(family_of(NORMED))
    with pytest.raises(ValueError, match=r"stack.spec: found 5 inputs, 3 hidden .* at most"):
        edit_stack(editor, random_stack(MLPSpec((5, 8, 8, 8, 2))), 0.1)


# What an edit may change


@pytest.mark.parametrize("specs", [TWO_OUTPUTS, THREE_OUTPUTS], ids=["2", "3"])
def test_deltas_lie_on_parameters_that_exist(specs):
    editor, models = loud(tuple(specs))
    graph = jax.tree.map(np.asarray, all_models(models))
    proposal = outcome_of(editor, graph).proposal
    owner = np.repeat(np.arange(11), graph.n_node)
    layer = editor.template.layer_of_slot[graph.nodes["slot"] // TILE]
    neuron = graph.nodes["exists"] & (layer > 0)
    is_normed = [specs[i // 3].norm == "layer" for i in range(9)] + [False, False]
    normed = neuron & (layer <= editor.template.depth) & np.array(is_normed)[owner]
    assert 0 < normed.sum() < neuron.sum()
    for delta, changes in (
        (proposal.weight, graph.edges["exists"]),
        (proposal.bias, neuron),
        (proposal.scale, normed),
        (proposal.shift, normed),
    ):
        np.testing.assert_array_equal(delta != 0, changes)


def in_units(editor, proposal):
    """The largest deltas, in units of the population's parameters."""
    kinds = {k: np.max(v) for k, v in vars(editor.scales).items() if v is not None}
    return {n: float(np.abs(getattr(proposal, n)).max() / unit) for n, unit in kinds.items()}


def test_an_edit_is_the_mask_times_parameters_plus_the_proposed_change():
    editor, models = loud(family_of(NORMED))
    graph = jax.tree.map(np.asarray, all_models(models))
    found = outcome_of(editor, graph)
    mask = (found.proposal.keep > 0).astype(np.float32)
    assert 0.2 < mask[graph.edges["exists"]].mean() < 0.8
    np.testing.assert_array_equal(found.masks.edges, mask)
    weight = mask * (graph.edges["weight"] + found.proposal.weight)
    np.testing.assert_allclose(found.edited.edges["weight"], weight, rtol=1e-6, atol=1e-7)
    for name in ("bias", "scale", "shift"):
        expected = graph.nodes[name] + getattr(found.proposal, name)
        np.testing.assert_allclose(found.edited.nodes[name], expected, rtol=1e-6, atol=1e-7)


def test_a_fresh_editor_changes_parameters_by_the_order_of_gamma():
    editor, models = fresh(family_of(NORMED))
    gamma = REAL.gamma
    assert 0 < gamma <= 0.1
    changes = in_units(editor, outcome_of(editor, all_models(models)).proposal)
    assert all(0.01 * gamma < change < 10 * gamma for change in changes.values()), changes
    other = editor.replace(params=editor.params | {"gamma": jnp.float32(gamma / 2)})
    halves = in_units(other, outcome_of(other, all_models(models)).proposal)
    assert halves == pytest.approx({name: change / 2 for name, change in changes.items()})


@pytest.mark.parametrize("how", ["gamma=0", "edit=False"])
def test_an_editor_without_edits_changes_no_bit(how):
    editor, models = loud(family_of(NORMED))
    if how == "gamma=0":
        editor = editor.replace(params=editor.params | {"gamma": jnp.float32(0.0)})
    else:
        editor = editor.replace(config=ONLY_MASK)
    graph = jax.tree.map(np.asarray, all_models(models))
    outcome = outcome_of(editor, graph)
    for name, leaf in graph.nodes.items():
        assert outcome.edited.nodes[name].tobytes() == leaf.tobytes()
    kept = outcome.masks.edges == 1
    assert 0.2 < kept[graph.edges["exists"]].mean() < 0.8
    weight = outcome.edited.edges["weight"]
    assert weight[kept].tobytes() == graph.edges["weight"][kept].tobytes()
    assert not weight[~kept].any()


def test_an_editor_without_mask_keeps_every_weight():
    editor, models = loud(family_of(NORMED))
    outcome = outcome_of(editor.replace(config=ONLY_EDIT), all_models(models))
    assert outcome.proposal.keep is None
    assert outcome.proposal.input_keep is None
    np.testing.assert_array_equal(outcome.masks.edges, 1.0)
    np.testing.assert_array_equal(outcome.edit.input_keep[:9], 1.0)
    np.testing.assert_array_equal(outcome.edit.keep, outcome.edit.before.edge)
    assert outcome.proposal.weight.any()


def test_a_fresh_editor_keeps_every_weight_and_input():
    """The mask's logits are all the configured bias, whatever the model and the key."""
    editor, models = fresh(family_of(NORMED))
    proposal = outcome_of(editor, all_models(models)).proposal
    assert REAL.mask_bias == 3.0
    np.testing.assert_array_equal(proposal.keep, REAL.mask_bias)
    editor, models = fresh(family_of(NORMED), BOTH)
    outcome = outcome_of(editor, all_models(models))
    np.testing.assert_array_equal(outcome.proposal.keep, REAL.mask_bias)
    assert set(np.unique(outcome.proposal.input_keep)) == {REAL.mask_bias, np.inf}
    np.testing.assert_array_equal(outcome.edit.input_keep[:9], 1.0)
    np.testing.assert_array_equal(outcome.edit.keep, outcome.edit.before.edge)


def test_weights_that_are_zero_are_edited_and_masked_like_others():
    editor, _ = loud(family_of(DEEP))
    stack = random_stack(DEEP)
    zeros = with_params(stack, jax.tree.map(np.zeros_like, stack.params))
    deltas, logits, _ = outcome_of_stack(editor, zeros)
    for delta, block in zip(deltas.params.weights, logits.params.weights, strict=True):
        assert np.isfinite(block).all() and np.isfinite(delta).all()
        assert (delta != 0).all()


@pytest.mark.parametrize(
    "config",
    [REAL, ONLY_EDIT, ONLY_MASK, BOTH, INPUTS],
    ids=["both", "edit", "mask", "both masks", "inputs"],
)
def test_proposals_are_float32_whatever_computes_them(config):
    editor, models = fresh(family_of(NORMED))
    network = Editor(dataclasses.replace(config, dtype="bfloat16"), editor.template)
    proposal, variables = jax.eval_shape(
        network.init_with_output, jax.random.key(0), all_models(models), editor.scales
    )
    leaves = jax.tree.leaves((proposal, variables))
    assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}
    assert ("keep" in variables["params"]) == (config.mask in ("edges", "both"))
    assert ("input_keep" in variables["params"]) == (config.mask in ("inputs", "both"))
    assert ("gamma" in variables["params"]) == config.edit


# Masks of inputs

# More inputs than a tile holds; neither they nor the hidden layers fill their tiles.
MANY_INPUTS = (
    MLPSpec((11, 9, 12, 3), ((0, 2),), "layer"),
    MLPSpec((11, 5, 6, 7, 3), ((0, 3), (1, 3))),
    MLPSpec((11, 8, 3), (), "batch"),
)
every_family = pytest.mark.parametrize(
    "specs", [MANY_INPUTS, tuple(TWO_OUTPUTS)], ids=["11 inputs", "5 inputs"]
)


def rows_of_inputs(spec, mask):
    """[models, inputs, targets] of all blocks of weights that leave the inputs."""
    leaving = [
        np.asarray(block)
        for (source, _), block in zip(spec.blocks, mask, strict=True)
        if source == 0
    ]
    return np.concatenate(leaving, axis=2)


@pytest.mark.slow
def test_the_mask_of_an_input_drops_all_edges_that_leave_it_and_nothing_else():
    specs = MANY_INPUTS
    editor, models = loud(specs, BOTH)
    by_mask = {
        mask: outcome_of(
            editor.replace(config=dataclasses.replace(BOTH, mask=mask)), all_models(models)
        )
        for mask in ("none", "edges", "inputs", "both")
    }
    inputs = by_mask["inputs"].edit.input_keep[:9]
    assert 0.2 < inputs.mean() < 0.8
    np.testing.assert_array_equal(by_mask["both"].edit.input_keep[:9], inputs)
    for mask in ("none", "edges"):
        np.testing.assert_array_equal(by_mask[mask].edit.input_keep[:9], 1.0)
    n_in = specs[0].widths[0]
    rows = np.ones(by_mask["none"].edit.keep[:9].shape[:2])
    rows[:, :n_in] = inputs
    for mask, without in (("inputs", "none"), ("both", "edges")):
        found, other = by_mask[mask].edit, by_mask[without].edit
        expected = other.keep[:9] * rows[..., None]
        assert 0 < expected.sum() < other.keep[:9].sum()
        np.testing.assert_array_equal(found.keep[:9], expected)
        np.testing.assert_array_equal(found.after.weight[:9], other.after.weight[:9] * expected)
        for name in ("bias", "scale", "shift"):
            np.testing.assert_array_equal(getattr(found.after, name), getattr(other.after, name))


@every_family
@pytest.mark.parametrize("mask", ["inputs", "both"])
def test_masks_of_inputs_are_in_the_order_of_features(specs, mask):
    editor, models = loud(specs, BOTH)
    editor = editor.replace(config=dataclasses.replace(BOTH, mask=mask))
    graph = jax.tree.map(np.asarray, all_models(models, np.log10(0.03)))
    outcome = outcome_of(editor, graph)
    first, n_in = np.cumsum(graph.n_node) - graph.n_node, specs[0].widths[0]
    for number in range(9):
        # A graph's nodes begin with its inputs.
        found = outcome.edit.input_keep[number]
        logits = outcome.proposal.input_keep[first[number] :][:n_in]
        assert found.shape == (n_in,)
        np.testing.assert_array_equal(found, logits > 0)
        inputs = np.asarray(graph.nodes["slot"][first[number] :][:n_in])
        np.testing.assert_array_equal(inputs, np.arange(n_in))
    if mask == "both":
        return
    spec = specs[0]
    _, masks = edit_stack(editor, random_stack(spec), 0.03)
    dropped = outcome.edit.input_keep[:3] == 0
    rows = rows_of_inputs(spec, masks)
    assert not rows[dropped].any() and rows[~dropped].all()
    for (source, _), block in zip(spec.blocks, masks, strict=True):
        assert source == 0 or block.all()


@pytest.mark.parametrize("spec", [MANY_INPUTS[0], MANY_INPUTS[1], NORMED], ids=str)
def test_masks_are_equivariant_to_permutations_of_hidden_neurons(spec):
    family = MANY_INPUTS if spec in MANY_INPUTS else family_of(spec)
    editor, _ = loud(family, BOTH)

    def logits_of(stack):
        models = pack([stack], editor.template)
        found = outcome_of(editor, some_models(models, range(3)))
        edges = by_block(models, stack.spec, found.proposal.keep, {})
        inputs = found.proposal.input_keep[: models.bias.size].reshape(3, -1)[:, : spec.widths[0]]
        return edges, inputs

    stack, orders = random_stack(spec), orders_of(spec, spec.hidden)
    edges, inputs = logits_of(stack)
    found_edges, found_inputs = logits_of(permuted(stack, orders))
    assert inputs.std() > 0.1
    assert relative_difference(found_inputs, inputs) < 1e-4
    moved = permuted(edges, orders).params.weights
    assert relative_difference(found_edges.params.weights, moved) < 1e-4
    for other in (
        permuted(stack, orders_of(spec, [1]), outgoing=False),
        permuted(stack, orders_of(spec, [0])),
    ):
        assert relative_difference(logits_of(other)[1], inputs) > 0.01


def test_masks_of_inputs_do_not_depend_on_the_batch():
    editor, models = loud(MANY_INPUTS, BOTH)
    alone = outcome_of(editor, gathered(models, [1]))
    logits = alone.proposal.input_keep[:11]
    for ids in ([7, 4, 0, 1], [-1, 8, 1, -1]):
        graph = jax.tree.map(np.asarray, some_models(models, ids))
        batch, number = outcome_of(editor, graph), ids.index(1)
        first = (np.cumsum(graph.n_node) - graph.n_node)[number]
        found = batch.proposal.input_keep[first : first + 11]
        np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(batch.edit.input_keep[number], alone.edit.input_keep[0])


@every_family
@pytest.mark.parametrize("mask", ["inputs", "both"])
def test_an_edited_model_does_not_read_dropped_features(specs, mask):
    editor, models = loud(specs, BOTH)
    editor = editor.replace(config=dataclasses.replace(BOTH, mask=mask))
    edit = outcome_of(editor, all_models(models)).edit
    x = np.random.default_rng(2).normal(size=(7, specs[0].widths[0])).astype(np.float32)

    @jit
    def logits(after, x):
        return jax.vmap(functools.partial(apply_padded, editor.template))(after, x)

    def output(change):
        """Of the edited models, with [9, features] added to their x."""
        return np.asarray(logits(after, x[None] + change[:, None]))

    after = jax.tree.map(lambda leaf: leaf[:9], edit.after)
    kept = edit.input_keep[:9]
    reference = output(0 * kept)
    np.testing.assert_array_equal(output(100 * (1 - kept)), reference)
    for feature in range(kept.shape[1]):
        only = np.eye(kept.shape[1], dtype=np.float32)[feature]
        moved = (output(0.5 * only * np.ones_like(kept)) != reference).any((1, 2))
        assert not moved[kept[:, feature] == 0].any()
        if mask == "inputs":
            assert moved[kept[:, feature] == 1].all()


def test_noise_and_gradients_reach_the_masks_of_inputs():
    editor, models = loud(MANY_INPUTS, BOTH)
    editor = editor.replace(config=INPUTS)
    graph = some_models(models, [1])
    noise = noise_of(graph, jax.random.split(jax.random.key(0), 10))

    @jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(params):
        one = editor.replace(params=params)
        _, masks = apply_proposal(one, graph, propose(one, graph), noise, 0.5)
        return masks.inputs[:11].sum(), masks

    found, masks = gradient(editor.params)
    logits = outcome_of(editor, graph).proposal.input_keep + np.asarray(noise.inputs)
    np.testing.assert_array_equal(masks.inputs, logits > 0)
    soft = 1 / (1 + np.exp(-logits.astype(np.float64)[:11] / 0.5))
    bias = found["input_keep"]["bias"]
    np.testing.assert_allclose(bias, [(soft * (1 - soft) / 0.5).sum()], rtol=1e-4)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


# Scales


def hand_counted_scales(stacks):
    """{part: [values of all parameters that share a scale]}, by loops over layers and blocks."""
    weight, bias = [[] for _ in range(N_KINDS)], [[], []]
    scale, shift = [], []
    for stack in stacks:
        spec, params = stack.spec, stack.params
        for (s, t), block in zip(spec.blocks, params.weights, strict=True):
            kind = 4 * (s == 0) + 2 * (t == spec.n_layers) + (s != t - 1)
            weight[kind].extend(block.reshape(-1))
        for layer, leaf in enumerate(params.biases, 1):
            bias[int(layer == spec.n_layers)].extend(leaf.reshape(-1))
        for leaf in params.scales:
            scale.extend(leaf.reshape(-1) - 1.0)
        for leaf in params.shifts:
            shift.extend(leaf.reshape(-1))

    def rms(values):
        return np.sqrt(np.mean(np.square(values, dtype=np.float64))) if len(values) else 1.0

    return {
        "weight": [rms(values) for values in weight],
        "bias": [rms(values) for values in bias],
        "scale": rms(scale),
        "shift": rms(shift),
    }


def take(stack, rows):
    return Stack(stack.spec, jax.tree.map(lambda leaf: leaf[rows], stack.params), None)


@pytest.mark.parametrize("chosen", [[[0, 1, 2]] * 3, [[2, 0], [], [1]], [[], [1], []]], ids=str)
@pytest.mark.parametrize("specs", [TWO_OUTPUTS, THREE_OUTPUTS], ids=["2", "3"])
def test_scales_are_root_mean_squares_of_the_chosen_models(specs, chosen):
    stacks = []
    for seed, spec in enumerate(specs):
        stack = random_stack(spec, seed=seed)
        sizes = np.random.default_rng(seed).uniform(0.1, 10, 3).astype(np.float32)
        leaves = jax.tree.map(
            lambda leaf, sizes=sizes: leaf * sizes.reshape(3, *[1] * (leaf.ndim - 1)), stack.params
        )
        stacks.append(with_params(stack, leaves))
    ids = np.array([3 * number + row for number, rows in enumerate(chosen) for row in rows])
    found = scales_of(pack(stacks), ids)
    expected = hand_counted_scales(
        [take(stack, rows) for stack, rows in zip(stacks, chosen, strict=True) if rows]
    )
    assert isinstance(found, Scales)
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-5, err_msg=name)


def test_scales_stay_positive_where_all_parameters_are_zero():
    stack = random_stack(NORMED)
    params = jax.tree.map(np.zeros_like, stack.params)
    params = params.replace(scales=jax.tree.map(np.ones_like, params.scales))
    scales = scales_of(pack([with_params(stack, params)]), np.arange(3))
    for leaf in jax.tree.leaves(scales):
        assert (np.asarray(leaf) > 0).all() and np.isfinite(leaf).all()


# Gradients


def test_gradients_agree_with_finite_differences():
    editor, models = loud(family_of(NORMED))
    editor = editor.replace(config=ONLY_EDIT)
    graph = gathered(models, [1])
    rng = np.random.default_rng(4)
    target = rng.normal(size=graph.senders.shape).astype(np.float32)

    @jit
    @jax.value_and_grad
    def objective(params):
        edited, _ = edit_graph(editor.replace(params=params), graph)
        return jnp.mean((edited.edges["weight"] - target) ** 2)

    value, gradient = objective(editor.params)
    sizes = {"layers": 1e-5, "init_edges": 1e-5, "delta": 1e-4, "gamma": 1e-2}
    for name, size in (sizes | {"learned_probe": 1e-5}).items():
        # Along the gradient's signs, so that the slope is far from 0.
        direction = {
            key: jax.tree.map(lambda g, on=size * (key == name): on * np.sign(g), part)
            for key, part in gradient.items()
        }
        products = jax.tree.map(lambda d, g: float(np.vdot(d, g)), direction, gradient)
        slope = sum(jax.tree.leaves(products))
        plus, minus = (
            objective(jax.tree.map(lambda p, d, s=sign: p + s * d, editor.params, direction))[0]
            for sign in (1, -1)
        )
        assert slope > 1e-4 * value, name  # far above the rounding of `objective`
        assert float(plus - minus) / 2 == pytest.approx(slope, rel=0.02), name


def test_mask_gradients_are_those_of_its_relaxation():
    editor, models = loud(family_of(NORMED))
    editor = editor.replace(config=ONLY_MASK)
    graph = some_models(models, [1])
    noise = np.random.default_rng(5).logistic(size=graph.senders.shape).astype(np.float32)

    @jit
    @jax.grad
    def gradient(params):
        one = editor.replace(params=params)
        _, masks = apply_proposal(one, graph, propose(one, graph), Masks(noise, None), 0.5)
        return masks.edges.sum()

    found = gradient(editor.params)["keep"]["last"]["bias"]
    logits = outcome_of(editor.replace(config=REAL), graph).proposal.keep + noise
    soft = 1 / (1 + np.exp(-logits.astype(np.float64) / 0.5))
    np.testing.assert_allclose(found, [(soft * (1 - soft) / 0.5).sum()], rtol=1e-4)


def test_an_editor_in_a_smaller_template_proposes_the_same_edits():
    editor, models = loud(tuple(TWO_OUTPUTS), BOTH)
    stack = random_stack(TWO_OUTPUTS[1], seed=1)  # one hidden layer of the template's two
    small = dataclasses.replace(models.template, depth=1)
    edited, mask = edit_stack(editor, stack, 0.1)
    other, other_mask = edit_stack(with_template(editor, small), stack, 0.1)
    assert with_template(editor, small).template.n_positions == models.template.n_positions - 1
    jax.tree.map(np.testing.assert_array_equal, mask, other_mask)
    assert relative_difference(other.params, edited.params) < 1e-4
    assert relative_difference(other.params.biases, stack.params.biases) > 0.1


def test_both_forms_of_gelu_are_one_type():
    """So that an editor that was trained on one knows the other; what it sees on rows differs."""
    editor, _ = loud(tuple(TWO_OUTPUTS), dataclasses.replace(REAL, learned_probe=0))
    exact, tanh, other = (
        edit_stack(editor, random_stack(TWO_OUTPUTS[0], activation=name), 0.03)[0].params
        for name in ("gelu_erf", "gelu", "silu")
    )
    jax.tree.map(np.testing.assert_array_equal, exact, tanh)
    assert (exact.biases[0] != other.biases[0]).any()
    assert type_counts(editor.template)["activation"] == 6  # five, and that of inputs and outputs
