"""Recipes of gradient descent per model: after an editor's edit, or from the model itself."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metanet.core import stream
from metanet.editor.apply import with_template
from metanet.editor.edit_fns import editor_fn
from metanet.editor.edits import EditFn, each_at, whole_edit
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.graphs.batch import to_template
from metanet.graphs.topology import Template
from metanet.methods.compiled import compiled, lambdas, with_probing
from metanet.methods.per_model import RefineConfig, refine, sample_of
from metanet.objectives.base import Objective
from metanet.pipeline.recipes import checked, count_options, no_editors, one_editor
from metanet.pipeline.testbed import Testbed
from metanet.probes.rows import ProbeConfig
from metanet.training.inputs import sampling_pool


@functools.lru_cache(maxsize=8)  # so that networks of one shape share a program
def refined_fn(
    method: EditFn, template: Template, requirement: Objective, config: RefineConfig
) -> EditFn:
    """`method`, then `refine` for every model; the setting is lambda.

    The context is (that of `method`, Sample).
    """

    def apply(context, graph, keys):
        inner, sample = context
        edit = method(inner, graph, keys)

        def edit_at(setting):
            def one_model(edit, weight):
                return refine(template, edit, weight, sample, requirement, config)

            return each_at(one_model, edit(setting), setting)

        return edit_at

    return apply


@functools.lru_cache(maxsize=8)  # so that programs that call it are shared
def unedited_fn(template: Template) -> EditFn:
    """The models as they are, everything kept."""

    def apply(context, graph, keys):
        before = to_template(template, graph)
        return lambda setting: whole_edit(template, before, before)

    return apply


@checked(one_editor, count_options("n_lambdas"))
def refined(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    descent: RefineConfig,
    n_lambdas: int | None = None,
) -> Method:
    """One editor, then gradient descent on every model.

    Args:
      n_lambdas: of the editor's own range; by default `evaluation.n_lambdas`.
    """
    (editor,) = editors

    def edit_fn_in(template: Template) -> EditFn:
        def edit(editor, graph, keys):
            return editor_fn(with_template(editor, template), graph, keys)

        return refined_fn(edit, template, testbed.requirement, descent)

    values = lambdas(editor.lambda_range, n_lambdas or testbed.experiment.evaluation.n_lambdas)
    method = _descended(testbed, edit_fn_in, editor, values, descent, editor.config.probe)
    return with_probing(testbed, editor.config.probe, method)


@checked(no_editors, count_options("n_lambdas"))
def optimised(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    descent: RefineConfig,
    n_lambdas: int | None = None,
) -> Method:
    """Gradient descent on every model from its own parameters, masks included; no editors.

    Args:
      n_lambdas: of the experiment's range; by default `evaluation.n_lambdas`.
    """

    def edit_fn_in(template: Template) -> EditFn:
        return refined_fn(unedited_fn(template), template, testbed.requirement, descent)

    experiment = testbed.experiment
    values = lambdas(experiment.lambda_range, n_lambdas or experiment.evaluation.n_lambdas)
    return _descended(testbed, edit_fn_in, None, values, descent, None)


def _descended(
    testbed: Testbed,
    edit_fn_in: Callable[[Template], EditFn],
    start,
    values: np.ndarray,
    descent: RefineConfig,
    probe: ProbeConfig | None,
) -> Method:
    """A method that trains every model at every lambda, in a template per depth.

    Args:
      edit_fn_in: template -> the method, whose context is (start, Sample).
      values: lambdas [S], or [S, requirements].
      probe: the rows that models are probed on before they are edited.
    """
    table, pool = sampling_pool(testbed.data.edit, descent.balanced)
    table, pool = jax.tree.map(jnp.asarray, (table, pool))
    seed, uses = testbed.experiment.seed, ("refinement", "refinement start")
    keys = [[stream(seed, use, start) for use in uses] for start in range(descent.starts)]
    keys_of = jnp.stack([jnp.stack(of_start) for of_start in keys])
    sample = sample_of(table, pool, keys_of, descent)
    groups = testbed.by_depth(probe)
    return compiled(testbed, edit_fn_in, (start, sample), "lambda", values, groups)
