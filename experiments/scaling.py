"""Weak and strong scaling of population and editor training over the devices of a machine.

python -m experiments.scaling [--config=configs/scaling.py] [--workdir=DIR]

Every number of devices has processes of its own, which see no others; they take turns.
"""

import dataclasses
import pathlib
import sys

import jax
import numpy as np
from absl import flags
from ml_collections import config_flags

from experiments import launch
from experiments.alternate import Case, device_count, measure
from experiments.plan import catalogue_of, editor_plan
from metanet import data as datasets
from metanet.core import UserError, require, stream, write_json
from metanet.devices import models_mesh, replicate
from metanet.editor.inputs import scales_of
from metanet.graphs.packing import pack
from metanet.graphs.strata import stratify
from metanet.mlp.network import ACTIVATIONS
from metanet.mlp.population import Stack
from metanet.mlp.sampling import sample_members
from metanet.mlp.trainer import folded, init_member, member_arrays, program
from metanet.objectives.base import resolve
from metanet.report import scaling as report
from metanet.training.inputs import problem_of, schedules
from metanet.training.step import init_state, make_chunk

_CONFIG = config_flags.DEFINE_config_file("config", "configs/scaling.py", "Sizes.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/scaling", "Output folder.")
EDITOR = "GMN - Prune & Edit"


def population(config, members: int):
    """A call that trains `members` MLPs of one family; returns the model-steps it did."""
    data = datasets.load(config.dataset, None, config.seed)
    drawn, (family, *_) = catalogue_of(config, data)
    (sampled,) = sample_members(config.seed, dataclasses.replace(drawn, experiments=members), 1)
    arrays = member_arrays(sampled, config.seed)
    training, order = program(family, config.epochs), stream(config.seed, "member order")

    def run():
        jax.block_until_ready(training(arrays, order, data.train, data.select))
        return members * config.epochs * (len(data.train.y) // family.batch_size)

    return run


def _untrained(config, size: int):
    """The data, and at least `size` MLPs of the catalogue's families as they begin."""
    data = datasets.load(config.dataset, None, config.seed)
    _, catalogue = catalogue_of(config, data)
    each = -(-size // len(catalogue))
    keys = jax.random.split(stream(config.seed, "scaling"), (len(catalogue), each))
    stacks = []
    for family, own in zip(catalogue, keys, strict=True):
        first = jax.jit(jax.vmap(lambda key, s=family.spec: folded(s, init_member(s, key))))
        stacks.append(Stack(family.spec, first(own), np.arange(each) % len(ACTIVATIONS)))
    return data, pack(stacks)


def editor(config, batch_size: int):
    """A call that trains an editor for some steps; returns the edits it did."""
    config.editor.batch_size = batch_size
    shape, training = editor_plan(config, EDITOR)
    data, models = _untrained(config, batch_size)
    ids, mesh = np.arange(len(models.spec)), models_mesh(batch_size)
    strata, scales = stratify(models, ids, batch_size, mesh.size), scales_of(models, ids)
    problem = problem_of(training, models, scales, strata, data.edit, config.seed)
    chunk = make_chunk(shape, training, resolve(config.requirement), strata.budget, mesh)
    state = [replicate(init_state(shape, training, models, scales, config.seed), mesh)]
    rates, ramps = (schedule[: config.steps] for schedule in schedules(training))

    def run():
        state[0], *_ = chunk(state[0], problem, rates, ramps)
        jax.block_until_ready(state[0])
        return config.steps * batch_size

    return run


def _summed(config) -> int:
    """Bytes that every device gives into the sum of a step: gradients, and three means."""
    shape, training = editor_plan(config, EDITOR)
    _, models = _untrained(config, 1)
    scales = scales_of(models, np.arange(len(models.spec)))
    state = init_state(shape, training, models, scales, config.seed)
    return 4 * (sum(leaf.size for leaf in jax.tree.leaves(state.params)) + 3)


def _measured(config, build, size: str, each: int, counts: list[int]) -> dict[str, dict]:
    """Units per second by number of devices, in weak and in strong scaling."""
    found = {}
    for kind in ("weak", "strong"):
        totals = {n: each * (n if kind == "weak" else max(counts)) for n in counts}
        cases = [Case(str(n), build, {"config": config, size: totals[n]}, n) for n in counts]
        seconds = measure(cases)
        found[kind] = {name: 1 / float(np.median(values)) for name, values in seconds.items()}
    return found


def _main(argv: list[str]) -> None:
    if len(flags.FLAGS(argv)) > 1:
        raise UserError("command line: found an argument, expected only flags")
    config, workdir = _CONFIG.value, launch.writable(pathlib.Path(_WORKDIR.value))
    available = device_count()
    counts = [count for count in config.devices if count <= available]
    require(counts, "devices", config.devices, f"some number up to the {available} there are")
    results = {
        "task": "scaling",
        "population": _measured(config, population, "members", config.members, counts),
        "editor": _measured(config, editor, "batch_size", config.editor.batch_size, counts),
    }
    launch.setup_jax(0)  # only now does this process take hold of devices
    results |= {"bytes_summed": {"population": 0, "editor": _summed(config)}}
    results |= launch.about("experiments.scaling")
    write_json(workdir / "results.json", results)
    print(report.table(results))
    print(f"results: {workdir / 'results.json'}")


if __name__ == "__main__":
    sys.exit(launch.status(_main, sys.argv))
