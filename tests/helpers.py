"""Models, data and comparisons that several test files share."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np

from metanet.data.tabular import Table
from metanet.evaluation.program import map_models
from metanet.graphs.batch import gather, to_template
from metanet.mlp import network
from metanet.mlp.network import ACTIVATIONS, MLPParams
from metanet.mlp.population import Stack

ROOT = pathlib.Path(__file__).parents[1]

# Compiled as a whole: operation by operation each of the many shapes is a program of its own.
apply = jax.jit(network.apply, static_argnums=0)
init = jax.jit(network.init, static_argnums=0)
gathered = jax.jit(gather, static_argnums=3)


@jax.jit(static_argnums=0)
def init_editor(editor, *arguments):
    return editor.init(*arguments)["params"]


def random_stack(spec, count=3, seed=0, *, size=0.5, norm_size=0.2, activation=None):
    """`count` models of `spec` with normal parameters, `size` in standard deviation.

    `norm_size` is that of scales, around 1, and shifts. Activations take turns unless one is named.
    """
    rng = np.random.default_rng(seed)

    def normal(width, mean=0.0, size=size):
        return (mean + size * rng.normal(size=(count, *width))).astype(np.float32)

    normed = [(spec.widths[layer],) for layer in spec.hidden if spec.norm == "layer"]
    params = MLPParams(
        weights=tuple(normal((spec.widths[s], spec.widths[t])) for s, t in spec.blocks),
        biases=tuple(normal((width,)) for width in spec.widths[1:]),
        scales=tuple(normal(width, 1.0, norm_size) for width in normed),
        shifts=tuple(normal(width, 0.0, norm_size) for width in normed),
    )
    return Stack(spec, params, _activations(count, activation))


def fresh_stack(spec, count=3, seed=0, *, activation=None):
    """`count` models of `spec` as training starts from them."""
    keys = jax.random.split(jax.random.key(seed), count)
    params = jax.jit(jax.vmap(lambda key: network.init(spec, key)))(keys)
    return Stack(spec, jax.tree.map(np.asarray, params), _activations(count, activation))


def _activations(count, name):
    if name is None:
        return (np.arange(count) % len(ACTIVATIONS)).astype(np.int32)
    return np.full(count, ACTIVATIONS.index(name), np.int32)


def random_table(rows, *, n_features=5, n_groups=1, seed=7):
    """A table of independent columns: normal features, even labels, even groups."""
    rng = np.random.default_rng(seed)
    return Table(
        x=rng.normal(size=(rows, n_features)).astype(np.float32),
        y=rng.integers(0, 2, rows).astype(np.int32),
        group=rng.integers(0, n_groups, rows).astype(np.int32),
        weight=np.ones(rows, np.float32),
        n_groups=n_groups,
    )


def exact_budget(models, ids):
    """(node tiles, edge tiles) of the models `ids`, without room for more."""
    spec = np.asarray(models.spec)[np.asarray(ids)]
    sizes = (models.topologies.n_nodes, models.topologies.n_edges)
    return tuple(int(np.asarray(size)[spec].sum()) for size in sizes)


def permuted(stack, orders, incoming=True, outgoing=True):
    """Neurons of layers (and all that belongs to them) in another order: {layer: permutation}.

    Without `incoming` or `outgoing` only the other end of their weights moves: another function.
    """
    spec, old = stack.spec, stack.params
    weights = []
    for (s, t), block in zip(spec.blocks, old.weights, strict=True):
        if s in orders and outgoing:
            block = block[:, orders[s], :]
        if t in orders and incoming:
            block = block[:, :, orders[t]]
        weights.append(block)

    def vectors(leaves):
        return tuple(
            leaf[:, orders[layer]] if layer in orders and incoming else leaf
            for layer, leaf in enumerate(leaves, 1)
        )

    new = MLPParams(tuple(weights), *map(vectors, (old.biases, old.scales, old.shifts)))
    return dataclasses.replace(stack, params=new)


def assert_same(tree, other):
    """The trees have equal leaves, bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def in_template(packed):
    """All of the packed models in their template: leaves [models, ...]."""

    def unedited(context, graph, keys):
        return to_template(packed.template, graph)

    count = len(packed.spec)
    return map_models(unedited, None, packed, np.arange(count), 0, count)


def edited_network(network, seed=0):
    """A `Network` with some parameters dropped and the others moved."""
    rng = np.random.default_rng(seed)

    def moved(leaf):
        new = (leaf + 0.1 * rng.normal(size=leaf.shape)).astype(np.float32)
        return np.where(rng.random(leaf.shape) < 0.3, np.float32(0), new)

    return dataclasses.replace(network, params=jax.tree.map(moved, network.params))


# Runs commands, a JSON list of (flags, environment), each as the process that typing it would
# start, except that the imports are shared; prints (status, stdout, stderr, seconds, KiB) of each.
_DRIVER = """\
import importlib, json, os, sys, tempfile, time
from experiments import launch

module, main = sys.argv[1:]
command = getattr(importlib.import_module(module), main)
found = []
for flags, environment in json.load(sys.stdin):
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start, child = time.monotonic(), os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.environ.update(environment)
            sys.argv = [module, *flags]
            status = 1
            try:
                status = launch.status(command, sys.argv)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _, status, usage = os.wait4(child, 0)
        seconds, status = time.monotonic() - start, os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        found.append((status, out.read(), err.read(), seconds, usage.ru_maxrss))
json.dump(found, sys.stdout)
"""


def run_commands(module, main, commands, environment=()):
    """(exit status, stdout, stderr) of commands that do not compute: (flags, environment) each.

    module, main: of the commands, where the function of argv is; environment: of all of them.
    """
    return [one[:3] for one in measured_commands(module, main, commands, environment)]


def measured_commands(module, main, commands, environment=(), cwd=ROOT, timeout=300):
    """`run_commands`, each with its seconds and its peak resident memory (KiB) too."""
    ended = subprocess.run(
        [sys.executable, "-c", _DRIVER, module, main],
        input=json.dumps([(list(map(str, flags)), dict(own)) for flags, own in commands]),
        cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment),
        capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)
