"""Models as graphs: exact round trips, truthful graphs, the padded template and the batches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import apply, exact_budget, random_stack

from metanet.graphs.batch import gather, graph_of, to_template
from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.packing import pack, unpack
from metanet.graphs.padded import BLOCK, apply_padded, apply_rows, params_of
from metanet.graphs.strata import draw, stratify
from metanet.graphs.topology import TILE, Template, template_of, tiles
from metanet.mlp import network
from metanet.mlp.network import ACTIVATIONS
from metanet.mlp.spec import NORMS, MLPSpec

ENDS = [(5, 2), (9, 3)]  # inputs, outputs


def grid_of_specs(n_in, n_out):
    """Depth 1 to 4, every norm, skips from near and far, widths that fill tiles and do not."""
    return [
        MLPSpec((n_in, 8, n_out), (), "layer"),
        MLPSpec((n_in, 9, n_out), (), "batch"),
        MLPSpec((n_in, 5, 9, n_out), ((0, 2),), "none"),
        MLPSpec((n_in, 5, 12, n_out), ((0, 2),), "layer"),
        MLPSpec((n_in, 8, 8, 9, n_out), ((0, 2), (1, 3), (0, 3)), "batch"),
        MLPSpec((n_in, 3, 9, 9, n_out), ((1, 3),), "layer"),
        MLPSpec((n_in, 3, 5, 8, 9, n_out), ((0, 2), (2, 4), (0, 4), (1, 3)), "none"),
        MLPSpec((n_in, 12, 5, 9, 8, n_out), ((1, 4), (0, 4)), "layer"),
    ]


stack_of = functools.partial(random_stack, size=1.0, norm_size=1.0)


def test_the_installed_jax_takes_the_named_tuple_of_jraph():
    fields = ("nodes", "edges", "receivers", "senders", "globals", "n_node", "n_edge")
    assert GraphsTuple._fields == fields
    graph = GraphsTuple(*(jnp.full(2, float(place)) for place in range(7)))
    doubled = jax.jit(lambda graph: jax.tree.map(lambda leaf: 2 * leaf, graph))(graph)
    assert isinstance(doubled, GraphsTuple) and doubled.n_edge.tolist() == [12.0, 12.0]
    assert graph._replace(nodes={"a": jnp.ones(3)}).nodes["a"].shape == (3,)


@dataclasses.dataclass(frozen=True)
class Family:
    """Stacks that share inputs and outputs, packed, and all of them as one padded batch."""

    stacks: list
    models: object
    graph: GraphsTuple
    budget: tuple[int, int]  # exact

    @property
    def template(self):
        return self.models.template

    def members(self):
        """(number, spec, one model's parameters) in the order of `models`."""
        number = 0
        for stack in self.stacks:
            for row in range(len(stack.activation)):
                yield number, stack, jax.tree.map(lambda leaf, row=row: leaf[row], stack.params)
                number += 1


gather_jitted = jax.jit(gather, static_argnames="budget")
padded = jax.jit(to_template, static_argnums=0)
draw_steps = jax.jit(jax.vmap(draw, (None, None, None, None, 0)))


def lambdas_of(ids):
    return jnp.zeros((len(ids), 1), jnp.float32)


def gathered(models, ids, budget):
    return gather_jitted(models, jnp.asarray(ids), lambdas_of(ids), budget)


@functools.cache
def family_of(n_in, n_out):
    stacks = [
        stack_of(spec, len(ACTIVATIONS), seed)
        for seed, spec in enumerate(grid_of_specs(n_in, n_out))
    ]
    models = pack(stacks)
    ids = jnp.arange(len(models.spec))
    budget = exact_budget(models, ids)
    return Family(stacks, models, gathered(models, ids, budget), budget)


@pytest.fixture(params=ENDS, ids=str)
def family(request):
    return family_of(*request.param)


def assert_same_bits(stacks, expected):
    assert [stack.spec for stack in stacks] == [stack.spec for stack in expected]
    for stack, other in zip(stacks, expected, strict=True):
        np.testing.assert_array_equal(stack.activation, other.activation)
        assert jax.tree.structure(stack.params) == jax.tree.structure(other.params)
        for a, b in zip(jax.tree.leaves(stack.params), jax.tree.leaves(other.params), strict=True):
            a, b = np.asarray(a), np.asarray(b)
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            assert a.tobytes() == b.tobytes()


def through_graph(models, graph):
    """Models whose parameters are those of an exactly budgeted batch of all of them, in order."""
    nodes = {k: graph.nodes[k].reshape(-1, TILE)[:-1] for k in ("bias", "scale", "shift")}
    return models.replace(weight=graph.edges["weight"].reshape(-1, TILE, TILE), **nodes)


def hand_counted_nodes(spec, template):
    """Per layer: the first node in the model's graph, and the first node in the template."""
    in_graph, in_template = [], []
    hidden = tiles(template.width) * TILE
    for layer in range(len(spec.widths)):
        in_graph.append(sum(tiles(width) * TILE for width in spec.widths[:layer]))
        place = layer - 1 if layer < spec.n_layers else template.depth
        in_template.append(0 if layer == 0 else tiles(template.n_in) * TILE + place * hidden)
    return in_graph, in_template


# Round trips


def test_pack_and_unpack_are_inverse_bit_for_bit(family):
    specs = [stack.spec for stack in family.stacks]
    assert_same_bits(unpack(family.models, specs), family.stacks)


def test_a_batch_of_graphs_returns_to_parameters_bit_for_bit(family):
    specs = [stack.spec for stack in family.stacks]
    assert_same_bits(unpack(through_graph(family.models, family.graph), specs), family.stacks)


def test_round_trip_keeps_signed_zeros_and_subnormal_numbers():
    stack = stack_of(MLPSpec((5, 9, 2), (), "layer"), 3)
    odd = np.array([-0.0, 0.0, 1e-42, -1e-42, np.inf, np.finfo(np.float32).max], np.float32)
    params = jax.tree.map(lambda leaf: np.resize(odd, leaf.shape), stack.params)
    stack = dataclasses.replace(stack, params=params)
    models = pack([stack])
    ids = np.arange(3)
    graph = gathered(models, ids, exact_budget(models, ids))
    assert_same_bits(unpack(through_graph(models, graph), [stack.spec]), [stack])


def test_round_trip_in_a_larger_template():
    stacks = [stack_of(spec, 2) for spec in grid_of_specs(5, 2)[:3]]
    models = pack(stacks, Template(5, 6, 30, 2))
    assert models.template == Template(5, 6, 30, 2)
    assert_same_bits(unpack(models, [stack.spec for stack in stacks]), stacks)


@pytest.mark.parametrize(
    "template", [Template(5, 1, 12, 2), Template(5, 4, 8, 2), Template(4, 4, 12, 2)], ids=str
)
def test_models_that_do_not_fit_the_template_are_refused(template):
    stack = stack_of(MLPSpec((5, 8, 9, 2)), 1)
    with pytest.raises(ValueError, match="stacks"):
        pack([stack], template)


def test_models_of_fewer_features_fit_a_wider_template():
    narrow, wide = MLPSpec((5, 8, 9, 2), skips=((0, 2),)), MLPSpec((14, 8, 2))
    stacks = [stack_of(narrow, 3, 1), stack_of(wide, 2, 2)]
    models = pack(stacks)
    assert models.template == Template(n_in=14, depth=2, width=9, n_out=2)
    for found, expected in zip(unpack(models, [narrow, wide]), stacks, strict=True):
        jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
    ids = np.arange(5)
    members = padded(models.template, gathered(models, ids, exact_budget(models, ids)))
    for number, stack, row in [(0, 0, 0), (2, 0, 2), (4, 1, 1)]:
        spec, params = stacks[stack].spec, stacks[stack].params
        x = np.random.default_rng(number).normal(size=(7, spec.widths[0])).astype(np.float32)
        one = jax.tree.map(lambda leaf, row=row: leaf[row], params)
        expected = apply(spec, one, stacks[stack].activation[row], x)
        member = jax.tree.map(lambda leaf, number=number: leaf[number], members)
        found = jax.jit(apply_padded, static_argnums=0)(models.template, member, x)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert member.edge.sum() == sum(spec.widths[s] * spec.widths[t] for s, t in spec.blocks)


def test_models_with_different_outputs_share_no_template():
    with pytest.raises(ValueError, match="specs"):
        template_of([MLPSpec((5, 8, 2)), MLPSpec((5, 8, 3))])


def test_template_is_the_smallest_that_fits():
    specs = [MLPSpec((5, 3, 12, 2)), MLPSpec((5, 4, 4, 4, 2))]
    assert template_of(specs) == Template(n_in=5, depth=3, width=12, n_out=2)


# The graphs


def test_sizes_of_graphs_cover_all_nodes_and_edges(family):
    graph, count = family.graph, len(family.models.spec)
    assert graph.n_node.shape == graph.n_edge.shape == (count + 1,)
    assert {len(leaf) for leaf in graph.nodes.values()} == {int(graph.n_node.sum())}
    edge_arrays = [*graph.edges.values(), graph.senders, graph.receivers]
    assert {len(leaf) for leaf in edge_arrays} == {int(graph.n_edge.sum())}
    exists = np.asarray(graph.edges["exists"])
    owner = np.asarray(graph_of(graph.n_edge, len(exists)))
    for number, stack, _ in family.members():
        widths = stack.spec.widths
        assert graph.n_node[number] == TILE * sum(tiles(width) for width in widths)
        n_tiles = sum(tiles(widths[s]) * tiles(widths[t]) for s, t in stack.spec.blocks)
        assert graph.n_edge[number] == TILE**2 * n_tiles
        assert exists[owner == number].sum() == stack.spec.n_weights


def test_every_edge_is_the_entry_of_its_dense_block(family):
    graph = jax.tree.map(np.asarray, family.graph)
    begins = np.cumsum(graph.n_node) - graph.n_node
    owner = np.repeat(np.arange(len(graph.n_edge)), graph.n_edge)
    for number, stack, params in family.members():
        spec = stack.spec
        first, _ = hand_counted_nodes(spec, family.template)
        expected = {}
        for (s, t), block in zip(spec.blocks, params.weights, strict=True):
            for i in range(spec.widths[s]):
                for j in range(spec.widths[t]):
                    ends = (begins[number] + first[s] + i, begins[number] + first[t] + j)
                    expected[ends] = (block[i, j], s != t - 1)
        real = graph.edges["exists"] & (owner == number)
        senders, receivers = graph.senders[real], graph.receivers[real]
        values = zip(graph.edges["weight"][real], graph.edges["skip"][real], strict=True)
        found = dict(zip(zip(senders, receivers, strict=True), values, strict=True))
        assert len(senders) == len(found) == spec.n_weights
        assert found == expected


def test_every_node_has_its_neurons_parameters_and_place(family):
    nodes = jax.tree.map(np.asarray, family.graph.nodes)
    ends = np.cumsum(family.graph.n_node)
    expected = {name: np.zeros_like(leaf) for name, leaf in nodes.items()}
    expected["scale"][:] = 1.0
    for number, stack, params in family.members():
        spec = stack.spec
        first, slot = hand_counted_nodes(spec, family.template)
        for layer, width in enumerate(spec.widths):
            begin = ends[number] - family.graph.n_node[number] + first[layer]
            neurons = slice(begin, begin + width)
            expected["exists"][neurons] = True
            whole = np.arange(tiles(width) * TILE)
            expected["slot"][begin + whole] = slot[layer] + whole
            if layer > 0:
                expected["bias"][neurons] = params.biases[layer - 1]
            if spec.norm == "layer" and layer in spec.hidden:
                expected["scale"][neurons] = params.scales[layer - 1]
                expected["shift"][neurons] = params.shifts[layer - 1]
    for name, leaf in expected.items():
        np.testing.assert_array_equal(nodes[name], leaf, err_msg=name)


def test_globals_are_the_models_types_and_lambdas():
    models = family_of(5, 2).models
    ids = np.array([3, 0, 17])
    log10_lambda = np.array([[-1.0, 0.5], [-2.0, 0.25], [0.75, -3.0]], np.float32)
    budget = exact_budget(models, ids)
    found = gather_jitted(models, jnp.asarray(ids), jnp.asarray(log10_lambda), budget).globals
    norms = [NORMS.index(spec.norm) for spec in grid_of_specs(5, 2)]
    per_spec = len(ACTIVATIONS)
    np.testing.assert_array_equal(found["activation"][:-1], ids % per_spec)
    np.testing.assert_array_equal(found["norm"][:-1], [norms[i // per_spec] for i in ids])
    np.testing.assert_array_equal(found["log10_lambda"][:-1], log10_lambda)


@pytest.mark.parametrize("ids", [[0, -1, 30, 12], [-1, 7, -1, -1], [-1, -1, -1, -1]], ids=str)
def test_padding_edges_only_touch_padding(ids):
    models = family_of(9, 3).models
    graph = jax.tree.map(np.asarray, gathered(models, ids, (40, 90)))
    assert graph.n_node.sum() == 41 * TILE and graph.n_edge.sum() == 90 * TILE**2
    assert graph.n_node[-1] >= TILE
    node_owner = np.repeat(np.arange(5), graph.n_node)
    edge_owner = np.repeat(np.arange(5), graph.n_edge)
    np.testing.assert_array_equal(node_owner[graph.senders], edge_owner)
    np.testing.assert_array_equal(node_owner[graph.receivers], edge_owner)
    node = graph.nodes["exists"]
    np.testing.assert_array_equal(
        graph.edges["exists"], node[graph.senders] & node[graph.receivers]
    )
    absent = ~graph.edges["exists"]
    assert not graph.edges["weight"][absent].any()
    assert not (graph.nodes["bias"][~node].any() or graph.nodes["shift"][~node].any())
    last = len(ids)
    assert not node[node_owner == last].any() and not graph.edges["skip"][edge_owner == last].any()
    for number, model in enumerate(ids):
        if model < 0:
            assert graph.n_node[number] == graph.n_edge[number] == 0


def test_positional_types_are_unique_at_the_ends_and_shared_by_hidden_layers():
    template = Template(n_in=9, depth=2, width=12, n_out=3)
    position = template.position.reshape(-1)
    inputs, first, second, outputs = np.split(position, [16, 32, 48])
    assert len(set(inputs[:9])) == 9 and len(set(outputs[:3])) == 3
    assert len(set(first)) == len(set(second)) == 1
    kinds = {*inputs, *first, *second, *outputs}
    assert kinds == set(range(template.n_positions)) and template.n_positions == 14
    np.testing.assert_array_equal(template.layer_of_slot, [0, 0, 1, 1, 2, 2, 3])


def test_weights_that_are_zero_still_have_edges(family):
    stacks = [
        dataclasses.replace(stack, params=jax.tree.map(np.zeros_like, stack.params))
        for stack in family.stacks
    ]
    ids = jnp.arange(len(family.models.spec))
    graph = gathered(pack(stacks), ids, family.budget)
    assert not graph.edges["weight"].any()
    models = jax.tree.map(np.asarray, padded(family.template, graph))
    assert models.edge.dtype == models.node.dtype == bool
    specs = [stack.spec for _, stack, _ in family.members()]
    np.testing.assert_array_equal(models.edge.sum((1, 2)), [spec.n_weights for spec in specs])
    np.testing.assert_array_equal(models.node.sum(1), [sum(spec.widths[1:]) for spec in specs])


def test_gather_is_traced_once_for_all_specs():
    models, traces = family_of(5, 2).models, []

    @functools.partial(jax.jit, static_argnames="budget")
    def counted(models, ids, log10_lambda, budget):
        traces.append(ids)
        return gather(models, ids, log10_lambda, budget)

    seen = set()
    for ids in ([0, 1], [5, 39], [20, 11], [-1, 30]):
        graph = counted(models, jnp.asarray(ids), lambdas_of(ids), (30, 80))
        seen.add(tuple(graph.n_edge.tolist()))
    assert len(traces) == 1
    assert len(seen) == 4


# The template


def test_padded_forward_pass_equals_the_networks(family):
    x = np.random.default_rng(7).normal(size=(6, family.template.n_in)).astype(np.float32)
    models = padded(family.template, family.graph)
    found = jax.jit(jax.vmap(functools.partial(apply_padded, family.template), (0, None)))(
        models, x
    )
    found = np.asarray(found)
    start = 0
    for stack in family.stacks:
        count = len(stack.activation)
        apply = jax.jit(jax.vmap(functools.partial(network.apply, stack.spec), (0, 0, None)))
        expected = np.asarray(apply(stack.params, stack.activation, x))
        # The logits must depend on the activation, or the comparison says little about it.
        assert np.abs(expected - expected[::-1]).max() > 0.1
        error = np.abs(found[start : start + count] - expected).max()
        assert error < 1e-5 * np.abs(expected).max(), (stack.spec, error)
        start += count


def test_a_layer_norm_of_one_neuron_is_the_networks():
    stack = stack_of(MLPSpec((5, 1, 9, 2), ((0, 2),), "layer"), 3)
    models = pack([stack])
    graph = gathered(models, np.arange(1), exact_budget(models, [0]))
    model = jax.tree.map(lambda leaf: leaf[0], padded(models.template, graph))
    x = np.random.default_rng(8).normal(size=(6, 5)).astype(np.float32)
    params = jax.tree.map(lambda leaf: leaf[0], stack.params)
    expected = network.apply(stack.spec, params, stack.activation[0], x)
    np.testing.assert_allclose(apply_padded(models.template, model, x), expected, atol=1e-5)


def test_many_rows_in_blocks_have_the_outputs_of_all_at_once(family):
    one = jax.tree.map(lambda leaf: leaf[0], padded(family.template, family.graph))
    rows = 2 * BLOCK + 7
    x = np.random.default_rng(9).normal(size=(rows, family.template.n_in)).astype(np.float32)
    found = apply_rows(family.template, one, jnp.asarray(x))
    expected = apply_padded(family.template, one, jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_template_entries_are_the_dense_blocks(family):
    models = jax.tree.map(np.asarray, padded(family.template, family.graph))
    n_inputs = tiles(family.template.n_in) * TILE
    for number, stack, params in family.members():
        widths = stack.spec.widths
        _, first = hand_counted_nodes(stack.spec, family.template)
        expected = np.zeros_like(models.weight[number])
        exists = np.zeros_like(models.edge[number])
        for (s, t), block in zip(stack.spec.blocks, params.weights, strict=True):
            rows = slice(first[s], first[s] + widths[s])
            columns = slice(first[t] - n_inputs, first[t] - n_inputs + widths[t])
            expected[rows, columns], exists[rows, columns] = block, True
        np.testing.assert_array_equal(models.weight[number], expected)
        np.testing.assert_array_equal(models.edge[number], exists)


def test_parameters_return_from_the_template_bit_for_bit(family):
    models = jax.tree.map(np.asarray, padded(family.template, family.graph))
    for number, stack, params in family.members():
        one = jax.tree.map(lambda leaf, number=number: leaf[number], models)
        found = params_of(family.template, one, stack.spec)
        if stack.spec.norm != "layer":  # which alone has scales and shifts in a template
            params = params.replace(scales=(), shifts=())
        jax.tree.map(np.testing.assert_array_equal, found, params)


# Batches


def many_models(counts=(9, 7, 10, 5, 9, 8, 6, 10)):
    specs = grid_of_specs(5, 2)
    return pack([stack_of(spec, n) for spec, n in zip(specs, counts, strict=True)])


N_STEPS = 70


@functools.cache
def draws_of(n_devices, n_models):
    """Models, some of them shuffled, their strata, and the [N_STEPS, batch] models drawn."""
    models = many_models()
    ids = np.random.default_rng(3).permutation(len(models.spec))[:n_models]
    strata = stratify(models, ids, 8, n_devices)
    steps = jnp.arange(N_STEPS)
    drawn = draw_steps(strata.table, strata.number, strata.per_epoch, jax.random.key(5), steps)
    return models, ids, strata, np.asarray(drawn)


@pytest.mark.parametrize("n_devices", [1, 2, 4])
def test_every_model_is_drawn_once_per_epoch(n_devices):
    _, ids, strata, drawn = draws_of(n_devices, 56)
    assert strata.per_epoch == 7
    epochs = drawn.reshape(10, -1)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.sort(ids))
    assert not np.array_equal(epochs[0], epochs[1])


def test_strata_of_unequal_length_leave_a_random_model_out():
    _, ids, strata, drawn = draws_of(2, 61)
    assert strata.per_epoch == 7 and len(drawn) == 10 * strata.per_epoch
    left_out = []
    for epoch in drawn.reshape(10, -1):
        assert len(set(epoch)) == 56 and set(epoch) <= set(ids)
        left_out.append(frozenset(ids) - set(epoch))
    assert set(drawn.reshape(-1)) == set(ids)
    assert len(set(left_out)) > 1


@pytest.mark.parametrize("n_devices", [1, 2, 4])
@pytest.mark.parametrize("n_models", [56, 61])
def test_budget_holds_for_every_batch(n_devices, n_models):
    models, _, strata, drawn = draws_of(n_devices, n_models)
    spec = np.asarray(models.spec)[drawn].reshape(N_STEPS, n_devices, -1)
    for size, budget in zip(("n_nodes", "n_edges"), strata.budget, strict=True):
        sizes = np.asarray(getattr(models.topologies, size))
        loads = sizes[spec].sum(-1)
        assert loads.max() <= budget
        # Stratification keeps the padding small, whichever models are drawn.
        assert budget < 1.5 * loads.mean()


def test_draws_do_not_depend_on_the_number_of_devices():
    reference = None
    for n_devices in (1, 2, 4):
        _, _, strata, drawn = draws_of(n_devices, 61)
        by_step = [set(zip(strata.number.tolist(), row.tolist(), strict=True)) for row in drawn]
        reference = reference or by_step
        assert by_step == reference
        assert sorted(strata.number) == list(range(8))


def test_strata_are_shuffled_independently():
    _, _, strata, drawn = draws_of(1, 56)
    places = (strata.table[None] == drawn[:, :, None]).argmax(2)  # in the stratum
    assert len({tuple(row) for row in places[: strata.per_epoch].T}) == len(strata.number)


def test_strata_are_sorted_by_size():
    models, _, strata, _ = draws_of(4, 61)
    edges = np.asarray(models.topologies.n_edges)[np.asarray(models.spec)]
    by_number = {n: row[row >= 0] for n, row in zip(strata.number, strata.table, strict=True)}
    for number in range(7):
        assert edges[by_number[number]].max() <= edges[by_number[number + 1]].min()


def test_draws_depend_on_the_key():
    _, _, strata, drawn = draws_of(1, 56)
    arguments = (strata.table, strata.number, strata.per_epoch)
    other = draw_steps(*arguments, jax.random.key(6), jnp.arange(N_STEPS))
    assert not np.array_equal(other, drawn)
    assert np.array_equal(draw_steps(*arguments, jax.random.key(5), jnp.arange(N_STEPS)), drawn)


@pytest.mark.parametrize(("batch", "n_devices"), [(8, 3), (6, 4), (1, 2)])
def test_a_batch_that_devices_cannot_share_is_refused(batch, n_devices):
    with pytest.raises(ValueError, match=f"batch: found {batch}.*{n_devices}"):
        stratify(many_models(), np.arange(20), batch, n_devices)
