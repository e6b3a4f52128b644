"""Bounds cover, gaps are those of the objectives, and a certificate says no where it should."""

import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from helpers import random_stack
from scipy import special, stats

import metanet
from metanet.certificates import chosen
from metanet.certificates.bounds import (
    hoeffding_bentkus_upper,
    mean_upper,
    share_interval,
    share_upper,
    tolerance_upper,
)
from metanet.certificates.certificate import REQUIREMENTS, certificate, certify, claim_of
from metanet.certificates.chosen import parted
from metanet.certificates.rates import KINDS, gap
from metanet.data.encoding import Encoding, Feature, Group
from metanet.data.table import Table
from metanet.editing.edit import Edited
from metanet.editing.inputs import rows_of
from metanet.interop.imported import Imported
from metanet.interop.network import network_of
from metanet.interop.verify import logits
from metanet.mlp.network import js_divergence
from metanet.mlp.spec import MLPSpec
from metanet.objectives import fairness
from metanet.objectives.base import EditView

REPEATS = 400


@pytest.mark.parametrize(("count", "rows"), [(0, 7), (3, 7), (7, 7), (40, 1000)])
@pytest.mark.parametrize("delta", [0.1, 0.01])
def test_the_interval_of_a_share_is_that_of_an_exact_test(count, rows, delta):
    found = stats.binomtest(count, rows).proportion_ci(1 - delta, method="exact")
    np.testing.assert_allclose(share_interval(count, rows, delta), found, rtol=1e-9)
    one_sided = stats.binomtest(count, rows, alternative="less").proportion_ci(1 - delta, "exact")
    np.testing.assert_allclose(share_upper(count, rows, delta), one_sided.high, rtol=1e-9)


def test_without_rows_a_share_may_be_anything():
    assert share_interval(0, 0, 0.05) == (0.0, 1.0)


def missed(bound, draw, mean, delta):
    """How often a bound is below the mean, as a share; and the share that chance allows."""
    rng = np.random.default_rng(0)
    share = np.mean([bound(draw(rng), delta) < mean for _ in range(REPEATS)])
    return share, delta + 3 * np.sqrt(delta * (1 - delta) / REPEATS)


@pytest.mark.parametrize("delta", [0.1, 0.05])
@pytest.mark.parametrize("rows", [50, 400])
def test_the_bound_of_a_mean_misses_as_rarely_as_it_says(rows, delta):
    most, shape, scale = np.log(2), 0.3, 0.03
    whole = np.minimum(np.random.default_rng(9).gamma(shape, scale, 100_000), most)

    def draw(rng):
        return rng.choice(whole, rows)

    share, allowed = missed(lambda x, d: mean_upper(x, most, d), draw, whole.mean(), delta)
    assert share <= allowed


def test_betting_is_tighter_than_other_bounds_where_values_vary_little():
    values = np.minimum(np.random.default_rng(1).gamma(0.3, 0.01, 2000), np.log(2))
    bounds = [one(values, np.log(2), 0.05) for one in (mean_upper, hoeffding_bentkus_upper)]
    assert values.mean() < bounds[0] < 0.75 * bounds[1]


@pytest.mark.parametrize("value", [0.0, 0.3, np.log(2)])
def test_the_bound_of_equal_values_is_above_them_and_falls_with_their_number(value):
    few, many = (mean_upper(np.full(n, value), np.log(2), 0.05) for n in (20, 2000))
    assert value <= many <= few <= np.log(2)
    assert many - value < 0.02


@pytest.mark.parametrize(("count", "place"), [(58, None), (59, 59), (92, 92), (93, 92), (124, 122)])
def test_a_tolerance_bound_is_the_value_that_wilks_names(count, place):
    values = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert tolerance_upper(values, 0.95, 0.05) == (np.inf if place is None else place)


def test_a_tolerance_bound_of_next_to_nothing_is_the_least_value():
    assert tolerance_upper(np.arange(1.0, 101), 0.0001, 0.05) == 1.0


def test_a_tolerance_bound_misses_as_rarely_as_it_says():
    share, allowed = missed(lambda x, d: tolerance_upper(x, 0.9, d), lambda rng: rng.random(70),
                            0.9, 0.1)  # fmt: skip
    assert share <= allowed


def test_a_family_is_certified_by_how_many_of_its_networks_meet_the_level():
    values = np.linspace(0, 1, 200)
    few = metanet.certify_family(values, 0.9)
    assert (few.models, few.met, few.certified) == (200, 180, False)
    exact = stats.binomtest(180, 200, alternative="greater").proportion_ci(0.95, "exact").low
    np.testing.assert_allclose(few.at_least, exact, rtol=1e-9)
    assert 0.95 < few.tolerance <= 1.0
    assert metanet.certify_family(values, 0.9, share=0.8).certified
    assert metanet.certify_family([0.0] * 59, 0.0).certified
    assert not metanet.certify_family([0.0] * 58, 0.0).certified
    assert metanet.certify_family([0.0] * 100 + [np.inf] * 100, 0.0).tolerance == np.inf
    for values, options, message in (
        ([], {}, "values: found shape"), ([np.nan], {}, "values: found NaN"),
        ([[1.0]], {}, "values: found shape"), ([1.0], {"share": 1}, "share: found 1"),
        ([1.0], {"confidence": 0}, "confidence: found 0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            metanet.certify_family(values, 0.5, **options)


def random_rows(rng, rows, n_classes, n_groups):
    y, group = rng.integers(n_classes, size=rows), rng.integers(n_groups, size=rows)
    wrong = rng.random(rows) < 0.2 + 0.1 * group
    return np.where(wrong, rng.integers(n_classes, size=rows), y), y, group


@pytest.mark.parametrize(("n_classes", "n_groups"), [(2, 2), (2, 3), (3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_gaps_are_those_of_the_objectives(kind, n_classes, n_groups):
    decisions, y, group = random_rows(np.random.default_rng(0), 500, n_classes, n_groups)
    names = [str(code) for code in range(max(n_classes, n_groups))]
    found = gap(kind, decisions, y, group, names[:n_classes], names[:n_groups], 0.05)
    batch = Table(np.zeros((500, 1)), jnp.asarray(y), jnp.asarray(group), jnp.ones(500), n_groups)
    one_hot = jnp.eye(n_classes)[decisions]
    view = EditView(None, None, None, None, None, None, one_hot, batch)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.estimate, getattr(fairness, kind)(view), atol=1e-6)
    assert found.estimate < found.upper < 1 and all(cell.rows for cell in found.cells)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_of_a_gap_misses_as_rarely_as_it_says(kind):
    rates = {(0, 0): 0.1, (0, 1): 0.2, (1, 0): 0.6, (1, 1): 0.7}  # (label, group)
    true = {"equalised_odds": 0.1, "equal_opportunity": 0.1, "demographic_parity": 0.1}[kind]
    rng, delta, low = np.random.default_rng(0), 0.1, 0
    for _ in range(REPEATS):
        y, group = rng.integers(2, size=600), rng.integers(2, size=600)
        chance = np.array([rates[pair] for pair in zip(y.tolist(), group.tolist(), strict=True)])
        decisions = (rng.random(600) < chance).astype(int)
        low += gap(kind, decisions, y, group, "ab", "mf", delta).upper < true
    assert low / REPEATS <= delta


def test_a_cell_without_rows_is_named_and_its_gap_may_be_anything():
    y, group = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 0])
    found = gap("equalised_odds", y, y, group, ("no", "yes"), ("m", "f"), 0.05)
    assert found.upper == 1.0
    assert [cell.name for cell in found.cells if not cell.rows] == ["(label is yes, f)"]


SPEC = MLPSpec((4, 8, 2))


@pytest.fixture(scope="module")
def pair():
    """A network, and one without its first feature and some weights."""
    network = network_of(random_stack(SPEC, 1))
    first, second = (np.array(weight) for weight in network.params.weights)
    first[0], second[:2] = 0.0, 0.0
    params = network.params.replace(weights=(first, second))
    return network, dataclasses.replace(network, params=params)


def table_of(rows, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    return Table(x, rng.integers(2, size=rows), rng.integers(2, size=rows), np.ones(rows), 2)


def test_every_number_is_what_it_is_called(pair):
    table = table_of(3000)
    found = certify(*pair, table, requirement="features", level=0.75)
    assert set(found.bounds) == set(REQUIREMENTS) and found.rows == 3000
    assert found.certified and found.verdict == "certified" and found.cells == ()
    p, q = (logits(one, table.x) for one in pair)
    expected = {
        "inputs_kept": 3 / 4,
        "weights_kept": (4 * 8 + 8 * 2 - 8 - 4) / (4 * 8 + 8 * 2),
        "jsd": float(js_divergence(jnp.asarray(p), jnp.asarray(q)).mean()),
        "disagreement": np.mean(p.argmax(1) != q.argmax(1)),
        "accuracy_loss": np.mean(p.argmax(1) == table.y) - np.mean(q.argmax(1) == table.y),
    }
    for name, value in expected.items():
        bound = found.bounds[name]
        np.testing.assert_allclose(bound.estimate, value, atol=1e-6, err_msg=name)
        assert bound.exact == (name in ("inputs_kept", "weights_kept"))
        assert bound.upper == bound.estimate if bound.exact else bound.upper > bound.estimate


def test_the_same_network_is_certified_to_change_next_to_nothing(pair):
    found = certify(pair[0], pair[0], table_of(4000), requirement="jsd", level=0.002)
    assert found.certified and found.bounds["jsd"].estimate == 0.0
    assert found.bounds["accuracy_loss"].upper < 0.01


@pytest.mark.parametrize(("requirement", "margin"), [("eod", 0.1), ("jsd", 0.002)])
def test_the_rows_that_a_verdict_asks_for_are_enough(pair, requirement, margin):
    few = table_of(400)
    first = certify(*pair, few, requirement=requirement, level=1.0)
    level = first.bounds[first.requirement].estimate + margin
    found = certify(*pair, few, requirement=requirement, level=level)
    assert not found.certified and found.verdict.startswith("not certified: needs about ")
    times = float(found.verdict.partition(" times")[0].split()[-1])
    if found.cells:
        least = min(cell.rows for cell in found.cells)
        more = int(found.verdict.partition("about ")[2].split()[0])
        assert more == pytest.approx((times - 1) * least, abs=0.06 * times * least)
    more = certify(*pair, table_of(int(1.3 * times * 400), 1), requirement=requirement, level=level)
    assert more.bounds[more.requirement].upper < level + 0.2 * margin


def test_a_level_below_what_the_rows_show_is_said_to_be_out_of_reach(pair):
    found = certify(*pair, table_of(400), requirement="weights", level=0.5)
    assert not found.certified and "it is 0.75" in found.verdict
    found = certify(*pair, table_of(400), requirement="jsd", level=1e-6)
    assert "above the level already" in found.verdict


ENCODING = Encoding(
    tuple(Feature(name, name, "number", mean=1.0, std=2.0) for name in "abcd"),
    "label", ("no", "yes"), Group("sex", "sex", ("f", "m"), codes=(0, 1)),
)  # fmt: skip


def frame_of(rows, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(1.0, 2.0, (rows, 4)), columns=list("abcd"))
    frame["label"] = rng.choice(["no", "yes"], rows)
    frame["sex"], frame["race"] = rng.choice(["f", "m"], rows), rng.choice(["u", "v", "w"], rows)
    return frame


def test_a_frame_has_names_of_classes_groups_and_intersections(pair):
    frame = frame_of(2000)
    found = certify(*pair, frame, requirement="eod", level=0.5, encoding=ENCODING)
    assert {cell.group for cell in found.cells} == {"f", "m"}
    assert {cell.label for cell in found.cells} == {"is yes", "is not yes"}
    assert sum(cell.rows for cell in found.cells) == 2000
    both = certify(*pair, frame, requirement="demographic_parity", level=0.5, encoding=ENCODING,
                   groups=("sex", "race"))  # fmt: skip
    assert {cell.group for cell in both.cells} == {f"{s}, {r}" for s in "fm" for r in "uvw"}
    no_labels = certify(*pair, frame.drop(columns="label"), requirement="demographic_parity",
                        level=1.0, encoding=ENCODING)  # fmt: skip
    assert "equalised_odds" not in no_labels.bounds and "accuracy_loss" not in no_labels.bounds


def test_an_intersection_that_no_row_has_may_be_anything(pair):
    frame = frame_of(2000)
    frame = frame[(frame.sex == "f") | (frame.race != "u")]
    found = certify(*pair, frame, requirement="demographic_parity", level=0.9, encoding=ENCODING,
                    groups=("sex", "race"))  # fmt: skip
    assert not found.certified and "no rows in cell (label any, m, u)" in found.verdict
    # A value may have the sign that joins names: they stay apart.
    frame["race"] = np.where(frame.sex == "f", "a, b", "a")
    frame["town"] = np.where(np.arange(len(frame)) % 2, "b, c", "c")
    found = certify(*pair, frame, requirement="demographic_parity", level=0.9, encoding=ENCODING,
                    groups=("race", "town"))  # fmt: skip
    assert len(found.cells) == 4 and all(cell.rows for cell in found.cells)


def test_rows_without_a_value_are_a_group_and_values_of_the_whole_table_are_known(pair):
    frame = frame_of(1200)
    frame.loc[:299, "race"] = None
    found = certify(*pair, frame, requirement="demographic_parity", level=1, encoding=ENCODING,
                    groups=("race",))  # fmt: skip
    rows = {cell.group: cell.rows for cell in found.cells}
    assert set(rows) == {"u", "v", "w", "(missing)"} and rows["(missing)"] == 300
    part = frame[frame.race != "w"]
    claim = claim_of(pair[0], part, requirement="demographic_parity", level=0.9, encoding=ENCODING,
                     groups=("race",), whole=frame)  # fmt: skip
    found = certificate(claim, pair[1])
    assert not found.certified and "no rows in cell (label any, w)" in found.verdict


def test_a_verdict_of_one_of_several_edits_holds_for_all_of_them(pair):
    table = table_of(1500)
    alone = certify(*pair, table, requirement="jsd", level=1)
    upper = alone.bounds["jsd"].upper
    assert certify(*pair, table, requirement="jsd", level=upper).certified
    assert not certify(*pair, table, requirement="jsd", level=upper, planned=24).certified


def test_a_level_that_the_rows_show_exactly_is_not_said_to_be_exceeded(pair):
    found = certify(pair[0], pair[0], table_of(400), requirement="jsd", level=0.0)
    assert not found.certified and "above the level" not in found.verdict


@pytest.mark.parametrize("kind", ["classes", "features"])
def test_networks_whose_names_are_in_another_order_are_refused(pair, kind):
    names = {"classes": ("yes", "no"), "features": ("d", "c", "b", "a")}[kind]
    other = Imported(pair[0], lambda network: network, **{kind: names})
    with pytest.raises(ValueError, match=f"original: found {kind} {', '.join(names)}, expected"):
        certify(other, pair[1], frame_of(50), requirement="jsd", level=1, encoding=ENCODING)
    same = Imported(pair[0], lambda network: network, **{kind: tuple(reversed(names))})
    with pytest.raises(ValueError, match=f"edited: found {kind} {', '.join(names)}, expected"):
        certify(same, other, table_of(50), requirement="jsd", level=1)


def test_other_names_of_classes_say_nothing_and_of_features_are_refused(pair):
    named = {"classes": ("0", "1"), "features": ("e", "f", "g", "h")}
    rows = {"requirement": "jsd", "level": 1, "encoding": ENCODING}
    certify(Imported(pair[0], lambda one: one, classes=named["classes"]), pair[1], frame_of(50),
            **rows)  # fmt: skip
    with pytest.raises(ValueError, match="original: found features e, f, g, h, expected a, b"):
        certify(Imported(pair[0], lambda one: one, features=named["features"]), pair[1],
                frame_of(50), **rows)  # fmt: skip


def test_networks_that_read_numbers_get_them(pair):
    frame = frame_of(300)
    encoded = ENCODING.encode(frame, "rows")
    found = certify(*pair, frame, requirement="jsd", level=1, encoding=ENCODING, reads="numbers")
    p, q = (special.softmax(logits(one, encoded.x * 2 + 1), -1) for one in pair)
    assert found.bounds["disagreement"].estimate == np.mean(p.argmax(1) != q.argmax(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"requirement": "speed"}, r"requirement: found 'speed', expected one of features"),
        ({"confidence": 1.0}, r"confidence: found 1.0"),
        ({"level": float("nan")}, r"level: found nan"),
        ({"level": -1.0}, r"level: found -1.0"),
        ({"rows": frame_of(9)}, r"encoding: found none, expected that of the rows"),
        ({"rows": 3}, r"encoding: found none"),
        ({"rows": table_of(9).replace(x=np.zeros((9, 3)))}, r"rows: found shape \(9, 3\)"),
        ({"rows": table_of(0)}, r"rows: found shape \(0, 4\)"),
        ({"rows": table_of(9).replace(weight=np.arange(9.0))}, r"rows.weight: found other"),
        ({"rows": table_of(9).replace(n_groups=1, group=np.zeros(9, int)), "requirement": "eod"},
         r"rows: found 1 groups, expected two or more"),
        ({"rows": table_of(9).replace(x=np.full((9, 4), np.nan))}, r"rows: found NaN"),
        ({"rows": table_of(9).replace(y=np.full(9, 2))}, r"rows.y: found other codes"),
        ({"rows": table_of(9).replace(group=np.full(9, 5))}, r"rows.group: found other codes"),
        ({"groups": ("sex",)}, r"groups: found \['sex'\], expected none"),
        ({"reads": "words"}, r"reads: found 'words'"),
        ({"edited": network_of(random_stack(MLPSpec((3, 8, 2)), 1))}, r"edited: found widths"),
        ({"edited": 7}, r"model: found int"),
        ({"rows": frame_of(9), "encoding": ENCODING, "groups": ("age",)}, r"no column age"),
        ({"rows": frame_of(90), "encoding": ENCODING, "groups": ("a",)}, r"90 intersections"),
        ({"rows": frame_of(90), "encoding": ENCODING, "groups": ("sex", "sex")}, r"sex twice"),
        ({"rows": frame_of(9).drop(columns="label"), "encoding": ENCODING, "requirement": "eod"},
         r"rows: found no labels"),
    ],
)  # fmt: skip
def test_what_cannot_be_certified_is_refused_by_name(pair, change, message):
    given = {"original": pair[0], "edited": pair[1], "rows": table_of(9), "requirement": "jsd",
             "level": 0.1} | change  # fmt: skip
    with pytest.raises(ValueError, match=message) as caught:
        metanet.certify(given.pop("original"), given.pop("edited"), given.pop("rows"), **given)
    assert "\n" not in str(caught.value)


def test_hoeffding_and_bentkus_are_as_mapie_has_them():
    risk = pytest.importorskip("mapie.risk_control.methods")
    values = np.minimum(np.random.default_rng(0).gamma(0.5, 0.1, 300), 1.0)
    bound = hoeffding_bentkus_upper(values, 1.0, 0.05)
    p = risk.compute_hoeffding_bentkus_p_value(np.array([values.mean()]), 300, np.array([bound]))
    np.testing.assert_allclose(np.ravel(p), 0.05, rtol=1e-3)


@pytest.mark.parametrize("shape", [0.05, 2.0])
def test_the_bound_of_hoeffding_and_bentkus_solves_their_inequality(shape):
    values = np.minimum(np.random.default_rng(0).gamma(shape, 0.2, 200), 1.0)
    bound, mean = hoeffding_bentkus_upper(values, 1.0, 0.05), values.mean()
    hoeffding = np.exp(-200 * stats.entropy([mean, 1 - mean], [bound, 1 - bound]))
    bentkus = np.e * stats.binom.cdf(np.ceil(200 * mean), 200, bound)
    np.testing.assert_allclose(min(hoeffding, bentkus), 0.05, rtol=1e-6)
    assert (bentkus < hoeffding) == (shape > 1)  # each of them counts


def people(release, rows, seed=0):
    """Rows with the columns of an editor's table, at random."""
    rng, columns = np.random.default_rng(seed), {}
    for one in release.encoding.features:
        numbers = rng.normal(one.mean, one.std, rows)
        columns[one.column] = rng.choice(one.categories, rows) if one.categories else numbers
    group = release.encoding.group
    columns[group.column] = rng.choice(group.categories, rows)
    columns[release.encoding.label] = rng.choice(release.encoding.classes, rows)
    return pd.DataFrame(columns)


@pytest.mark.slow
def test_the_edit_of_the_least_divergence_that_is_certified_is_found():
    release = metanet.load_editor("adult-fairness")
    spec = MLPSpec((len(release.features), 8, 2))
    network, rows = network_of(random_stack(spec, 1)), people(release, 3001)
    found = [metanet.edit_certified(release, network, rows, require="jsd<=0.02") for _ in range(2)]
    one = found[0]
    assert one.certificate == found[1].certificate and one.edited.lam == found[1].edited.lam
    assert one.certificate.certified and one.tested > 1
    assert (one.chosen_on, one.certificate.rows) == (750, 2251)
    # Bounds for all edits of an order are wider than those of one alone.
    second = rows.iloc[np.random.default_rng(0).permutation(3001)[750:]]
    alone = certify(network, one.edited.network, second, requirement="jsd", level=0.02,
                    encoding=release.encoding)  # fmt: skip
    for name in ("jsd", "disagreement", "equalised_odds"):
        assert alone.bounds[name].estimate == one.certificate.bounds[name].estimate
        assert alone.bounds[name].upper < one.certificate.bounds[name].upper
    none = metanet.edit_certified(release, network, rows, require="eod<=0.0001")
    assert not none.certificate.certified and none.tested == 1


@pytest.fixture
def scripted(pair, monkeypatch):
    """An editor whose edits are written down: weaker ones for smaller lambdas, down to none."""
    asked = []

    def edit(editor, source, *, lam, data, **steps):
        asked.append((lam, len(data), steps))
        share = len(asked) / chosen.LAMBDAS  # lambdas rise
        whole, part = (one.params.weights for one in pair)
        weights = tuple(a + share * (b - a) for a, b in zip(whole, part, strict=True))
        network = dataclasses.replace(pair[0], params=pair[0].params.replace(weights=weights))
        values = {"equalised_odds": 1 - share, "jsd": share}
        return Edited(None, network, (), (), (lam,), values, values, (), np.zeros((0, 2)))

    monkeypatch.setattr(chosen, "edit", edit)
    editor = SimpleNamespace(lambda_range=((0.01, 1.0),))
    release = SimpleNamespace(editor=editor, names=("equalised_odds",), features=tuple("abcd"),
                              encoding=ENCODING)  # fmt: skip
    return release, asked


def test_edits_are_tested_from_the_safest_on_until_one_fails(pair, scripted):
    release, asked = scripted
    frame = frame_of(2001)
    found = chosen.edit_certified(release, pair[0], frame, require="jsd<=0.002", newton=2, seed=3)
    np.testing.assert_allclose([lam for lam, *_ in asked], np.geomspace(0.01, 1, 24))
    steps = {"reads": "standardised", "newton": 2, "refine": 0}
    assert all(one[1:] == (500, steps) for one in asked)
    assert [one.after["jsd"] for one in found.order] == [n / 24 for n in range(1, 25)]
    rows = parted(frame, 3)[1]
    assert found.chosen_on == 500 and len(rows) == found.certificate.rows == 1501

    def alone(edited, **options):
        return certify(pair[0], edited.network, rows, requirement="jsd", level=0.002,
                       encoding=ENCODING, **options)  # fmt: skip

    held = [alone(one).certified for one in found.order[: found.tested]]
    assert held == [True] * (found.tested - 1) + [False] and 1 < found.tested < 24
    assert found.edited is found.order[found.tested - 2]
    bounds = alone(found.edited, planned=24)
    assert found.certificate.bounds == bounds.bounds and found.certificate.cells == bounds.cells
    assert found.certificate.certified and found.certificate.verdict == "certified"
    every = chosen.edit_certified(release, pair[0], frame, require="jsd<=0.5")
    assert every.tested == 24 and every.edited is every.order[-1]


def test_for_a_requirement_the_edit_of_the_least_value_is_tested_first(pair, scripted):
    release, _ = scripted
    found = chosen.edit_certified(release, pair[0], frame_of(400), require="eod<=0.0001")
    assert [one.after["jsd"] for one in found.order] == [n / 24 for n in range(24, 0, -1)]
    assert found.tested == 1 and found.edited is found.order[0]
    assert not found.certificate.certified
    with pytest.raises(ValueError, match="rows: found 7 rows, expected 8 or more"):
        chosen.edit_certified(release, pair[0], frame_of(7), require="eod<=0.1")
    two = SimpleNamespace(**{**vars(release), "names": ("equalised_odds", "weights_kept")})
    with pytest.raises(ValueError, match="editor: found 2 requirements, expected one"):
        chosen.edit_certified(two, pair[0], frame_of(400), require="eod<=0.1")


def test_the_two_parts_of_the_rows_share_none_and_are_drawn_by_the_seed(pair):
    for rows, column in ((frame_of(1000), "a"), (table_of(1000), None)):
        first, second = parted(rows, 0)
        values = [np.asarray(one[column] if column else one.x[:, 0]) for one in (first, second)]
        assert [len(one) for one in values] == [250, 750]
        whole = np.asarray(rows[column] if column else rows.x[:, 0])
        np.testing.assert_array_equal(np.sort(np.concatenate(values)), np.sort(whole))
        again, other = parted(rows, 0)[0], parted(rows, 1)[0]
        same, differs = (np.asarray(one[column] if column else one.x[:, 0])
                         for one in (again, other))  # fmt: skip
        np.testing.assert_array_equal(same, values[0])
        assert (differs != values[0]).any()


def test_what_an_editor_cannot_promise_is_refused():
    release = metanet.load_editor("adult-fairness")
    network = network_of(random_stack(MLPSpec((len(release.features), 8, 2)), 1))
    with pytest.raises(ValueError, match=r"require: found 'features<=3', expected NAME<=NUMBER of"):
        metanet.edit_certified(release, network, people(release, 20), require="features<=3")


def test_a_label_that_a_feature_is_read_from_tells_no_class(pair):
    """`encode` gives all rows the first class then: no number may be made of it."""
    features = (*ENCODING.features[:3], Feature("label", "label", "category", ("no", "yes")))
    encoding = dataclasses.replace(ENCODING, features=features)
    assert not encoding.tells_label(frame_of(9)) and ENCODING.tells_label(frame_of(9))
    found = certify(*pair, frame_of(300), requirement="jsd", level=1, encoding=encoding)
    assert "accuracy_loss" not in found.bounds
    release = SimpleNamespace(encoding=encoding)
    assert rows_of(release, frame_of(9))[1] == {"group"}
