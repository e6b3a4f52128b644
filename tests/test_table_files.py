"""Tables of one's own: read, guessed where that is safe, or refused in one line with a remedy."""
# ruff: noqa: E501 (tables of faults have one a line)

import gzip
import logging
import os
import pathlib

import numpy as np
import pandas as pd
import pytest
from test_data import ADULT_DATA, ADULT_TEST

from configs import dm, fairness, pruning
from configs.tasks import config_of
from experiments import launch, settings
from metanet import data
from metanet.core import UserError
from metanet.data import TableConfig, files, uci
from metanet.objectives.fairness import equalised_odds
from metanet.pipeline.checks import check_data
from metanet.pipeline.config import ExperimentConfig
from metanet.pipeline.recipes import check_recipes_on_data
from metanet.pipeline.testbed import slug_of

HEAD = "size,price,colour,label\n"
ROWS = [f"{i % 7},{i * 0.5},{'red blue'.split()[i % 2]},{'no yes'.split()[i // 2 % 2]}"
        for i in range(60)]  # fmt: skip
GOOD = HEAD + "\n".join(ROWS) + "\n"


def with_rows(*rows, head=HEAD):
    return head + "\n".join([*rows, *ROWS]) + "\n"


@pytest.fixture
def write(tmp_path):
    """Writes a table, and perhaps the settings beside it; its path."""

    def write(content=GOOD, toml=None, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if toml is not None:
            files.toml_of(path).write_text(toml)
        return str(path)

    return write


def load(path, group=None, **said):
    return data.load(path, group, 0, TableConfig(**said))


def column_of(found, name):
    """The numbers of a feature before standardisation, in all tables."""
    place = found.features.index(name)
    x = np.concatenate([t.x[:, place] for t in (found.train, found.edit, found.select, found.test)])
    return x * found.std[place] + found.mean[place]


def refused(call, said):
    with pytest.raises(UserError, match=said) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 1000


def test_a_messy_table_is_read_and_every_guess_is_logged(write, caplog):
    head = ",size,price,copy,colour,member,since,one,empty,label\n"
    rows = [
        f"r{i},{i % 7},{i * 0.5 + 1},{i * 0.5 + 1},{'red blue'.split()[i % 2]},"
        f"{'True FALSE'.split()[i % 3 == 0]},2020-02-{1 + i % 28:02d},7,,{i // 2 % 3}"
        for i in range(60)
    ]
    with caplog.at_level(logging.INFO):
        found = load(write(head + "\n".join(rows)))
    assert found.features == ("size", "price", "colour", "member", "since")
    kinds = [feature.kind for feature in found.encoding.features]
    assert kinds == ["number", "number", "category", "boolean", "date"]
    assert found.classes == ("0", "1", "2") and found.group is None
    assert sorted(set(np.rint(column_of(found, "since")))) == list(range(18293, 18321))
    assert set(np.rint(column_of(found, "member"))) == {0, 1}
    for said in [
        "separated by ,", "first column has no name", 'label is column "label", by its name',
        '"copy" has the same numbers as "price" and is left out', '"one" has one value',
        '"empty" has no values', "read as category: colour", "read as boolean: member",
        "read as date: since", "classes 0 (20 rows), 1 (20 rows), 2 (20 rows)",
    ]:  # fmt: skip
        (line,) = [text for text in caplog.messages if said in text]
        assert line.startswith(str(write())) and "\n" not in line


def test_categories_are_coded_as_those_of_adult(write):
    names = ",".join(uci.ADULT_COLUMNS) + "\n"
    people = f"{ADULT_DATA.decode().strip()}\n{ADULT_TEST.decode().strip().partition(chr(10))[2]}\n"
    path = write(names + people.replace(">50K.", ">50K") * 4)
    found = load(path, label="income", missing_values=(), features=uci.ADULT_COLUMNS[:-1])
    raw = uci.parse_adult(ADULT_DATA, ADULT_TEST)
    for place, name in enumerate(raw.features):
        assert set(np.rint(column_of(found, name))) == set(raw.x[:, place]), name
    assert found.classes == raw.classes
    wanted = {feature.name: feature.categories for feature in raw.columns}
    assert {one.name: one.categories for one in found.encoding.features} == wanted


FORMS = {
    "semicolons": GOOD.replace(",", ";"),
    "tabs": GOOD.replace(",", "\t"),
    "bars": GOOD.replace(",", "|"),
    "spaces": GOOD.replace(",", "  "),
    "spaces after commas": GOOD.replace(",", ", "),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "carriage returns": GOOD.replace("\n", "\r\n"),
    "quotes": GOOD.replace("red", '"red"').replace("size", '"size"'),
    "empty lines": GOOD.replace("\n", "\n\n"),
    "gzip": gzip.compress(GOOD.encode()),
    "no last line end": GOOD.strip(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_the_same_in_every_form(form, write):
    expected = load(write())
    found = load(write(FORMS[form], name=f"table.{'csv.gz' if form == 'gzip' else 'txt'}"))
    assert found.digest == expected.digest and found.encoding == expected.encoding


def test_numbers_may_have_commas_if_the_settings_say_so(write):
    rows = "\n".join(f"1.{100 + i},{i % 10};{'a b'.split()[i % 2]};{i % 3 // 2}" for i in range(60))
    path = write("price;kind;label\n" + rows)
    refused(lambda: load(path), r'"1.100,0".* in column "price", expected decimal = "," or')
    found = load(path, decimal=",", thousands=".")
    np.testing.assert_allclose(column_of(found, "price").min(), 1100.0, atol=1e-3)
    np.testing.assert_allclose(column_of(found, "price").max(), 1159.9, atol=1e-3)


def test_missing_values_are_refused_imputed_or_indicated(write):
    rows = [f"{'' if i % 5 == 0 else i % 7},1,{'?' if i % 6 == 0 else 'red'},{i % 2}"
            for i in range(30)]  # fmt: skip
    path = write(with_rows(*rows))
    refused(lambda: load(path), r'table.csv: found missing values in columns "size" \(6\), "colour" '
            r'\(5\), expected missing = "impute" or "indicator", or drop')  # fmt: skip
    imputed, marked = load(path, missing="impute"), load(path, missing="indicator")
    assert imputed.features == ("size", "price", "colour")
    assert marked.features == (*imputed.features, "size is missing", "colour is missing")
    assert column_of(marked, "size is missing").sum().round() == 6
    assert imputed.digest != marked.digest
    # Median and most frequent category are of the training rows alone.
    order = np.random.default_rng(0).permutation(90)[:54]
    frame = pd.read_csv(path, na_values=["?"]).iloc[order]
    size, _, colour = imputed.encoding.features
    assert size.fill == frame["size"].median()
    assert colour.categories[int(colour.fill)] == frame["colour"].mode()[0]
    assert size.mean == pytest.approx(frame["size"].fillna(size.fill).mean())


def test_rare_categories_are_one(write):
    path = write(with_rows("1,1,green,no", "1,1,pink,yes", "1,1,pink,no"))
    found = load(path, rare=3)
    colour = found.encoding.features[-1]
    assert colour.categories == ("(rare)", "blue", "red")
    assert (np.rint(column_of(found, "colour")) == 0).sum() == 3
    assert load(path).encoding.features[-1].categories == ("blue", "green", "pink", "red")


def test_a_group_is_a_feature_or_not_and_of_categories_or_cut_points(write):
    path = write()
    both, alone = load(path, "colour"), load(path, "colour", drop=("colour",))
    assert both.group == alone.group == "colour" and both.train.n_groups == 2
    assert "colour" in both.features and "colour" not in alone.features
    cut = load(path, groups={"price": (5.0, 10.0)})
    assert cut.train.n_groups == 3 and cut.group == "price"
    price = np.rint(2 * column_of(cut, "price")) / 2
    members = np.concatenate([t.group for t in (cut.train, cut.edit, cut.select, cut.test)])
    np.testing.assert_array_equal(members, (price >= 5).astype(int) + (price >= 10))
    toml = 'groups.price = [5, 10]\ndrop = ["size"]\n'
    beside = load(write(toml=toml))
    assert beside.digest == load(path, groups={"price": (5.0, 10.0)}, drop=("size",)).digest
    assert load(write(toml='groups = ["colour", "size"]')).group == "colour"


def test_rows_without_a_group_are_a_group_where_missing_values_are_allowed(write):
    path = write(with_rows("1,1,,no"))
    refused(lambda: load(path, "colour"), 'without a value in the group column "colour"')
    found = load(path, "colour", missing="impute")
    assert found.train.n_groups == 3
    assert found.encoding.group.categories == ("(missing)", "blue", "red")


def test_classes_are_in_the_order_of_numbers_or_letters(write):
    rows = [f"{i},{i % 5},x,{i % 11}" for i in range(0, 66, 1)]
    found = load(write(HEAD.replace("label", "Class") + "\n".join(rows)), drop=("colour",))
    assert found.classes == tuple(map(str, range(11)))
    assert load(write(GOOD.replace("yes", "TRUE").replace("no", "false"))).classes == ("false", "true")  # fmt: skip


REFUSED = {
    "nothing": ("", {}, "found nothing, expected column names and rows"),
    "names alone": (HEAD, {}, "column names and no rows"),
    "one column": ("label\n1\n2\n", {}, r'one column in the first line \("label"\).*separator'),
    "rubbish": (bytes(range(256)) * 4, {}, "bytes that are no text"),
    "another alphabet": (GOOD.replace("red", "rød").encode("latin1"), {}, "no UTF-8 text"),
    "an archive": (b"PK\x03\x04" + b"x" * 50, {}, "archive or workbook.*save the table as CSV"),
    "cut gzip": (gzip.compress(GOOD.encode())[:-9], {}, "end-of-stream"),
    "a short row": (GOOD + "1,2\n", {}, "found 2 values in row 62"),
    "a short row and imputing": (GOOD + "1,2\n", {"missing": "impute"}, "found 2 values in row 62"),
    "a long row": (GOOD + "1,2,red,no,9\n", {}, "Expected 4 fields in line 62, saw 5"),
    "long rows": (GOOD.replace("yes", "yes,9").replace("no\n", "no,9\n"), {}, "more values in a row"),
    "an open quote": (with_rows('1,1,"red,no'), {}, "EOF inside string"),
    "a name twice": (GOOD.replace("price", "size"), {}, 'the column name "size" twice'),
    "no name": (GOOD.replace("price", ""), {}, "no name for column 2"),
    "no names": (with_rows(head="1,2,3,4\n"), {}, 'column names "1", "2".*a first line with names'),
    "no label": (GOOD.replace("label", "fate"), {}, r'no label, expected label = "..." in table.toml'),
    "two labels": (GOOD.replace("size", "Y"), {}, 'columns "Y", "label" that may be the label'),
    "an unknown label": (GOOD, {"label": "fate"}, r'no column "fate" \(label\), expected some of "size"'),
    "an unknown column": (GOOD, {"drop": ("x",)}, r'no column "x" \(drop\)'),
    "one class": (GOOD.replace("yes", "no"), {}, 'class "no" alone in "label"'),
    "a row without a class": (with_rows("1,1,red,"), {"missing": "impute"}, "no class in 1 rows"),
    "numbers as classes": (GOOD, {"label": "price"}, '60 values of the label "price"'),
    "one group": (GOOD.replace("blue", "red"), {"groups": ("colour",)}, 'one group in the column "colour"'),
    "numbers as groups": (GOOD, {"groups": ("price",)}, r"cut points: groups.price = \[..., ...\]"),
    "an empty interval": (GOOD, {"groups": {"price": (99.0,)}}, 'no rows in group 1 of 2 of "price"'),
    "cut points of text": (GOOD, {"groups": {"colour": (1.0,)}}, '"red".* in the group column'),
    "names": (HEAD + "\n".join(f"1,{i % 3},n{i},{i % 2}" for i in range(60)), {}, r"60 different texts in column \"colour\".*drop = \['colour'\]"),
    "text among numbers": (with_rows("old,1,red,no"), {}, r'"old" among numbers in column "size".*missing_values'),
    "infinity": (with_rows("inf,1,red,no"), {}, '"inf" in column "size", expected finite numbers'),
    "an impossible date": (GOOD.replace("red", "2020-13-01").replace("blue", "2020-01-01"), {}, '"2020-13-01" in column "colour", expected dates'),
    "numbers beyond floats": (with_rows("1e308,1,red,no", "-1e308,1,red,no"), {}, 'too large or too small to standardise in "size"'),
    "one number beyond floats": (with_rows(*["1,1,red,no"] * 39, "1e300,1,red,no"), {}, 'too large or too small to standardise in "size"'),
    "no features": (GOOD, {"drop": ("size", "price", "colour")}, "no column that models could see"),
    "few rows": (HEAD + "\n".join(ROWS[:5]), {}, "samples: 5, expected at least 10"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_unusable_table_is_refused_with_a_remedy(name, write):
    content, said, expected = REFUSED[name]
    refused(lambda: load(write(content), **said), expected)


def test_unusable_paths_are_refused(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "book.xlsx").write_bytes(b"PK")
    os.mkfifo(tmp_path / "pipe.csv")
    for name, said in [
        ("none.csv", "No such file"), ("folder.csv", "a folder"), ("book.xlsx", "of another kind"),
        ("pipe.csv", "no regular file"),
        ("x" * 300 + ".csv", "File name too long"), ("a\0b.csv", "null byte"),
    ]:  # fmt: skip
        refused(lambda name=name: load(f"{tmp_path}/{name}"), f"{said}.*, expected a readable file that ends in")  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(write):
    path = write()
    os.chmod(path, 0)
    refused(lambda: load(path), "Permission denied")


TOMLS = {
    "no TOML": ("label = ", "table.toml: found no TOML"),
    "an unknown key": ("lable = 'x'", "key lable: found a key that nothing reads, expected some of cat"),
    "a number for text": ("label = 3", "key label: found 3, expected text"),
    "text for a list": ("drop = 'size'", "key drop: found 'size', expected a list"),
    "another policy": ("missing = 'zero'", "key missing: found 'zero', expected one of 'refuse', 'imp"),
    "no rows": ("rare = 0", "key rare: found 0, expected 1 or more rows"),
    "falling cut points": ("groups.size = [3, 1]", "key groups.size: found .*ascending"),
    "another separator": ("separator = '::'", "key separator: found '::', expected one of"),
    "one sign for two": ("thousands = '.'", "key thousands: found '.'"),
    "no format": ("dates.size = 'ISO'", "key dates.size: found 'ISO', expected a format"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOMLS)
def test_unusable_settings_beside_a_table_are_refused(name, write):
    toml, said = TOMLS[name]
    refused(lambda: load(write(toml=toml)), said)


def test_a_key_of_the_config_goes_before_the_file_beside_the_table(write):
    path = write(with_rows(",1,red,no"), toml='missing = "indicator"\ndrop = ["price"]\n')
    assert load(path).features == ("size", "colour", "size is missing")
    assert load(path, missing="impute").features == ("size", "colour")
    refused(lambda: load(path, missing="refuse"), "missing values")


@pytest.mark.parametrize("module", [dm, fairness, pruning])
def test_every_task_takes_a_file(module, write, monkeypatch):
    path = write()
    config = module.get_config(path)
    config.table.label, config.table.drop = "colour", ("size",)
    experiment = settings.parse(config)
    assert experiment.dataset == path
    assert experiment.table == TableConfig(label="colour", drop=("size",))


def test_keys_of_a_file_are_refused_for_other_datasets():
    config = dm.get_config("synthetic")
    config.table.missing = "impute"
    refused(
        lambda: settings.parse(config), "table.missing: found impute, expected a file as dataset"
    )
    config = dm.get_config("x/table.csv")
    config.table.missing = "zero"
    refused(lambda: settings.parse(config), "config key table.missing: found 'zero'")
    with pytest.raises(UserError, match=r"table\.label: found x, expected a file"):
        ExperimentConfig(requirement="metanet.objectives.pruning.weights_kept",
                         table=TableConfig(label="x"))  # fmt: skip


def test_a_file_has_a_sane_name_in_folders_and_reports():
    assert slug_of("../some data/My Table.v2.csv.gz") == "my-table-v2"
    assert files.label_of("some data/My Table.v2.csv.gz") == "My Table.v2"
    assert slug_of("/tables/(?).csv") == "table"
    assert (slug_of("adult"), slug_of("cancer.breast_cancer")) == ("adult", "breast_cancer")
    assert files.label_of("cancer.breast_cancer") == "cancer.breast_cancer"
    assert config_of("my-data/a-b.csv-dm").dataset == "my-data/a-b.csv"
    for which, folder in [("a/my-t.csv", "my-t"), ("a/my-t.csv-dm", "my-t-dm"), ("adult", "adult")]:
        found = launch.default_workdir(f"c/dm.py:{which}", which.removesuffix("-dm"))
        assert found == pathlib.Path("runs") / f"dm_{folder}"


def test_fairness_needs_groups_and_names_the_methods_for_two_classes(write):
    rows = [f"{i % 7},{i % 5},{'red blue'.split()[i % 2]},{i % 3}" for i in range(600)]
    path = write(HEAD + "\n".join(rows))
    config = fairness.get_config(path)
    config.evaluation.exclude_constant = False
    config.methods = ("GMN", "ThresholdOpt", "Merged head", "GMN (paper)")
    config.evaluation.main_methods = ()
    experiment = settings.parse(config)
    refused(lambda: check_data(experiment, load(path)), "group: found None, expected a protected")
    found = load(path, "colour")
    check_data(experiment, found)
    assert equalised_odds.grouped
    few = load(write(HEAD + "\n".join(rows[:60])), "colour")
    refused(
        lambda: check_data(experiment, few),
        "group: found 'colour', with rows of class 0 in 1 of 2 groups of edit data, expected two",
    )
    refused(
        lambda: check_recipes_on_data(experiment, found),
        r"found 3 classes, expected two, for recipes.ThresholdOpt; without ThresholdOpt, Merged "
        r"""head: --config.methods="\('GMN', 'GMN \(paper\)'\)\"""",
    )


def test_parquet_is_read_like_text(write, tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.read_csv(write(GOOD.replace("yes", "true").replace("no", "false")))
    frame["colour"] = frame["colour"].astype("category")
    frame["when"] = pd.to_datetime("2020-01-01") + pd.to_timedelta(frame["size"], "D")
    frame.to_parquet(tmp_path / "table.parquet")
    found = load(str(tmp_path / "table.parquet"))
    assert found.features == ("size", "price", "colour", "when")
    assert found.classes == ("false", "true")
    assert np.rint(column_of(found, "when")).min() == 18262
    frame["lists"] = [[1, 2]] * len(frame)
    frame.to_parquet(tmp_path / "lists.parquet")
    refused(lambda: load(str(tmp_path / "lists.parquet")), 'lists in column "lists"')
    refused(lambda: load(write(b"PAR1 no more", name="x.parquet")), "expected a Parquet file")


def test_parquet_without_its_package_is_refused(write, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    refused(lambda: load(write(b"PAR1", name="x.parquet")), r"pip install -e '.\[parquet\]'")


def test_whole_numbers_that_count_the_rows_are_left_out_unless_they_are_named(write):
    for first in (0, 1):
        rows = [f"{i + first},{i % 5},{'red blue'.split()[i % 2]},{i % 2}" for i in range(60)]
        path = write(HEAD + "\n".join(rows[::-1]))
        assert load(path).features == ("price", "colour")
        assert load(path, features=("size", "price")).features == ("size", "price")
    assert "size" in load(write(HEAD + "\n".join([*rows[:-1], rows[0]]))).features


def test_a_category_is_the_same_as_a_whole_number_and_as_a_decimal(write):
    rows = [f"{i % 7},{i % 5},{'1.0 1 2 02'.split()[i % 4]},{'1 0 1.0'.split()[i % 3]}"
            for i in range(60)]  # fmt: skip
    found = load(write(HEAD + "\n".join(rows)), categorical=("colour",))
    assert found.classes == ("0", "1")
    assert found.encoding.features[-1].categories == ("1", "02", "2")


def test_a_category_is_imputed_by_the_most_frequent_one_not_by_one_in_the_middle(write):
    colours = ["blue"] * 9 + ["green"] * 3 + ["red"] * 7 + [""]
    rows = [f"{i % 7},{i % 5},{colours[i % 20]},{i % 2}" for i in range(400)]
    feature = load(write(HEAD + "\n".join(rows)), missing="impute").encoding.features[-1]
    assert feature.categories[int(feature.fill)] == "blue"
