"""The recipe of methods that post-process the scores of one model at a time."""

import importlib.util
from collections.abc import Sequence

import numpy as np

from metanet.core import UserError, require
from metanet.data.tabular import Table
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.evaluation.postprocess import PostProcess, postprocess, postprocess_seconds
from metanet.objectives.base import paths_of
from metanet.pipeline.testbed import Testbed
from metanet.probes.rows import ProbeConfig

TIMED_MODELS = 32  # in proportion for all


def postprocessed(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    method: PostProcess,
    probe: ProbeConfig | None = None,
) -> Method:
    """A post-processing method at its own settings, measured by the experiment's requirement.

    Args:
      method: a function (fit, test, setting) -> Outcome (see evaluation.scores) with attributes:
        `settings`, what it is swept over; `requirements`, dotted paths of those that it can
        optimise, if not any; `library`, which it needs, if any.
      probe: it is fitted on such rows of the `edit` data instead of all, with labels.
    """
    fit = testbed.data.edit if probe is None else _labelled(testbed, probe)

    def sweep(ids, table, indices):
        settings = [method.settings[index] for index in indices]
        arguments = testbed.models, ids, fit, table, testbed.requirement
        return postprocess(method, settings, *arguments, testbed.go_on)

    def seconds(ids, index):
        timed = ids[:TIMED_MODELS]
        arguments = testbed.models, timed, fit, testbed.data.test
        first, warm = postprocess_seconds(method, method.settings[index], *arguments)
        scale = len(ids) / len(timed)
        return scale * first, scale * warm

    return Method(tuple(method.settings), sweep, seconds)


def _labelled(testbed: Testbed, probe: ProbeConfig) -> Table:
    """The rows of the `edit` data that an editor with the labelled `probe` is shown."""
    points, groups = testbed.points(probe), testbed.data.edit.n_groups
    label, group = points.cell // groups, points.cell % groups
    return Table(*map(np.asarray, (points.x, label, group, points.weight)), n_groups=groups)


def _check(experiment, plans, key: str, options: dict) -> None:
    method, probe = options["method"], options.get("probe")
    require(hasattr(method, "settings"), f"{key}.method", method, "a function with `settings`")
    known, asked = getattr(method, "requirements", None), paths_of(experiment.requirement)
    able = known is None or all(path in known for path in asked)
    expected = f"{', '.join(known or ())}, which is all that {key} can optimise"
    require(able, "requirement", ", ".join(asked), expected)
    labelled = probe is None or probe.labelled
    require(labelled, f"{key}.probe.labelled", False, "True: the method is fitted on labels")
    library = getattr(method, "library", None)
    if library is not None and importlib.util.find_spec(library) is None:
        raise UserError(f"config key {key}: it needs {library}, which is not installed; "
                        "pip install 'metanet[baselines]'")  # fmt: skip


postprocessed.check = _check
