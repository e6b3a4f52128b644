"""A long training of an editor: memory stays flat and numbers stay finite.

The slow test takes 3,000 steps on a tiny population. For 100,000, by hand:

    METANET_LONG_STEPS=100000 pytest tests/test_long_run.py
"""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import fresh_stack, random_table

from metanet.devices import replicate
from metanet.editor.inputs import scales_of
from metanet.editor.model import EditorConfig
from metanet.graphs.packing import pack
from metanet.graphs.strata import stratify
from metanet.mlp.spec import MLPSpec
from metanet.objectives.pruning import weights_kept
from metanet.training.config import TrainingConfig
from metanet.training.inputs import problem_of, schedules
from metanet.training.loop import CHUNK
from metanet.training.step import init_state, make_chunk

STEPS = int(os.environ.get("METANET_LONG_STEPS", "3000"))
WARM = 0.2  # of the steps, in which allocators and caches grow
DRIFT = 1.05  # of resident memory after them
SPECS = (MLPSpec((5, 6, 2), norm="layer"), MLPSpec((5, 4, 4, 2), ((0, 2),)))
EDITOR = EditorConfig(node_width=8, edge_width=4, message_width=4, layers=1)
STATM = pathlib.Path("/proc/self/statm")


def resident():
    """This process's resident memory in pages."""
    return int(STATM.read_text().split()[1])


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc")
def test_thousands_of_steps_keep_memory_flat_and_numbers_finite():
    models = pack([fresh_stack(spec, 2, seed) for seed, spec in enumerate(SPECS)])
    config = TrainingConfig(steps=STEPS, batch_size=2, points=16, warmup=10)
    ids, mesh = np.arange(4), jax.sharding.Mesh(jax.devices()[:1], ("models",))
    strata = stratify(models, ids, config.batch_size, 1)
    scales = replicate(scales_of(models, ids), mesh)
    problem = problem_of(config, models, scales, strata, random_table(64), 0)
    state = replicate(init_state(EDITOR, config, models, scales, 0), mesh)
    first = jax.device_get(state.params)
    chunk = make_chunk(EDITOR, config, weights_kept, strata.budget, mesh)
    rates, ramps = schedules(config)
    losses, pages = [], []
    for done in range(0, STEPS, CHUNK):
        here = slice(done, done + CHUNK)
        state, metrics, _ = chunk(state, problem, rates[here], ramps[here])
        losses.append(np.asarray(metrics["loss"]))
        assert all(np.isfinite(value).all() for value in metrics.values()), done
        if done >= WARM * STEPS:
            pages.append(resident())
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state))
    assert int(state.step) == STEPS
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), first, jax.device_get(state.params))
    assert 0 < max(jax.tree.leaves(moved)) < 100  # it learns, and does not run away
    assert np.concatenate(losses)[-CHUNK:].mean() < 1.0
    assert max(pages) <= DRIFT * pages[0], (pages[0], max(pages))
