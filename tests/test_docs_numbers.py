"""Published claims follow from results/, and numbers of docs from where they say."""

import json
import pathlib
import re

import numpy as np
import pytest

from metanet.report.comparison import tally, volumes

ROOT = pathlib.Path(__file__).parents[1]
ONE_SHOT = ("Random", "Magnitude", "Magnitude (layer-normalised)", "Grad Importance", "SNIP", "OBD")


def results(run: str) -> dict:
    return json.loads((ROOT / "results" / run / "results.json").read_text())


def costs(run: str, method: str) -> dict[float, float | None]:
    """Mean JSD (nats) by level."""
    found = results(run)
    row = found["methods"][method]["at_levels"]["jsd"]
    pairs = zip(found["report_levels"], row, strict=True)
    return {level: one and one["cost"] for level, one in pairs}


@pytest.mark.parametrize("run", ["pruning_adult", "pruning_bank"])
def test_the_editor_with_probes_is_below_one_shot_pruning_up_to_half_of_the_weights(run):
    ours = costs(run, "GMN + probe")
    levels = [level for level in ours if level <= 0.5]
    assert len(levels) >= 5
    for name in ONE_SHOT:
        theirs = costs(run, name)
        assert all(ours[level] < theirs[level] for level in levels), name
        found = results(run)
        last = found["comparison"]["jsd"]["GMN + probe"][name][found["report_levels"].index(0.7)]
        assert last["verdict"] == ("tie" if name == "OBD" else "win"), (name, last)
    # At its own points: it has few, and between them only an upper bound.
    own = results(run)["methods"]["Per-model optimisation"]["front"]
    ours = sorted(
        (p["requirement"], p["jsd"]) for p in results(run)["methods"]["GMN + probe"]["front"]
    )
    x, y = zip(*ours, strict=True)
    for point in own:
        assert point["jsd"] < np.interp(point["requirement"], x, y)


@pytest.mark.parametrize("run", ["dm_adult", "dm_bank"])
def test_greedy_selection_with_retraining_is_below_the_editors_up_to_half_of_the_features(run):
    theirs = costs(run, "Greedy & Retrain")
    for editor in ("GMN", "GMN + probe"):
        ours = costs(run, editor)
        shared = [one for one in ours if one <= 0.5 and theirs[one] is not None]
        assert shared and all(theirs[level] < ours[level] for level in shared), editor


def test_readme_says_what_the_floors_are():
    text = " ".join((ROOT / "README.md").read_text().split())
    floor = results("fairness_adult")["one_hot_floor"]
    assert re.search(rf"start at {floor:.3f} nats \(Adult\)", text)


def test_costs_of_fairness_in_docs_are_those_of_the_table():
    """10^-3 nats at an equalised odds difference of .05."""
    names = ("GMN", "GMN + probe", "Error parity, outputs", "Group shift")
    own = {name: 1e3 * costs("fairness_adult", name)[0.05] for name in names}
    ours, probed, *others = (f"{value:.1f}".removeprefix("0") for value in own.values())
    text = " ".join((ROOT / "docs" / "results.md").read_text().split())
    said = (
        f"`GMN` {ours}, `GMN + probe` {probed}, Error parity {others[0]}, Group shift {others[1]}"
    )
    assert said in text
    text = " ".join((ROOT / "README.md").read_text().split())
    assert f"levels: {others[0]} and {others[1]} beside {probed} (10^-3 nats" in text


def volume_of(method: dict) -> str:
    """As the table has it: the mean over seeds."""
    return f"{volumes(method).mean():.3f}".removeprefix("0")


def test_hypervolumes_of_the_readme_are_those_of_the_tables():
    text = " ".join((ROOT / "README.md").read_text().split())
    said = {
        "pruning_adult": {
            "GMN + probe": "`GMN + probe` {}", "GMN - Prune & Edit": "needs no data, {}",
            "LAMP": "LAMP {}", "OBD": "OBD {}",
            "SNIP": "SNIP {}", "ExactOBS": "ExactOBS {}",
            "ExactOBS & Distil": "with distillation {}",
            "OBS & Distil": "OBS with distillation {}",
            "Per-model optimisation": "per-model optimisation {}",
        },
        "dm_bank": {
            "Greedy, impute & Retrain": "retraining has {}", "GMN + probe": "the editor {}",
            "GMN + probe, 300 steps": "after 300 steps of descent {}",
        },
    }  # fmt: skip
    adult = results("dm_adult")["methods"]
    names = ("Greedy, impute & Retrain", "GMN + probe", "GMN + probe, 300 steps")
    assert "on Adult {}, {} and {}.".format(*(volume_of(adult[name]) for name in names)) in text
    for run, phrases in said.items():
        methods = results(run)["methods"]
        for name, phrase in phrases.items():
            assert phrase.format(volume_of(methods[name])) in text, name


def test_hypervolumes_of_gauss_newton_steps_are_those_of_their_run():
    text = " ".join((ROOT / "docs" / "results.md").read_text().split())
    methods = results("newton_adult-pruning")["methods"]
    for phrase, names in {
        "from {} to {} with 3 steps": ("GMN - Prune & Edit", "GMN - Prune & Edit & Newton"),
        "{} if nothing": ("GMN - Prune & Edit & Newton (moments)",),
        "and {} with 6 steps": ("GMN - Prune & Edit & Newton (6 steps)",),
        "300 steps of Adam have {} and {}": ("GMN + probe, 100 steps", "GMN + probe, 300 steps"),
        "ExactOBS to {} (3) and {} (6)": ("ExactOBS & Newton", "ExactOBS & Newton (6 steps)"),
        "LAMP to {} and OBD to {} (3)": ("LAMP & Newton", "OBD & Newton"),
    }.items():
        assert phrase.format(*(volume_of(methods[name]) for name in names)) in text, phrase


def test_hypervolumes_of_gauss_newton_steps_on_features_are_those_of_their_run():
    text = " ".join((ROOT / "docs" / "results.md").read_text().split())
    methods = results("newton_adult-dm")["methods"]
    for phrase, names in {
        "bring `GMN` from {} to {} (3 steps) and {} (6)": (
            "GMN", "GMN & Newton", "GMN & Newton (6 steps)",
        ),
        "moments gain nothing ({}, 0/5/3)": ("GMN & Newton (moments)",),
        "they give {} and {}, nearly": (
            "Greedy & impute & Newton", "Greedy & impute & Newton (6 steps)",
        ),
        "where the editor does ({})": ("FS (GMN) & Newton",),
    }.items():  # fmt: skip
        assert phrase.format(*(volume_of(methods[name]) for name in names)) in text, phrase


def test_numbers_of_networks_from_elsewhere_are_those_of_their_run():
    text = (ROOT / "docs" / "own-models.md").read_text()
    part = text[text.index("## How good is an editor") : text.index("## Make it smaller")]
    pattern = r"^\| ([^|(]+?) (?:\(.*\) )?\| \.(\d{3}) ± \.(\d{3}) \| ([\d. ]+) \|$"
    rows = re.findall(pattern, part, flags=re.MULTILINE)
    methods = results("outside_adult")["methods"]
    assert len(rows) == 9
    for name, volume, half, shown in rows:
        assert volume_of(methods[name]) == f".{volume}", name
        low, high = methods[name]["mixture_interval"]
        assert round(1000 * (high - low) / 2) == int(half), name
        found = costs("outside_adult", name)
        for level, value in zip((0.1, 0.2, 0.3, 0.5), shown.split(), strict=True):
            decimals = len(value.partition(".")[2])
            assert round(1000 * found[level], decimals) == float(value), (name, level)


def test_wins_ties_and_losses_that_docs_tell_are_those_of_the_tables():
    text = " ".join((ROOT / "docs" / "results.md").read_text().split())
    steps = "GMN + probe, {} steps"
    for run, editor, method, counts, phrase in (
        ("pruning_adult", steps.format(10), "ExactOBS", (1, 2, 5),
         "10 steps (.007 s) have 1/2/5 (wins, ties, losses) against ExactOBS"),
        ("pruning_adult", steps.format(100), "ExactOBS & Distil", (1, 1, 6),
         "100 steps (.04 s) 1/1/6 against it with distillation"),
        ("pruning_adult", steps.format(300), "OBS", (2, 6, 0),
         "300 steps (.10 s) 2/6/0 against OBS"),
        ("pruning_adult", steps.format(300), "OBS & Distil", (0, 2, 6),
         "0/2/6 against OBS with distillation"),
        ("pruning_adult", steps.format(300), "Per-model optimisation", (2, 1, 5),
         "and 2/1/5 against per-model"),
        ("pruning_adult", steps.format(100), "ExactOBS", (5, 3, 0), "100 steps have 5/3/0"),
        ("pruning_adult", "GMN - Prune & Edit", "Lottery Ticket", (1, 5, 2), "Ticket 1/5/2"),
        ("pruning_bank", steps.format(100), "ExactOBS & Distil", (1, 0, 7), "weights on (1/0/7)"),
        ("newton_adult-dm", "GMN & Newton", "GMN", (5, 0, 3), "(5/0/3 against no steps)"),
        ("newton_adult-dm", "GMN & Newton (moments)", "GMN", (0, 5, 3), "(.904, 0/5/3)"),
        ("newton_adult-dm", "GMN & Newton", "Greedy & impute & Newton", (1, 3, 4),
         "editor is 1/3/4 (3) and"),
        ("newton_adult-dm", "GMN & Newton (6 steps)",
         "Greedy & impute & Newton (6 steps)", (1, 4, 3), "and 1/4/3 (6) against"),
        ("newton_adult-pruning", "GMN - Prune & Edit & Newton (6 steps)",
         "ExactOBS & Newton (6 steps)", (1, 2, 5), "ExactOBS with 6 steps too 1/2/5"),
        ("pruning_bank", "GMN - Prune & Edit", "ExactOBS", (0, 0, 8), "Edit` has 0/0/8"),
        ("pruning_bank", "GMN + probe", "ExactOBS", (1, 0, 7), "`GMN + probe` 1/0/7 (ahead"),
        ("pruning_bank", steps.format(300), "OBS", (2, 3, 3), "steps have 2/3/3 against OBS"),
        ("pruning_adult", steps.format(300), "ExactOBS & Distil", (1, 2, 5), "(.10 s: 1/2/5)"),
        ("dm_adult", "GMN (paper)", "FS", (2, 1, 5), "it has 2/1/5 against FS"),
        ("dm_adult", "GMN", "FS", (7, 1, 0), "where `GMN` has 7/1/0"),
        ("fairness_adult", "GMN", "GMN (paper)", (4, 4, 0), "4/4/0 against `GMN (paper)`"),
        ("fairness_adult", "GMN", "Adversarial tuning", (5, 3, 0), "as `GMN` 5/3/0"),
        ("fairness_adult", "GMN + probe", "Adversarial tuning", (6, 2, 0), "Adult 6/2/0"),
        ("dm_adult", "GMN", "Greedy", (4, 4, 0), "`GMN` (.0013 s, no rows) 4/4/0"),
        ("dm_adult", "GMN + probe", "Greedy", (6, 2, 0), "`GMN + probe` (.002 s) 6/2/0"),
        ("dm_adult", "GMN", "Greedy & impute", (0, 8, 0), "it is level: 0/8/0 and 1/7/0"),
        ("dm_adult", "GMN + probe", "Greedy & impute", (1, 7, 0), "it is level: 0/8/0 and 1/7/0"),
        ("dm_adult", steps.format(300), "Greedy & Retrain", (3, 3, 2), "they have 3/3/2 (ab"),
        ("dm_adult", steps.format(300), "Greedy, impute & Retrain", (1, 3, 4), "imputation 1/3/4"),
        ("dm_bank", steps.format(300), "Greedy & Retrain", (4, 3, 1), "On Bank (4/3/1)"),
        ("dm_bank", steps.format(300), "Greedy, impute & Retrain", (1, 0, 7),
         "ahead at seven of eight levels"),
        ("fairness_adult", "GMN + probe", "Error parity, outputs", (2, 2, 4), "has 2/2/4 against"),
        ("fairness_bank", "GMN + probe", "Error parity, outputs", (0, 1, 6), "and 0/1/6 on Bank"),
        ("fairness_adult", steps.format(100), "Group shift", (7, 1, 0), "7/1/0 against Group"),
        ("fairness_bank", steps.format(100), "Group shift", (2, 2, 3), "and 2/2/3 on Bank"),
        ("fairness_adult", "GMN + probe", "Layer-wise search", (0, 4, 4), "Adult (0/4/4)"),
    ):  # fmt: skip
        assert tally(results(run)["comparison"]["jsd"][editor][method]) == counts, (run, method)
        assert phrase in text, phrase


def test_margins_that_docs_tell_are_those_of_the_tables():
    text = (ROOT / "docs" / "results.md").read_text()
    for run, editor, method, said in (
        ("pruning_adult", "GMN - Prune & Edit", "GMN - Prune", "sparsity {}, which holds"),
        ("dm_adult", "GMN", "FS", "features on Adult {}, which holds"),
        ("dm_bank", "GMN", "FS", "on Bank {}, which holds"),
    ):
        found = results(run)["margins"]["jsd"][editor][method]["wider"]
        middle, low, high = (re.sub(r"^0", "", f"{one:.2f}") for one in found)
        assert said.format(f"{middle} ({low} to {high})") in text, run
