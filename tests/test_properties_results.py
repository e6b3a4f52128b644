"""Fronts, levels and requirement functions of any values: invariants, or one line of refusal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from metanet.core import SettingError
from metanet.data import load
from metanet.evaluation.levels import best, solve
from metanet.evaluation.pareto import (
    above_mixtures,
    hypervolume,
    interpolate,
    mixed_hypervolume,
    pareto_mask,
)
from metanet.evaluation.sweep import Sweep
from metanet.objectives.check import check_requirement

few = settings(max_examples=60, deadline=None, derandomize=True)
# Of a grid, so that there are duplicates and collinear points; rounding makes numbers below 0.
GRID = (0.0, -0.0, -1e-8, 0.25, 0.5, 0.75, 1.0, 1.5, 1e-30, 1e30, np.inf, np.nan)
LEVELS = np.array([0.1, 0.5, 0.9])
one_number = st.one_of(st.sampled_from(GRID), st.floats(0, 2, width=32))


def fronts(objectives=2):
    shapes = st.tuples(st.integers(0, 6), st.just(objectives))
    return arrays.arrays(np.float64, shapes, elements=one_number)


def volumes(points):
    """Every volume of the points in its box."""
    found = [hypervolume(points, (1.0, 0.5, 2.0)[: points.shape[1]])]
    if points.shape[1] == 2:
        found.append(mixed_hypervolume(points, (1.0, 0.5)))
    return np.array(found)


@pytest.mark.parametrize("objectives", [1, 2, 3])
@given(data=st.data())
@few
def test_a_volume_is_a_fraction_that_more_points_only_raise(objectives, data):
    points = data.draw(fronts(objectives))
    whole = volumes(points)
    assert (whole >= 0).all() and (whole <= 1 + 1e-12).all()
    order = data.draw(st.permutations(range(len(points))))
    some = points[order]
    np.testing.assert_allclose(volumes(some), whole, atol=1e-9)
    np.testing.assert_allclose(volumes(np.concatenate([some, some[:3]])), whole, atol=1e-9)
    assert (volumes(some[: len(some) // 2]) <= whole + 1e-9).all()
    known = points[np.isfinite(points).all(1)]
    np.testing.assert_allclose(volumes(known), whole, atol=1e-9)
    if objectives == 2:
        assert whole[1] >= whole[0] - 1e-9  # mixtures only add


@given(points=fronts(), data=st.data())
@few
def test_a_front_is_the_same_set_in_every_order_and_without_unknown_points(points, data):
    mask = pareto_mask(points)
    assert not mask[np.isnan(points).any(1)].any()
    front = {tuple(one + 0.0) for one in points[mask]}
    assert len(front) == mask.sum()  # of equal points one
    order = data.draw(st.permutations(range(len(points))))
    assert {tuple(one + 0.0) for one in points[order][pareto_mask(points[order])]} == front
    for one in points[~np.isnan(points).any(1)]:
        assert any((np.array(other) <= one).all() for other in front)


@given(points=fronts(), data=st.data())
@few
def test_lines_and_levels_depend_on_known_points_alone_in_any_order(points, data):
    line = interpolate(points, LEVELS)
    order = data.draw(st.permutations(range(len(points))))
    np.testing.assert_array_equal(interpolate(points[order], LEVELS), line)
    known = points[np.isfinite(points).all(1)]
    np.testing.assert_array_equal(interpolate(known, LEVELS), line)
    assert not above_mixtures(points, np.array([[0.0, 0.2], [1.0, 0.0]]))[
        np.isnan(points).any(1)
    ].any()
    if len(known):
        chosen = points[int(best(points, 0.5))]
        assert np.isfinite(chosen).all()
        meeting = known[known[:, 0] <= 0.5]
        if len(meeting):
            assert chosen[0] <= 0.5 and chosen[1] == meeting[:, 1].min()
        else:
            assert chosen[0] == known[:, 0].min()


# Found inputs, each plainly.


def test_a_point_that_is_not_a_number_is_on_no_front():
    assert pareto_mask(np.array([[0.0, np.nan], [np.nan, 0.0], [0.5, 0.5]])).tolist() == [
        False, False, True,
    ]  # fmt: skip


def test_a_divergence_below_zero_by_rounding_makes_no_volume_above_one():
    points = np.array([[0.0, -1e-3]])
    assert hypervolume(points, (1.0, 0.1)) == mixed_hypervolume(points, (1.0, 0.1)) == 1.0


def test_of_points_at_one_level_the_least_counts_in_any_order():
    points = np.array([[0.75, 1.0], [1.5, 1.0], [0.75, 0.5], [np.nan, 0.0], [1.0, np.inf]])
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0]):
        np.testing.assert_allclose(interpolate(points[order], np.array([0.75, 1.125])), [0.5, 0.75])


def test_a_setting_with_half_a_result_is_never_the_best():
    points = np.array([[0.0, np.nan], [0.75, 0.2], [0.25, np.inf]])
    assert best(points, 0.5) == 1
    assert best(points[:, None], 0.5).tolist() == [1]


def test_a_range_of_one_lambda_is_solved_by_it():
    def sweep(values):
        return Sweep(*(np.full((len(values), 1), 0.5) for _ in range(7)))

    assert solve(sweep, (0.1, 0.1), 0.2) == pytest.approx(0.1)


# Requirement functions

GOOD = {
    "a float": lambda view: 0.5,
    "a whole number": lambda view: view.keep.sum().astype(int),
    "bfloat16": lambda view: view.keep.mean().astype(jnp.bfloat16),
    "float16": lambda view: view.keep.mean().astype(jnp.float16),
    "minus 0": lambda view: -0.0,
}
BAD = {
    "NaN": lambda view: view.keep.sum() / 0.0 * 0.0,
    "infinite": lambda view: jnp.exp(1e9 * view.keep.sum()),
    "infinite in float32": lambda view: 1e300,
    "negative": lambda view: -view.keep.mean(),
    "a vector": lambda view: view.keep.mean(0),
    "a vector of one": lambda view: view.keep.mean()[None],
    "nothing": lambda view: np.zeros(0),
    "a truth value": lambda view: view.keep.any(),
    "complex": lambda view: 1j * view.keep.mean(),
    "text": lambda view: "0.5",
    "None": lambda view: None,
    "a duration": lambda view: np.timedelta64(3, "D"),
    "10 ** 400": lambda view: 10**400,
    "ragged": lambda view: [1.0, [2.0]],
    "a key": lambda view: jax.random.key(0),
    "an attribute that is not there": lambda view: view.nothing,
    "a branch on a value": lambda view: 0.5 if view.keep.mean() > 0 else 1.0,
    "numpy": lambda view: float(np.asarray(view.keep).mean()),
}


@pytest.fixture(scope="module")
def data():
    return load("synthetic", None, 0)


def test_a_requirement_is_tried_on_an_edit_of_half_of_a_network_with_one_hidden_layer(data):
    views = []

    def requirement(view):
        views.append(view)
        return 0.5

    check_requirement(requirement, "a.b", data)
    view = views[0]  # before it is compiled
    n, classes = data.n_features, data.n_classes
    hidden = int(view.before.node.sum()) - classes
    assert int(view.before.edge.sum()) == n * hidden + hidden * classes
    assert int((view.before.weight != 0).sum()) == int(view.before.edge.sum())
    kept = view.keep[view.before.edge].mean()
    assert 0.1 < kept < 0.4 and view.input_keep.sum() == n // 2  # of half of the inputs
    np.testing.assert_array_equal(view.after.weight, view.before.weight * view.keep)
    for logits in (view.logits_before, view.logits_before - view.logits_after):
        assert logits.std(0).min() > 0.1


@pytest.mark.parametrize("name", GOOD)
def test_a_number_of_any_real_type_is_a_requirement(name, data):
    check_requirement(GOOD[name], "a.b", data)


@pytest.mark.parametrize("name", BAD)
def test_any_other_value_of_a_requirement_is_refused_in_one_line(name, data):
    with pytest.raises(SettingError) as caught:
        check_requirement(BAD[name], "a.b", data)
    assert caught.value.key == "requirement"
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 600


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0, 3.0], [1.0, np.nan], [1.0, -1.0]], ids=str)
def test_two_requirements_have_two_usable_values(values, data):
    with pytest.raises(SettingError, match="expected 2 numbers"):
        check_requirement(lambda view: jnp.asarray(values), ("a.b", "a.c"), data)
