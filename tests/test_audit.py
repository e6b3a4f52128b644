"""A report says what networks do, its page needs nothing else, verify finds what differs."""

import copy
import dataclasses
import importlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import types
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from helpers import random_stack, run_commands
from scipy import special

from metanet.certificates import report
from metanet.certificates.audit import findings, parts_of
from metanet.certificates.certificate import claim_of
from metanet.certificates.chosen import CertifiedEdit, in_order, parted
from metanet.certificates.judged import Judged
from metanet.certificates.outcomes import calibration, outcomes
from metanet.core import UserError
from metanet.data import load
from metanet.data.encoding import Encoding, Feature, Group
from metanet.editing.edit import Edited
from metanet.editing.places import digest_of
from metanet.editor.release import release_digest
from metanet.evaluation.scores import BINS
from metanet.interop import files
from metanet.interop.imported import Imported
from metanet.interop.network import network_of
from metanet.interop.verify import logits
from metanet.mlp.spec import MLPSpec
from metanet.report.audit.page import above, exact_percent, interval, render
from metanet.storage import read_json, write_json

ROOT = pathlib.Path(__file__).parents[1]
BROWSER = ROOT / "tests" / "browser"
SPEC = MLPSpec((4, 8, 2))
ENCODING = Encoding(
    tuple(Feature(name, name, "number", mean=1.0, std=2.0) for name in "abcd"),
    "label", ("no", "yes"), Group("sex", "sex", ("f", "m"), codes=(0, 1)),
)  # fmt: skip
ABOUT = {"command": "python -m experiments.edit", "commit": None, "dirty": None, "device": "cpu",
         "versions": {"metanet": "0.2.0"}}  # fmt: skip


def edited_of(network):
    """The network without its first feature and some weights, others changed."""
    first, second = (np.array(weight) for weight in network.params.weights)
    first[0], second[:2], second[3] = 0.0, 0.0, second[3] * 1.5
    biases = (network.params.biases[0], np.add(network.params.biases[1], [0.0, 0.1]))
    params = network.params.replace(weights=(first, second), biases=biases)
    return dataclasses.replace(network, params=params)


@pytest.fixture(scope="module")
def pair():
    network = network_of(random_stack(SPEC, 1))
    return network, edited_of(network)


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    found = pd.DataFrame(rng.normal(1.0, 2.0, (1200, 4)), columns=list("abcd"))
    found["label"] = rng.choice(["no", "yes"], 1200)
    found["sex"] = rng.choice(["f", "m"], 1200)
    found["race"] = rng.choice(["u", "v", "w"], 1200, p=[0.6, 0.39, 0.01])
    return found


def claimed(pair, frame, requirement="eod", level=0.5, **options):
    return claim_of(pair[0], frame, requirement=requirement, level=level, encoding=ENCODING,
                    **options)  # fmt: skip


def found_of(pair, frame, groups=(), **options):
    claim = claimed(pair, frame, groups=groups, **options)
    parts = parts_of(frame, SPEC.widths, ENCODING, groups, "standardised", frame)
    return findings(claim, pair[1], 5, parts, list("abcd"))


def test_rates_and_flips_of_groups_are_those_of_a_loop(pair, frame):
    part = parts_of(frame, SPEC.widths, ENCODING, ("sex",), "standardised", frame)["sex"]
    p, q = (special.softmax(logits(one, part.x), -1) for one in pair)
    found = outcomes(Judged(p, q), part, 0.05)
    yes = (frame.label == "yes").to_numpy()
    largest = max((q[frame.sex == sex].argmax(1) == 1).mean() for sex in "fm")
    for one, sex in zip(found, "fm", strict=True):
        inside = (frame.sex == sex).to_numpy()
        assert (one["class"], one["group"], one["rows"]) == ("yes", sex, inside.sum())
        before, after = (x.argmax(1) == 1 for x in (p, q))
        assert one["flipped_to"] == (inside & ~before & after).sum()
        assert one["flipped_from"] == (inside & before & ~after).sum()
        for when, decided, x in (("before", before, p), ("after", after, q)):
            rates = {"selection_rate": decided[inside], "accuracy": (decided == yes)[inside],
                     "true_positive_rate": decided[inside & yes],
                     "false_positive_rate": decided[inside & ~yes],
                     "label_rate": yes[inside]}  # fmt: skip
            for name, values in rates.items():
                np.testing.assert_allclose(one[when][name]["rate"], values.mean(), err_msg=name)
                assert one[when][name]["low"] < values.mean() < one[when][name]["high"]
            np.testing.assert_allclose(one[when]["predicted"], x[inside, 1].mean())
        own = one["after"]
        assert own["impact_ratio"] == own["selection_rate"]["rate"] / largest
    assert max(one["after"]["impact_ratio"] for one in found) == 1.0


def test_calibration_is_the_distance_of_probabilities_and_shares():
    rng = np.random.default_rng(0)
    p = rng.random(500)
    y = (rng.random(500) < p**2).astype(int)
    found = calibration(np.stack([1 - p, p], 1), y, 1)
    expected = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (p >= low) & (p < low + 1 / BINS)
        expected += inside.mean() * abs(p[inside].mean() - y[inside].mean())
    np.testing.assert_allclose(found["error"], expected)
    assert sum(one["rows"] for one in found["bins"]) == 500
    certain = calibration(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([1, 0]), 1)
    assert certain["error"] == 0.0 and len(certain["bins"]) == 2


def test_features_and_weights_that_went_are_named_and_counted(pair, frame):
    found = found_of(pair, frame)
    assert found["features_removed"] == ["a"] and found["features_read"] == list("bcd")
    first, second, third, last = found["layers"]
    names = ("features to hidden layer 1", "hidden layer 1 to outputs", "biases of hidden layer 1",
             "biases of outputs")  # fmt: skip
    assert tuple(one["name"] for one in found["layers"]) == names
    assert (first["numbers"], first["removed"], first["changed"]) == (32, 8, 0)
    assert (second["numbers"], second["removed"], second["changed"]) == (16, 4, 2)
    assert (third["numbers"], third["removed"], third["changed"]) == (8, 0, 0)
    assert (last["numbers"], last["removed"], last["changed"]) == (2, 0, 1)
    old = np.asarray(pair[0].params.weights[1])
    change = np.abs(old[3]).sum() * 0.5 / np.abs(np.delete(old, [0, 1], 0)).sum()
    np.testing.assert_allclose(second["relative_change"], change, rtol=1e-5)


def test_what_the_rows_cannot_tell_is_said(pair, frame):
    found = found_of(pair, frame, groups=("sex", "race"))
    assert list(found["groups"]) == ["sex", "race", "sex and race"]
    assert len(found["groups"]["sex and race"]) == 6
    said = " ".join(found["unknown"])
    assert re.search(r"w \(race\): \d+ rows, fewer than 2% of all\.", said)
    assert re.search(
        r"w \(race\): \d rows whose label is yes; its true positive rate is next", said
    )
    assert "f (sex)" not in said
    gone = frame[~((frame.sex == "f") & (frame.race == "w"))]
    said = found_of(pair, gone, groups=("sex", "race"))["unknown"]
    assert "f, w (sex and race): no rows; nothing can be said about this group." in said


def test_without_labels_what_they_tell_is_left_out(pair, frame):
    found = found_of(pair, frame.drop(columns="label"), requirement="jsd")
    assert found["overall"].keys() == {"rows", "flipped"}
    assert found["groups"]["sex"][0]["after"].keys() == {
        "selection_rate", "predicted", "impact_ratio",
    }  # fmt: skip


def test_networks_of_other_layers_are_refused(pair, frame):
    other = network_of(random_stack(MLPSpec((4, 6, 2)), 1))
    with pytest.raises(ValueError, match=r"edited: found layers .* expected those of the original"):
        found_of((pair[0], other), frame)


@pytest.fixture(scope="module")
def release():
    """What a report reads of an editor."""
    return types.SimpleNamespace(
        names=("equalised_odds",),
        features=tuple("abcd"),
        encoding=ENCODING,
        about={},
        requirement=("m.equalised_odds",),
    )


def edit_at(network, lam, value, jsd):
    values = {"equalised_odds": value, "jsd": jsd}
    return Edited(None, network, (), (), (lam,), values, values, (), np.zeros((0, 2)))


def reported(folder, pair, frame, release, purpose="asked by <b>nobody</b>", groups=("sex",)):
    """A report of an edit that was made by hand, and its files in a folder."""
    folder.mkdir()
    for name, network in (("model.npz", pair[0]), ("edited.npz", pair[1])):
        files.write(network, folder / name)
    frame.to_csv(folder / "rows.csv", index=False)
    rows = pd.read_csv(folder / "rows.csv")
    claim = claimed(pair, parted(rows, 0)[1], level=0.3, groups=groups, whole=rows)
    order = tuple(edit_at(pair[1], 0.1 * n, 0.05 * n, 0.1 / n) for n in range(1, 6))
    found = CertifiedEdit(order[2], in_order(claim, pair[1], 5), claim, 300, order, 3)
    places = {
        "files": {
            what: {"file": name, "sha256": digest_of(folder / name)}
            for what, name in (
                ("original", "model.npz"),
                ("data", "rows.csv"),
                ("edited", "edited.npz"),
            )
        },
        "editor": {"name": "by-hand", "sha256": "0" * 64},
    }
    asked = report.Asked("eod<=0.3", 0.95, tuple(groups), tuple(groups), purpose=purpose)
    content = report.content(release, asked, found, rows, places) | ABOUT
    write_json(folder / "report.json", content)
    (folder / "report.html").write_text(render(content, digest_of(folder / "report.json")))
    return read_json(folder / "report.json")


@pytest.fixture(scope="module")
def place(tmp_path_factory, pair, frame, release):
    folder = tmp_path_factory.mktemp("audit") / "one"
    reported(folder, pair, frame, release)
    return folder


@pytest.fixture
def stored(place):
    return read_json(place / "report.json")


def test_the_report_is_of_its_schema_and_what_is_not_is_refused(stored):
    path = pathlib.Path("report.json")
    report.check(stored, path)
    for change in (
        lambda one: one.pop("findings"),
        lambda one: one["asked"].update(confidence=1.5),
        lambda one: one["findings"].update(more=1),
        lambda one: one["files"]["data"].update(sha256="short"),
    ):
        other = copy.deepcopy(stored)
        change(other)
        with pytest.raises(UserError, match=r"report.json: found \$.*expected a report of") as said:
            report.check(other, path)
        assert "\n" not in str(said.value)


def test_the_page_needs_no_script_no_network_and_no_other_file(stored):
    page = render(stored, "d" * 64)
    assert len(page.encode()) < 2**20 and "d" * 64 in page
    assert not re.search(r"<script|<link|<img|@import|<iframe|\son\w+=", page)
    assert not re.findall(r"(?:href|src)=\"(?!#)", page)
    assert "asked by &lt;b&gt;nobody&lt;/b&gt;" in page
    names = re.findall(r'\sid="([^"]+)"', page)
    assert len(names) == len(set(names))
    used = re.findall(r"(?:url\(|href=\")#([^)\"]+)", page)
    assert used and set(used) <= set(names)
    assert page.count("<table>") == page.count("<caption>") > 5
    assert page.count("<svg") == page.count('role="img"') == page.count("<figcaption>") == 4
    assert render(stored, "d" * 64) == page


def test_the_page_has_the_numbers_of_the_report(stored):
    page = render(stored, "d" * 64)
    found = stored["findings"]
    assert ("Not certified: equalised odds" in page) == (not found["certified"])
    for one in found["bounds"]:
        assert f"<td>{one['estimate']:.4g}</td>" in page
        assert one["exact"] or float(above(one["upper"])) >= one["upper"]
        asked = one["name"] == "equalised_odds" and found["certified"]
        bound = "0.3" if asked else f"{one['upper']:.4g}" if one["exact"] else above(one["upper"])
        assert f"<td>{bound}</td>" in page
    for group in found["groups"]["sex"]:
        rate = group["after"]["true_positive_rate"]
        assert f"{100 * rate['rate']:.1f} (" in page and interval(rate) in page
    assert "no longer used:</strong> a." in page


def test_a_page_without_labels_or_groups_is_whole(tmp_path, pair, frame, release):
    stored = reported(tmp_path / "few", pair, frame, release, purpose="")
    for group in stored["findings"]["groups"]["sex"]:
        for when in ("before", "after"):
            for kind in ("accuracy", "true_positive_rate", "false_positive_rate", "label_rate"):
                del group[when][kind]
        group["after"]["selection_rate"]["rate"] = group["after"]["impact_ratio"] = None
    del stored["findings"]["overall"]["before"], stored["findings"]["overall"]["after"]
    page = render(stored, "d" * 64)
    assert "The rows have no labels" in page and "<td>unknown</td>" in page
    assert "(not said)" in page


# experiments.verify


def verify(place, *flags, **changes):
    given = {"model": place / "edited.npz", "data": place / "rows.csv"} | changes
    return [str(place / "report.json"), *(f"--{k}={v}" for k, v in given.items()), *flags]


def verified(commands):
    return run_commands("experiments.verify", "_main", [(one, {}) for one in commands])


def copied(place, folder):
    shutil.copytree(place, folder)
    return folder


def forged(folder, change):
    """A report whose checksum is right, with something changed."""
    path = folder / "report.json"
    stored = read_json(path)
    change(stored)
    write_json(path, stored)


def rehashed(folder, what, name):
    def change(stored):
        stored["files"][what]["sha256"] = digest_of(folder / name)

    forged(folder, change)


def test_a_report_is_what_verify_computes_and_every_change_is_found(place, tmp_path, pair):
    cases, commands = [], []

    def case(name, status, message, *flags):
        folder = copied(place, tmp_path / name)
        cases.append((name, status, message))
        commands.append(verify(folder, *flags))
        return folder

    folder = case("same", 0, "report.html\nnot checked: date, command")
    folder = case("no-page", 0, "alternatives, report.html, which is not there")
    (folder / "report.html").unlink()
    folder = case("page", 1, "report.html: found another page than that of")
    text = (folder / "report.html").read_text()
    (folder / "report.html").write_text(text.replace("Certified: ", "Certified by us: "))
    case("other-page", 2, "absent.html: found FileNotFoundError", "--page=absent.html")

    folder = case("weight", 1, "files.edited: the report is of a file with SHA-256")
    params = pair[1].params
    first = np.array(params.weights[0])
    first[1, 5] *= 1.01
    one = dataclasses.replace(pair[1], params=params.replace(weights=(first, params.weights[1])))
    files.write(one, folder / "edited.npz")
    shutil.copy(folder / "edited.npz", tmp_path / "changed.npz")

    folder = case("weight-and-digest", 1, "findings.bounds[2].estimate: found 0.")
    shutil.copy(tmp_path / "changed.npz", folder / "edited.npz")
    rehashed(folder, "edited", "edited.npz")

    folder = case("bias-and-digest", 1, "findings.bounds[2].estimate: found 0.")
    biases = (params.biases[0] + np.float32([0, 0, 0, 0, 0, 0, 0, 0.1]), params.biases[1])
    one = dataclasses.replace(pair[1], params=params.replace(biases=biases))
    files.write(one, folder / "edited.npz")
    rehashed(folder, "edited", "edited.npz")

    folder = case("row", 1, "files.data: the report is of a file with SHA-256")
    lines = (folder / "rows.csv").read_text().splitlines(keepends=True)
    (folder / "rows.csv").write_text("".join(lines[:-1]))

    folder = case("row-and-digest", 1, "rows.total: found 1200 in the report, computed 1199")
    (folder / "rows.csv").write_text("".join(lines[:-1]))
    rehashed(folder, "data", "rows.csv")

    folder = case("level", 1, "asked.level: found 0.2 in the report, computed 0.3")
    forged(folder, lambda stored: stored["asked"].update(level=0.2))

    folder = case("confidence", 1, "findings.")
    forged(folder, lambda stored: stored["asked"].update(confidence=0.5))

    folder = case("planned", 2, "found tests.planned: 4, 5 alternatives")
    forged(folder, lambda stored: stored["tests"].update(planned=4))

    def rate(stored):
        stored["findings"]["groups"]["sex"][1]["after"]["accuracy"]["count"] += 1

    folder = case("rate", 1, "findings.groups.sex[1].after.accuracy.count: found ")
    forged(folder, rate)

    folder = case("verdict", 1, "findings.certified: found ")
    forged(folder, lambda stored: stored["findings"].update(
        certified=not stored["findings"]["certified"]))  # fmt: skip

    folder = case("known-editor", 1, "editor.requirement[0]: found", "--editor=adult-dm")
    digest = release_digest("adult-dm")
    forged(folder, lambda stored: stored["editor"].update(sha256=digest))

    folder = case("number", 2, "found content that its sha256 does not fit")
    text = (folder / "report.json").read_text()
    (folder / "report.json").write_text(text.replace('"tested_on": 900', '"tested_on": 901'))

    folder = case("empty", 2, "found no JSON")
    (folder / "report.json").write_text("")

    folder = case("other-json", 2, "found $: 'schema' is a required property")
    write_json(folder / "report.json", {"kind": "edit report"})

    folder = case("no-original", 2, "--original: found nothing, and no model.npz with SHA-256")
    (folder / "model.npz").unlink()

    case("absent", 2, "absent.npz: found no file to read", "--model=absent.npz")
    case("no-data", 2, "no-such.csv: found no file to read", "--data=no-such.csv")
    case("editor", 1, "editor: the report is of one with SHA-256 000", "--editor=adult-dm")
    case("unread", 2, "--imports: found ['json'], expected it only with --editor", "--imports=json")
    absent = ("--editor=adult-dm", "--imports=absent_module")
    case("imports", 2, "--imports: found absent_module", *absent)

    commands += [[], ["a", "b"]]
    cases += [("none", 2, "found no file, expected report.json"), ("two", 2, "found 'b', expected")]
    for (status, out, err), (name, expected, message) in zip(
        verified(commands), cases, strict=True
    ):
        assert status == expected, (name, out, err)
        assert message in out + err, (name, out, err)
        assert "Traceback" not in err


def test_differences_are_named_by_their_place():
    found = {"a": [{"b": 1.0}, {"b": 2}], "c": True}
    assert report.difference(found, found) == ""
    for change, place in (
        ({"a": [{"b": 1.0}, {"b": 3}], "c": True}, "a[1].b: found 3 in the report, computed 2"),
        ({"a": [{"b": 1.1}, {"b": 2}], "c": True}, "a[0].b: found 1.1"),
        ({"a": [{"b": 1.0}], "c": True}, "a: found 1 entries"),
        ({"a": found["a"], "c": 1}, "c: found 1 in the report, computed true"),
        ({"a": found["a"], "c": None}, "c: found null"),
        ({"a": found["a"]}, ": found a in the report, computed a, c"),
        ({"a": {}, "c": True}, "a: found {} in the report"),
    ):
        assert report.difference(change, found).startswith(place)
    assert report.difference({"b": 1.0 + 1e-9}, {"b": 1.0}) == ""
    assert report.difference({"b": float("nan")}, {"b": 1.0}) != ""


DATA = pathlib.Path(os.environ.get("METANET_DATA", "absent"))


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="needs the published tables")
@pytest.mark.parametrize(
    ("dataset", "name"), [("adult", "adult-fairness"), ("bank", "bank-pruning")]
)
def test_the_reports_in_docs_are_what_their_files_say(dataset, name, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(ROOT / "examples")
    data = load(dataset, None, 0)
    rows = importlib.import_module("audit").as_published(data.encoding, data.test)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    folder = ROOT / "docs" / "reports" / name
    ((status, out, err),) = verified([verify(
        folder, model=folder / "model.npz", original=folder / "original.npz",
        data=tmp_path / "rows.csv",
    )])  # fmt: skip
    assert status == 0, out + err
    page = render(read_json(folder / "report.json"), digest_of(folder / "report.json"))
    drawn = re.compile("<svg.*?</svg>", re.DOTALL)  # which versions of matplotlib draw differently
    assert drawn.sub("", page) == drawn.sub("", (folder / "report.html").read_text())


HOSTILE = [  # key, value, what is said
    ("tests.planned", 10**400, "$.tests.planned"),
    ("tests.tested", 9, "tests.tested: 9 of 5"),
    ("asked.level", 10**400, "$.asked.level"),
    ("asked.level", -1, "$.asked.level"),
    ("asked.confidence", 1e-300, "$.asked.confidence"),
    ("asked.newton", 10**30, "$.asked.newton"),
    ("asked.refine", 2.0, "$.asked.refine"),
    ("asked.require", "eod", "asked.require: found 'eod'"),
    ("asked.require", "speed<=0.3", "requirement: found 'speed'"),
    ("asked.report_by", ["town"], "report_by: found no column town"),
    ("asked.groups", ["sex", "sex"], "groups: found sex twice"),
    ("asked.groups", ["a"], "intersections, expected 2 to 30"),
    ("findings.bounds.2.estimate", 10**400, "$.findings.bounds[2].estimate"),
    ("rows.seed", 5, "$.rows.seed"),
    ("alternatives.2.this", False, "alternatives: 0 of this edit"),
    ("files.original.file", "../model.npz", "$.files.original.file"),
    ("files.original.file", "x" * 5000, "$.files.original.file"),
    ("encoding.group.codes", [0, 10**12], "expected 2 from 0, below 2"),
    ("encoding.features.0.std", 0.0, "std 0.0 of a"),
    ("encoding.features.0.column", "town", 'no column "town"'),
    ("encoding.classes", ["no", "maybe"], 'the class "yes"'),
    ("encoding.classes", ["no", "yes", "maybe"], "found 3 classes, expected 2"),
    ("encoding", {}, "encoding"),
]


@pytest.mark.slow
def test_reports_that_ask_for_the_impossible_are_refused_in_one_line(place, tmp_path):
    commands = []
    for number, (key, value, _) in enumerate(HOSTILE):
        folder = copied(place, tmp_path / str(number))

        def change(stored, key=key, value=value):
            *path, last = (int(one) if one.isdigit() else one for one in key.split("."))
            for one in path:
                stored = stored[one]
            stored[last] = value

        forged(folder, change)
        commands.append(verify(folder))
    unsealed = copied(place, tmp_path / "unsealed")
    text = read_json(unsealed / "report.json")
    (unsealed / "report.json").write_text(json.dumps(text))
    commands.append(verify(unsealed))
    cases = [*HOSTILE, ("sha256", None, "found no sha256")]
    named = copied(place, tmp_path / "named")
    forged(named, lambda stored: stored["encoding"]["group"].update(
        name="sex\nthe same: encoding\x1b[8m"))  # fmt: skip
    forged(named, lambda stored: stored["asked"].update(report_by=[]))
    *ended, (_, out, err) = verified([*commands, verify(named)])
    assert "\x1b" not in out + err and "\nthe same: encoding" not in out + err
    for (status, _, err), (key, value, message) in zip(ended, cases, strict=True):
        lines = [line for line in err.splitlines() if " columns are separated by " not in line]
        assert status == 2 and len(lines) == 1 and "Traceback" not in err, (key, err)
        assert lines[0].startswith("error: ") and message in lines[0], (key, str(value)[:40], err)


def test_numbers_are_rounded_to_the_safe_side():
    assert (above(0.123449), above(0.2), above(0.0), above(1.0)) == ("0.1235", "0.2001", "0.0000",
                                                                   "1.000")  # fmt: skip
    assert [exact_percent(one) for one in (0.95, 0.9999, 0.5)] == ["95%", "99.99%", "50%"]
    assert interval({"rate": 0.0002, "low": 0.0, "high": 0.0004}) == "0.0 (0.0 to 0.1)"
    assert interval({"rate": None, "low": 0, "high": 1}) == "unknown"


NAMES = ["$a_$", "$10k to $20k", "tier url(#1)", "<b>&\x07", "x" * 300, "ä, ö"]


def test_names_of_groups_may_be_anything(tmp_path, pair, frame, release):
    named = frame.assign(team=np.array(NAMES)[np.arange(len(frame)) % len(NAMES)])
    stored = reported(tmp_path / "named", pair, named, release, groups=("team",))
    page = render(stored, "d" * 64)
    assert "tier url(#1)" in page and "$10k to $20k" in page
    for one in re.findall("<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(one)


# A real browser


@pytest.mark.slow
def test_a_browser_without_network_shows_the_page_and_an_accessibility_check_passes(place, stored):
    commands = shutil.which("chromium") and shutil.which("node")
    if not commands or not (BROWSER / "node_modules").is_dir():
        pytest.skip("needs chromium, node and `npm ci` in tests/browser")
    (place / "report.html").write_text(render(stored, "d" * 64))
    done = subprocess.run(["node", BROWSER / "check.mjs", place / "report.html"],
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["console"] == [] and found["violations"] == [] and found["passes"] > 20
    assert {one.partition(":")[0] for one in found["requests"]} == {"file"}
    assert len(found["figures"]) == 4 and min(map(min, found["figures"])) > 100
    assert found["pages"] <= 8
    assert found["widths"] == {"1200": 1200, "360": 360}  # nothing sticks out
    assert found["headings"][0] == "H1" and found["headings"].count("H1") == 1


def test_an_imported_model_may_be_audited_that_nothing_restores(pair, frame):
    source = Imported(pair[1], lambda network: network)
    assert claimed(pair, frame).edited(source, ENCODING) is pair[1]
