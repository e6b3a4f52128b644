"""Preferences for a level of the requirement."""

import numpy as np

from metanet.evaluation.levels import best, solve
from metanet.evaluation.sweep import Sweep


def a_sweep(requirement, jsd):
    nothing = np.zeros_like(jsd)
    return Sweep(requirement, jsd, *5 * [nothing])


def test_the_best_setting_is_the_least_divergence_that_meets_the_target():
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(7, 50, 2))
    points[3, 4] = np.nan
    target = 0.3
    for model, found in enumerate(best(points, target)):
        of_model = [(s, *points[s, model]) for s in range(7) if not np.isnan(points[s, model, 0])]
        meeting = [one for one in of_model if one[1] <= target]
        by_jsd, by_requirement = (lambda one: one[2]), (lambda one: one[1])
        expected = min(meeting, key=by_jsd) if meeting else min(of_model, key=by_requirement)
        assert found == expected[0]
    assert best(points[:, 0], target).shape == ()


def test_the_solver_finds_the_preference_of_a_smooth_front():
    def sweep(values):
        # Two models whose mean requirement is 1 / (1 + 100 lambda).
        requirement = 1 / (1 + 100 * np.asarray(values))
        return a_sweep(
            np.stack([requirement - 0.05, requirement + 0.05], 1),
            np.stack([(1 - requirement) ** 2] * 2, 1),
        )

    found = solve(sweep, (1e-4, 1.0), target=0.25)
    assert sweep([found]).points()[0, 0] <= 0.25
    np.testing.assert_allclose(found, 0.03, rtol=0.02)
    # What cannot be reached gives the least requirement that can.
    assert solve(sweep, (1e-4, 1e-2), target=0.25) == 1e-2


def test_the_solver_is_not_misled_by_a_front_that_turns_back():
    def sweep(values):
        x = np.log10(np.asarray(values))
        requirement = 0.5 - 0.4 * np.exp(-((x + 2) ** 2) / 0.1)  # low around lambda = .01 only
        return a_sweep(requirement[:, None], np.abs(x + 2)[:, None])

    found = solve(sweep, (1e-4, 1.0), target=0.2)
    np.testing.assert_allclose(found, 0.01, rtol=0.1)
