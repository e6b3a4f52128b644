"""One edit, and a batch of all test models: from parameters in memory to edited parameters.

python -m benchmarks.edit
"""

import itertools

import jax
import numpy as np

from benchmarks.alternate import Case, measure
from benchmarks.editor import SIZES, problem
from benchmarks.harness import Comparison, installed, on_host, report
from metanet.editor.api import edit_stack
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.mlp.network import init
from metanet.mlp.population import Stack
from metanet.mlp.spec import MLPSpec

SPEC = MLPSpec((14, 32, 32, 2))
TEST_MODELS = 450  # as in the experiments of README.md
CALLS = 300
PAPER = 0.03  # seconds of one edit in the paper's table 1, on its hardware


def ours(count: int):
    """An editor of the default sizes on `count` untrained models."""
    config = EditorConfig(**SIZES["default sizes"])
    _, params, scales, models, _ = problem(config, 1)
    editor = TrainedEditor(params, scales, config, models.template)
    with on_host():
        keys = jax.random.split(jax.random.key(0), count)
        leaves = jax.tree.map(np.asarray, jax.vmap(lambda key: init(SPEC, key))(keys))
    stack = Stack(SPEC, leaves, np.zeros(count, np.int32))

    def run():
        jax.block_until_ready(edit_stack(editor, stack, lam=0.02))
        return count

    return run


def magnitude():
    """Global magnitude pruning of one model with PyTorch's own function, half of the weights."""
    import torch
    from torch.nn.utils import prune

    widths = SPEC.widths
    layers = [torch.nn.Linear(*pair) for pair in itertools.pairwise(widths)]
    weights = [(layer, "weight") for layer in layers]

    def run():
        prune.global_unstructured(weights, prune.L1Unstructured, amount=0.5)
        for pair in weights:
            prune.remove(*pair)
        return 1

    return run


def main(test_models: int = TEST_MODELS, calls: int = CALLS) -> None:
    name = "metanet, one model"
    cases = [Case(name, ours, {"count": 1})]
    if installed("torch"):
        cases.append(Case("magnitude, one model (torch.nn.utils.prune)", magnitude))
    single = measure(cases, calls)
    batch = measure([Case(f"metanet, a model of {test_models}", ours, {"count": test_models})])
    percentiles = {
        name: dict(zip(("p50", "p99"), np.percentile(seconds, (50, 99)).tolist(), strict=True))
        for name, seconds in single.items()
    }
    tables = [
        Comparison("One edit, 1 core", "model", single, name),
        Comparison("A batch, 1 core", "model", batch, *batch),
    ]
    report("edit", tables, {"percentiles": percentiles, "paper_seconds": PAPER})
    for case, row in percentiles.items():
        print(f"{case}: p50 {row['p50'] * 1e3:.2f} ms, p99 {row['p99'] * 1e3:.2f} ms")
    print(f"the paper's table 1, on its hardware: {PAPER * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
