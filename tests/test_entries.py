"""A method's entry: settings chosen by every cost, the ends, values of single models."""

import types

import jax
import numpy as np
import pandas as pd
import pytest
from helpers import apply, random_stack, random_table

from metanet.evaluation.method import Method
from metanet.evaluation.pareto import above_mixtures, hypervolume, mixed_hypervolume
from metanet.evaluation.program import evaluate as evaluate_fn
from metanet.evaluation.sweep import Sweep
from metanet.evaluation.values import load_values, save_values, values_path
from metanet.graphs.packing import pack
from metanet.methods.ends import ends_fn
from metanet.mlp.network import js_divergence
from metanet.mlp.spec import MLPSpec
from metanet.objectives.fairness import equalised_odds, odds_floor
from metanet.objectives.pruning import weights_kept
from metanet.pipeline import EditorPlan, EvaluationConfig, ExperimentConfig
from metanet.pipeline.entries import ends_entry, evaluate, validation_hypervolume
from metanet.pipeline.testbed import Testbed

BOX = (1.0, 0.1)
COSTS = ("jsd", "jsd_label", "error")
VALIDATION, TEST = np.arange(4), np.arange(4, 10)


def test_the_ends_are_constant_outputs_and_no_edit():
    stacks = [random_stack(MLPSpec((5, 6, 8, 2), skips=((0, 2),), norm="layer"), 3),
              random_stack(MLPSpec((5, 8, 2)), 3)]  # fmt: skip
    table, ids, divergences = random_table(40), np.arange(6), jax.jit(js_divergence)
    settings = np.array([0.0, 1.0])
    models = pack(stacks)
    fn = ends_fn(models.template)
    found = evaluate_fn(fn, table, models, ids, settings, table, weights_kept, 0)
    np.testing.assert_array_equal(found.requirement, [[0.0] * 6, [1.0] * 6])
    np.testing.assert_array_equal(found.constant[0], 1.0)
    np.testing.assert_allclose(found.jsd[1], 0.0, atol=1e-6)
    np.testing.assert_array_equal(found.jsd_label[1], 0.0)
    for model in range(6):
        stack, row = stacks[model // 3], model % 3
        params = jax.tree.map(lambda leaf, row=row: leaf[row], stack.params)
        logits = apply(stack.spec, params, stack.activation[row], table.x)
        mean = np.log(np.asarray(jax.nn.softmax(logits)).mean(0))[None]
        cost = divergences(logits, mean).mean()
        np.testing.assert_allclose(found.jsd[0, model], cost, atol=1e-6)
        shifted = [divergences(logits, mean + np.float32([[shift, 0.0]])).mean()
                   for shift in np.linspace(-2, 2, 81)]  # fmt: skip
        assert cost < 1.06 * min(shifted)  # of all constants about the best one


def a_sweep(requirement, jsd, **others):
    zeros = np.zeros_like(jsd)
    given = {"jsd_label": zeros, "accuracy": zeros + 0.8, "accuracy_original": zeros + 0.8,
             "constant": zeros, "calibration": zeros} | others  # fmt: skip
    return Sweep(requirement, jsd, **given)


def a_method(full):
    """A method whose results on all ten models are those of `full`."""

    def sweep(ids, table, indices):
        fields = {key: value[indices][:, ids] for key, value in vars(full).items()}
        return Sweep(**fields)

    settings = tuple({"fraction": index / 10} for index in range(len(full.jsd)))
    return Method(settings, sweep, lambda ids, index: (2.0 * len(ids), 1.0 * len(ids)))


ENDS = a_method(
    a_sweep(
        np.repeat([[0.0], [1.0]], 10, 1),
        np.repeat([[0.08], [0.0]], 10, 1),
        jsd_label=np.repeat([[0.6], [0.0]], 10, 1),
        accuracy=np.repeat([[0.0], [0.85]], 10, 1),
        constant=np.repeat([[1.0], [0.0]], 10, 1),
    )
)


@pytest.fixture
def testbed():
    ids = {"validation": VALIDATION, "test": TEST}
    table = pd.DataFrame({"experiment": np.arange(10) // 2, "stage": ["early", "last"] * 5})
    evaluation = EvaluationConfig(reference_point=BOX, costs=COSTS)
    return Testbed(
        experiment=ExperimentConfig(
            requirement="metanet.objectives.pruning.weights_kept",
            editors={"GMN": EditorPlan()},
            evaluation=evaluation,
        ),
        folder=None,
        models=types.SimpleNamespace(spec=np.zeros(10, int)),
        population=types.SimpleNamespace(ids=ids.__getitem__, table=table),
        data=types.SimpleNamespace(select=None, test=None),
        requirement=weights_kept,
    )


@pytest.fixture
def full():
    """Settings 0 to 3; by JSD 0 and 1 are best, by decisions 1 and 2, by errors 2 and 3."""
    rng = np.random.default_rng(0)
    requirement = np.repeat([[0.1], [0.2], [0.3], [0.15]], 10, 1)
    around = 1 + 0.01 * rng.normal(size=(4, 10))
    jsd = np.array([[0.04], [0.02], [0.03], [0.09]]) * around
    label = np.array([[0.3], [0.1], [0.05], [0.4]]) * around
    accuracy = np.array([[0.6], [0.55], [0.9], [0.8]]) * around
    return a_sweep(requirement, jsd, jsd_label=label, accuracy=accuracy)


def test_every_cost_has_settings_of_its_own_chosen_on_validation(testbed, full):
    full.jsd[2, TEST] = 0.001  # on test setting 2 would be chosen
    entry, values = evaluate(testbed, [a_method(full)], ENDS)
    fronts = {"jsd": entry["front"]} | entry["fronts"]
    chosen = {c: [10 * p["setting"]["fraction"] for p in front] for c, front in fronts.items()}
    assert chosen == {"jsd": [0, 1], "jsd_label": [0, 1, 2], "error": [0, 3, 2]}
    means = full.jsd[:2, TEST].mean(1)
    np.testing.assert_allclose([p["jsd"] for p in entry["front"]], means)
    spread = full.jsd[0, TEST].std(ddof=1)
    assert entry["front"][0]["jsd_std"] == pytest.approx(spread)
    assert entry["seconds_per_model"] == 1.0
    # Models of one experiment are a cluster.
    assert values.experiment.tolist() == [2, 2, 3, 3, 4, 4]
    (front,) = values.fronts("error")
    np.testing.assert_allclose(front.cost, 1 - full.accuracy[[0, 3, 2]][:, TEST], rtol=1e-6)
    np.testing.assert_allclose(front.requirement[:, 0], [0.1, 0.15, 0.3], rtol=1e-6)


def test_a_setting_that_a_mixture_with_an_end_beats_on_validation_is_not_selected(testbed, full):
    full.jsd[0] = 0.06  # at .1; half of the models constant, half at setting 1, cost .05
    entry, _ = evaluate(testbed, [a_method(full)], ENDS)
    assert [point["setting"]["fraction"] for point in entry["front"]] == [0.1]
    labels = [point["setting"]["fraction"] for point in entry["fronts"]["jsd_label"]]
    assert labels == [0.0, 0.1, 0.2]


def test_settings_above_mixtures_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    ends = np.array([[0.0, 1.0], [1.0, 0.0]])
    for _ in range(50):
        points = rng.random((6, 2))
        expected = []
        for x, y in points:
            beaten = False
            for other_x, other_y in points:
                for end_x, end_y in ends:
                    if other_x != x and min(other_x, end_x) < x < max(other_x, end_x):
                        share = (x - end_x) / (other_x - end_x)
                        beaten |= share * other_y + (1 - share) * end_y < y
            expected.append(beaten)
        assert above_mixtures(points, ends).tolist() == expected
    assert not above_mixtures(ends, ends).any()


def test_the_ends_count_in_hypervolumes(testbed, full):
    entry, _ = evaluate(testbed, [a_method(full)], ENDS)
    own = np.array([[p["requirement"], p["jsd"]] for p in entry["front"]])
    both = np.concatenate([own, [[0.0, 0.08], [1.0, 0.0]]])
    assert entry["mixture_hypervolume"] == pytest.approx(mixed_hypervolume(both, BOX))
    assert entry["hypervolume"] == pytest.approx(hypervolume(both, BOX))
    assert entry["hypervolume"] > hypervolume(own, BOX)
    validation = np.stack([full.requirement[:2, VALIDATION].mean(1),
                           full.jsd[:2, VALIDATION].mean(1)], 1)  # fmt: skip
    expected = mixed_hypervolume(np.concatenate([validation, [[0, 0.08], [1, 0]]]), BOX)
    assert entry["validation_hypervolume"] == pytest.approx(expected)
    found = validation_hypervolume(testbed, a_method(full), ENDS)
    assert found == entry["validation_hypervolume"]


def test_an_infeasible_model_stays_unedited_and_is_counted(testbed, full):
    for field in vars(full).values():
        field[0, [4, 5]] = np.nan
        field[2, 0] = np.nan
        field[3] = np.nan
    entry, values = evaluate(testbed, [a_method(full)], ENDS)
    point = entry["front"][0]
    assert (point["infeasible"], point["setting"]) == (2, {"fraction": 0.0})
    assert point["requirement"] == pytest.approx((4 * 0.1 + 2 * 1.0) / 6)
    assert point["jsd"] == pytest.approx(full.jsd[0, 6:].sum() / 6)
    assert point["accuracy"] == pytest.approx((full.accuracy[0, 6:].sum() + 2 * 0.85) / 6)
    lost = {one["setting"]["fraction"]: one["models"] for one in entry["infeasible_on_validation"]}
    assert lost == {0.2: 1, 0.3: 4}
    assert values.fronts("jsd")[0].requirement[0, :2].tolist() == [1.0, 1.0]


def test_a_setting_that_edits_few_models_is_not_chosen(testbed, full):
    full.requirement[1] = 0.1
    full.jsd[1] = 0.005  # by far the best, of the models that it can edit
    for models, chosen in ((VALIDATION[1:3], False), (VALIDATION[1:2], True)):
        full.jsd[1, VALIDATION] = 0.005
        full.jsd[1, models] = np.nan
        entry, _ = evaluate(testbed, [a_method(full)], ENDS)
        assert (0.1 in [p["setting"]["fraction"] for p in entry["front"]]) == chosen


def test_a_method_without_any_result_has_an_empty_front(testbed, full):
    for field in vars(full).values():
        field[:] = np.nan
    entry, values = evaluate(testbed, [a_method(full)], ENDS)
    assert entry["front"] == [] and entry["seconds_per_model"] is None
    assert values.fronts("jsd") == []


def test_values_of_all_seeds_are_stored_and_read_back(testbed, full, tmp_path):
    other = a_sweep(**vars(full) | {"jsd": 1.2 * full.jsd})
    entry, values = evaluate(testbed, [a_method(full), a_method(other)], ENDS)
    assert len(entry["seeds"]) == 2
    path = values_path(tmp_path, "GMN + probe")
    save_values(path, values)
    assert path == tmp_path / "models" / "gmn-probe.npz"
    loaded = load_values(path)
    for one, again in zip(values.fronts("jsd"), loaded.fronts("jsd"), strict=True):
        np.testing.assert_array_equal(one.cost, again.cost)
    first, second = loaded.fronts("jsd")
    np.testing.assert_allclose(second.cost[: len(first.cost)], 1.2 * first.cost, rtol=1e-6)
    np.testing.assert_array_equal(loaded.experiment, values.experiment)


def test_the_ends_have_an_entry_with_both(testbed):
    entry, values = ends_entry(testbed, ENDS)
    constant, unedited = entry["front"]
    assert (constant["requirement"], unedited["requirement"]) == (0.0, 1.0)
    assert (constant["jsd"], constant["constant"]) == (pytest.approx(0.08), 1.0)
    for cost in COSTS:
        assert values.fronts(cost)[0].cost.shape == (2, len(TEST))


def test_the_floor_of_equalised_odds_is_its_mean_over_fair_classifiers():
    rng = np.random.default_rng(3)
    table = random_table(900, n_groups=3)
    group = np.where(rng.random(900) < 0.8, 0, table.group).astype(np.int32)
    table = table.replace(group=group)
    rate = np.where(table.y == 1, 0.6, 0.2)
    fair = rng.random((400, 900)) < rate  # decisions that do not depend on the group
    found = []
    for decisions in fair:
        one_hot = jax.nn.one_hot(decisions.astype(int), 2)
        found.append(float(equalised_odds(types.SimpleNamespace(decisions=one_hot, batch=table))))
    floor = odds_floor(table, fair)
    assert floor == pytest.approx(np.mean(found), abs=4 * np.std(found) / 20)
    assert equalised_odds.floor is odds_floor
