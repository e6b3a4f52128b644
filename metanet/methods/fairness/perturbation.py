"""Random perturbation of all weights."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from metanet.core import require
from metanet.devices import each_model
from metanet.editor.edits import EditFn, whole_edit
from metanet.editor.model import TrainedEditor
from metanet.evaluation.method import Method
from metanet.graphs.batch import to_template
from metanet.graphs.padded import PARAMETERS, PaddedMLP, apply_rows
from metanet.graphs.topology import Template
from metanet.methods.fairness.intra import (
    COARSE,
    intra_processing,
    stacked,
    thresholds,
    tried,
    tuned,
)
from metanet.methods.fairness.settings import Target, two_classes
from metanet.objectives.base import Objective
from metanet.pipeline.recipes import checked, checked_on_data, count_options, no_editors
from metanet.pipeline.testbed import Testbed


def drawn(
    model: PaddedMLP, key: jax.Array, index: jax.Array, deviations: tuple[float, ...]
) -> PaddedMLP:
    """Draw number `index` of one model: parameters times normal factors around 1; 0 changes none.

    The deviations take turns.
    """
    size = jnp.asarray(deviations)[(index - 1) % len(deviations)] * (index > 0)
    keys = jax.random.split(jax.random.fold_in(key, index), len(PARAMETERS))
    return model.replace(
        **{
            name: value * (1 + size * jax.random.normal(one, value.shape))
            for one, name in zip(keys, PARAMETERS, strict=True)
            for value in [getattr(model, name)]
        }
    )


def perturbed_fn(
    template: Template,
    requirement: Objective,
    target: Target,
    draws: int,
    deviations: tuple[float, ...],
) -> EditFn:
    """See `perturbed`. The context is the table, the setting lambda."""

    def perturb(table, graph, keys):
        before, shifts = to_template(template, graph), thresholds(COARSE)

        def try_all(model, key):
            logits = apply_rows(template, model, table.x)

            def one(index):
                after = drawn(model, key, index, deviations)
                parts = after, logits, table, requirement, target, shifts
                return tried(template, model, *parts)

            return logits, *jax.lax.map(one, jnp.arange(draws + 1))

        # [G, rows, 2], and twice [G, draws + 1, shifts]; computed once for all lambdas.
        logits, costs, required = each_model(try_all)(before, keys)

        def edit_at(weight):
            def one_model(model, key, logits, cost, required):
                index = (cost + weight * required).min(1).argmin()
                candidates = stacked(drawn(model, key, index, deviations))
                parts = candidates, logits, table, requirement, target, weight
                return tuned(template, model, *parts)

            after = each_model(one_model)(before, keys, logits, costs, required)
            return whole_edit(template, before, after)

        return edit_at

    return perturb


def _check(experiment, plans, key: str, options: dict) -> None:
    deviations = options.get("deviations", (0.1,))
    ok = bool(deviations) and all(0 <= one for one in deviations)
    require(ok, f"{key}.deviations", deviations, "numbers from 0 on, one or more")


@checked(no_editors, count_options("draws", "n_lambdas"), _check)
@checked_on_data(two_classes)
def perturbed(
    testbed: Testbed,
    editors: Sequence[TrainedEditor],
    *,
    target: Target = "outputs",
    draws: int = 101,
    deviations: tuple[float, ...] = (0.1,),
    n_lambdas: int | None = None,
) -> Method:
    """Random perturbation (Savani, White and Govindarajulu 2020, algorithm 1); no editors.

    Of many draws, each every parameter times its own normal factor around 1, the one whose
    objective (see `intra`) is least at its best threshold on the `edit` data; the unedited network
    with a threshold is a draw too.

    Args:
      target: of the cost; the authors' is "error".
      draws: so many;  deviations: of the factors, which draws take in turns. The authors have 101
        draws of 0.1.
      n_lambdas: of the experiment's range; by default `evaluation.n_lambdas`.
    """

    def edit_fn_in(template: Template) -> EditFn:
        return perturbed_fn(template, testbed.requirement, target, draws, deviations)

    return intra_processing(testbed, edit_fn_in, testbed.edit_table, n_lambdas)
