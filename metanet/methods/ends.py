"""The two ends of every front: outputs that do not depend on the input, and no edit."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metanet.devices import each_model
from metanet.editor.edits import Edit, EditFn
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.graphs.batch import to_template
from metanet.graphs.padded import PaddedMLP, apply_rows
from metanet.graphs.topology import TILE, Template, tiles
from metanet.methods.compiled import compiled
from metanet.pipeline.recipes import checked, no_editors
from metanet.pipeline.testbed import Testbed


def ends_fn(template: Template) -> EditFn:
    """Setting 0: no weight and no feature is kept, and outputs are the model's mean; 1: no edit.

    The mean over the context, a table, of the model's distribution over the classes: of all
    constant outputs about the one of least JS divergence.
    """
    first = (template.n_targets - tiles(template.n_out)) * TILE  # target slot of the first class

    def constant(model: PaddedMLP, x: jax.Array) -> PaddedMLP:
        mean = jax.nn.softmax(apply_rows(template, model, x)).mean(0)  # [classes]
        nothing = jax.tree.map(jnp.zeros_like, model)
        bias = nothing.bias.at[first : first + template.n_out].set(jnp.log(mean))
        return model.replace(weight=nothing.weight, bias=bias)

    def apply(table, graph, keys):
        before = to_template(template, graph)
        outputs = each_model(lambda model: constant(model, table.x))(before)

        def edit_at(setting):
            after = jax.tree.map(lambda a, b: jnp.where(setting > 0, a, b), before, outputs)
            keep = before.edge.astype(jnp.float32) * setting
            return Edit(before, after, keep, jnp.full((len(keys), template.n_in), setting))

        return edit_at

    return apply


@checked(no_editors)
def ends(testbed: Testbed, editors: Sequence[TrainedEditor]) -> Method:
    """Constant outputs and unedited models, which belong to the front of every method.

    Whoever has a method may leave a model as it is, or replace it by a constant.
    """
    settings = np.array([0.0, 1.0])
    return compiled(testbed, ends_fn, testbed.edit_table, "unedited", settings)
