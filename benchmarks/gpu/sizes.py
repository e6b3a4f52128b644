"""What the GPU tables measure: in full, and tiny for a test of the script on CPU."""

import dataclasses

from benchmarks import population
from benchmarks.editor import SIZES
from metanet.pipeline import (
    EditorConfig,
    EditorPlan,
    EvaluationConfig,
    ExperimentConfig,
    PopulationConfig,
    TrainingConfig,
)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
      experiment: data, population and the editor that is trained; `fallback`: the population that
        it is trained on if there was no time for the other.
      trainings: (batch size, steps) of the editor's trainings, each with its own schedule.
      targets: validation hypervolumes, whose seconds are reported.
      calls: edits of one model;  batches: models edited together.
      training: rows, batch and epochs of the target MLPs;  members: trained together.
      networks: sizes of the editor's network, by name;  inner: its steps per call.
      editor_batches: of the editor's training step;  steps: per call.
      repeats: of every other measurement.
    """

    experiment: ExperimentConfig
    fallback: PopulationConfig
    trainings: tuple[tuple[int, int], ...]
    targets: tuple[float, ...]
    calls: int
    batches: tuple[int, ...]
    training: population.Sizes
    members: tuple[int, ...]
    networks: dict[str, dict]
    inner: int
    editor_batches: tuple[int, ...]
    steps: int
    repeats: int


def _pruning(dataset: str, sizes: PopulationConfig, **evaluation) -> ExperimentConfig:
    """Pruning with one editor of default sizes, without a learned probe."""
    lambda_range = (0.0005, 0.5)
    plan = EditorPlan(EditorConfig(), TrainingConfig(lambda_range=lambda_range), seeds=1)
    return ExperimentConfig(
        requirement="metanet.objectives.pruning.weights_kept",
        dataset=dataset,
        lambda_range=lambda_range,
        population=sizes,
        editors={"GMN": plan},
        evaluation=EvaluationConfig(**evaluation),
    )


FULL = Sizes(
    experiment=_pruning("adult", PopulationConfig(experiments=4000)),
    fallback=PopulationConfig(experiments=200, max_specs=4),
    trainings=((64, 1000), (64, 4000), (64, 16000)),
    targets=(0.915, 0.92),
    calls=300,
    batches=(1800,),
    training=population.Sizes(),
    members=(80, 4096),  # 4,000 experiments of 50 architectures are 80 of each
    networks=SIZES,
    inner=10,
    editor_batches=(16, 256),
    steps=20,
    repeats=5,
)
_FEW = PopulationConfig(experiments=8, max_specs=2, epochs=1, depths=(1,), widths=(8,))
TINY = Sizes(
    experiment=_pruning("synthetic", _FEW, n_lambdas=2),
    fallback=_FEW,
    trainings=((4, 2), (4, 3)),
    targets=(0.0, 0.999),
    calls=2,
    batches=(2,),
    training=population.Sizes(rows=256, batch=64, epochs=1, steps=2, products=2),
    members=(4,),
    networks={"tiny": {"node_width": 8, "edge_width": 4, "message_width": 4, "layers": 1}},
    inner=1,
    editor_batches=(4,),
    steps=2,
    repeats=2,
)
