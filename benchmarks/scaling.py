"""Weak and strong scaling of population and editor training over the devices of a machine.

Every number of devices has processes of its own, which see no others; they take turns. The command
is `python -m experiments.scaling`.
"""

import dataclasses

import jax
import numpy as np

from benchmarks.alternate import Case, devices, measure
from benchmarks.harness import on_host
from benchmarks.population import draw_members
from metanet import data as datasets
from metanet.core import require, stream
from metanet.devices import models_mesh, replicate
from metanet.editor.inputs import scales_of
from metanet.graphs.packing import Models, pack
from metanet.graphs.strata import stratify
from metanet.mlp.network import ACTIVATIONS
from metanet.mlp.population import Stack
from metanet.mlp.sampling import sample_catalogue
from metanet.mlp.trainer import folded, init_member, program
from metanet.objectives.base import resolve
from metanet.pipeline.config import EditorPlan, ExperimentConfig
from metanet.report.stored import SCHEMA
from metanet.training.inputs import problem_of, schedules
from metanet.training.step import init_state, make_chunk


@dataclasses.dataclass(frozen=True)
class ScalingConfig:
    """Sizes of the measurement.

    Attributes:
      experiment: data, architectures, and one editor; its batch size is that of one device.
      members: MLPs in training on one device.
      epochs: of a member, per measurement;  steps: of the editor, per measurement.
      devices: numbers of devices; those that there are will be measured.
    """

    experiment: ExperimentConfig
    members: int = 16
    epochs: int = 4
    steps: int = 20
    devices: tuple[int, ...] = (1, 2, 4, 8)

    def __post_init__(self):
        for key in ("members", "epochs", "steps"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")
        ok = bool(self.devices) and min(self.devices) >= 1
        require(ok, "devices", self.devices, "numbers of devices, each at least 1")
        names = tuple(self.experiment.editors)
        require(len(names) == 1, "editors", names, "one editor")

    @property
    def plan(self) -> EditorPlan:
        """The editor that is trained."""
        (plan,) = self.experiment.editors.values()
        return plan


def run(config: ScalingConfig) -> dict:
    """Units per second by number of devices; results.json without command and machine.

    Raises:
      UserError: the machine has none of the numbers of devices.
    """
    available, _ = devices()
    counts = [count for count in config.devices if count <= available]
    require(bool(counts), "devices", config.devices, f"some number up to the {available} there are")
    each = {"population": config.members, "editor": config.plan.training.batch_size}
    builders = {"population": population, "editor": editor}
    rates = {part: _rates(config, builders[part], each[part], counts) for part in each}
    experiment = config.experiment
    return {
        "schema": SCHEMA,
        "kind": "scaling",
        "task": "scaling",
        "dataset": experiment.dataset,
        "seed": experiment.seed,
        **rates,
        "bytes_summed": {"population": 0, "editor": _bytes_summed(config)},
    }


def population(config: ScalingConfig, total: int):
    """A call that trains `total` MLPs of one family; returns the model-steps it did."""
    experiment = config.experiment
    data, (family, *_) = _data_and_catalogue(experiment)
    arrays = draw_members(experiment.population, total, experiment.seed)
    training, order = program(family, config.epochs), stream(experiment.seed, "member order")

    def call():
        jax.block_until_ready(training(arrays, order, data.train, data.select))
        return total * config.epochs * (len(data.train.y) // family.batch_size)

    return call


def editor(config: ScalingConfig, total: int):
    """A call that trains an editor on batches of `total` models; returns the edits it did."""
    experiment, plan = config.experiment, config.plan
    training = dataclasses.replace(plan.training, batch_size=total)
    data, models = _untrained(experiment, total)
    ids, mesh = np.arange(len(models.spec)), models_mesh(total)
    strata, scales = stratify(models, ids, total, mesh.size), scales_of(models, ids)
    problem = problem_of(training, models, scales, strata, data.edit, experiment.seed)
    requirement = resolve(experiment.requirement_of(plan))
    chunk = make_chunk(plan.editor, training, requirement, strata.budget, mesh)
    # The program takes over the buffers of the state that it is given.
    first = init_state(plan.editor, training, models, scales, experiment.seed)
    state = [replicate(first, mesh)]
    rates, ramps = (schedule[: config.steps] for schedule in schedules(training))

    def call():
        state[0], *_ = chunk(state[0], problem, rates, ramps)
        jax.block_until_ready(state[0])
        return config.steps * total

    return call


def _data_and_catalogue(experiment: ExperimentConfig):
    data = datasets.load(experiment.dataset, experiment.group, experiment.seed)
    shape = experiment.population, data.n_features, data.n_classes
    return data, sample_catalogue(experiment.seed, *shape)


def _untrained(experiment: ExperimentConfig, size: int) -> tuple[datasets.TabularData, Models]:
    """The data, and at least `size` MLPs of the catalogue's families as they begin."""
    data, catalogue = _data_and_catalogue(experiment)
    each = -(-size // len(catalogue))
    keys = jax.random.split(stream(experiment.seed, "scaling"), (len(catalogue), each))
    stacks = []
    with on_host():
        for family, own in zip(catalogue, keys, strict=True):
            first = jax.jit(jax.vmap(lambda key, s=family.spec: folded(s, init_member(s, key))))
            params = jax.tree.map(np.asarray, first(own))
            stacks.append(Stack(family.spec, params, np.arange(each) % len(ACTIVATIONS)))
    return data, pack(stacks)


def _bytes_summed(config: ScalingConfig) -> int:
    """Bytes that every device gives into the sum of a step: gradients, and three means."""
    plan, seed = config.plan, config.experiment.seed
    _, models = _untrained(config.experiment, 1)
    scales = scales_of(models, np.arange(len(models.spec)))
    state = init_state(plan.editor, plan.training, models, scales, seed)
    return 4 * (sum(leaf.size for leaf in jax.tree.leaves(state.params)) + 3)


def _rates(config: ScalingConfig, build, each: int, counts: list[int]) -> dict[str, dict]:
    """Units per second by number of devices, in weak and in strong scaling."""
    found = {}
    for kind in ("weak", "strong"):
        totals = {n: each * (n if kind == "weak" else max(counts)) for n in counts}
        cases = [Case(str(n), build, {"config": config, "total": totals[n]}, n) for n in counts]
        seconds = measure(cases)
        found[kind] = {name: 1 / float(np.median(values)) for name, values in seconds.items()}
    return found
