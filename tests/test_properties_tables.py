"""Any text in a table's file is read and coded alike ever after, or refused in one line."""

import csv
import io
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metanet import data
from metanet.core import UserError
from metanet.data import TableConfig, files
from metanet.data.columns import Notation, canonical, texts, values
from metanet.data.encoding import Encoding

# A file is written anew for every example, in one folder.
few = settings(
    max_examples=80, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
KINDS = {
    "numbers": ("0", "1", "2.5", "-3", "1e3", " 4 ", "+7"),
    "not quite": ("1", "nan", "inf", "1,5", "1.000", "٣", "0x10", "1_000", "1e400", ""),
    "huge": ("1e308", "-1e308", "1", "99999999999999999999999", "18446744073709551616"),
    "texts": ("a", "ä", "日本", '"q"', "x,y", "it's", "new\nline", "tab\t", "\u200b", "=1+1", "NA"),
    "dates": ("2020-01-01", "2020-02-30", "0001-01-01", "9999-12-31", "2020-01-01T10:00:00Z", ""),
    "truth": ("True", "false", "TRUE", ""),
    "mixed": ("1", "2", "a", "?", "-"),
    "one value": ("5",),
    "none": ("", "NA"),
}
NAMES = ("a", "b", "group", "Label", "y", " a", "a ", "1", "1.0", "nan", "(rare)", "a is missing",
         "日", "x,y", '"q"', "new\nline", "a\u200b", "", "x" * 300)  # fmt: skip
LABELS = (("0", "1"), ("yes", "no"), ("a", "b", "ä"), ("1", "1.0"), ("only",))


@st.composite
def tables(draw):
    """The text of a file, mostly of a table."""
    unique = draw(st.integers(0, 9)) > 0
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=unique))
    rows = draw(st.sampled_from([0, 1, 9, 10, 30]))
    seed = np.random.default_rng(draw(st.integers(0, 10**6)))
    columns = []
    for _ in names:
        pool = draw(st.lists(st.sampled_from(KINDS[draw(st.sampled_from([*KINDS]))]), min_size=1))
        columns.append([pool[i] for i in seed.integers(0, len(pool), rows)])
    labels = draw(st.sampled_from(LABELS))
    columns.append([labels[i] for i in seed.integers(0, len(labels), rows)])
    text = io.StringIO()
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(text, delimiter=draw(st.sampled_from(",;\t| ")), quoting=quoting)
    writer.writerow([*names, "label"])
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()


says = st.fixed_dictionaries(
    {"missing": st.sampled_from(["impute", "indicator", "impute", None])},
    optional={
        "rare": st.integers(1, 5),
        "label": st.sampled_from(["label", "y", "", "a"]),
        "categorical": st.lists(st.sampled_from(NAMES), max_size=1).map(tuple),
        "features": st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
        "groups": st.sampled_from([("group",), {"a": (1.0, 2.0)}, {"b": ()}, {"": ()}]),
        "dates": st.sampled_from([{"a": "%Y-%m-%d"}, {"b": "%d.%m.%Y"}]),
        "decimal": st.just(","),
        "missing_values": st.sampled_from([(), ("1",), ("nan", "0")]),
    },
)


def refused(error):
    text = str(error)
    assert len(text.splitlines()) == 1 and text.isprintable() and len(text) < 1500
    return True


def read_and_check(path, group, said):
    """Whether the table is read; then it is whole, and coded alike a second time."""
    try:
        found = data.load(str(path), group, 0, said)
    except UserError as error:
        return not refused(error)
    parts = (found.train, found.edit, found.select, found.test)
    x, y = (np.concatenate([getattr(one, name) for one in parts]) for name in ("x", "y"))
    assert x.dtype == np.float32 and np.isfinite(x).all()
    assert x.shape[1] == found.n_features == len(set(found.features))
    assert y.min() >= 0 and y.max() < found.n_classes
    stored = json.loads(json.dumps(found.encoding.to_json()))
    encoding = Encoding.from_json(stored, "stored")
    assert encoding == found.encoding
    again = encoding.encode(files.read_like(path, encoding), "again")
    order = np.random.default_rng(0).permutation(len(y))
    np.testing.assert_allclose(again.x[order], x, atol=1e-5)
    np.testing.assert_array_equal(again.y[order], y)
    return True


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("tables") / "table.csv"


@given(text=tables(), said=says, group=st.sampled_from([None, None, None, "group", "a", ""]))
@few
def test_a_table_is_read_alike_ever_after_or_refused(path, text, said, group):
    path.write_text(text, newline="")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is worth saying is refused or logged
        try:
            config = TableConfig(**said)
        except UserError as error:
            assert refused(error)
            return
        read_and_check(path, group, config)


@given(text=tables(), place=st.integers(0, 200), byte=st.integers(0, 255), cut=st.booleans())
@few
def test_a_damaged_file_is_read_or_refused(path, text, place, byte, cut):
    content = bytearray(text.encode())
    place %= len(content)
    content[place:] = b"" if cut else bytes([byte]) + bytes(content[place + 1 :])
    path.write_bytes(content)
    read_and_check(path, None, TableConfig(missing="impute"))


@given(text=st.text(max_size=12), name=st.sampled_from(["label", "rare", "groups", "none", "a.b"]))
@few
def test_any_text_beside_a_table_is_taken_or_refused(path, text, name):
    path.write_text("a,label\n" + "".join(f"{i % 7},{i % 2}\n" for i in range(20)))
    toml = files.toml_of(path)
    try:
        for content in (text, f"{name} = {text}", f"{name} = {json.dumps(text)}"):
            toml.write_bytes(content.encode(errors="surrogatepass"))
            read_and_check(path, None, TableConfig())
    finally:
        toml.unlink()


@given(
    column=st.lists(
        st.one_of(st.none(), st.text(max_size=5), st.integers(), st.floats(), st.booleans()),
        min_size=1, max_size=6,
    ),
    kind=st.sampled_from(["number", "boolean", "date", "category", "missing"]),
)  # fmt: skip
@few
def test_every_value_becomes_a_number_is_missing_or_is_named(column, kind):
    frame = pd.Series(column, dtype=object)
    names = texts(frame, Notation())[1]
    assert names == [canonical(one) for one in names]
    categories = tuple(names[:2]) if kind == "category" else ()
    numbers, bad = values(frame, kind, Notation(), categories)
    assert numbers.shape == (len(column),) and numbers.dtype == np.float64
    if not bad:
        assert not np.isinf(numbers).any()


# Found inputs, each plainly.


def a_table(rows=30):
    return "size,label\n" + "".join(f"{i % 7},{i % 2}\n" for i in range(rows))


def test_an_empty_name_for_the_label_is_refused(path):
    path.write_text(a_table())
    with pytest.raises(UserError, match=r'no column "" \(label\), expected some of "size"'):
        data.load(str(path), None, 0, TableConfig(label=""))


def test_numbers_whose_median_overflows_are_refused_without_a_warning(path):
    rows = "".join(f"{'' if i == 3 else '1.7e308'},{i % 5},{i % 2}\n" for i in range(40))
    path.write_text("huge,size,label\n" + rows.replace("1.7e308", "1.6e308", 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match="too large or too small to standardise"):
            data.load(str(path), None, 0, TableConfig(missing="impute"))


def test_one_row_is_too_few(path):
    path.write_text("size,label\n1,0\n")
    with pytest.raises(UserError, match="alone"):
        data.load(str(path), None, 0, TableConfig())
