"""Running a batch of networks in their template on CPU: one after another, or vmapped.

python -m benchmarks.forward
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from benchmarks.alternate import Case, measure
from benchmarks.editor import SIZES, problem
from benchmarks.harness import Comparison, report
from benchmarks.population import table
from metanet.devices import each_model
from metanet.editor.model import EditorConfig
from metanet.graphs.batch import gather, to_template
from metanet.graphs.padded import apply_padded, apply_rows

BATCH = 16
TEST_ROWS, POINTS = 9_769, (128, 256, 1024)  # of UCI Adult; of a step of training


def batch():
    """Untrained MLPs of as many architectures, and their template."""
    *_, models, _ = problem(EditorConfig(**SIZES["default sizes"]), 1)
    budget = tuple(int(n.sum()) for n in (models.topologies.n_nodes, models.topologies.n_edges))
    graph = gather(models, jnp.arange(BATCH), jnp.full((BATCH, 1), -2.0), budget)
    return models.template, to_template(models.template, graph)


def forward(rows: int, vmapped: bool):
    """Logits of all models on all rows."""
    template, models = batch()
    mapped, apply = (jax.vmap, apply_padded) if vmapped else (each_model, apply_rows)
    program = jax.jit(lambda models, x: mapped(lambda one: apply(template, one, x))(models))
    x = jnp.asarray(table(rows).x)

    def run():
        jax.block_until_ready(program(models, x))
        return BATCH

    return run


def gradient(rows: int, vmapped: bool):
    """The gradient of the mean squared logits by all weights."""
    template, models = batch()
    mapped = jax.vmap if vmapped else each_model

    def loss(weight, model, x):
        return (apply_padded(template, model.replace(weight=weight), x) ** 2).mean()

    program = jax.jit(lambda models, x: mapped(lambda m: jax.grad(loss)(m.weight, m, x))(models))
    x = jnp.asarray(table(rows).x)

    def run():
        jax.block_until_ready(program(models, x))
        return BATCH

    return run


def compare(title: str, build, rows: int) -> Comparison:
    cases = [
        Case(name, build, {"rows": rows, "vmapped": vmapped})
        for name, vmapped in (("metanet: one model after another", False), ("jax.vmap", True))
    ]
    return Comparison(f"{title}, {rows} rows", "model", measure(cases), cases[0].name)


def main(test_rows: int = TEST_ROWS, points: Sequence[int] = POINTS) -> None:
    tables = [compare("Logits", forward, test_rows)]
    tables += [compare("Gradient", gradient, rows) for rows in points]
    report("forward", tables)


if __name__ == "__main__":
    main()
