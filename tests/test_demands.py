"""Demands on an edit: how they are read, refused, and met at the least divergence."""

import numpy as np
import pytest

from metanet.core import UserError
from metanet.editing.demands import Demand, check_demands, choose, parse_demand
from metanet.evaluation.sweep import Sweep


def sweep_of(requirement, jsd):
    """A sweep of one model from functions of lambda [S, requirements]."""

    def sweep(lams):
        shaped = lams if lams.ndim == 2 else lams[:, None]
        values = np.stack([one(shaped) for one in requirement], -1)[:, None, :]
        values = values if len(requirement) > 1 else values[..., 0]
        empty = np.zeros((len(lams), 1))
        return Sweep(values, jsd(shaped)[:, None], empty, empty, empty, empty, empty)

    return sweep


@pytest.mark.parametrize(
    ("text", "name", "limit"),
    [
        ("features<=6", "inputs_kept", 6 / 14),
        ("features <= 0.5", "inputs_kept", 0.5),
        ("inputs_kept<=6", "inputs_kept", 6 / 14),
        ("features<=14", "inputs_kept", 1.0),
        ("weights<=1", "weights_kept", 1.0),
        ("features<=0", "inputs_kept", 0.0),
        ("weights<=0.2", "weights_kept", 0.2),
        (" eod<=5e-2", "equalised_odds", 0.05),
        ("jsd<=0.01", "jsd", 0.01),
        ("demographic_parity<=0.1", "demographic_parity", 0.1),
    ],
)
def test_a_demand_is_a_name_and_a_limit(text, name, limit):
    found = parse_demand(text, 14)
    assert (found.name, found.text) == (name, text.strip())
    assert found.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    "text", ["", "features", "features<6", "features>=6", "features<=", "features<=six", "<=6",
             "eod<=nan", "eod<=-1", "a b<=1", "eod<=inf"],
)  # fmt: skip
def test_what_is_no_demand_is_refused(text):
    with pytest.raises(UserError, match=r"--require: found .* expected NAME<=NUMBER"):
        parse_demand(text, 14)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("features<=1.5", "a whole number up to 14"), ("features<=20", "a whole number up to 14"),
     ("weights<=30", "a fraction up to 1"), ("weights_kept<=1.01", "a fraction up to 1")],
)  # fmt: skip
def test_limits_that_bind_nothing_are_refused(text, expected):
    with pytest.raises(UserError, match=f"--require: found '{text}', expected {expected}"):
        parse_demand(text, 14)


def test_a_limit_is_met_up_to_the_rounding_of_float32_and_never_by_nan():
    for count in range(15):
        demand = parse_demand(f"features<={count}", 14)
        assert demand.met(float(np.float32(count / 14)))
        assert not demand.met(float(np.float32((count + 1) / 14)))
    assert not demand.met(float("nan"))


@pytest.mark.parametrize("count", range(1, 14))
def test_the_very_number_of_features_that_is_demanded_is_chosen(count):
    """Its mean in float32 is above the limit for most numbers."""
    steps = sweep_of(
        [lambda lam: np.float32(np.ceil(14 / (1 + 20 * lam[:, 0])) / 14)], lambda lam: lam[:, 0]
    )
    demand = parse_demand(f"features<={count}", 14)
    lam = choose(steps, [(0.001, 2.0)], ["inputs_kept"], [demand]).lam
    assert np.ceil(14 / (1 + 20 * lam[0])) == count


def test_demands_are_of_what_the_editor_knows():
    demands = [Demand("equalised_odds", 0.05, "eod<=0.05")]
    with pytest.raises(UserError, match=r"found eod<=0.05, but this editor knows features<=NUMBER"):
        check_demands(demands, ["inputs_kept"])
    with pytest.raises(UserError, match=r"found nothing, expected some of eod<=NUMBER, jsd<="):
        check_demands([], ["equalised_odds"])
    with pytest.raises(UserError, match="beside another limit"):
        check_demands(demands * 2, ["equalised_odds"])
    check_demands([*demands, Demand("jsd", 0.1, "jsd<=0.1")], ["equalised_odds"])


STEPS = sweep_of([lambda lam: np.ceil(10 / (1 + 20 * lam[:, 0])) / 10], lambda lam: lam[:, 0] ** 2)


def kept(lam):
    return np.ceil(10 / (1 + 20 * lam)) / 10


@pytest.mark.parametrize("limit", [0.9, 0.5, 0.2])
def test_one_demand_is_met_at_the_least_divergence(limit):
    found = choose(STEPS, [(0.001, 2.0)], ["kept"], [Demand("kept", limit, "")])
    assert kept(found.lam[0]) == pytest.approx(limit)
    least = (10 / (10 * limit) - 1) / 20  # the smallest lambda of that step
    assert least <= found.lam[0] <= 1.02 * least
    assert len(found.tried) == 120 and found.tried.shape[1] == 2


def test_a_limit_of_divergence_alone_is_used_up():
    found = choose(STEPS, [(0.001, 2.0)], ["kept"], [Demand("jsd", 0.01, "")])
    assert found.lam[0] ** 2 <= 0.01
    assert kept(found.lam[0]) == pytest.approx(0.4)  # at lambda 0.1: 10 / 3


def test_two_demands_that_contradict_are_missed_by_the_least():
    demands = [Demand("kept", 0.2, "kept<=0.2"), Demand("jsd", 0.01, "jsd<=0.01")]
    lam = choose(STEPS, [(0.001, 2.0)], ["kept"], demands).lam[0]
    # kept 0.3 misses by a half, and needs lambda .117: jsd .0136 misses by .36.
    assert kept(lam) == pytest.approx(0.3)
    out_of_reach = choose(STEPS, [(0.001, 0.05)], ["kept"], demands[:1])
    assert kept(out_of_reach.lam[0]) == pytest.approx(0.5)


def test_several_requirements_are_met_together():
    both = sweep_of(
        [lambda lam: 1 / (1 + 10 * lam[:, 0]), lambda lam: 1 / (1 + 5 * lam[:, 1])],
        lambda lam: lam.sum(1),
    )
    demands = [Demand("one", 0.5, ""), Demand("two", 0.5, "")]
    found = choose(both, [(0.01, 1.0), (0.01, 1.0)], ["one", "two"], demands)
    assert found.tried.shape == (3 * 36, 3)
    assert found.lam[0] >= 0.1 and found.lam[1] >= 0.2
    assert found.lam.sum() <= 1.5 * 0.3


def test_settings_without_a_result_are_never_chosen():
    holes = sweep_of([lambda lam: np.where(lam[:, 0] > 0.1, np.nan, 0.5)], lambda lam: lam[:, 0])
    found = choose(holes, [(0.01, 1.0)], ["kept"], [Demand("kept", 0.5, "")])
    assert found.lam[0] == pytest.approx(0.01)
