"""A table of one's own as a dataset: what its file does not say is guessed where that is safe."""

import dataclasses
import hashlib
import logging
import pathlib
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from metanet.data import columns, files, table_config
from metanet.data.columns import NO_VALUE, NUMBER, expect, quoted
from metanet.data.encoding import Feature, Group
from metanet.data.kinds import Source, categories_of, feature_of, row_numbers
from metanet.data.table_config import TableConfig
from metanet.data.tabular import Raw

logger = logging.getLogger(__name__)

LABELS = ("label", "target", "class", "y")  # names of a label's column, in upper or lower case
CLASSES = 50  # or groups, at most
FEW = 10  # numbers in a column of groups that need no cut points
SMALL = 30  # rows of a group, below which its rates are noise


def load(dataset: str, said: TableConfig, group: str | None) -> Raw:
    """The table in the file `dataset`.

    Args:
      said: goes before what the TOML file beside the table says.
      group: a column that is a protected attribute too.

    Raises:
      UserError: the file, its settings or a column is unusable.
    """
    path = pathlib.Path(dataset)
    files.require_file(path)
    toml = files.toml_of(path)
    config = table_config.beside(toml, said)
    layout = files.look(path, config.separator)
    if group is not None and group not in config.cuts:
        config = dataclasses.replace(config, groups=config.cuts | {group: ()})
    _require_columns(dataset, layout.names, config)
    label = _label(dataset, toml.name, layout.names, config)
    text = [label, *(config.categorical or ()), *(config.dates or ())]
    text += [name for name, cuts in config.cuts.items() if not cuts]
    frame = files.read(layout, config.notation, text)
    return _raw(files.label_of(dataset), Source(dataset, toml.name, frame, config, label))


def _require_columns(source: str, names: Sequence[str], config: TableConfig) -> None:
    """Raises UserError about a column that the settings name and the table has not."""
    named: dict[str, Sequence[str]] = {
        "label": () if config.label is None else (config.label,),
        "groups": tuple(config.cuts),
        "features": config.features or (),
        "drop": config.drop or (),
        "categorical": config.categorical or (),
        "dates": tuple(config.dates or ()),
    }
    for key, wanted in named.items():
        absent = [one for one in wanted if one not in names or not one]
        known = f"some of {quoted([name for name in names if name], 12)}"
        expect(not absent, source, f"no column {quoted(absent)} ({key})", known)


def _label(source: str, toml: str, names: Sequence[str], config: TableConfig) -> str:
    """The column of the class."""
    found = [name for name in names if name.lower() in LABELS]
    if config.label is None:
        said = f"columns {quoted(found)} that may be the label" if found else "no label"
        remedy = f'label = "..." in {toml}, one of {quoted([n for n in names if n], 12)}'
        expect(len(found) == 1, source, said, remedy)
        logger.info('%s: the label is column "%s", by its name', source, found[0])
    label = found[0] if config.label is None else config.label
    taken = (*config.cuts, *(config.features or ()))
    expect(label not in taken, source, f'the label "{label}" as group or feature', "another column")
    return label


def _raw(name: str, source: Source) -> Raw:
    y, classes = _classes(source)
    groups = {one: _group(source, one, cuts) for one, cuts in source.config.cuts.items()}
    features, x = _features(source, y)
    return Raw(
        name=name,
        x=x,
        y=y,
        groups={one: codes for one, (_, codes) in groups.items()},
        features=tuple(feature.name for feature in features),
        classes=classes,
        columns=features,
        group_columns={one: group for one, (group, _) in groups.items()},
        label=source.label,
        notation=source.notation,
        impute=source.config.missing in ("impute", "indicator"),
    )


def _classes(source: Source) -> tuple[np.ndarray, tuple[str, ...]]:
    codes, names = columns.texts(source.frame[source.label], source.notation)
    label, missing = source.label, int((codes < 0).sum())
    source.expect(not missing, f'no class in {missing} rows of "{label}"', "no such rows")
    source.expect(len(names) > 1, f'the class {quoted(names)} alone in "{label}"', "two or more")
    few = f"at most {CLASSES} classes; name another label or make classes of its values"
    source.expect(len(names) <= CLASSES, f'{len(names)} values of the label "{label}"', few)
    classes = columns.in_order(names)
    y = np.array([classes.index(name) for name in names])[codes]
    counts = np.bincount(y).tolist()
    shown = ", ".join(f"{one} ({rows} rows)" for one, rows in zip(classes, counts, strict=True))
    source.say(label, f"has the classes {shown[:300]}")
    return y, classes


def _group(source: Source, name: str, cuts: tuple[float, ...]) -> tuple[Group, np.ndarray]:
    column, notation = source.frame[name], source.notation
    if cuts:
        group = Group(name, name, (), cuts, tuple(range(len(cuts) + 1)))
    else:
        codes, names = columns.texts(column, notation)
        source.expect(bool(names), f'no values in the group column "{name}"', "groups")
        numeric = all(NUMBER.fullmatch(one) for one in names)
        points = source.key(f"cut points: groups.{_toml_key(name)} = [..., ...]")
        many = f'{len(names)} different numbers in the group column "{name}"'
        source.expect(not numeric or len(names) <= FEW, many, points)
        categories = categories_of(source, name, codes, names)
        many = f'{len(categories)} categories in the group column "{name}"'
        source.expect(len(categories) <= CLASSES, many, source.key(
            f"at most {CLASSES}: rare = N merges those of fewer than N rows"))  # fmt: skip
        if (codes < 0).any() and source.config.missing in ("impute", "indicator"):
            categories = columns.in_order([*categories, NO_VALUE])
        group = Group(name, name, categories, (), tuple(range(len(categories))))
    codes, bad = group.members(column, notation)
    remedy = source.key('missing = "impute", by which they are a group')
    absent = f'rows without a value in the group column "{name}"'
    source.expect(bad != ["no value"], absent, "a value in every row" if cuts else remedy)
    source.expect(not bad, f'{quoted(bad)} in the group column "{name}"', "numbers for cut points")
    counts = np.bincount(codes, minlength=group.n_groups)
    source.expect(group.n_groups > 1, f'one group in the column "{name}"', "two or more")
    full = f'no rows in group {counts.argmin()} of {group.n_groups} of "{name}" by cut points'
    source.expect(bool(counts.all()), full, f"rows in every interval between {cuts}")
    if counts.min() < SMALL:
        source.say(name, f"has a group of {counts.min()} rows: rates of so few are noise")
    return group, codes


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'


def _features(source: Source, y: np.ndarray) -> tuple[tuple[Feature, ...], np.ndarray]:
    """The features, and their numbers [rows, features] float64, NaN where one is missing."""
    config, label = source.config, source.label
    wanted = config.features or [str(name) for name in source.frame if name != label]
    found: list[tuple[Feature, np.ndarray]] = []
    seen: dict[bytes, str] = {}
    for name in wanted:
        if name in (config.drop or ()):
            continue
        why = None if config.features else row_numbers(source.frame[name])
        if why is None:
            feature, numbers = feature_of(source, name)
            known = numbers[~np.isnan(numbers)]
            same = seen.setdefault(hashlib.sha256(numbers.tobytes()).digest(), name)
            if not len(known):
                why = "has no values"
            elif known.min() == known.max() and not config.features:
                why = "has one value"
            elif same != name and not config.features:
                why = f'has the same numbers as "{same}"'
        if why is None:
            found.append((feature, numbers))
            _warn_of_leaks(source, name, numbers, y)
        else:
            source.say(name, f"{why} and is left out")
    by_kind: dict[str, list[str]] = {}
    for feature, _ in found:
        by_kind.setdefault(feature.kind, []).append(feature.name)
    for kind, names in by_kind.items():
        logger.info("%s: read as %s: %s", source.name, kind, ", ".join(names))
    found += _absences(source, found)
    remedy = "one or more features, with more than one value"
    source.expect(bool(found), "no column that models could see", remedy)
    features = tuple(feature for feature, _ in found)
    names = [feature.name for feature in features]
    twice = sorted({name for name in names if names.count(name) > 1})
    source.expect(not twice, f"two features {quoted(twice)}", "every name once")
    return features, np.stack([numbers for _, numbers in found], axis=1)


def _absences(
    source: Source, found: Sequence[tuple[Feature, np.ndarray]]
) -> list[tuple[Feature, np.ndarray]]:
    """Features that say where others are missing, if the settings ask for them.

    Raises:
      UserError: values are missing, and the settings do not say what becomes of them.
    """
    absent = {f.column: np.isnan(numbers) for f, numbers in found}
    counts = {name: int(where.sum()) for name, where in absent.items() if where.any()}
    shown = ", ".join(f'"{name}" ({count})' for name, count in list(counts.items())[:5])
    shown += f" and {len(counts) - 5} more" if len(counts) > 5 else ""
    allowed = source.config.missing in ("impute", "indicator")
    remedy = f'missing = "impute" or "indicator", or drop = [{", ".join(map(repr, counts))}]'
    source.expect(allowed or not counts, f"missing values in columns {shown}", source.key(remedy))
    if counts:
        logger.info("%s: missing values of %s are imputed", source.name, shown)
    if source.config.missing != "indicator":
        return []
    return [
        (Feature(f"{name} is missing", name, "missing"), absent[name].astype(np.float64))
        for name in counts
    ]


def _warn_of_leaks(source: Source, name: str, numbers: np.ndarray, y: np.ndarray) -> None:
    """Says so if a column has a value of its own for every class."""
    codes, distinct = pd.factorize(numbers, use_na_sentinel=False)
    classes = int(y.max()) + 1
    if len(distinct) == classes and len(np.unique(codes * classes + y)) == classes:
        source.say(name, "tells the class of every row: is it the label in other words?")
