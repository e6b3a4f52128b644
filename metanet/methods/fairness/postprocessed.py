"""The recipe of methods that post-process the scores of one model at a time."""

import functools
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from metanet.core import UserError, require
from metanet.data.tabular import Table
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.evaluation.postprocess import PostProcess, postprocess, postprocess_seconds
from metanet.methods.fairness.settings import two_classes
from metanet.objectives.base import paths_of
from metanet.pipeline.recipes import checked, checked_on_data, keyword_options, no_editors
from metanet.pipeline.testbed import Testbed
from metanet.probes.rows import ProbeConfig
from metanet.settings import plain

TIMED_MODELS = 32  # in proportion for all


def _check(experiment, plans, key: str, options: dict) -> None:
    method, probe = options["method"], options.get("probe")
    offered: Any = getattr(method, "settings", None)
    several = isinstance(offered, (tuple, list)) and len(offered) > 0
    ok = several and all(isinstance(one, dict) for one in offered)
    with_settings = "a function with an attribute `settings`, one or more dicts"
    require(ok, f"{key}.method", f"{plain(method)} with settings {offered!r}", with_settings)
    known, asked = getattr(method, "requirements", None), paths_of(experiment.requirement)
    able = asked if known is None else tuple(known)
    expected = f"{', '.join(able)}, which is all that {key} can optimise"
    require(set(asked) <= set(able), "requirement", ", ".join(asked), expected)
    labelled = probe is None or probe.labelled
    require(labelled, f"{key}.probe.labelled", False, "True: the method is fitted on labels")
    _with_options(method, options.get("options"), key)
    library = getattr(method, "library", None)
    if library is not None and importlib.util.find_spec(library) is None:
        raise UserError(f"config key {key}: it needs {library}, which is not installed; "
                        "pip install -e '.[baselines]'")  # fmt: skip


@checked(no_editors, _check)
@checked_on_data(two_classes)
def postprocessed(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    method: PostProcess,
    options: dict[str, Any] | None = None,
    probe: ProbeConfig | None = None,
) -> Method:
    """A post-processing method at its own settings, measured by the experiment's requirement.

    Args:
      method: a function (fit, test, setting) -> Outcome (see evaluation.scores) with the attributes
        that `settings.swept` sets.
      options: of the method, its keyword-only arguments at all of its settings.
      probe: it is fitted on such rows of the `edit` data instead of all, with labels.
    """
    offered = tuple(getattr(method, "settings", ()))
    method = _with_options(method, options, "recipe")
    fit = testbed.data.edit if probe is None else _labelled(testbed, probe)

    def sweep(ids, table, indices):
        settings = [offered[index] for index in indices]
        arguments = testbed.models, ids, fit, table, testbed.requirement
        return postprocess(method, settings, *arguments, testbed.go_on)

    def seconds(ids, index):
        timed = ids[:TIMED_MODELS]
        arguments = testbed.models, timed, fit, testbed.data.test
        first, warm = postprocess_seconds(method, offered[index], *arguments)
        scale = len(ids) / len(timed)
        return scale * first, scale * warm

    return Method(offered, sweep, seconds)


def _with_options(method: PostProcess, options: dict | None, key: str) -> PostProcess:
    """The method with its keyword-only arguments, converted by their annotations.

    Raises:
      SettingError: see `keyword_options`.
    """
    expected = "a function (fit, test, setting, *, options) -> Outcome"
    names = f"{key}.options", f"{key}.method"
    return functools.partial(method, **keyword_options(method, options or {}, *names, expected))


def _labelled(testbed: Testbed, probe: ProbeConfig) -> Table:
    """The rows of the `edit` data that an editor with the labelled `probe` is shown."""
    points, groups = testbed.points(probe), testbed.data.edit.n_groups
    label, group = points.cell // groups, points.cell % groups  # [points]
    return Table(
        x=np.asarray(points.x),
        y=np.asarray(label),
        group=np.asarray(group),
        weight=np.asarray(points.weight),
        n_groups=groups,
    )
