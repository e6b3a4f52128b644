"""Sizes and inference times of edited networks before and after compaction, on one core.

python -m benchmarks.compact
"""

import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.harness import PACKAGES, RESULTS, digits, installed
from metanet.core import versions
from metanet.devices import device_name
from metanet.interop.compact import compact
from metanet.interop.network import Network
from metanet.mlp.network import ACTIVATIONS, MLPParams, shapes_of
from metanet.mlp.spec import MLPSpec
from metanet.storage import write_json

NETWORKS = {
    "14-32-64-2": MLPSpec((14, 32, 64, 2)),
    "14-32-32-32-2 with a skip": MLPSpec((14, 32, 32, 32, 2), ((1, 3),)),
    "14-32-64-2 with layer norms": MLPSpec((14, 32, 64, 2), norm="layer"),
    "14-256-256-256-2": MLPSpec((14, 256, 256, 256, 2)),
}
BATCHES = (1, 1024)
REPEATS = 31
SHORTEST = 1e-3  # seconds of a repeat


def untrained(spec: MLPSpec) -> Network:
    """A network with uniform weights in +-1/sqrt(fan-in), relu, scales 1 and shifts 0."""
    rng, shapes = np.random.default_rng(0), shapes_of(spec)
    fan_in = {t: sum(spec.widths[s] for s, u in spec.blocks if u == t) for _, t in spec.blocks}

    def drawn(shape, target):
        return rng.uniform(-1, 1, shape).astype(np.float32) * np.float32(fan_in[target] ** -0.5)

    weights = [drawn(s, t) for s, (_, t) in zip(shapes["weights"], spec.blocks, strict=True)]
    biases = [drawn(shape, layer) for layer, shape in enumerate(shapes["biases"], 1)]
    scales = tuple(np.ones(shape, np.float32) for shape in shapes["scales"])
    shifts = tuple(np.zeros(shape, np.float32) for shape in shapes["shifts"])
    return Network(spec, MLPParams(tuple(weights), tuple(biases), scales, shifts), "relu")


def of_largest(network: Network, fraction: float) -> Network:
    """The network with this fraction of the weights of every block, those of largest magnitude."""
    left = tuple(
        np.where(np.abs(weight) >= np.quantile(np.abs(weight), 1 - fraction), weight, 0)
        for weight in network.params.weights
    )
    return Network(network.spec, network.params.replace(weights=left), network.activation)


def of_features(network: Network, count: int) -> Network:
    """The network without the outgoing weights of all but its first `count` inputs."""
    keep = np.arange(network.spec.widths[0])[:, None] < count
    left = tuple(
        np.where(keep, weight, 0) if source == 0 else weight
        for (source, _), weight in zip(network.spec.blocks, network.params.weights, strict=True)
    )
    return Network(network.spec, network.params.replace(weights=left), network.activation)


def edits(network: Network) -> dict[str, Network]:
    """Edited networks by what is left of the original."""
    cut = {f"{share:.0%} of the weights": of_largest(network, share) for share in (0.05, 0.2, 0.5)}
    return cut | {f"6 of {network.spec.widths[0]} features": of_features(network, 6)}


def in_torch(network: Network) -> Callable[[np.ndarray], Callable[[], np.ndarray]]:
    """The network in PyTorch, nn.Sequential where it has no skips: what runs it on given rows."""
    import torch
    from torch import nn

    from benchmarks import torch_mlp

    torch.set_num_threads(1)
    spec, params = network.spec, network.params
    activation = ACTIVATIONS.index(network.activation)
    model = torch_mlp.MLP(spec, activation)
    with torch.no_grad():
        for block, weight in zip(model.blocks, params.weights, strict=True):
            block.weight.copy_(torch.tensor(weight.T))
        dense = [block for block in model.blocks if block.bias is not None]
        for block, bias in zip(dense, params.biases, strict=True):
            block.bias.copy_(torch.tensor(bias))
        for norm, scale, shift in zip(model.norms, params.scales, params.shifts, strict=False):
            norm.weight.copy_(torch.tensor(scale))
            norm.bias.copy_(torch.tensor(shift))
    if not spec.skips:
        hidden = zip(dense[:-1], model.norms, strict=True)
        parts = itertools.chain(*((*pair, torch_mlp.ACTIVATIONS[activation]()) for pair in hidden))
        kept = [part for part in parts if not isinstance(part, nn.Identity)]
        model = nn.Sequential(*kept, dense[-1])
    model.eval()

    def on(x):
        rows = torch.tensor(x)

        def run():
            with torch.inference_mode():
                return model(rows).numpy()

        return run

    return on


def in_onnx(network: Network) -> Callable[[np.ndarray], Callable[[], np.ndarray]]:
    """The network, a relu one, in ONNX Runtime: what runs it on given rows."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    spec, params = network.spec, network.params
    nodes, initializers = [], []

    def node(kind, output, *inputs):
        nodes.append(helper.make_node(kind, inputs, [output]))
        return output

    def constant(name, array):
        initializers.append(numpy_helper.from_array(array, name))
        return name

    blocks, values = dict(zip(spec.blocks, params.weights, strict=True)), ["x"]
    for layer in range(1, spec.n_layers + 1):
        last = layer == spec.n_layers
        weight = constant(f"w{layer}", blocks[layer - 1, layer])
        bias = constant(f"b{layer}", params.biases[layer - 1])
        value = node("Gemm", "y" if last else f"z{layer}", values[-1], weight, bias)
        for source in [source for source, target in spec.skips if target == layer]:
            weight = constant(f"w{source}_{layer}", blocks[source, layer])
            product = node("MatMul", f"p{source}_{layer}", values[source], weight)
            value = node("Add", f"z{source}_{layer}", value, product)
        if not last:
            if spec.norm == "layer":
                scale = constant(f"scale{layer}", params.scales[layer - 1])
                shift = constant(f"shift{layer}", params.shifts[layer - 1])
                value = node("LayerNormalization", f"n{layer}", value, scale, shift)
            value = node("Relu", f"a{layer}", value)
        values.append(value)

    def io(name, width):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])

    ends = [io("x", spec.widths[0])], [io("y", spec.widths[-1])]
    graph = helper.make_graph(nodes, "mlp", *ends, initializers)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: lambda: session.run(None, {"x": x})[0]


def runtimes() -> dict[str, Callable]:
    """The builders whose packages are installed, by name."""
    found = {"PyTorch": in_torch} if installed("torch") else {}
    return found | ({"ONNX Runtime": in_onnx} if installed("onnx", "onnxruntime") else {})


def alternated(runs: Sequence[Callable], repeats: int) -> list[float]:
    """Median seconds of one call of each, which take turns in this process.

    Of the thread, the only one that computes: what it waits for other jobs is not counted.
    """

    def once(run, calls=1):
        start = time.thread_time()
        for _ in range(calls):
            run()
        return (time.thread_time() - start) / calls

    calls = [1 + int(SHORTEST / min(once(run) for _ in range(9))) for run in runs]
    seconds = np.array(
        [[once(run, n) for run, n in zip(runs, calls, strict=True)] for _ in range(repeats)]
    )
    return np.median(seconds, axis=0).tolist()


def compared(network: Network, repeats: int) -> list[dict]:
    """Sizes, and times by runtime and batch, of a network before and after compaction."""
    small, rows = compact(network), []
    x = np.random.default_rng(1).normal(size=(max(BATCHES), network.spec.widths[0]))
    x = x.astype(np.float32)
    for runtime, build in runtimes().items():
        before, after = build(network), build(small.network)
        for batch in BATCHES:
            runs = before(x[:batch]), after(np.ascontiguousarray(x[:batch, small.features]))
            np.testing.assert_allclose(runs[0](), runs[1](), rtol=0, atol=1e-5)
            times = dict(zip(("seconds_before", "seconds"), alternated(runs, repeats), strict=True))
            rows.append({"runtime": runtime, "batch": batch, **times})
    sizes = {"parameters": small.report.parameters, "bytes": small.report.bytes}
    return [{"widths": small.network.spec.widths, **sizes, **row} for row in rows]


def markdown(title: str, rows: list[dict]) -> str:
    """A table with a line for each edit; times in microseconds."""
    columns = list(dict.fromkeys((row["runtime"], row["batch"]) for row in rows))
    heads = [f"{name}, {batch:,} row{'s'[: batch > 1]}" for name, batch in columns]
    lines = [f"### {title}", "", "| left | widths after | parameters | bytes | "
             + " | ".join(f"{head}, µs" for head in heads) + " |",
             "|---" * (4 + len(columns)) + "|"]  # fmt: skip
    for edit, group in itertools.groupby(rows, key=lambda row: row["case"]):
        group = list(group)
        sizes = [" to ".join(f"{n:,}" for n in group[0][key]) for key in ("parameters", "bytes")]
        times = [" to ".join(digits(row[key] * 1e6) for key in ("seconds_before", "seconds"))
                 for row in group]  # fmt: skip
        widths = "-".join(map(str, group[0]["widths"]))
        lines.append(f"| {' | '.join([edit, widths, *sizes, *times])} |")
    return "\n".join(lines) + "\n"


def main(networks: Sequence[str] = tuple(NETWORKS), repeats: int = REPEATS) -> None:
    """Prints the tables and writes results/benchmarks/compact.json."""
    tables = []
    for title in networks:
        rows = [
            {"case": edit, **row}
            for edit, network in edits(untrained(NETWORKS[title])).items()
            for row in compared(network, repeats)
        ]
        tables.append({"title": title, "rows": rows})
        print(markdown(title, rows), flush=True)
    packages = versions((*PACKAGES, "onnx", "onnxruntime"))
    about = {"device": device_name(), "cores": 1, "versions": packages}
    print(f"{about['device']}, 1 core; " + ", ".join(f"{k} {v}" for k, v in packages.items()))
    write_json(RESULTS / "compact.json", {**about, "tables": tables})


if __name__ == "__main__":
    main()
