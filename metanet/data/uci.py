"""Adult and Bank Marketing, downloaded from the UCI repository at first use and kept on disk.

Sources, both CC BY 4.0: Becker and Kohavi, Adult (1996), doi 10.24432/C5XW20; Moro, Rita and
Cortez, Bank Marketing (2014), doi 10.24432/C5K306.
"""

import dataclasses
import hashlib
import io
import logging
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from metanet.core import UserError
from metanet.data import download
from metanet.data.columns import Notation
from metanet.data.encoding import Feature, Group
from metanet.data.tabular import Raw
from metanet.storage import atomic_path

logger = logging.getLogger(__name__)

URLS = {
    "adult": "https://archive.ics.uci.edu/static/public/2/adult.zip",
    "bank": "https://archive.ics.uci.edu/static/public/222/bank+marketing.zip",
}
SHA256 = {
    "adult/adult.data": "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
    "adult/adult.test": "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
    "bank/bank-full.csv": "d1513ec63b385506f7cfce9f2c5caa9fe99e7ba4e8c3fa264b3aaf0f849ed32d",
    "bank/bank.csv": "dc8d576e9bda0f41ee891251bd84bab9a39ce576cba715aac08adc2374a01fde",
}
# The path of a file in its dataset's archive; bank's is in an archive within the archive.
MEMBERS = {
    "adult/adult.data": ("adult.data",),
    "adult/adult.test": ("adult.test",),
    "bank/bank-full.csv": ("bank.zip", "bank-full.csv"),
    "bank/bank.csv": ("bank.zip", "bank.csv"),
}
REMEDY = "place the published file there or set METANET_DATA to a folder which has it"

ADULT_COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "income",
)

# What zipfile raises for one or another damaged archive.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    LookupError,
    ValueError,
    EOFError,
    OSError,
    RuntimeError,
)

# The numbers [rows, features] of a frame's columns, and how many rows each published part has.
Encode = Callable[[pd.DataFrame, Sequence[int]], np.ndarray]


def adult() -> Raw:
    """Adult: 48,842 people (both published parts), 14 features, class 1 earns above 50K.

    Groups: sex (Female, Male), white (0, 1) and race (five, in alphabetical order).

    Raises:
      UserError: a file is neither on disk nor to be downloaded, or is not the published one.
    """
    data, test = files("adult", "adult/adult.data", "adult/adult.test")
    return parse_adult(data, test)


def bank() -> Raw:
    """Bank Marketing: 45,211 calls, 16 features, class 1 made a deposit.

    Groups: age_25_59 (0, 1: 25 <= age < 60) and marital (divorced, married, single).

    Raises:
      UserError: the file is neither on disk nor to be downloaded, or is not the published one.
    """
    (data,) = files("bank", "bank/bank-full.csv")
    return parse_bank(data)


def ranks(frame: pd.DataFrame, sizes: Sequence[int]) -> np.ndarray:
    """Numeric columns as they are; of any other, the ranks of its categories in sorted order."""
    return np.stack([_codes(frame[column]) for column in frame], axis=1).astype(np.float64)


def parse_adult(data: bytes, test: bytes, name: str = "adult", encode: Encode = ranks) -> Raw:
    """Adult from the bytes of adult.data and adult.test, in this order."""
    parts = [_adult_part(data), _adult_part(test)]
    frame = pd.concat(parts, ignore_index=True)
    income = frame.pop("income").str.rstrip(".")
    groups = {
        "sex": _codes(frame["sex"]),
        "white": (frame["race"] == "White").to_numpy(np.int64),
        "race": _codes(frame["race"]),
    }
    sexes, races = _categories(frame["sex"]), _categories(frame["race"])
    columns = {
        "sex": Group("sex", "sex", sexes, (), tuple(range(len(sexes)))),
        "white": Group("white", "race", races, (), tuple(int(one == "White") for one in races)),
        "race": Group("race", "race", races, (), tuple(range(len(races)))),
    }
    raw = Raw(
        name=name,
        x=encode(frame, [len(part) for part in parts]),
        y=(income == ">50K").to_numpy(np.int64),
        groups=groups,
        features=tuple(map(str, frame.columns)),
        classes=("<=50K", ">50K"),
    )
    return raw if encode is not ranks else _readable(raw, frame, columns, "income")


def parse_bank(data: bytes, name: str = "bank", encode: Encode = ranks) -> Raw:
    """Bank Marketing from the bytes of bank-full.csv, or of bank.csv, a tenth of it."""
    frame = pd.read_csv(io.BytesIO(data), sep=";", keep_default_na=False)
    deposit = frame.pop("y")
    groups = {
        "age_25_59": frame["age"].between(25, 60, inclusive="left").to_numpy(np.int64),
        "marital": _codes(frame["marital"]),
    }
    states = _categories(frame["marital"])
    columns = {
        "age_25_59": Group("age_25_59", "age", (), (25.0, 60.0), (0, 1, 0)),
        "marital": Group("marital", "marital", states, (), tuple(range(len(states)))),
    }
    raw = Raw(
        name=name,
        x=encode(frame, [len(frame)]),
        y=(deposit == "yes").to_numpy(np.int64),
        groups=groups,
        features=tuple(map(str, frame.columns)),
        classes=("no", "yes"),
    )
    return raw if encode is not ranks else _readable(raw, frame, columns, "y")


def _adult_part(data: bytes) -> pd.DataFrame:
    return pd.read_csv(
        io.BytesIO(data),
        names=ADULT_COLUMNS,
        skiprows=1 if data.startswith(b"|") else 0,  # adult.test starts with a comment
        skipinitialspace=True,
        keep_default_na=False,  # "?" is a category like any other
    )


def _readable(raw: Raw, frame: pd.DataFrame, groups: dict[str, Group], label: str) -> Raw:
    """`raw` with the columns that its codes are of; nothing counts as missing."""
    features = []
    for name in raw.features:
        categories = _categories(frame[name])
        features.append(Feature(name, name, "category" if categories else "number", categories))
    return dataclasses.replace(
        raw,
        columns=tuple(features),
        group_columns=groups,
        label=label,
        notation=Notation(missing_values=()),
    )


def _categories(column: pd.Series) -> tuple[str, ...]:
    """The categories of a column in the order of their codes; () for numbers."""
    if pd.api.types.is_numeric_dtype(column):
        return ()
    return tuple(np.unique(column.to_numpy(str)).tolist())


def _codes(column: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy()
    return np.unique(column.to_numpy(str), return_inverse=True)[1]


def files(dataset: str, *names: str) -> list[bytes]:
    """The verified bytes of the named files, after a download of those that are absent.

    Raises:
      UserError: a file is neither on disk nor to be downloaded, or is not the published one.
    """
    # An empty METANET_DATA counts as unset.
    root = pathlib.Path(os.environ.get("METANET_DATA") or "~/.cache/metanet").expanduser()
    absent = [name for name in names if not os.path.lexists(root / name)]
    if absent:
        _download(dataset, root, absent)
    return [_read(root / name, SHA256[name]) for name in names]


def _read(path: pathlib.Path, expected: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected:
        raise UserError(
            f"{path}: its SHA-256 is {digest}, expected {expected}; remove it to have it "
            f"downloaded, {REMEDY}"
        )
    return data


def _download(dataset: str, root: pathlib.Path, names: list[str]) -> None:
    url = URLS[dataset]
    paths = ", ".join(str(root / name) for name in names)
    failed = f"{paths}: absent, and the download from {url} failed"
    logger.info("Downloading %s to %s.", url, root)
    try:
        archive = download.download(url)
    except OSError as error:
        raise UserError(f"{failed} ({error}); {REMEDY}") from error
    for name in names:
        path = root / name
        try:
            data = _member(archive, *MEMBERS[name])
        except _DAMAGED as error:
            raise UserError(f"{failed} (bad archive: {error}); {REMEDY}") from error
        digest = hashlib.sha256(data).hexdigest()
        if digest != SHA256[name]:
            raise UserError(
                f"{path}: absent, and what {url} has is not the expected file (its SHA-256 is "
                f"{digest}, expected {SHA256[name]}); {REMEDY}"
            )
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(data)
        except UserError as error:
            place = "a folder which can be written or already has the published file"
            raise UserError(f"{error}; set METANET_DATA to {place}") from error


def _member(archive: bytes, name: str, *inner: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        size = opened.getinfo(name).file_size  # no more than this is unpacked
        if size > download.LARGEST:
            raise ValueError(f"found {size} bytes in {name}, expected at most {download.LARGEST}")
        data = opened.read(name)
    return _member(data, *inner) if inner else data
