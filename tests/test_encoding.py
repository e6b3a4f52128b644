"""The encoding of a table: a later one is encoded as the first was, or refused with all reasons."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers import assert_same
from test_data import ADULT_DATA, ADULT_TEST, BANK

from metanet import data
from metanet.core import UserError
from metanet.data import TableConfig, files, synthetic, tabular, uci
from metanet.data.encoding import Encoding, Feature, Group

ROWS = 80


@pytest.fixture
def frame():
    """A table with every kind of feature, without missing values."""
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        "age": rng.integers(18, 90, ROWS),
        "income": rng.normal(30_000, 9_000, ROWS),
        "town": np.array(["Bonn", "Ulm", "Jena"])[np.arange(ROWS) % 3],
        "member": rng.random(ROWS) < 0.5,
        "since": pd.Timestamp("2001-02-03") + pd.to_timedelta(rng.integers(0, 999, ROWS), "D"),
        "paid": np.array(["no", "yes", "late"])[rng.integers(0, 3, ROWS)],
    })  # fmt: skip


@pytest.fixture
def fitted(frame, tmp_path):
    """The table as a dataset, from a file: with cut points, rare categories and imputation."""

    def fit(group="town", holes=(), **said):
        frame.loc[list(holes), ["age", "town"]] = np.nan
        path = tmp_path / "people.csv"
        frame.to_csv(path, index=False, date_format="%Y-%m-%d")
        table = TableConfig(label="paid", **said)
        return data.load(str(path), group, 0, table)

    return fit


def parts_of(found):
    """The tables of a dataset, and the rows of the whole that they have."""
    order = np.random.default_rng(0).permutation(ROWS)
    parts = np.split(order, [ROWS * 6 // 10, ROWS * 7 // 10, ROWS * 8 // 10])
    return zip((found.train, found.edit, found.select, found.test), parts, strict=True)


@pytest.mark.parametrize("said", [
    {}, {"group": "age", "groups": {"age": (25.0, 60.0)}}, {"rare": 27}, {"drop": ("town",)},
    {"missing": "impute", "holes": (1, 5, 60)}, {"missing": "indicator", "holes": range(0, 80, 3)},
])  # fmt: skip
def test_rows_are_encoded_as_they_were_in_training(said, fitted, tmp_path):
    found = fitted(**said)
    later = files.read_like(tmp_path / "people.csv", found.encoding)
    later = later.assign(more="unread")[[*later.columns[::-1]]]
    encoded = found.encoding.encode(later, "later.csv")
    assert encoded.x.dtype == np.float32 and encoded.y.dtype == encoded.group.dtype == np.int32
    for table, rows in parts_of(found):
        assert_same(table, type(table)(encoded.x[rows], encoded.y[rows], encoded.group[rows],
                                       encoded.weight[rows], encoded.n_groups))  # fmt: skip


def test_a_frame_of_types_and_one_of_texts_are_encoded_alike(frame, fitted):
    encoding = fitted().encoding
    texts = frame.astype(str).assign(since=frame["since"].dt.strftime("%Y-%m-%d"))
    typed = frame.assign(town=frame["town"].astype("category"), age=frame["age"].astype(float))
    assert_same(encoding.encode(typed, "typed"), encoding.encode(texts, "texts"))
    padded = texts.assign(town="  " + texts["town"] + " ").rename(columns={"town": " town"})
    assert_same(encoding.encode(padded, "padded"), encoding.encode(texts, "texts"))


def test_label_and_group_are_optional(frame, fitted):
    encoding = fitted(drop=("town",)).encoding
    whole = encoding.encode(frame, "whole")
    assert whole.y.any() and whole.group.any()
    bare = encoding.encode(frame.drop(columns=["paid", "town"]), "bare")
    np.testing.assert_array_equal(bare.x, whole.x)
    assert not bare.y.any() and not bare.group.any() and bare.n_groups == 3


def test_all_differences_are_in_one_line(frame, fitted):
    encoding = fitted().encoding
    bad = frame.drop(columns=["income"]).astype({"age": object, "member": object})
    bad["age"] = bad["age"].where(bad.index != 3, "old")
    bad["town"] = bad["town"].where(bad.index != 4, "Rome")
    bad["since"] = bad["since"].where(bad.index != 5)
    bad["paid"] = bad["paid"].where(bad.index != 6, "never")
    with pytest.raises(UserError) as caught:
        encoding.encode(bad, "later.csv")
    message = str(caught.value)
    assert message.startswith("later.csv: found ") and "\n" not in message
    for said in [
        'no column "income"', 'in column "age" "old", expected numbers',
        'in column "town" "Rome", expected known categories', '"Rome" of no group',
        'in column "since" 1 missing values', 'the class "never"',
    ]:  # fmt: skip
        assert said in message
    for wrong, said in [
        (frame[:0], "no rows"),
        (pd.concat([frame, frame[["age"]]], axis=1), 'columns "age" twice'),
        (frame.assign(age=np.inf), '"inf", expected numbers'),
        (frame.assign(age=1e300), 'column "age" numbers too large'),
        (frame.assign(member=2), '"2", expected true or false'),
        (frame.assign(paid=None), "no class in some rows"),
    ]:
        with pytest.raises(UserError, match=said):
            encoding.encode(wrong, "later.csv")


def test_a_new_category_is_rare_where_there_are_rare_ones(frame, fitted):
    frame.loc[:1, "town"] = "Kiel"
    encoding = fitted(rare=5).encoding
    place = next(i for i, one in enumerate(encoding.features) if one.name == "town")
    new = encoding.encode(frame.assign(town="Rome"), "later.csv")
    old = encoding.encode(frame, "later.csv")
    assert set(new.x[:, place]) == set(old.x[:2, place])
    assert set(new.group) == {encoding.group.categories.index("(rare)")}


def test_missing_values_become_those_of_training(frame, fitted):
    encoding = fitted(missing="indicator", holes=range(0, 80, 4)).encoding
    names = [feature.name for feature in encoding.features]
    later = frame.assign(age=np.nan, income=np.nan, group="Ulm")
    table = encoding.encode(later, "later.csv")
    x = table.x * [one.std for one in encoding.features] + [one.mean for one in encoding.features]
    for name in ("age", "income"):
        place = names.index(name)
        np.testing.assert_allclose(x[:, place], encoding.features[place].fill, rtol=1e-5)
    np.testing.assert_allclose(x[:, names.index("age is missing")], 1, rtol=1e-5)


def test_a_number_may_stand_for_a_missing_value_in_every_form(frame, fitted):
    frame.loc[[2, 3], "age"] = -9
    encoding = fitted(missing="indicator", missing_values=("-9", "")).encoding
    place = [one.name for one in encoding.features].index("age is missing")
    texts = frame.astype(str).assign(since=frame["since"].dt.strftime("%Y-%m-%d"))
    for later in (frame, frame.astype({"age": float}), texts):
        x = encoding.encode(later, "later").x
        assert np.flatnonzero(x[:, place] > 1).tolist() == [2, 3]
        np.testing.assert_array_equal(x, encoding.encode(frame, "frame").x)


def test_values_that_are_none_are_refused(frame, fitted):
    encoding = fitted().encoding
    for wrong in ([[1, 2]] * ROWS, [{}] * ROWS, [b"x"] * ROWS, [object] * ROWS):
        for name in ("age", "town", "since", "member"):
            with pytest.raises(UserError, match=f'in column "{name}"'):
                encoding.encode(frame.assign(**{name: wrong}), "later")


def test_an_encoding_is_as_json_has_it(fitted):
    for said in ({}, {"group": None}, {"missing": "indicator", "holes": (1, 2), "rare": 27}):
        encoding = fitted(**said).encoding
        stored = encoding.to_json()
        assert json.loads(json.dumps(stored)) == stored
        assert Encoding.from_json(stored, "encoding.json") == encoding


def changed(stored, path, value):
    *outer, last = path
    inner = stored = json.loads(json.dumps(stored))
    for key in outer:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return stored


def test_a_stored_encoding_is_read_strictly(fitted):
    stored = fitted().encoding.to_json()
    for path, value, said in [
        (["label"], None, "with no label, expected the keys"),
        (["colour"], "red", "with an unknown colour"),
        (["features", 0, "std"], None, "features.0 with no std"),
        (["features", 0, "unit"], "years", "features.0 with an unknown unit"),
        (["features", 0, "kind"], "text", "features.0.kind 'text', expected one of number"),
        (["features", 0, "mean"], "3", "features.0.mean '3', expected a finite float"),
        (["features", 0, "mean"], float("nan"), "features.0.mean nan"),
        (["features", 0, "std"], 0.0, "std 0.0 of age, expected more than 0"),
        (["features", 0, "categories"], ["x"], "a number with 1 categories"),
        (["features", 2, "categories"], ["x", "x"], "every one once"),
        (["features"], {}, "features {}, expected a list"),
        (["group", "codes"], [0], r"codes \(0,\) of group town, expected 3"),
        (["classes", 0], 1, "classes.0 1, expected a value of type str"),
        (["version"], 2, "an encoding of version 2, expected 1"),
        (["notation", "decimal"], None, "notation with no decimal"),
    ]:
        with pytest.raises(UserError, match=f"^editor.json: .*{said}") as caught:
            Encoding.from_json(changed(stored, path, value), "editor.json")
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"editor.json: found \[\], expected an encoding"):
        Encoding.from_json([], "editor.json")


@pytest.mark.parametrize("group", ["sex", "white", "race"])
def test_adult_is_encoded_from_its_own_columns(group):
    raw = uci.parse_adult(ADULT_DATA * 9, ADULT_TEST)
    people = [line.split(", ") for line in (ADULT_DATA * 9).decode().split("\n") if line]
    frame = pd.DataFrame(people, columns=uci.ADULT_COLUMNS)
    frame.loc[len(frame)] = ADULT_TEST.decode().split("\n")[1].rstrip(".").split(", ")
    found = tabular.split(raw, group, 0)
    encoded = found.encoding.encode(frame, "adult")
    order = np.random.default_rng(0).permutation(len(frame))[: len(found.train.y)]
    for name in ("x", "y", "group"):
        np.testing.assert_array_equal(getattr(encoded, name)[order], getattr(found.train, name))
    work = found.encoding.features[1]
    assert (work.kind, work.categories) == ("category", ("?", "Private", "State-gov"))


@pytest.mark.parametrize("group", ["age_25_59", "marital"])
def test_bank_is_encoded_from_its_own_columns(group):
    header, rows = BANK.split(b"\n", 1)
    content = header + b"\n" + rows * 4
    found = tabular.split(uci.parse_bank(content), group, 0)
    frame = pd.DataFrame([line.replace('"', "").split(";") for line in content.decode().split()])
    frame = frame.rename(columns=frame.iloc[0])[1:]
    encoded = found.encoding.encode(frame, "bank")
    order = np.random.default_rng(0).permutation(len(frame))[: len(found.train.y)]
    for name in ("x", "y", "group"):
        np.testing.assert_array_equal(getattr(encoded, name)[order], getattr(found.train, name))


def test_a_dataset_without_names_of_categories_has_numbers():
    raw = synthetic.synthetic(rows=100)
    found = tabular.split(raw, "group", 0)
    assert {one.kind for one in found.encoding.features} == {"number"}
    frame = pd.DataFrame(raw.x, columns=raw.features)
    frame["label"] = np.array(raw.classes)[raw.y]
    encoded = found.encoding.encode(frame, "synthetic")
    order = np.random.default_rng(0).permutation(100)[80:]
    for name in ("x", "y", "group"):
        np.testing.assert_array_equal(getattr(encoded, name)[order], getattr(found.test, name))


def test_a_function_may_leave_missing_values_to_the_split():
    raw = synthetic.synthetic(rows=100)
    raw.x[3:9, 1] = np.nan
    with pytest.raises(UserError, match="x that is not finite"):
        tabular.split(raw, "group", 0)
    found = tabular.split(tabular.Raw(**vars(raw) | {"impute": True}), "group", 0)
    rows = np.random.default_rng(0).permutation(100)[:60]
    assert found.encoding.features[1].fill == np.nanmedian(raw.x[rows, 1])
    assert np.isfinite(found.test.x).all()


def test_parts_of_an_encoding_are_checked_when_they_are_made():
    for call, said in [
        (lambda: Feature("a", "a", "category"), "a category with 0 categories"),
        (lambda: Group("g", "g", (), (2.0, 1.0), (0, 1, 2)), r"cuts \(2.0, 1.0\)"),
        (lambda: Group("g", "g", ("a", "b"), (), (0,)), r"codes \(0,\)"),
    ]:
        with pytest.raises(UserError, match=said):
            call()
