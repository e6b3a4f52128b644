"""Edits to a budget: exactly so many features or weights of every model, by an editor's masks."""

from collections.abc import Callable, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from metanet.core import require
from metanet.editor.apply import as_edit, edit_graph, propose, unmasked
from metanet.editor.edit_fns import with_lambda
from metanet.editor.edits import Edit
from metanet.editor.imputation import guesses_in_template
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.graphs.batch import edge_matrix, input_vector, to_template
from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.padded import input_edges
from metanet.methods.compiled import all_models, compiled, with_probing
from metanet.methods.data_minimisation import counts_of
from metanet.methods.pruning import highest
from metanet.pipeline.recipes import checked, one_editor
from metanet.pipeline.testbed import Testbed

BISECTIONS = 7  # of log lambda: over a range of a factor 1,000 to within 6%


def _one_kind(experiment, plans, key: str, options: dict) -> None:
    """Refuses editors without one lambda and one kind of mask, or whose biases depend on it."""
    plan = plans[0].editor
    ok = plan.mask in ("edges", "inputs") and not plan.mean_replacement
    found = f"mask {plan.mask!r}, mean_replacement {plan.mean_replacement}"
    require(ok, f"{key}.editors", found, "an editor with masks of edges or inputs alone")
    several = not isinstance(experiment.requirement_of(plans[0]), str)
    require(not several, f"{key}.editors", "an editor of several requirements", "of one")


def budget_fn(context, graph: GraphsTuple, keys: jax.Array) -> Callable[[jax.Array], Edit]:
    """The editor's edits that keep as much as the setting says; nothing beyond it.

    lambda of each model is bisected, by its masks alone, to where the editor keeps no more; of the
    logits there the highest are kept, so that it is as much. The context is (editor, log lambda's
    range [2]); the setting a number of features, or a fraction of weights.
    """
    editor, (low, high) = context
    of_inputs = editor.config.mask == "inputs"
    n_graphs = len(graph.n_node) - 1

    def kept(edit: Edit) -> jax.Array:  # [G]
        if of_inputs:
            return edit.input_keep.sum(-1)
        return edit.keep.sum((1, 2)) / edit.before.edge.sum((1, 2))

    def edit_at(setting):
        def bisect(_, ends):
            few, many = ends  # log lambda that keeps no more, and more: [G] each
            middle = (few + many) / 2
            asked = with_lambda(graph, jnp.exp(middle)[:, None])
            fits = kept(as_edit(editor, asked, *edit_graph(editor, asked))) <= setting + 1e-6
            return jnp.where(fits, middle, few), jnp.where(fits, many, middle)

        ends = jnp.full(n_graphs, high), jnp.full(n_graphs, low)
        few, _ = jax.lax.fori_loop(0, BISECTIONS, bisect, ends)
        return _with_best(editor, with_lambda(graph, jnp.exp(few)[:, None]), setting, of_inputs)

    return edit_at


def _with_best(
    editor: TrainedEditor, graph: GraphsTuple, setting: jax.Array, of_inputs: bool
) -> Edit:
    """The proposed edits with the masks' highest logits, as many as the setting says."""
    template, proposal = editor.template, propose(editor, graph)
    before = to_template(template, graph)
    after = to_template(template, unmasked(graph, proposal))
    guess: tuple[jax.Array | float, jax.Array | float] = 0.0, 0.0
    if of_inputs:
        logits = input_vector(template, graph, cast(jax.Array, proposal.input_keep))
        share = setting / template.n_in
        inputs = jax.vmap(lambda row: highest(row, jnp.ones(len(row), bool), share))(logits)
        keep = jax.vmap(lambda model, row: input_edges(template, model, row))(before, inputs)
        if editor.config.imputation:
            guess = guesses_in_template(editor, before.weight, inputs)
    else:
        inputs = jnp.ones((len(before.activation), template.n_in))
        logits = edge_matrix(template, graph, cast(jax.Array, proposal.keep))

        def best(row, edge):
            return highest(row.reshape(-1), edge.reshape(-1), setting).reshape(row.shape)

        keep = jax.vmap(best)(logits, before.edge)
    weight, bias = after.weight * keep + guess[0], after.bias + guess[1]
    return Edit(before, after.replace(weight=weight, bias=bias), keep, inputs)


@checked(one_editor, _one_kind)
def to_budget(testbed: Testbed, editors: Sequence[TrainedEditor]) -> Method:
    """One editor at budgets that every model meets exactly.

    All numbers of features below that of the data, or `evaluation.fractions` of the weights. It is
    some BISECTIONS + 1 forward passes, and reads no more data than the editor does.
    """
    (editor,) = editors
    ((low, high),) = np.log(np.reshape(editor.lambda_range, (1, 2)))
    context = editor.replace(lambda_range=()), jnp.array([low, high], jnp.float32)
    probe = editor.config.probe
    groups = [all_models(testbed.probed(probe))]
    if editor.config.mask == "inputs":
        label, settings = "features", counts_of(testbed.data.n_features)
    else:
        label, settings = "fraction", np.array(testbed.experiment.evaluation.fractions)
    method = compiled(testbed, lambda _: budget_fn, context, label, settings, groups)
    return with_probing(testbed, probe, method)
