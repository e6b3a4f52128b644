"""Demands on an edit: how they are read, refused, and met at the least divergence."""

import numpy as np
import pytest

from metanet.core import UserError
from metanet.editing.demands import Demand, check_demands, choose, parse_demand
from metanet.evaluation.sweep import Sweep


def unmet(found, demands):
    return [one.text for one in demands if found.values[one.name] > one.limit]


def sweep_of(requirement, jsd):
    """A sweep of one model from functions of lambda [S, requirements]."""

    def sweep(lams):
        shaped = lams if lams.ndim == 2 else lams[:, None]
        values = np.stack([one(shaped) for one in requirement], -1)[:, None, :]
        values = values if len(requirement) > 1 else values[..., 0]
        empty = np.zeros((len(lams), 1))
        return Sweep(values, jsd(shaped)[:, None], empty, empty, empty, empty)

    return sweep


@pytest.mark.parametrize(
    ("text", "name", "limit"),
    [
        ("features<=6", "inputs_kept", 6 / 14),
        ("features <= 0.5", "inputs_kept", 0.5),
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


@pytest.mark.parametrize("limit", [0.9, 0.5, 0.2])
def test_one_demand_is_met_at_the_least_divergence(limit):
    found = choose(STEPS, [(0.001, 2.0)], ["kept"], [Demand("kept", limit, "")])
    assert found.values["kept"] == pytest.approx(limit)
    least = (10 / (10 * limit) - 1) / 20  # the smallest lambda of that step
    assert least <= found.lam[0] <= 1.02 * least
    assert found.values["jsd"] == pytest.approx(found.lam[0] ** 2)
    assert len(found.tried) == 120 and found.tried.shape[1] == 2


def test_a_limit_of_divergence_alone_is_used_up():
    found = choose(STEPS, [(0.001, 2.0)], ["kept"], [Demand("jsd", 0.01, "")])
    assert found.values["jsd"] <= 0.01 and found.values["kept"] == pytest.approx(
        0.4
    )  # at lambda 0.1: 10 / 3


def test_two_demands_that_contradict_are_missed_by_the_least():
    demands = [Demand("kept", 0.2, "kept<=0.2"), Demand("jsd", 0.01, "jsd<=0.01")]
    found = choose(STEPS, [(0.001, 2.0)], ["kept"], demands)
    assert unmet(found, demands)
    # kept 0.3 misses by a half, and needs lambda .117: jsd .0136 misses by .36.
    assert found.values["kept"] == pytest.approx(0.3)
    out_of_reach = choose(STEPS, [(0.001, 0.05)], ["kept"], demands[:1])
    assert unmet(out_of_reach, demands[:1]) == ["kept<=0.2"]
    assert out_of_reach.values["kept"] == pytest.approx(0.5)


def test_several_requirements_are_met_together():
    both = sweep_of(
        [lambda lam: 1 / (1 + 10 * lam[:, 0]), lambda lam: 1 / (1 + 5 * lam[:, 1])],
        lambda lam: lam.sum(1),
    )
    demands = [Demand("one", 0.5, ""), Demand("two", 0.5, "")]
    found = choose(both, [(0.01, 1.0), (0.01, 1.0)], ["one", "two"], demands)
    assert not unmet(found, demands) and found.tried.shape == (3 * 36, 3)
    assert found.values["jsd"] <= 1.5 * 0.3  # lambdas 0.1 and 0.2


def test_settings_without_a_result_are_never_chosen():
    holes = sweep_of([lambda lam: np.where(lam[:, 0] > 0.1, np.nan, 0.5)], lambda lam: lam[:, 0])
    found = choose(holes, [(0.01, 1.0)], ["kept"], [Demand("kept", 0.5, "")])
    assert found.values["kept"] == 0.5 and found.lam[0] == pytest.approx(0.01)
