"""Optimal Brain Damage: the weights whose removal costs least to second order, each alone."""

from collections.abc import Sequence

import jax

from metanet.editor.edits import EditFn
from metanet.editor.model import TrainedEditor
from metanet.editor.newton import NewtonConfig
from metanet.evaluation.method import Method
from metanet.graphs.batch import edge_matrix, source_vector, to_template
from metanet.graphs.topology import Template
from metanet.methods.compiled import all_models, with_probing
from metanet.methods.pruning import at_fractions, keep_best, pruned
from metanet.methods.retrain import RetrainConfig
from metanet.pipeline.recipes import checked, no_editors, no_requirement
from metanet.pipeline.testbed import Testbed
from metanet.probes.rows import ProbeConfig
from metanet.probes.statistics import MEAN, SALIENCY


def brain_damage_fn(template: Template) -> EditFn:
    """Optimal Brain Damage (LeCun, Denker and Solla 1990) with mean replacement, one shot.

    Keeps the weights whose replacement by their mean effect in the bias costs most JS divergence,
    to second order, by the batch's probe statistics. The setting is the fraction to keep.
    """

    def prune(context, graph, keys):
        before = to_template(template, graph)
        nodes, edges = graph.nodes["probe"], graph.edges["probe"]  # [V, features], [E, features]
        means = source_vector(template, graph, nodes[:, MEAN])  # [G, sources], mean activations
        scores = edge_matrix(template, graph, edges[:, SALIENCY])  # [G, sources, targets]

        def edit_at(fraction):
            keep = jax.vmap(keep_best, in_axes=(0, 0, None))(before, scores, fraction)
            # [G, targets]: the mean of what the removed weights add to a neuron goes to its bias.
            effect = (means[:, :, None] * before.weight * (1.0 - keep)).sum(1)
            edit = pruned(template, before, keep)
            return edit.replace(after=edit.after.replace(bias=before.bias + effect))

        return edit_at

    return prune


@checked(no_editors, no_requirement)
def brain_damage(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    distil: RetrainConfig | None = None,
    newton: NewtonConfig | None = None,
) -> Method:
    """Optimal Brain Damage on all `edit` rows, at `evaluation.fractions`; no editors."""
    probe = ProbeConfig(points=len(testbed.data.edit.y))
    # To be trained, models are in templates of their depths, see `at_fractions`.
    plain = (distil or newton) is None
    groups = [all_models(testbed.probed(probe))] if plain else testbed.by_depth(probe)
    method = at_fractions(testbed, brain_damage_fn, distil, newton, groups)
    return with_probing(testbed, probe, method)
