"""Models that guess the features that they do not read from those that they do."""

import jax
import jax.numpy as jnp

from metanet.data.moments import Moments, completion
from metanet.editor.model import TrainedEditor
from metanet.graphs.batch import edge_matrix, edge_values, input_vector, node_values
from metanet.graphs.graphs_tuple import GraphsTuple
from metanet.graphs.padded import PaddedMLP
from metanet.graphs.topology import Template

DAMPING = 1e-3  # of editors' guesses, relative to the variances


def imputed(
    template: Template, model: PaddedMLP, moments: Moments, keep: jax.Array, damping: float
) -> PaddedMLP:
    """One model that reads the kept features alone, and guesses the others from them.

    The guess is linear, so that it goes into the weights of all edges that leave an input, skips
    included, and into the biases: the outputs are exactly those of the model on completed rows.
    """
    matrix, offset = completion(moments, keep, damping)
    weight = model.weight[: template.n_in]  # [features, targets]
    return model.replace(
        weight=model.weight.at[: template.n_in].set(matrix @ weight),
        bias=model.bias + offset @ weight,
    )


def guesses(
    editor: TrainedEditor, graph: GraphsTuple, keep: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What an editor that imputes adds to a batch whose dropped features' weights are 0.

    Args:
      graph: the batch before its edit: a guess is of what is to be preserved.
      keep: [V], the mask of inputs; of other nodes it is not read.

    Returns:
      Of weights [E], of biases [V].
    """
    template = editor.template
    weight = edge_matrix(template, graph, graph.edges["weight"])
    found = guesses_in_template(editor, weight, input_vector(template, graph, keep))
    return edge_values(template, graph, found[0]), node_values(template, graph, found[1])


def guesses_in_template(
    editor: TrainedEditor, weight: jax.Array, keep: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """`guesses` of models in their template: of weights [G, sources, targets], biases [G, targets].

    Args:
      weight: [G, sources, targets];  keep: [G, features].
    """
    mean, covariance = editor.scales.input_mean, editor.scales.input_covariance
    if mean is None or covariance is None:
        raise ValueError("scales: found no moments of inputs, expected those of the editor")
    moments, n_in = Moments(mean, covariance), editor.template.n_in

    def of_model(weight, kept):
        matrix, offset = completion(moments, kept, DAMPING)
        more = (matrix - jnp.diag(kept)) @ weight[:n_in]
        return jnp.zeros_like(weight).at[:n_in].set(more), offset @ weight[:n_in]

    return jax.vmap(of_model)(weight, keep)
