"""Extreme specs, graphs, padding and probes: exact round trips and finite numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import exact_budget, gathered, random_stack, random_table
from hypothesis import given, settings
from hypothesis import strategies as st
from test_network import numpy_logits

from metanet.graphs.batch import to_template
from metanet.graphs.packing import pack, pack_on_host, unpack
from metanet.graphs.padded import apply_padded
from metanet.graphs.strata import stratify
from metanet.graphs.topology import Template
from metanet.mlp.network import ACTIVATIONS
from metanet.mlp.population import Stack
from metanet.mlp.spec import NORMS, MLPSpec
from metanet.probes.rows import ProbeConfig, points_of
from metanet.probes.store import probe_stack

few = settings(max_examples=30, deadline=None, derandomize=True)
N_IN, N_OUT, DEPTH, WIDTH = 3, 2, 5, 9
TEMPLATE = Template(N_IN, DEPTH, WIDTH, N_OUT)


@st.composite
def specs(draw):
    """Of one to five hidden layers, from one neuron on, with skips as deep as there may be."""
    hidden = draw(st.lists(st.integers(1, WIDTH), min_size=1, max_size=DEPTH))
    last = len(hidden) + 1
    possible = [(s, t) for t in range(2, last) for s in range(t - 1)]
    skips = draw(st.sets(st.sampled_from(possible))) if possible else ()
    return MLPSpec((N_IN, *hidden, N_OUT), tuple(sorted(skips)), draw(st.sampled_from(NORMS)))


odd = st.sampled_from([0.0, -0.0, 1e-45, -1e-38, 3e38, -3e38, np.inf, -np.inf, np.nan])


def assert_same_bits(stacks, expected):
    for one, other in zip(stacks, expected, strict=True):
        assert one.spec == other.spec
        assert one.activation.tobytes() == other.activation.tobytes()
        for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            assert np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


@given(found=st.lists(specs(), min_size=1, max_size=4), count=st.integers(1, 3), value=odd)
@few
def test_any_specs_return_from_graphs_bit_for_bit(found, count, value):
    stacks = [random_stack(spec, count, seed) for seed, spec in enumerate(found)]
    for stack in stacks:
        for leaf in jax.tree.leaves(stack.params):
            leaf.flat[0] = value
    for template in (None, TEMPLATE):
        assert_same_bits(unpack(pack_on_host(stacks, template), found), stacks)


@functools.partial(jax.jit, static_argnums=2)
def outputs(models, x, budget):
    """One program for all specs: the models are padded to the same arrays."""
    ids = jnp.zeros(1, jnp.int32)
    graph = gathered.__wrapped__(models, ids, jnp.zeros((1, 1), jnp.float32), budget)
    model = jax.tree.map(lambda leaf: leaf[0], to_template(TEMPLATE, graph))
    return apply_padded(TEMPLATE, model, x)


def padded_to(models, budget):
    """Packed models with zeros after their tiles, so that all have arrays of one size."""

    def longer(leaf, length):
        return np.pad(leaf, [(0, length - len(leaf)), *[(0, 0)] * (leaf.ndim - 1)])

    nodes, edges = budget
    lengths = {"slot": nodes, "exists": nodes, "source": edges, "target": edges, "skip": edges}
    table = {k: longer(getattr(models.topologies, k), n) for k, n in lengths.items()}
    parts = {k: longer(getattr(models, k), nodes) for k in ("bias", "scale", "shift")}
    return models.replace(
        weight=longer(models.weight, edges), topologies=models.topologies.replace(**table), **parts
    )


@given(spec=specs(), activation=st.integers(0, len(ACTIVATIONS) - 1), seed=st.integers(0, 99))
@few
def test_the_padded_network_agrees_with_the_plain_one(spec, activation, seed):
    stack = random_stack(spec, 1, seed, activation=ACTIVATIONS[activation])
    x = np.random.default_rng(seed).normal(size=(7, N_IN)).astype(np.float32)
    params = jax.tree.map(lambda leaf: leaf[0], stack.params)

    def normalise(layer, z):
        if spec.norm != "layer":
            return z
        centred = z - z.mean(-1, keepdims=True)
        std = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return centred / std * params.scales[layer - 1] + params.shifts[layer - 1]

    expected = numpy_logits(spec, params, activation, x, normalise)
    models = padded_to(pack_on_host([stack], TEMPLATE), (20, 80))
    found = outputs(models, x, (20, 80))
    # Layer norms of one or two neurons nearly divide by 0.
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


# Graphs and padding

BATCH = (
    MLPSpec((N_IN, 1, N_OUT)),
    MLPSpec((N_IN, 9, 1, 9, N_OUT), ((0, 3), (1, 3)), "layer"),
    MLPSpec((N_IN, 8, 8, N_OUT), ((0, 2),), "batch"),
)


@functools.cache
def batch():
    """Three packed models, what each is in the template, and the budget of the three largest."""
    stacks = [random_stack(spec, 1, seed) for seed, spec in enumerate(BATCH)]
    models = pack(stacks, TEMPLATE)
    budget = tuple(3 * max(sizes) for sizes in zip(*(exact_budget(models, [i]) for i in range(3)),
                                                   strict=True))  # fmt: skip
    return models, [template_of_batch(models, [i, -1, -1], budget)[0] for i in range(3)], budget


@functools.partial(jax.jit, static_argnums=2)
def graph_and_template(models, ids, budget):
    graph = gathered.__wrapped__(models, ids, jnp.zeros((len(ids), 1), jnp.float32), budget)
    return graph, to_template(TEMPLATE, graph)


def template_of_batch(models, ids, budget):
    graph, model = graph_and_template(models, jnp.asarray(ids, jnp.int32), budget)
    assert int(graph.n_node.sum()) == len(graph.nodes["slot"])
    assert int(graph.n_edge.sum()) == len(graph.senders)
    for index, one in enumerate(ids):
        if one < 0:
            assert graph.n_node[index] == graph.n_edge[index] == 0
    real = int(graph.n_edge[:-1].sum())  # padding lies at padding
    assert (np.asarray(graph.senders)[real:] >= int(graph.n_node[:-1].sum())).all()
    assert not np.asarray(graph.edges["exists"])[real:].any()
    return [jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), model) for i in range(len(ids))]


@given(ids=st.lists(st.integers(-1, 2), min_size=3, max_size=3))
@few
def test_a_model_is_the_same_wherever_in_a_batch_it_lies_and_absent_ones_are_empty(ids):
    models, alone, budget = batch()
    for one, found in zip(ids, template_of_batch(models, ids, budget), strict=True):
        if one < 0:
            assert not found.edge.any() and not found.node.any() and not found.weight.any()
        else:
            jax.tree.map(np.testing.assert_array_equal, found, alone[one])


def test_a_budget_without_room_for_more_holds_the_batch():
    models, alone, _ = batch()
    ids = [2, 0, 1]
    found = template_of_batch(models, ids, exact_budget(models, np.array(ids)))
    for one, model in zip(ids, found, strict=True):
        jax.tree.map(np.testing.assert_array_equal, model, alone[one])


@given(ids=st.lists(st.integers(0, 2), min_size=1, max_size=9), devices=st.sampled_from([1, 2, 4]))
@few
def test_strata_hold_every_model_once_within_their_budget(ids, devices):
    models, *_ = batch()
    drawn = stratify(models, np.array(ids), 4, devices)
    assert sorted(drawn.table[drawn.table >= 0].tolist()) == sorted(ids)
    assert drawn.per_epoch == len(ids) // 4
    for part in np.split(drawn.table, devices):
        largest = np.zeros(2, int)
        for row in part:
            sizes = [exact_budget(models, [one]) for one in row[row >= 0]]
            largest += np.max(sizes, axis=0) if sizes else 0
        assert (largest <= drawn.budget).all()


# Probes

PROBED = BATCH[1]


@pytest.mark.parametrize("labelled", [False, True])
def test_a_probe_of_one_row_is_finite(labelled):
    for rows, points in ((1, 1), (1, 4), (40, 1)):
        table = random_table(rows, n_features=N_IN, n_groups=2)
        drawn = points_of(ProbeConfig(points=points, labelled=labelled), table, N_OUT)
        assert len(drawn.x) == (points if labelled else min(rows, points))
        np.testing.assert_allclose(np.mean(drawn.weight), 1.0, rtol=1e-6)
        if len(drawn.x) > 1:
            continue  # one program is enough
        probe = probe_stack(random_stack(PROBED, 2, size=3.0), drawn)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(probe))


@given(
    y=st.lists(st.integers(0, 1), min_size=1, max_size=6),
    group=st.integers(0, 2),
    points=st.integers(1, 9),
)
@few
def test_points_of_few_cells_count_for_the_data(y, group, points):
    table = random_table(len(y), n_features=N_IN, n_groups=3)
    table = table.replace(y=np.array(y), group=np.full(len(y), group))
    drawn = points_of(ProbeConfig(points=points, labelled=True), table, 2)
    assert len(drawn.x) == points and drawn.n_cells == 6
    assert np.isfinite(drawn.weight).all() and (np.asarray(drawn.weight) > 0).all()
    assert set(np.asarray(drawn.cell).tolist()) <= {one * 3 + group for one in y}


def test_a_model_of_zeros_has_a_finite_probe():
    stack = random_stack(PROBED, 1)
    zeros = Stack(PROBED, jax.tree.map(np.zeros_like, stack.params), stack.activation)
    drawn = points_of(ProbeConfig(points=1), random_table(5, n_features=N_IN), N_OUT)
    probe = probe_stack(zeros, drawn)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(probe))
