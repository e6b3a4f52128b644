"""The report of results whose methods have any number of settings and points."""

import csv

import made_runs as by_hand
import numpy as np
import pytest
from made_runs import a_method, a_run
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from metanet import report
from metanet.core import UserError
from metanet.report import (
    bounds,
    claims,
    comparison,
    front,
    overview,
    stored,
    studies,
    style,
    summary,
    verdicts,
)
from metanet.storage import write_json

SETTINGS = {"one": {"lambda": 0.1}, "none": {}, "two": {"search": "pinned", "bound": 0.05}}
THREE = ((0.1, 0.02), (0.2, 0.01), (0.3, 0.02 / 3))
PNG = b"\x89PNG"


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Intervals of these tests are of fewer draws than those of results."""
    monkeypatch.setattr(comparison, "DRAWS", 100)
    monkeypatch.setattr(comparison, "VOLUME_DRAWS", 20)


def run_of(**changed):
    """A method for each kind of setting, with one point or three, and one that has no result."""
    methods = {
        "one": a_method(THREE, seeds=2, spread=1.0),
        "none": a_method(THREE[:1]),
        "two": a_method(THREE),
        "empty": a_method(()),
    }
    for name, setting in SETTINGS.items():
        for point in methods[name][0]["front"]:
            point["setting"] = setting
            point["by_stage"] = point["by_stage"] | {"early": {"requirement": None, "jsd": None}}
    return a_run(methods, **{"one_hot_floor": 0.04} | changed)[0]


@pytest.fixture
def results():
    return run_of()


def a_point(setting, number):
    """A point of several requirements, which its user gives it."""
    values = {"jsd": 0.02 / number, "accuracy": 0.8, "jsd_std": 0.001, "accuracy_original": 0.85}
    return values | {"jsd_label": 0.01, "setting": setting}


def many(results, count):
    """`results` with `count` methods of three points."""
    method = results["methods"]["two"]
    return results | {"methods": {f"method {number}": method for number in range(count)}}


def lines_of(figure):
    """The lines of the first panel by method."""
    lines = figure.axes[0].get_lines()
    return {line.get_label(): line for line in lines if not line.get_label().startswith("_")}


def test_front_csv_has_a_row_for_every_point_and_says_its_setting(results, tmp_path):
    front.write_csv(results, tmp_path / "front.csv")
    with open(tmp_path / "front.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["one"] * 3 + ["none"] + ["two"] * 3
    found = [float(row["jsd"]) for row in rows[:3]]
    np.testing.assert_allclose(found, [0.02, 0.01, 0.02 / 3], rtol=1e-6)
    for row in rows:
        assert float(row["jsd_low"]) < float(row["jsd"]) < float(row["jsd_high"])
    assert float(rows[0]["setting"]) == 0.1
    assert rows[3]["setting"] == ""
    for part in ("search", "pinned", "bound", "0.05"):
        assert part in rows[4]["setting"]
    # A run without values of single models has no intervals.
    for point in results["methods"]["none"]["front"]:
        del point["jsd_low"], point["jsd_high"], point["constant"]
    front.write_csv(results, tmp_path / "front.csv")
    with open(tmp_path / "front.csv", newline="") as file:
        row = list(csv.DictReader(file))[3]
    assert (row["jsd_low"], row["jsd_high"], row["constant"]) == ("", "", "")


def rows_of(text, results):
    """The cells of each printed table, by method, and its head: [(head, {method: cells})]."""
    lines, width, tables = text.splitlines(), max(map(len, results["methods"])), []
    for place, line in enumerate(lines):
        if line.startswith("method "):
            body = lines[place + 1 : place + 1 + len(results["methods"])]
            assert [row[:width].rstrip() for row in body] == list(results["methods"])
            assert {len(row) for row in (line, *body)} == {len(line)}  # columns end alike
            tables.append(
                (line.split(), {row[:width].rstrip(): row[width:].split() for row in body})
            )
    return tables


def test_the_table_has_every_method_in_the_order_of_the_results(results):
    text = report.table(results)
    ((head, rows),) = rows_of(text, results)
    assert head == ["method", "HV", "points", "@0.1", "@0.3", "@0.5", "@0.7", "s/model"]
    low, high = results["methods"]["one"]["mixture_interval"]
    mean = comparison.volumes(results["methods"]["one"]).mean()
    assert rows["one"][:2] == [f"{mean:.3f}±{(high - low) / 2:.3f}", "3"]
    cost = results["methods"]["one"]["at_levels"]["jsd"][1]
    assert cost["cost"] == pytest.approx(0.01, rel=1e-3)
    assert rows["one"][3] == f"10.0±{500 * (cost['high'] - cost['low']):.1f}"
    assert rows["empty"] == ["-", "0", *["-"] * 5]
    # One setting of three.
    assert rows["none"][0].startswith(">") and bounds.LOWER in text
    assert "hypervolume of mixtures in the box 1x0.1" in text
    assert "JSD of outputs, 10^-3 nats, at weights kept" in text


def test_columns_stand_below_one_another_for_long_names_and_large_numbers():
    long = "GMN + probe, 300 steps of its own (searched)"
    methods = {long: a_method([(0.1, 60.0), (0.9, 1e-7)], seeds=3, seconds=1234.5),
               "x": a_method([(0.3, 0.01)], seconds=1e-5)}  # fmt: skip
    run, _ = a_run(methods, costs=list(by_hand.COSTS))
    tables = rows_of(report.table(run), run)
    assert len(tables) == 3
    assert all(len(rows[long]) == len(head) - 1 for head, rows in tables[:1])
    assert tables[0][1][long][-1] == "1234.50000"


def test_every_further_cost_has_a_table_of_its_own_with_its_own_settings():
    run = run_of(costs=list(by_hand.COSTS))
    run["methods"]["two"]["fronts"]["error"] = run["methods"]["two"]["front"][:2]
    tables = rows_of(report.table(run), run)
    assert [rows["two"][-6] for _, rows in tables] == ["3", "3", "2"]
    text = report.table(run)
    for words in ("JSD of outputs, 10^-3", "JSD of decisions, 10^-3", "wrong decisions, %"):
        assert text.count(words) == 1
    error = run["methods"]["two"]["at_levels"]["error"][0]["cost"]
    assert tables[2][1]["two"][-5].startswith(f"{100 * error:.2f}±")
    assert all("HV" not in head for head, _ in tables[1:])


def test_the_table_of_a_run_without_intervals_has_none(results):
    for method in results["methods"].values():
        method.pop("mixture_interval")
        for one in method.get("at_levels", {}).get("jsd", ()):
            one |= {"low": None, "high": None}
    results["methods"]["none"]["at_levels"]["jsd"][0] = None  # below its reach
    ((_, rows),) = rows_of(report.table(results), results)
    assert "±" not in "".join(cell for row in rows.values() for cell in row)
    assert rows["none"][2] == "-" and rows["one"][2] == "30"


def test_pictures_do_not_depend_on_the_name_of_the_task(results, tmp_path):
    report.write(results | {"task": "timing"}, tmp_path / "timing")  # others have any name
    for name in ("front", "front_all", "stages"):
        assert (tmp_path / "timing" / f"{name}.png").read_bytes().startswith(PNG)
    assert not (tmp_path / "timing" / "costs.png").exists()
    report.write(run_of(costs=["jsd", "error"], task="fairness"), tmp_path / "more")
    assert (tmp_path / "more" / "costs.png").read_bytes().startswith(PNG)


def test_stages_without_models_have_no_panel_and_one_stage_no_picture(results, tmp_path):
    def without(*stages):
        for method in results["methods"].values():
            for point in method["front"]:
                nothing = {stage: {"requirement": None, "jsd": None} for stage in stages}
                point["by_stage"] = point["by_stage"] | nothing

    without("early")
    assert [axes.get_title() for axes in front.figure_of_stages(results).axes] == [
        "middle checkpoints", "last checkpoints"
    ]  # fmt: skip
    without("early", "middle")
    report.write(results, tmp_path)
    assert (tmp_path / "front.png").exists() and not (tmp_path / "stages.png").exists()


def test_every_further_cost_has_a_panel_with_unedited_models():
    run = run_of(costs=list(by_hand.COSTS), level_floor=0.05)
    method = run["methods"]["two"]
    method["fronts"]["error"] = method["front"][1:]  # chosen by it
    figure = front.figure_of_costs(run)
    assert len(figure.axes) == 2
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:3] == ["one", "none", "two"] and "unedited models" in names
    (x,), (y,) = lines_of(figure)["unedited models"].get_data()
    assert (x, y) == (1.0, 0.0)
    error = next(line for line in figure.axes[1].get_lines() if line.get_label() == "two")
    np.testing.assert_allclose(error.get_ydata(), [21, 20 + 2 / 3], rtol=1e-5)


def test_a_lopsided_interval_shows_both_ends():
    results = run_of()
    for one, (low, high) in zip(
        results["methods"]["one"]["at_levels"]["jsd"],
        ((0.009, 0.012), (0.0098, 0.014), (0.001, 0.0101), (0.01, 0.01)),
        strict=True,
    ):
        one |= {"cost": 0.01, "low": low, "high": high, "coarse": False}  # fmt: skip
    row = next(line for line in report.table(results).splitlines() if line.startswith("one "))
    assert "10.0±1.5" in row and "10.0 (9.8 to 14.0)" in row and "10.0 (1.0 to 10.1)" in row
    assert "10.000±0.000" in row
    wide = results["methods"]["one"]["at_levels"]["jsd"][0]
    wide |= {"cost": 0.0017, "low": 0.0002, "high": 0.0038}  # nothing is below 0
    assert "1.7 (0.2 to 3.8)" in report.table(results)


def test_costs_that_a_mixture_of_the_ends_has_too_are_marked():
    results = run_of()
    levels, ends = results["report_levels"], results["ends"]
    alone = np.interp(levels, [one["requirement"] for one in ends], [one["jsd"] for one in ends])
    row = results["methods"]["one"]["at_levels"]["jsd"]
    for place, (one, least) in enumerate(zip(row, alone, strict=True)):
        one |= {"cost": float(least) * (0.99 if place else 1.0), "low": None, "coarse": False}
    text = report.table(results)
    (line,) = [line for line in text.splitlines() if line.startswith("one ")]
    assert line.count("=") == 1 and f"={1e3 * alone[0]:.3g}" in line
    assert "=: no less than a mixture of the two ends costs, without any method" in text
    row[0]["cost"] *= 0.99
    assert "=" not in report.table(results)
    assert " of the two ends, without any method" in text.splitlines()[1]


def test_calibration_errors_stand_beside_the_costs_of_fairness():
    run = run_of(costs=list(by_hand.COSTS))
    assert "calibration" not in report.table(run)  # an earlier run did not measure them
    for place, end in enumerate(run["ends"]):
        end["calibration"] = (0.01, 0.03)[place]
    for method in run["methods"].values():
        for place, point in enumerate(method["front"]):
            point["calibration"] = 0.05 * (1 + place)
    text = report.table(run).split("calibration error of outputs, %")[1]
    assert "unedited models 3.00" in text
    rows = {line.split()[0]: [float(one) for one in line.split()[1:]]
            for line in text.splitlines()[2:]}  # fmt: skip
    own = run["methods"]["two"]["front"]
    points = sorted((p["requirement"], p["calibration"]) for p in (*own, *run["ends"]))
    expected = 100 * np.interp(run["report_levels"], *np.array(points).T)
    np.testing.assert_allclose(rows["two"], expected, atol=0.006)
    figure = front.figure_of_costs(run)
    assert len(figure.axes) == 3
    line = next(line for line in figure.axes[2].get_lines() if line.get_label() == "two")
    assert sorted(line.get_ydata()) == pytest.approx(sorted(100 * p["calibration"] for p in own))


def hollow(axes):
    """The lines of hollow marks, except for that of the legend."""
    lines = [line for line in axes.get_lines() if len(line.get_xdata())]
    return [line for line in lines if line.get_markerfacecolor() == "white"]


def test_settings_at_which_most_models_decide_for_one_class_are_hollow_and_explained():
    run = run_of(costs=["jsd", "error"])
    figures = front.figure(run), front.figure_of_costs(run)
    assert not any(hollow(axes) for figure in figures for axes in figure.axes)
    method = run["methods"]["two"]
    for point in (*method["front"][:2], *method["fronts"]["error"][:2]):
        point["constant"] = 0.6
    for draw in (front.figure, front.figure_of_costs):
        figure = draw(run)
        for axes in figure.axes:
            (line,) = hollow(axes)
            assert len(line.get_xdata()) == 2
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert "hollow: most models constant" in texts


def test_intervals_are_bands_along_the_lines_behind_all_curves(results):
    axes = front.figure(results).axes[0]
    bands = [one for one in axes.collections if isinstance(one, PolyCollection)]
    bars = [one for one in axes.collections if isinstance(one, LineCollection)]
    widths = [np.ptp(one.get_paths()[0].vertices[:, 0]) for one in bands if one.get_paths()]
    np.testing.assert_allclose(widths, [0.2, 0.2], rtol=1e-6)  # of both lines of three points
    assert sum(len(one.get_segments()) for one in bars) == 1  # a single setting has a bar
    highest = max(one.get_zorder() for one in axes.collections)
    assert highest < min(line.get_zorder() for line in axes.get_lines())
    assert not front.figure(results, everything=True).axes[0].collections


def test_a_dominated_setting_has_a_bar_and_does_not_bend_the_band():
    points = [*THREE, (0.25, 0.05)]
    axes = front.figure(a_run({"one": a_method(points)})[0]).axes[0]
    band, bars = axes.collections
    assert band.get_paths()[0].vertices[:, 0].max() == pytest.approx(0.3)
    assert 0.25 not in np.round(band.get_paths()[0].vertices[:, 0], 6)
    (segment,) = bars.get_segments()
    np.testing.assert_allclose(segment[:, 0], 0.25)
    assert segment[0, 1] < 0.05 < segment[1, 1]


def test_a_run_without_intervals_has_no_bands(results):
    for method in results["methods"].values():
        for point in method["front"]:
            point.pop("jsd_low"), point.pop("jsd_high")
    figure = front.figure(results | {"ends": []})
    assert not figure.axes[0].collections and "bands" not in figure.get_suptitle()
    assert "bands" in front.figure(results).get_suptitle()


def test_axes_say_the_label_of_the_objective_and_not_that_of_the_task():
    labelled = run_of(costs=["jsd", "error"], requirement_labels=["price paid (dollars)"])
    figures = (front.figure, front.figure_of_stages, front.figure_of_costs)
    for axes in (axes for draw in figures for axes in draw(labelled).axes):
        assert " ".join(axes.get_xlabel().split()) == "price paid (dollars)"
    assert "price paid (dollars)" in report.table(labelled)


def lab(colours):
    """sRGB [N, 3] from 0 to 1 in CIELAB."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = np.cbrt(linear @ to_xyz.T / (0.9505, 1.0, 1.089)).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def test_no_two_of_a_hundred_methods_look_alike():
    looks = list(style.styles({str(number): {} for number in range(100)}).values())
    assert len({to_hex(look["color"]) for look in looks}) == 100
    listed = lab(np.array([to_rgb(colour) for colour in style.COLOURS]))
    distance = np.linalg.norm(listed[:, None] - listed[None], axis=-1)
    assert len(listed) >= 20 and (distance + 999 * np.eye(len(listed))).min() >= 20
    # Without colour, too.
    assert len({(look["marker"], str(look["linestyle"])) for look in looks[:44]}) == 44


def test_a_method_has_one_look_in_all_figures_of_a_run():
    run = many(run_of(costs=["jsd", "error"]), 16) | {"main_methods": ["method 12", "method 3"]}
    main, every = lines_of(front.figure(run)), lines_of(front.figure(run, everything=True))
    assert set(main) == {"method 3", "method 12"} and len(every) == 16
    assert len({line.get_color() for line in every.values()}) == 16
    for figure in (front.figure(run), front.figure_of_stages(run), front.figure_of_costs(run)):
        for name in every.keys() & lines_of(figure).keys():
            line = lines_of(figure)[name]
            same = every[name]
            assert line.get_color() == same.get_color() and line.get_marker() == same.get_marker()


def test_the_main_figure_has_six_curves_at_most(results):
    assert list(lines_of(front.figure(many(results, 9)))) == [f"method {n}" for n in range(6)]
    named = many(results, 9) | {"main_methods": [f"method {n}" for n in range(8)]}
    assert len(lines_of(front.figure(named))) == 6


def test_editors_for_one_lambda_are_left_out_and_single_settings_are_marks(results):
    results["methods"]["one lambda"] = results["methods"]["none"] | {"seeds": []}
    lines = lines_of(front.figure(results, everything=True))
    assert set(lines) == {"one", "none", "two"}
    assert len(lines["none"].get_xdata()) == 1 and lines["none"].get_marker() != "None"


def test_a_figure_can_be_had_without_files(results):
    assert isinstance(report.figure(results), Figure)
    assert isinstance(front.figure(results), Figure)
    assert front.figure(results).axes[0].get_yscale() == "log"


def test_a_legend_is_below_the_panels(results):
    figure = front.figure(many(results, 25), everything=True)
    figure.draw_without_rendering()
    legend, axes = figure.legends[0].get_window_extent(), figure.axes[0].get_window_extent()
    assert legend.y1 < axes.y0 and axes.height > 300 * figure.dpi / 100


def several(count, methods):
    names = [f"requirement {number} (0 to 1)" for number in range(count)]
    return {
        "schema": 4, "kind": "fronts", "task": "any", "dataset": "synthetic", "main_methods": [],
        "levels_of": "the mean",
        "models_evaluated": 6, "samples_evaluated": 9, "requirements": names,
        "requirement_labels": names, "reference_point": [1.0] * count + [0.1], "methods": methods,
    }  # fmt: skip


def vector_points(count, grid):
    rng = np.random.default_rng(0)
    return [
        a_point({"lambda": list(vector)}, 1)
        | {"requirement": rng.random(count).tolist(), "requirement_std": [0.1] * count}
        | {"jsd": 0.01 * number}
        for number, vector in enumerate(grid, 1)
    ]


def test_three_requirements_have_a_row_per_setting_by_rising_divergence(tmp_path):
    grid = [(a, b, c) for a in (0.01, 0.1) for b in (0.02, 0.2) for c in (0.03, 0.3)]
    front_of = vector_points(3, grid)[::-1]
    entry = {"hypervolume": 0.25, "mixture_hypervolume": None, "seconds_per_model": 0.1}
    plain = [point | {"setting": {"fraction": 0.1}} for point in front_of[:2]]
    run = several(3, {"GMN": entry | {"front": front_of}, "other": entry | {"front": plain}})
    text = report.table(run)
    rows = [line.split() for line in text.splitlines() if line.startswith(" ")]
    jsd = [float(row[6]) for row in rows[1:]]
    assert jsd == sorted(jsd[:8]) + sorted(jsd[8:]) and len(jsd) == 10
    assert rows[1][:3] == ["0.0100", "0.0200", "0.0300"] and rows[-1][:3] == ["-"] * 3
    assert "hypervolume of points 0.250" in text
    report.write(run, tmp_path)
    assert (tmp_path / "front.png").read_bytes().startswith(PNG)
    assert len(report.figure(run).axes) == 3


def test_two_requirements_have_the_least_divergence_within_pairs_of_levels(tmp_path):
    grid = [(a, b) for a in (0.01, 0.1) for b in (0.02, 0.2)]
    points = vector_points(2, grid)
    entry = {"hypervolume": 0.25, "mixture_hypervolume": None, "seconds_per_model": 0.1}
    edge = [points[0] | {"requirement": [1.0, 0.5]}]
    run = several(2, {
        "GMN": entry | {"front": points, "seeds": [entry | {"front": points}]},
        "edge": entry | {"front": edge, "hypervolume": 0.0},
    })  # fmt: skip
    rows = report.table(run).splitlines()[-2:]
    assert rows[0].split()[1:3] == ["0.250", "4"] and rows[0].split()[-2] == "0.0100"
    assert rows[1].split()[1] == ">0.000"  # on the edge of the box, and one setting of four
    report.write(run, tmp_path)
    assert (tmp_path / "front.png").read_bytes().startswith(PNG)
    assert len(report.figure(run).axes) == 4


def test_hypervolumes_of_few_settings_are_marked():
    counts = {"longest": 9, "half": 5, "fewer": 4, "one": 1, "nothing": 0}
    methods = {name: {"front": [{}] * count} for name, count in counts.items()}
    assert bounds.volume_marks(methods) == {
        "longest": "", "half": "", "fewer": ">", "one": ">", "nothing": "-"
    }  # fmt: skip
    assert bounds.marked(">", 0.5) == ">0.500" and bounds.marked("-", 0.5) == "-"
    assert bounds.volume_marks({}) == {}


def test_the_table_of_times_has_every_method():
    entry = {"first_call": 2.0, "one_model": 0.001, "per_model_of_batch": 0.0005, "batch": 64}
    run = {"kind": "timing", "task": "any", "dataset": "adult", "device": "4 x cpu",
           "methods": {"dm: FS": entry, "dm: GMN": entry}}  # fmt: skip
    rows = report.table(run).splitlines()[1:]
    assert [row.split()[-4:] for row in rows[1:]] == 2 * [["2.00", "0.00100", "0.00050", "64"]]


KEPT = {"requirements": ["metanet.objectives.data_minimisation.inputs_kept"],
        "requirement_labels": ["input features kept"]}  # fmt: skip


@pytest.fixture
def runs():
    """Three runs as results.json files; an editor loses at one level to a slower method."""
    own = [(0.1, 0.04), (0.3, 0.02), (0.5, 0.01), (0.7, 0.005)]

    def times(*factors):
        return [(x, y * factor) for (x, y), factor in zip(own, factors, strict=True)]

    methods = {
        "GMN": a_method(own, seeds=2, spread=0.1, seconds=0.01),
        "GMN + probe": a_method(times(0.9, 0.9, 0.9, 0.9), seeds=1, seconds=0.02),
        "FS": a_method(times(2, 2, 2, 2), seconds=0.001),
        "FS & Retrain": a_method(times(0.5, 1.5, 1.5, 1.2), seconds=2.0),
        "nothing": a_method([]),
    }
    run, _ = a_run(methods, task="dm", dataset="adult", dirty=True, **KEPT)
    none = {"commit": None, "published_in": "d" * 40}
    bank, _ = a_run({"GMN": methods["GMN"]}, task="dm", dataset="bank", **none | KEPT)
    pruning, _ = a_run(methods, task="pruning", dataset="adult")
    return {"dm_adult": run, "dm_bank": bank, "pruning_adult": pruning}


def test_the_summary_has_stored_volumes_and_half_of_their_intervals(runs):
    found = summary.hypervolumes(runs | {"whole_front_adult-dm": runs["dm_adult"]})
    assert found[0] == "| | dm_adult | dm_bank | pruning_adult |"
    method = runs["dm_adult"]["methods"]["GMN"]
    low, high = method["mixture_interval"]
    cell = f"{comparison.volumes(method).mean():.3f}±{(high - low) / 2:.3f}, 4 points, ~0.01 s"
    assert found[2].startswith(f"| GMN | {cell} | {cell} |")
    assert found[3].count("–") == 1  # of bank
    assert "| nothing | -, 0 points | – | -, 0 points |" in found
    del method["mixture_interval"]  # of a converted run
    assert "±" not in summary.hypervolumes({"dm_adult": runs["dm_adult"]})[2]


def test_methods_are_tallied_against_the_slowest_editor_of_their_budget(runs):
    lines = summary.against_budget(runs | {"shift_adult-dm": runs["dm_adult"]})[2:]
    ours = [line for line in lines if line.startswith("| dm_adult |")]
    found = runs["dm_adult"]["comparison"]["jsd"]["GMN + probe"]["FS & Retrain"]
    assert [one["verdict"] for one in found] == ["loss", "win", "win", "win"]
    loss = f"0.1: 1.80 ({found[0]['low']:.2f} to {found[0]['high']:.2f})"
    assert ours == [
        "| dm_adult | jsd | FS | ~0.001 | none as fast | – | – | – |  |",
        f"| dm_adult | jsd | FS & Retrain | ~2 | GMN + probe | 3 | 0 | 1 | {loss} |",
    ]
    assert not [row for row in lines if row.startswith("| shift")]
    assert [row for row in lines if row.startswith("| pruning_adult | jsd | FS & Retrain")]


def test_studies_report_levels_asked_for_shifted_data_and_subsets_of_models(runs):
    run = runs["dm_adult"]
    assert studies.tables(run) == []
    method = run["methods"]["FS"]
    half = [{"requirement": 0.15, "jsd": 0.05}, {"requirement": 0.5, "jsd": 0.04}]
    method["shifted"] = {"older": {"front": half, "hypervolume": 0.2, "mixture_hypervolume": 0.25}}
    reached = {"requirement": 0.28, "jsd": 0.01, "meet": 0.9}
    method["levels"] = [{"level": 0.3, "family": {"lambda": 0.1} | reached, "model": reached}]
    nothing = {"requirement": None, "jsd": None}
    for entry in run["methods"].values():
        for point in entry["front"]:
            point["by_subset"] = {"wide": half[0], "deep": nothing}
    for end, (x, y) in zip(run["ends"], ((0.0, 0.1), (1.0, 0.0)), strict=True):
        end["by_subset"] = {"wide": {"requirement": x, "jsd": y}, "deep": nothing}
    lines = studies.tables(run)
    assert "| FS | 0.3 | 0.280, 0.0100, 90% | 0.280, 0.0100, 90% |" in lines
    volume = f"{method['mixture_hypervolume']:.3f}"
    assert f"| FS | {volume} | 0.250 |" in lines
    # No volume of subsets is stored: the ends (0, .1) and (1, 0) with (.15, .05) make this area.
    area = 1 - (0.15 * (1 + 0.5) / 2 + 0.85 * 0.5 / 2)
    assert f"| FS | {volume} | {area:.3f} | - |" in lines
    assert sum("Hypervolumes of mixtures" in text for text in lines) == 2


def test_seconds_stand_beside_those_of_the_paper():
    methods = {"pruning: GMN - Prune & Edit": 0.002, "pruning: SNIP": 0.01, "dm: FS": 1.0}
    run = {"kind": "timing", "methods": {n: {"one_model": s} for n, s in methods.items()}}
    rows = [row for row in studies.tables(run) if row.startswith("| pruning")]
    assert rows == [
        "| pruning | SNIP | 0.41 | 0.01 | 13.7 | 5 |",
        "| pruning | GMN - Prune & Edit | 0.03 | 0.002 | 1 | 1 |",
    ]


ALL = {"command": "all", "versions": {"jax": "1"}}


def test_the_overview_judges_every_claim_and_shows_every_run(runs, tmp_path):
    for name, run in runs.items():
        write_json(tmp_path / name / "results.json", run)
    overview.write(tmp_path, ALL)
    text = (tmp_path / "README.md").read_text()
    assert "`all` (jax 1)" in text
    for claim in claims.CLAIMS:
        assert claim.text in text
    assert "| GMN dominates FS | **holds** | wins/ties/losses against FS 4/0/0 |" in text
    row = (
        "| GMN dominates FS & Retrain | **holds partly** | wins/ties/losses against FS & Retrain 3"
    )
    assert row in text
    assert "needs timing_adult" in text
    assert "## dm_bank (figure 6 of the paper)" in text and "GMN: 12 s" in text
    assert "population: not recorded" in text
    assert "Commit cccccccccccc with local changes" in text
    assert "Commit not recorded, published in dddddddddddd" in text
    assert "Earlier runs" not in text


def test_the_overview_takes_seconds_from_the_run_that_times_all_methods(runs, tmp_path):
    run = runs["dm_adult"]
    write_json(tmp_path / "dm_adult" / "results.json", run)
    overview.write(tmp_path, ALL)
    text = (tmp_path / "README.md").read_text()
    assert "| dm_adult | jsd | FS | ~" in text
    times = {"first_call": 9.0, "one_model": 0.5, "per_model_of_batch": 0.25, "batch": 8}
    timing = run | {"kind": "timing", "task": "timing",
                    "methods": {f"dm: {name}": times for name in run["methods"]}}  # fmt: skip
    write_json(tmp_path / "timing_adult" / "results.json", timing)
    overview.write(tmp_path, ALL)
    text = (tmp_path / "README.md").read_text()
    assert "| dm_adult | jsd | FS | 0.25 | " in text and "| ~" not in text


def test_the_overview_says_which_runs_have_no_intervals_and_judges_none_of_their_costs(
    runs, tmp_path
):
    write_json(tmp_path / "pruning_adult" / "results.json", runs["pruning_adult"])
    old = runs["dm_adult"] | {"ends": []}
    del old["comparison"], old["margins"], old["draws"]
    for method in old["methods"].values():
        method.pop("mixture_interval")
        for one in method.get("at_levels", {}).get("jsd", ()):
            one |= {"low": None, "high": None}
    write_json(tmp_path / "dm_adult" / "results.json", old)
    overview.write(tmp_path, ALL)
    text = (tmp_path / "README.md").read_text()
    assert "Earlier runs stored neither values of single models" in text
    assert (
        f"| GMN dominates FS | **{verdicts.OPEN}** | no values of single models are stored" in text
    )
    first, second = text.split("\n## dm_adult")[1].split("\n## pruning_adult")
    assert "* An earlier run" in first and "±" not in first.split("```")[1].split("\n", 2)[2]
    assert "* An earlier run" not in second and "±" in second.split("```")[1].split("\n", 2)[2]
    assert "| dm_adult | jsd |" not in text and "| pruning_adult | jsd |" in text


def test_results_of_another_schema_are_refused(runs, tmp_path):
    write_json(tmp_path / "dm_adult" / "results.json", runs["dm_adult"] | {"schema": 2})
    with pytest.raises(UserError, match=r"found schema 2, expected 4; run its command again"):
        overview.write(tmp_path, ALL)
    write_json(tmp_path / "dm_adult" / "results.json", runs["dm_adult"] | {"schema": 3})
    with pytest.raises(UserError, match=r"found schema 3, expected 4; .*experiments\.convert"):
        overview.write(tmp_path, ALL)
    with pytest.raises(UserError, match=r"none\.json: found no such file"):
        stored.read(tmp_path / "none.json")
