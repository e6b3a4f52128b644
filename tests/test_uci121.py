"""UCI-121's codes of Adult and Bank: against a plain loop, and against the collection's files."""

import hashlib
import os
import pathlib
import re
import statistics

import numpy as np
import pytest

from metanet import data
from metanet.core import UserError
from metanet.data import uci, uci121

NUMBERS = {"age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week",
           "balance", "day", "duration", "campaign", "pdays", "previous"}  # fmt: skip
BANK_COLUMNS = (
    "age", "job", "marital", "education", "default", "balance", "housing", "loan", "contact", "day",
    "month", "duration", "campaign", "pdays", "previous", "poutcome",
)  # fmt: skip


def drawn(rng, columns, nominal, missing):
    """Random rows, as text; every value of a nominal column may occur, and so may "?"."""
    rows = []
    for _ in range(40):
        rows.append([])
        for column in columns:
            values = nominal[column].split() + missing if column in nominal else []
            value = rng.choice(values) if values else rng.integers(-3, 90_000)
            rows[-1].append(str(value))
    return rows


def adult_files(rng):
    parts = [drawn(rng, uci.ADULT_COLUMNS[:-1], uci121.ADULT, ["?"]) for _ in range(2)]
    lines = [[", ".join([*row, rng.choice(["<=50K", ">50K"])]) for row in part] for part in parts]
    first, second = ("\n".join(part) for part in lines)
    dotted = second.replace("50K", "50K.")
    return parts, first.encode(), f"|1x3 Cross validator\n{dotted}".encode()


def bank_file(rng):
    rows = drawn(rng, BANK_COLUMNS, uci121.BANK, [])

    def line(row):
        return ";".join(
            v if c in NUMBERS else f'"{v}"' for c, v in zip(BANK_COLUMNS, row, strict=True)
        )

    head = ";".join(f'"{name}"' for name in (*BANK_COLUMNS, "y"))
    body = [line(row) + ';"' + str(rng.choice(["no", "yes"])) + '"' for row in rows]
    return rows, "\n".join([head, *body, ""]).encode()


def by_hand(parts, columns, nominal):
    """The collection's text: the loop of its scripts, with Python's own mean and deviation."""
    text = ""
    for rows in parts:
        coded = []
        for column, values in zip(columns, zip(*rows, strict=True), strict=True):
            if column in NUMBERS:
                coded.append([float(value) for value in values])
                continue
            known = nominal[column].split()
            n = len(known)
            a, b = 2 / (n - 1), (1 + n) / (1 - n)
            code = {value: a * k + b for k, value in enumerate(known, start=1)}
            coded.append([code.get(value, 0.0) for value in values])
        scaled = [
            [(v - statistics.mean(one)) / statistics.stdev(one) for v in one] for one in coded
        ]
        for row in zip(*scaled, strict=True):
            text += ",".join(f"{value:.6g}" for value in row) + "\n"
    return text


def test_adult_is_coded_and_standardised_as_in_the_collection():
    parts, first, second = adult_files(np.random.default_rng(0))
    raw = uci121.parse_adult(first, second)
    assert uci121.text_of(raw.x) == by_hand(parts, uci.ADULT_COLUMNS[:-1], uci121.ADULT)
    plain = uci.parse_adult(first, second)
    assert raw.name == "adult_uci121" and raw.features == plain.features
    np.testing.assert_array_equal(raw.y, plain.y)
    for name, codes in plain.groups.items():
        np.testing.assert_array_equal(raw.groups[name], codes)
    # The protected attribute is one of the inputs: a code for each sex in each of the two parts.
    sex = raw.x[:, raw.features.index("sex")]
    for part in (slice(0, 40), slice(40, 80)):
        known = np.array([row[9] != "?" for row in parts[part.start // 40]])
        group = raw.groups["sex"][part][known]
        assert len(set(zip(sex[part][known], group, strict=True))) == 2


def test_bank_is_coded_and_standardised_as_in_the_collection():
    rows, file = bank_file(np.random.default_rng(1))
    raw = uci121.parse_bank(file)
    assert uci121.text_of(raw.x) == by_hand([rows], BANK_COLUMNS, uci121.BANK)
    assert raw.name == "bank_uci121" and raw.features == BANK_COLUMNS
    np.testing.assert_array_equal(raw.groups["age_25_59"], uci.parse_bank(file).groups["age_25_59"])


def damaged(file):
    lines = file.split(b"\n")
    return {
        "cut": file[: len(file) // 2],
        "one row less": b"\n".join([*lines[:-2], b""]),
        "a column less": b"\n".join(line.rpartition(b";")[0] for line in lines),
        "CRLF": file.replace(b"\n", b"\r\n"),
        "empty": b"",
    }


@pytest.mark.parametrize("kind", damaged(b""))
def test_a_damaged_file_is_refused_in_one_line_and_kept(tmp_path, monkeypatch, kind):
    _, file = bank_file(np.random.default_rng(2))
    monkeypatch.setitem(uci.SHA256, "bank/bank.csv", hashlib.sha256(file).hexdigest())
    monkeypatch.setenv("METANET_DATA", str(tmp_path))
    path = tmp_path / "bank" / "bank.csv"
    path.parent.mkdir()
    path.write_bytes(damaged(file)[kind])
    with pytest.raises(UserError, match=r"SHA-256 is .*, expected .*METANET_DATA") as caught:
        uci121.bank()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_bytes() == damaged(file)[kind]


def test_an_absent_file_is_named_with_its_place_and_address(tmp_path, monkeypatch):
    monkeypatch.setenv("METANET_DATA", str(tmp_path / "cache"))
    monkeypatch.setitem(uci.URLS, "bank", (tmp_path / "none.zip").as_uri())
    with pytest.raises(UserError, match=r"bank\.csv: absent, and the download from file:.* failed"):
        data.load("bank_uci121", None, 0)


def test_numbers_that_are_not_those_of_the_collection_are_refused(tmp_path, monkeypatch):
    _, file = bank_file(np.random.default_rng(3))
    monkeypatch.setitem(uci.SHA256, "bank/bank.csv", hashlib.sha256(file).hexdigest())
    monkeypatch.setenv("METANET_DATA", str(tmp_path))
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank" / "bank.csv").write_bytes(file)
    with pytest.raises(UserError, match=f"bank_uci121.*{uci121.SHA256['bank_uci121']}"):
        uci121.bank()
    text = uci121.text_of(uci121.parse_bank(file).x)
    monkeypatch.setitem(uci121.SHA256, "bank_uci121", hashlib.sha256(text.encode()).hexdigest())
    assert uci121.bank().x.shape == (40, 16)


@pytest.mark.parametrize(
    ("name", "file", "shape", "positive"),
    [
        ("adult_uci121", "adult/adult.data", (48842, 14), 11687),
        ("bank_uci121", "bank/bank.csv", (4521, 16), 521),
    ],
)
def test_published_files_give_the_bytes_of_the_collection(name, file, shape, positive):
    folder = os.environ.get("METANET_DATA")
    if not folder or not os.path.exists(os.path.join(folder, file)):
        pytest.skip(f"METANET_DATA has no {file}")
    raw = data.SOURCES[name]()  # which checks the SHA-256
    assert raw.x.shape == shape and raw.y.sum() == positive


def test_the_page_about_deviations_gives_the_checksums():
    page = pathlib.Path(__file__).parents[1] / "docs" / "deviations.md"
    assert set(re.findall(r"`([0-9a-f]{64})`", page.read_text())) == set(uci121.SHA256.values())
