"""The datasets: parsing, downloading, splitting and the synthetic structure."""

import dataclasses
import email.message
import hashlib
import http.client
import io
import itertools
import os
import urllib.request
import urllib.response
import zipfile

import jax
import numpy as np
import pytest

from metanet import data
from metanet.core import UserError
from metanet.data import download, synthetic, tabular, uci

ADULT_DATA = b"""\
39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, \
2174, 0, 40, United-States, <=50K
52, ?, 209642, HS-grad, 9, Married-civ-spouse, ?, Wife, Black, Female, 0, 0, 45, ?, >50K

"""
ADULT_TEST = b"""\
|1x3 Cross validator
25, Private, 226802, 11th, 7, Never-married, Sales, Own-child, Other, Male, 0, 0, 40, Peru, >50K.

"""
BANK = b"""\
"age";"job";"marital";"education";"default";"balance";"housing";"loan";"contact";"day";"month";\
"duration";"campaign";"pdays";"previous";"poutcome";"y"
25;"management";"married";"tertiary";"no";2143;"yes";"no";"unknown";5;"may";261;1;-1;0;"unknown";"no"
60;"technician";"single";"secondary";"no";-29;"yes";"no";"unknown";5;"may";151;1;-1;0;"unknown";"yes"
24;"services";"divorced";"unknown";"no";2;"yes";"no";"unknown";5;"jun";76;1;-1;0;"unknown";"no"
59;"services";"married";"unknown";"no";2;"yes";"no";"unknown";5;"apr";76;1;-1;0;"unknown";"no"
"""
FILES = {"adult/adult.data": ADULT_DATA, "adult/adult.test": ADULT_TEST, "bank/bank-full.csv": BANK}


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


def serving(folder):
    """The method `https_open` of a server of the files in `folder`."""

    def https_open(self, request):
        path = folder / request.selector.lstrip("/")
        if not path.is_file():
            return answer(404, b"", "Not Found")
        return answer(200, path.read_bytes())

    return https_open


def answer(code, content, message="OK", **headers):
    """What an https server answers."""
    given = email.message.Message()
    for name, value in headers.items():
        given[name.replace("_", "-")] = value
    response = urllib.response.addinfourl(io.BytesIO(content), given, "https://archive.test", code)
    response.msg = message
    return response


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The data folder, still absent; the archives beside it hold the small files above."""
    (tmp_path / "adult.zip").write_bytes(
        zipped(adult__data=ADULT_DATA, adult__test=ADULT_TEST, Index="other")
    )
    inner = zipped(**{"bank-full__csv": BANK})
    (tmp_path / "bank.zip").write_bytes(zipped(bank__zip=inner, **{"bank-additional__zip": b""}))
    for name in uci.URLS:
        monkeypatch.setitem(uci.URLS, name, f"https://archive.test/{name}.zip")
    monkeypatch.setattr(urllib.request.HTTPSHandler, "https_open", serving(tmp_path))
    for name, content in FILES.items():
        monkeypatch.setitem(uci.SHA256, name, hashlib.sha256(content).hexdigest())
    monkeypatch.setenv("METANET_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fails(call, *parts):
    """`call` raises a UserError of one line which has all of `parts`."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def test_adult_is_parsed_as_published():
    raw = uci.parse_adult(ADULT_DATA, ADULT_TEST)
    assert raw.x.shape == (3, 14) and raw.x.dtype == np.float64
    assert (raw.features[0], raw.features[-1]) == ("age", "native-country")
    assert raw.y.tolist() == [0, 1, 1]
    column = dict(zip(raw.features, raw.x.T.tolist(), strict=True))
    assert column["age"] == [39, 52, 25]
    assert column["workclass"] == [2, 0, 1]  # "?" < "Private" < "State-gov"
    assert column["education"] == [1, 2, 0]
    assert {name: codes.tolist() for name, codes in raw.groups.items()} == {
        "sex": [1, 0, 1],
        "white": [1, 0, 0],
        "race": [2, 0, 1],
    }


def test_bank_is_parsed_as_published():
    raw = uci.parse_bank(BANK)
    assert raw.x.shape == (4, 16)
    assert raw.y.tolist() == [0, 1, 0, 0]
    column = dict(zip(raw.features, raw.x.T.tolist(), strict=True))
    assert column["balance"] == [2143, -29, 2, 2]
    assert column["month"] == [2, 2, 1, 0]
    assert raw.groups["age_25_59"].tolist() == [1, 0, 0, 1]
    assert raw.groups["marital"].tolist() == [1, 2, 0, 1]


def test_absent_files_are_downloaded_once(cache):
    assert len(uci.adult().y) == 3
    assert len(uci.bank().y) == 4
    assert contents(cache) == FILES
    for archive in cache.parent.glob("*.zip"):
        archive.unlink()
    assert len(uci.adult().y) == 3
    assert len(uci.bank().y) == 4


def test_only_the_absent_file_is_downloaded(cache):
    (cache / "adult").mkdir(parents=True)
    (cache / "adult/adult.data").write_bytes(ADULT_DATA)
    before = (cache / "adult/adult.data").stat().st_mtime_ns
    uci.adult()
    assert (cache / "adult/adult.data").stat().st_mtime_ns == before


def test_wrong_file_on_disk_is_refused_and_kept(cache):
    (cache / "bank").mkdir(parents=True)
    (cache / "bank/bank-full.csv").write_bytes(b"wrong")
    fails(uci.bank, cache / "bank/bank-full.csv", uci.SHA256["bank/bank-full.csv"], "METANET_DATA")
    assert contents(cache) == {"bank/bank-full.csv": b"wrong"}


def test_folder_in_the_place_of_a_file_is_refused(cache):
    (cache / "bank/bank-full.csv").mkdir(parents=True)
    fails(uci.bank, cache / "bank/bank-full.csv", "directory", "METANET_DATA")


@pytest.mark.parametrize(
    ("archive", "cause"),
    [
        (zipped(adult__data=ADULT_DATA, adult__test=b"wrong"), "SHA-256"),
        (zipped(adult__data=ADULT_DATA), "There is no item named 'adult.test'"),
        (b"not an archive", "not a zip file"),
        (None, "Not Found"),
        (zipped(adult__data=ADULT_DATA, **{"..__adult__test": ADULT_TEST}), "There is no item"),
    ],
    ids=["checksum", "member", "archive", "network", "above"],
)
def test_failed_download_leaves_no_part(cache, archive, cause):
    if archive is None:
        (cache.parent / "adult.zip").unlink()
    else:
        (cache.parent / "adult.zip").write_bytes(archive)
    fails(uci.adult, cache / "adult/adult.test", cause, uci.URLS["adult"], "METANET_DATA")
    assert set(contents(cache)) <= {"adult/adult.data"}


@pytest.mark.parametrize(
    ("answers", "cause"),
    [
        ([answer(302, b"", Location="http://archive.test/b")], "a redirection to http://archive"),
        ([answer(302, b"", Location="file:///etc/passwd")], "file:///etc/passwd"),
        ([answer(302, b"", Location="ftp://archive.test/b")], "a redirection to ftp://archive"),
        ([answer(200, bytes(1000), Content_Length=str(10**12))], "found 1000000000000 bytes, exp"),
        ([answer(200, bytes(5000))], "found more than 4096 bytes"),
        ([answer(200, bytes(100), Content_Length="200")], "found 100 bytes, expected 200"),
        ([answer(500, b"", "Server Error")], "Server Error"),
        ([http.client.BadStatusLine("?")], "BadStatusLine"),
        ([TimeoutError("timed out")], "timed out"),
    ],
)
def test_what_is_not_had_over_https_in_limits_is_refused_in_one_line(
    cache, monkeypatch, answers, cause
):
    def https_open(self, request):
        found = answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(urllib.request.HTTPSHandler, "https_open", https_open)
    monkeypatch.setattr(download, "LARGEST", 4096)
    fails(uci.bank, cache / "bank/bank-full.csv", "failed", cause, "METANET_DATA")
    assert not cache.exists() or contents(cache) == {}


def test_a_small_archive_of_a_large_file_is_refused(cache, monkeypatch):
    monkeypatch.setattr(download, "LARGEST", 4096)
    with zipfile.ZipFile(cache.parent / "bank.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bank.zip", bytes(10**5))
    assert (cache.parent / "bank.zip").stat().st_size < 4096
    fails(uci.bank, "found 100000 bytes in bank.zip, expected at most 4096")
    assert not cache.exists()


def test_a_redirection_to_https_is_followed(cache, monkeypatch):
    serve = serving(cache.parent)

    def https_open(self, request):
        if request.host == "archive.test":
            return answer(301, b"", Location=f"https://mirror.test{request.selector}")
        return serve(self, request)

    monkeypatch.setattr(urllib.request.HTTPSHandler, "https_open", https_open)
    assert len(uci.bank().y) == 4


@pytest.mark.parametrize("scheme", ["http", "ftp", "file", "data"])
def test_nothing_is_downloaded_but_over_https(cache, monkeypatch, scheme):
    url = {"file": (cache.parent / "bank.zip").as_uri(), "data": "data:,bank"}
    monkeypatch.setitem(uci.URLS, "bank", url.get(scheme, f"{scheme}://127.0.0.1/bank.zip"))
    fails(uci.bank, f"unknown url type: {scheme}")
    assert not cache.exists()


def test_a_download_that_takes_too_long_is_left(cache, monkeypatch):
    now = itertools.count(0, 400)
    monkeypatch.setattr(download.time, "monotonic", lambda: next(now))
    (cache.parent / "bank.zip").write_bytes(bytes(2**18))
    fails(uci.bank, "bytes in 600 s, expected all of them")
    assert not cache.exists()


def test_the_addresses_are_https():
    for name in ("adult", "bank"):
        assert uci.URLS[name].startswith("https://")
    assert uci.MEMBERS.keys() == uci.SHA256.keys()


def test_unwritable_folder_is_named(cache):
    cache.write_bytes(b"a file, not a folder")
    fails(uci.bank, cache / "bank/bank-full.csv", "METANET_DATA")


@pytest.mark.parametrize(
    ("name", "shape", "positive", "groups"),
    [
        ("adult", (48842, 14), 11687, {"sex": 2, "white": 2, "race": 5}),
        ("bank", (45211, 16), 5289, {"age_25_59": 2, "marital": 3}),
    ],
)
def test_published_files(name, shape, positive, groups):
    folder = os.environ.get("METANET_DATA")
    if not folder or not os.path.isdir(os.path.join(folder, name)):
        pytest.skip(f"METANET_DATA has no {name}")
    raw = getattr(uci, name)()
    assert raw.x.shape == shape and len(raw.features) == shape[1]
    assert raw.y.sum() == positive
    assert {group: len(np.unique(codes)) for group, codes in raw.groups.items()} == groups
    assert data.load(name, None, 0).group == next(iter(groups))


def test_split_partitions_the_rows():
    rows = 1003
    raw = tabular.Raw(
        name="count",
        x=np.stack([np.arange(rows), np.full(rows, 0.1)], axis=1).astype(np.float64),
        y=np.arange(rows) % 3,
        groups={"even": np.arange(rows) % 2, "third": np.arange(rows) % 3},
        features=("count", "constant"),
        classes=("a", "b", "c"),
    )
    parts = tabular.split(raw, "third", 7)
    tables = (parts.train, parts.edit, parts.select, parts.test)
    assert [len(t.y) for t in tables] == [601, 101, 100, 201]
    assert (parts.n_features, parts.n_classes) == (2, 3)
    assert {t.n_groups for t in tables} == {3}
    for table in tables:
        assert table.weight.dtype == np.float32
        np.testing.assert_array_equal(table.weight, np.ones(len(table.y)))
    # Undoing the standardisation gives the row's number, so all rows are there exactly once.
    x = np.concatenate([t.x for t in tables])
    numbers = np.rint(x[:, 0] * parts.std[0] + parts.mean[0]).astype(int)
    assert sorted(numbers) == list(range(rows))
    assert (np.concatenate([t.y for t in tables]) == numbers % 3).all()
    assert (np.concatenate([t.group for t in tables]) == numbers % 3).all()
    assert parts.std[1] == 1 and np.abs(x[:, 1]).max() < 1e-6


def test_split_is_reproducible_and_depends_on_the_seed():
    first, again, other = (data.load("synthetic", None, seed) for seed in (0, 0, 1))
    for a, b in zip(jax.tree.leaves(first.test), jax.tree.leaves(again.test), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.test.x, other.test.x)


def test_standardisation_uses_the_training_rows_alone():
    raw = synthetic.synthetic()
    parts = tabular.split(raw, "group", 3)
    x = parts.train.x.astype(np.float64)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-6)
    assert np.abs(parts.test.x.mean(axis=0)).max() > 1e-4
    assert parts.train.x.dtype == np.float32
    assert parts.train.y.dtype == parts.train.group.dtype == np.int32


def test_table_is_a_pytree():
    table = data.load("synthetic", None, 0).edit
    assert jax.jit(lambda t: t.x.sum(axis=1) + t.y)(table).shape == table.y.shape


def test_unknown_names_are_user_errors():
    fails(lambda: data.load("iris", None, 0), "dataset", "'iris'", ", ".join(data.SOURCES))
    fails(lambda: data.load("synthetic", "sex", 0), "group", "'sex'", "synthetic has group")
    fails(lambda: data.load("synthetic", None, -1), "seed", "-1")


def test_synthetic_has_its_documented_structure():
    raw = synthetic.synthetic(seed=1, rows=20000)
    again = synthetic.synthetic(seed=1, rows=20000)
    np.testing.assert_array_equal(raw.x, again.x)
    kinds = synthetic.BIASED, synthetic.CAUSES, synthetic.REDUNDANT, synthetic.IRRELEVANT
    assert raw.features == sum(kinds, ())
    assert 0.25 < raw.y.mean() < 0.35
    column = dict(zip(raw.features, raw.x.T, strict=True))
    group = raw.groups["group"]

    def correlation(a, b):
        return abs(np.corrcoef(a, b)[0, 1])

    for name in synthetic.IRRELEVANT:
        assert correlation(column[name], raw.y) < 0.03
        assert correlation(column[name], group) < 0.03
    for name in synthetic.REDUNDANT:
        assert correlation(column[name], column[name.replace("copy", "cause")]) > 0.9
    for name in synthetic.BIASED:
        assert correlation(column[name], group) > 0.5
    for name in synthetic.CAUSES:
        assert correlation(column[name], group) < 0.03
    # The label's rate differs by group; cause_c matters only by its product with cause_a.
    assert raw.y[group == 1].mean() - raw.y[group == 0].mean() > 0.08
    assert correlation(column["cause_a"], raw.y) > 0.4
    assert correlation(column["cause_b"], raw.y) > 0.2
    assert correlation(column["cause_a"] * column["cause_c"], raw.y) > 0.15


def test_tilting_moves_one_feature_and_what_goes_with_it():
    table = data.load("synthetic", None, 0).test
    for tilt in (-1.0, 1.0):
        moved = tabular.covariate_shift(table, 3, tilt, seed=0)
        assert moved.x.shape == table.x.shape and moved.n_groups == table.n_groups
        np.testing.assert_allclose(moved.x[:, 3].mean() - table.x[:, 3].mean(), tilt, atol=0.1)
        rows = {x.tobytes(): row for row, x in enumerate(table.x)}
        drawn = [rows[x.tobytes()] for x in moved.x]
        for name in ("y", "group", "weight"):
            np.testing.assert_array_equal(getattr(moved, name), getattr(table, name)[drawn])
    np.testing.assert_array_equal(
        tabular.covariate_shift(table, 3, 1.0, seed=0).x,
        tabular.covariate_shift(table, 3, 1.0, seed=0).x,
    )
    with pytest.raises(UserError, match=r"mean_shift: found 100.0, expected -\d"):
        tabular.covariate_shift(table, 3, 100.0, seed=0)
    unmoved = tabular.covariate_shift(table, 3, 0.0, seed=0)
    np.testing.assert_allclose(unmoved.x.mean(0), table.x.mean(0), atol=0.15)


def test_a_dataset_may_have_no_protected_attribute(monkeypatch):
    raw = dataclasses.replace(synthetic.synthetic(rows=100), groups={})
    found = tabular.split(raw, None, 0)
    assert found.group is None
    assert found.train.n_groups == 1 and not found.test.group.any()
    with pytest.raises(UserError, match="found 'sex', but synthetic has none"):
        tabular.split(raw, "sex", 0)


def test_a_dataset_is_named_by_the_dotted_path_of_its_function():
    found = data.load("metanet.data.synthetic.synthetic", None, 0)
    expected = data.load("synthetic", None, 0)
    np.testing.assert_array_equal(found.test.x, expected.test.x)
    assert found.digest == expected.digest


def test_a_dataset_is_known_by_its_content():
    raw = synthetic.synthetic(rows=100)
    digest = tabular.split(raw, "group", 0).digest
    assert tabular.split(synthetic.synthetic(rows=100), "group", 1).digest == digest
    changed = raw.x.copy()
    changed[7, 3] += 1e-9
    relabelled = raw.y.copy()
    relabelled[7] = 1 - relabelled[7]
    others = [
        dataclasses.replace(raw, x=changed),
        dataclasses.replace(raw, y=relabelled),
        dataclasses.replace(raw, groups={"group": 1 - raw.groups["group"]}),
        dataclasses.replace(raw, features=raw.features[::-1]),
    ]
    assert len({digest, *(tabular.split(one, "group", 0).digest for one in others)}) == 5
