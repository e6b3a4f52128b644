"""Training and inference of the editor's network, against PyTorch and torch_geometric.

python -m benchmarks.editor
"""

import functools
import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec as P

from benchmarks.alternate import Case, measure
from benchmarks.harness import Comparison, installed, on_host, report
from metanet.devices import models_mesh, over_models
from metanet.editor.inputs import N_KINDS, Scales, inputs_of, type_counts
from metanet.editor.model import Editor, EditorConfig
from metanet.graphs.batch import gather
from metanet.graphs.packing import pack
from metanet.graphs.strata import stratify
from metanet.mlp.network import init
from metanet.mlp.population import Stack
from metanet.mlp.sampling import PopulationConfig, sample_catalogue

BATCH = 16
N_IN, N_OUT = 14, 2  # as UCI Adult
SIZES = {
    "default sizes": {"node_width": 32, "edge_width": 8, "message_width": 16, "layers": 3},
    "width 64": {"node_width": 64, "edge_width": 64, "message_width": 64, "layers": 4},
}
TOLERANCE = 1e-3  # of outputs, relative to their scale, to the same function in PyTorch
SAME = {"activation": "relu", "edge_norm": False}
REFERENCE = {"activation": "silu", "edge_norm": True}


@functools.cache
def problem(config: EditorConfig, shards: int):
    """An untrained editor, and BATCH untrained MLPs of as many architectures to edit.

    Returns:
      (editor, parameters, scales, models, strata for `shards` devices).
    """
    families = sample_catalogue(0, PopulationConfig(BATCH, BATCH, 1), N_IN, N_OUT)
    keys = jax.random.split(jax.random.key(0), BATCH)
    stacks = []
    with on_host():
        for number, (family, key) in enumerate(zip(families, keys, strict=True)):
            params = jax.tree.map(lambda leaf: np.asarray(leaf)[None], init(family.spec, key))
            stacks.append(Stack(family.spec, params, np.array([number % 5])))
    models = pack(stacks)
    ids = np.arange(BATCH)
    scales = Scales(jnp.ones(N_KINDS), jnp.ones(2), jnp.ones(()), jnp.ones(()))
    editor = Editor(config, models.template)
    strata = stratify(models, ids, BATCH, shards)
    params = jax.jit(editor.init)(jax.random.key(1), whole_batch(models), scales)["params"]
    # Away from their first values, of which some are zero.
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    leaves = [leaf + np.float32(0.1 * rng.normal(size=leaf.shape)) for leaf in leaves]
    params = jax.tree.unflatten(structure, leaves)
    return editor, params, scales, models, strata


def whole_batch(models):
    budget = tuple(int(n.sum()) for n in (models.topologies.n_nodes, models.topologies.n_edges))
    return gather(models, jnp.arange(BATCH), jnp.full((BATCH, 1), -2.0), budget)


def squares(proposal, graph):
    """A loss that every output enters: the sum of its squares over what exists."""
    edge, node = graph.edges["exists"], graph.nodes["exists"]
    parts = (proposal.weight, edge), (proposal.keep, edge), (proposal.bias, node)
    return sum((jnp.where(exists, values, 0.0) ** 2).sum() for values, exists in parts)


def ours(size: dict, train: bool, inner: int):
    """`inner` steps per call, on every device its share of the batch."""
    mesh = models_mesh()
    editor, params, scales, models, strata = problem(EditorConfig(**size), mesh.size)
    optimiser = optax.adam(1e-3)
    log10_lambda = jnp.full((BATCH // mesh.size, 1), -2.0)

    def loss(params, ids):
        graph = gather(models, ids, log10_lambda, strata.budget)
        return squares(editor.apply({"params": params}, graph, scales), graph)

    def train_step(ids, state, _):
        params, moments = state
        gradient = jax.lax.psum(jax.grad(loss)(params, ids), "models")
        update, moments = optimiser.update(gradient, moments)
        return (optax.apply_updates(params, update), moments), None

    def edit(ids, total, _):
        # The total enters the next step, which can then not be left out.
        nudged = jax.tree.map(lambda leaf: leaf + 0.0 * total, params)
        return jax.lax.psum(loss(nudged, ids), "models"), None

    def steps(state, ids):
        return jax.lax.scan(functools.partial(train_step if train else edit, ids), state,
                            length=inner)[0]  # fmt: skip

    program = jax.jit(over_models(steps, mesh, (P(), P("models")), P()))
    state = (params, optimiser.init(params)) if train else jnp.zeros(())
    ids = jnp.asarray(strata.table[:, 0])

    def run():
        jax.block_until_ready(program(state, ids))
        return inner * BATCH

    return run


def reference_of(size: dict, activation: str, edge_norm: bool):
    """The PyTorch editor, with our parameters where it is the same function, and the batch."""
    from benchmarks.reference_editor import ReferenceEditor, graph_data

    _, params, scales, models, _ = problem(EditorConfig(**size), 1)
    graph = whole_batch(models)
    inputs = inputs_of(models.template, graph, scales)
    reference = ReferenceEditor(
        inputs.node.shape[-1], inputs.edge.shape[-1], type_counts(models.template).values(),
        *size.values(), activation, edge_norm,
    )  # fmt: skip
    if not edge_norm:
        reference.load(params)
    return reference, graph_data(graph, inputs)


def largest_difference(size: dict) -> float:
    """Between our outputs and those of the same function in PyTorch, relative to their scale."""
    reference, data = reference_of(size, **SAME)
    delta, keep, node_delta = (part.detach().numpy() for part in reference(data))
    editor, params, scales, models, _ = problem(EditorConfig(**size), 1)
    graph = whole_batch(models)
    proposal = editor.apply({"params": params}, graph, scales)
    edge, node = np.asarray(graph.edges["exists"]), np.asarray(graph.nodes["exists"])
    bias = np.asarray(proposal.bias)[node]
    neuron = bias != 0  # inputs have no bias
    gamma = np.asarray(params["gamma"])
    # Our logits end at the limit, which larger networks pass.
    config = editor.config
    limited = np.clip(keep + config.mask_bias, -config.mask_limit, config.mask_limit)
    pairs = (
        (delta, np.asarray(proposal.weight)[edge] / gamma),
        (limited, np.asarray(proposal.keep)[edge]),
        (node_delta[neuron, 0], bias[neuron] / gamma),
    )
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def theirs(size: dict, train: bool, inner: int, activation: str, edge_norm: bool):
    """The reference, `inner` steps per call."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    reference, data = reference_of(size, activation, edge_norm)
    reference, data = reference.to(device), data.to(device)
    optimiser = torch.optim.Adam(reference.parameters(), lr=1e-3)

    def run():
        for _ in range(inner):
            if train:
                optimiser.zero_grad()
                sum((part**2).sum() for part in reference(data)).backward()
                optimiser.step()
            else:
                with torch.inference_mode():
                    sum((part**2).sum() for part in reference(data))
        if device == "cuda":
            torch.cuda.synchronize()
        return inner * BATCH

    return run


def products(size: dict, train: bool, inner: int):
    """The floor: our network's matrix products alone, with those of the backward pass.

    Recomputed hidden layers are not counted, nor is padding.
    """
    node, edge, width, layers = size.values()
    mesh = models_mesh()
    _, _, _, models, _ = problem(EditorConfig(**size), 1)
    graph = whole_batch(models)
    rows = {name: int(graph_part["exists"].sum()) // mesh.size
            for name, graph_part in (("edge", graph.edges), ("node", graph.nodes))}  # fmt: skip
    shapes = layers * [
        ("edge", edge, 3 * width), ("edge", width, edge), ("node", node, 4 * width),
        ("node", node + 2 * width, 2 * node), ("node", 2 * node, node),
    ]  # fmt: skip
    heads = [("edge", edge, width), ("edge", width, 1), ("node", node, 2 * width)]
    shapes += [("edge", 5, width), ("edge", width, edge), ("node", 6, 2 * node),
               ("node", 2 * node, node), ("node", node, 2 * width), *heads, *heads]  # fmt: skip
    keys = jax.random.split(jax.random.key(0), len(shapes))
    arrays = [
        (jax.random.normal(key, (rows[kind], n_in)), jax.random.normal(key, (n_in, n_out)))
        for key, (kind, n_in, n_out) in zip(keys, shapes, strict=True)
    ]

    def steps(arrays):
        def step(total, _):
            sums = []
            for x, kernel in arrays:
                kernel = kernel + total  # no step can be left out
                outputs = [x @ kernel]
                if train:
                    outputs += [x.T @ outputs[0], outputs[0] @ kernel.T]
                sums += [one[0, 0] for one in jax.lax.optimization_barrier(outputs)]
            return 1e-30 * sum(sums), None

        return jax.lax.scan(step, jnp.zeros(()), length=inner)[0]

    program = jax.jit(over_models(steps, mesh, P(), P()))

    def run():
        jax.block_until_ready(program(arrays))
        return inner * BATCH

    return run


def compare(name: str, train: bool, inner: int) -> Comparison:
    """All cases at one size; `inner` steps of ours make a call long enough to time."""
    cores, size = len(os.sched_getaffinity(0)), SIZES[name]
    options = {"size": size, "train": train}
    few, many = options | {"inner": 1}, options | {"inner": inner}
    places = {"1 core" if n == 1 else f"{n} cores": n for n in sorted({1, cores})}
    cases = [Case(f"metanet, {place}", ours, many, n) for place, n in places.items()]
    if installed("torch", "torch_geometric"):
        cases.append(Case("PyTorch, same function, 1 core", theirs, few | SAME))
        cases += [
            Case(f"PyTorch, reference, {place}", theirs, few | REFERENCE, n)
            for place, n in places.items()
        ]
        if name != "width 64":  # what quality has cost so far
            wide = few | REFERENCE | {"size": SIZES["width 64"]}
            cases.append(Case("PyTorch, reference of width 64, 1 core", theirs, wide))
    cases += [Case(f"matrix products, {place}", products, many, n) for place, n in places.items()]
    pairs = tuple((f"metanet, {place}", f"matrix products, {place}") for place in places)
    title = f"{'Training' if train else 'Inference'}, {name}"
    return Comparison(title, "graph", measure(cases), cases[0].name, pairs)


def main(sizes: Sequence[str] = tuple(SIZES), inner: int = 10) -> None:
    differences = {}
    if installed("torch", "torch_geometric"):
        differences = {name: largest_difference(SIZES[name]) for name in sizes}
        print("largest difference to the same function in PyTorch:", differences)
        if max(differences.values()) >= TOLERANCE:
            raise ValueError(f"largest difference: found {differences}, expected < {TOLERANCE}")
    tables = [compare(name, train, inner) for name in sizes for train in (True, False)]
    report("editor", tables, {"largest_difference": differences})


if __name__ == "__main__":
    main()
