"""Adult and Bank Marketing as the UCI-121 collection has them, which the paper used (A.6).

The collection is that of Fernandez-Delgado et al. 2014 (JMLR 15, 3133), in the text files of
Klambauer et al. 2017: http://www.bioinf.jku.at/people/klambauer/data_py.zip. It was computed from
UCI's files, and so it is here, to the same bytes: SHA256 has the checksums of its `*_py.dat`, which
every result is checked against. How it codes a row is read off its scripts (`le_datos.m`):

* A nominal attribute is one number, evenly spaced from -1 to 1 over its values in the order below;
  a value that is missing is 0.
* Every column then has mean 0 and standard deviation 1 (of n - 1). The two parts of Adult are
  standardised apart, so that one and the same value has two codes.
* Numbers have six significant digits.
* Bank is UCI's bank.csv: 4,521 of the 45,211 rows of bank-full.csv.
"""

import functools
import hashlib
import io
from collections.abc import Sequence

import numpy as np
import pandas as pd

from metanet.core import UserError
from metanet.data import uci
from metanet.data.tabular import Raw

SHA256 = {
    "adult_uci121": "35a66da5ddc67bbf3885e71efe9a9af350c068e7543297a298cc8473e0b7b950",
    "bank_uci121": "8de965d37754d37fd2df7037987029a8b264e8a8c7c4d844933248d085313bbe",
}

ADULT = {
    "workclass": "Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov "
    "Without-pay Never-worked",
    "education": "Bachelors Some-college 11th HS-grad Prof-school Assoc-acdm Assoc-voc 9th "
    "7th-8th 12th Masters 1st-4th 10th Doctorate 5th-6th Preschool",
    "marital-status": "Married-civ-spouse Divorced Never-married Separated Widowed "
    "Married-spouse-absent Married-AF-spouse",
    "occupation": "Tech-support Craft-repair Other-service Sales Exec-managerial Prof-specialty "
    "Handlers-cleaners Machine-op-inspct Adm-clerical Farming-fishing Transport-moving "
    "Priv-house-serv Protective-serv Armed-Forces",
    "relationship": "Wife Own-child Husband Not-in-family Other-relative Unmarried",
    "race": "White Asian-Pac-Islander Amer-Indian-Eskimo Other Black",
    "sex": "Male Female",
    "native-country": "United-States Cambodia England Puerto-Rico Canada Germany "
    "Outlying-US(Guam-USVI-etc) India Japan Greece South China Cuba Iran Honduras Philippines "
    "Italy Poland Jamaica Vietnam Mexico Portugal Ireland France Dominican-Republic Laos "
    "Ecuador Taiwan Haiti Columbia Hungary Guatemala Nicaragua Scotland Thailand "
    "Yugoslavia El-Salvador Trinadad&Tobago Peru Hong Holand-Netherlands",
}
BANK = {
    "job": "admin. unknown unemployed management housemaid entrepreneur student blue-collar "
    "self-employed retired technician services",
    "marital": "married divorced single",
    "education": "unknown secondary primary tertiary",
    "default": "yes no",
    "housing": "yes no",
    "loan": "yes no",
    "contact": "unknown telephone cellular",
    "month": "jan feb mar apr may jun jul aug sep oct nov dec",
    "poutcome": "unknown other failure success",
}


def adult() -> Raw:
    """UCI-121's Adult: rows, labels and groups of `uci.adult`, other codes.

    Raises:
      UserError: see `uci.files`; or the numbers are not the collection's.
    """
    data, test = uci.files("adult", "adult/adult.data", "adult/adult.test")
    return _verified(parse_adult(data, test))


def bank() -> Raw:
    """UCI-121's Bank: 4,521 calls, 521 of them with a deposit; groups as in `uci.bank`.

    Raises:
      UserError: see `uci.files`; or the numbers are not the collection's.
    """
    (data,) = uci.files("bank", "bank/bank.csv")
    return _verified(parse_bank(data))


def parse_adult(data: bytes, test: bytes) -> Raw:
    """UCI-121's Adult from the bytes of adult.data and adult.test, in this order."""
    encode = functools.partial(_collected, nominal=ADULT)
    return uci.parse_adult(data, test, "adult_uci121", encode)


def parse_bank(data: bytes) -> Raw:
    """UCI-121's Bank from the bytes of bank.csv."""
    return uci.parse_bank(data, "bank_uci121", functools.partial(_collected, nominal=BANK))


def text_of(x: np.ndarray) -> str:
    """Numbers [rows, features] as the collection writes them: `NAME_py.dat`."""
    return "".join(",".join(f"{value:.6g}" for value in row) + "\n" for row in x.tolist())


def _collected(frame: pd.DataFrame, sizes: Sequence[int], nominal: dict[str, str]) -> np.ndarray:
    """The collection's numbers [rows, features]: coded, standardised by part, and rounded."""
    columns = []
    for name in frame:
        if name in nominal:
            values = nominal[name].split()
            codes = dict(zip(values, np.linspace(-1, 1, len(values)), strict=True))
            columns.append(frame[name].map(codes).fillna(0.0))
        else:
            columns.append(frame[name])
    x = np.stack(columns, axis=1).astype(np.float64)
    parts = [
        (part - part.mean(axis=0)) / part.std(axis=0, ddof=1)
        for part in np.split(x, np.cumsum(sizes)[:-1])
    ]
    return np.loadtxt(io.StringIO(text_of(np.concatenate(parts))), delimiter=",", ndmin=2)


def _verified(raw: Raw) -> Raw:
    found, expected = hashlib.sha256(text_of(raw.x).encode()).hexdigest(), SHA256[raw.name]
    if found != expected:
        raise UserError(
            f"dataset {raw.name}: the SHA-256 of its numbers is {found}, expected {expected}, that "
            "of UCI-121's file; another version of numpy or pandas may compute that"
        )
    return raw
