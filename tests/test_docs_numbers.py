"""Published numbers are in results/, and published claims follow from them."""

import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAPER = {"GMN": "GMN - Prune & Edit"}  # the name of the paper's editor in runs of pruning
ONE_SHOT = ("Random", "Magnitude", "Magnitude (layer-normalised)", "Grad Importance", "SNIP", "OBD")
UNREFINED = ("GMN", "GMN + probe")
DISTILLED = ("SNIP & Distil", "OBD & Distil")


def results(run: str) -> dict:
    return json.loads((ROOT / "results" / run / "results.json").read_text())


def method(run: str, name: str) -> dict:
    found = results(run)["methods"]
    return found[name] if name in found else found[PAPER.get(name, name)]


def comparison(run: str, editor: str) -> dict:
    found = results(run)["comparison"]
    return found[editor] if editor in found else found[PAPER.get(editor, editor)]


def tables(path: str) -> list[tuple[str, list[list[str]]]]:
    """(the heading above, rows of cells) of every table of a page."""
    found, heading, rows = [], "", []
    for line in [*(ROOT / path).read_text().splitlines(), ""]:
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            found.append((heading, [rows[0], *rows[2:]]))
            rows = []
    return found


def published(path: str, heading: str) -> list[tuple[str, str, str]]:
    """(run, method, number) of the tables below a heading whose columns are runs."""
    found = []
    for above, (head, *rows) in tables(path):
        if above == heading and head[0] == "" and (ROOT / "results" / head[1]).is_dir():
            found += [
                (run, row[0], cell)
                for row in rows
                for run, cell in zip(head[1:], row[1:], strict=True)
                if cell != "–"
            ]
    return found


@pytest.mark.parametrize(
    "path, heading, key",
    [
        ("README.md", "Results", "mixture_hypervolume"),
        ("docs/results.md", "Hypervolume of mixtures", "mixture_hypervolume"),
        ("docs/results.md", "Seconds per model", "seconds_per_model"),
    ],
)
def test_every_number_of_a_table_is_in_the_results_at_its_rounding(path, heading, key):
    numbers = published(path, heading)
    assert len(numbers) > 15
    for run, name, number in numbers:
        digits = len(number.partition(".")[2])
        assert f"{method(run, name)[key]:.{digits}f}" == number.lstrip(">"), (run, name)


@pytest.mark.parametrize("path", ["README.md", "docs/results.md"])
def test_hypervolumes_of_few_settings_are_marked(path):
    for heading in ("Results", "Hypervolume of mixtures"):
        for run, name, cell in published(path, heading):
            few = len(method(run, name)["front"]) <= 5
            assert cell.startswith(">") == few, (run, name)


def test_the_counts_of_docs_are_those_of_the_comparison():
    counted = 0
    for _, (head, *rows) in tables("docs/results.md"):
        run = head[0]
        if not (run and (ROOT / "results" / run).is_dir()):
            continue
        for name, *cells in rows:
            for editor, cell in zip(head[1:], cells, strict=True):
                found = comparison(run, editor)[name]
                assert cell == f"{found['below']} of {found['points']}", (run, editor, name)
                counted += 1
    assert counted > 60


def test_the_fronts_of_docs_have_the_points_that_the_text_gives():
    """A sample of JSD at a requirement, by run and method."""
    for run, name, level, jsd in [
        ("dm_adult", "Greedy & Retrain", 4 / 14, 0.0073),
        ("fairness_adult", "Group shift", 0.037, 0.0027),
        ("pruning_adult", "Per-model optimisation", 0.045, 0.0018),
    ]:
        front = method(run, name)["front"]
        near = [p["jsd"] for p in front if abs(p["requirement"] - level) < 6e-4]
        assert near and round(near[0], 4) == jsd, (run, name)


@pytest.mark.parametrize("run", ["pruning_adult", "pruning_bank"])
def test_the_editor_with_probes_is_ahead_of_one_shot_pruning_up_to_70_percent(run):
    for name in ONE_SHOT:
        lost = comparison(run, "GMN + probe")[name]["lost"]
        assert all(point["requirement"] > 0.7 for point in lost), name
        assert comparison(run, "GMN + probe")[name]["points"] == len(method(run, name)["front"])


@pytest.mark.parametrize(
    "run", ["pruning_adult", "pruning_bank", "fairness_adult", "fairness_bank"]
)
def test_per_model_optimisation_is_ahead_of_unrefined_editors(run):
    for editor in UNREFINED:
        found = comparison(run, editor)["Per-model optimisation"]
        assert found["points"] and not found["below"]


@pytest.mark.parametrize("run", ["dm_adult", "dm_bank"])
def test_greedy_selection_with_retraining_is_ahead_up_to_half_of_the_features(run):
    levels = {p["requirement"] for p in method(run, "Greedy & Retrain")["front"]}
    for editor in UNREFINED:
        lost = {p["requirement"] for p in comparison(run, editor)["Greedy & Retrain"]["lost"]}
        assert {level for level in levels if level <= 0.5} <= lost


def test_no_table_compares_editors_with_baselines_at_a_rate_that_was_not_searched():
    for path in ("README.md", "docs/results.md"):
        for _, rows in tables(path):
            assert not {row[0] for row in rows} & set(DISTILLED)


def test_readme_says_what_the_floors_are():
    text = " ".join((ROOT / "README.md").read_text().split())
    floor = results("fairness_adult")["one_hot_floor"]
    assert re.search(rf"start at {floor:.3f} nats \(Adult\)", text)
