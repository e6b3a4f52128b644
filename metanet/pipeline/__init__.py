"""An experiment from Python: settings, testbed, editors, evaluation, results."""

from metanet.data.table_config import TableConfig
from metanet.editor.model import EditorConfig
from metanet.mlp.online import OnlineConfig
from metanet.mlp.sampling import PopulationConfig
from metanet.pipeline.config import (
    EditorPlan,
    EvaluationConfig,
    ExperimentConfig,
    RecipeConfig,
    ShiftConfig,
)
from metanet.pipeline.editors import train_editors
from metanet.pipeline.evaluate import evaluate_methods
from metanet.pipeline.releases import write_releases
from metanet.pipeline.run import results, run
from metanet.pipeline.testbed import Testbed, build_testbed
from metanet.probes.rows import ProbeConfig
from metanet.training.config import TrainingConfig

__all__ = [
    "EditorConfig",
    "EditorPlan",
    "EvaluationConfig",
    "ExperimentConfig",
    "OnlineConfig",
    "PopulationConfig",
    "ProbeConfig",
    "RecipeConfig",
    "ShiftConfig",
    "TableConfig",
    "Testbed",
    "TrainingConfig",
    "build_testbed",
    "evaluate_methods",
    "results",
    "run",
    "train_editors",
    "write_releases",
]
