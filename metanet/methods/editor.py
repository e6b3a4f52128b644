"""Recipes of methods that apply trained editors."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np

from metanet.core import require
from metanet.editor.apply import with_template
from metanet.editor.edit_fns import composed_fn, editor_fn, masks_only_fn
from metanet.editor.edits import EditFn
from metanet.editor.model import TrainedEditor
from metanet.editor.newton import NewtonConfig
from metanet.evaluation.method import Method
from metanet.evaluation.sweep import Sweep
from metanet.graphs.topology import Template
from metanet.methods.compiled import all_models, compiled, grid, lambdas, with_probing
from metanet.pipeline.recipes import checked, count_options, one_editor
from metanet.pipeline.testbed import Testbed
from metanet.probes.rows import ProbeConfig


def _check_probe(experiment, plans, key: str, options: dict) -> None:
    shown, trained = options.get("probe"), plans[0].editor.probe
    if shown is not None:
        same = trained is not None and trained.labelled == shown.labelled
        expected = "a probe with labels where its editor's has them, and only there"
        require(same, f"{key}.probe", dataclasses.asdict(shown), expected)


def _some_editors(experiment, plans, key: str, options: dict) -> None:
    require(bool(plans), f"{key}.editors", "none", "one or more")


def _check_composed(experiment, plans, key: str, options: dict) -> None:
    probed = any(plan.editor.probe for plan in plans)
    require(not probed, f"{key}.editors", "editors with probes", "editors without")


@checked(one_editor, count_options("n_lambdas"), _check_probe)
def edited(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    n_lambdas: int | None = None,
    probe: ProbeConfig | None = None,
    newton: NewtonConfig | None = None,
) -> Method:
    """One editor, swept over lambda.

    Args:
      n_lambdas: by default `evaluation.n_lambdas`.
      probe: the rows it is shown instead of those that it was trained with.
      newton: Gauss-Newton steps of what is kept, see NewtonConfig.
    """
    return applied(testbed, editors[0], editor_fn, n_lambdas, probe, newton=newton)


@checked(one_editor, count_options("n_lambdas"))
def masks_only(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    n_lambdas: int | None = None,
    newton: NewtonConfig | None = None,
) -> Method:
    """One editor's masks on the unedited parameters, swept over lambda.

    Args:
      n_lambdas, newton: see `edited`.
    """
    return applied(testbed, editors[0], masks_only_fn, n_lambdas, newton=newton)


def applied(
    testbed: Testbed,
    editor: TrainedEditor,
    edit_fn: EditFn,
    n_lambdas: int | None = None,
    probe: ProbeConfig | None = None,
    newton: NewtonConfig | None = None,
) -> Method:
    """One editor, swept over lambda; the arguments are those of `edited`."""
    probe = probe or editor.config.probe
    values = lambdas(editor.lambda_range, n_lambdas or testbed.experiment.evaluation.n_lambdas)
    # Editors of other ranges share the compiled program.
    context = editor.replace(lambda_range=())

    groups, edit_fn_in = [all_models(testbed.probed(probe))], lambda _: edit_fn
    if newton is not None:  # what changes models is faster in a template of their depth
        groups, edit_fn_in = testbed.by_depth(probe), functools.partial(_in_template, edit_fn)
    method = compiled(testbed, edit_fn_in, context, "lambda", values, groups, newton)
    return with_probing(testbed, probe, method)


def _in_template(edit_fn: EditFn, template: Template) -> EditFn:
    """`edit_fn` for editors of a larger template."""
    return lambda editor, graph, keys: edit_fn(with_template(editor, template), graph, keys)


@checked(_some_editors, _check_composed)
def composed(testbed: Testbed, editors: Sequence[TrainedEditor]) -> Method:
    """Editors one after another, at every combination of their lambdas (paper A.7)."""
    count = testbed.experiment.evaluation.n_lambdas
    values = grid(*(lambdas(editor.lambda_range, count) for editor in editors))
    return compiled(testbed, lambda _: composed_fn, tuple(editors), "lambda", values)


@checked(_some_editors)
def front_union(testbed: Testbed, editors: Sequence[TrainedEditor]) -> Method:
    """Several editors as one method, whose settings are all of theirs."""
    return union([edited(testbed, [editor]) for editor in editors])


def union(methods: Sequence[Method]) -> Method:
    """Several methods as one, whose settings are all of theirs."""
    first = np.cumsum([0, *(len(method.settings) for method in methods)])  # setting of a method

    def sweep(ids, table, indices):
        method_of = np.searchsorted(first, indices, side="right") - 1  # [S']
        sweeps = [
            dataclasses.asdict(method.sweep(ids, table, indices[method_of == part] - first[part]))
            for part, method in enumerate(methods)
            if (method_of == part).any()
        ]
        # Rows are concatenated method by method; each goes back to where its index was.
        order = np.argsort(np.argsort(method_of, kind="stable"))
        return Sweep(**jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *sweeps))

    def seconds(ids, index):
        part = int(np.searchsorted(first, index, side="right")) - 1
        return methods[part].seconds(ids, index - first[part])

    settings = tuple(one for method in methods for one in method.settings)
    return Method(settings, sweep, seconds)
