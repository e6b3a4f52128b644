"""A trained editor as a folder: what an edit of somebody else's model needs, and where it is from.

editor.json is text; arrays.npz has the editor's parameters and units, and its SHA-256 is in
editor.json, so that a file that was damaged or exchanged is not read.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
import stat
import zipfile
import zlib
from typing import Any, TypeVar, cast

import numpy as np
from flax import traverse_util

from metanet.core import SettingError, UserError
from metanet.data.encoding import Encoding
from metanet.dotted import check_known
from metanet.editor.inputs import Scales
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.graphs.topology import TILE, Template
from metanet.interop.npz_arrays import read_arrays
from metanet.probes.rows import ProbeConfig
from metanet.storage import atomic_path, json_of, unusable, write_json

T = TypeVar("T")

FORMAT = 1
LARGEST = 2**28  # bytes of arrays.npz, as it is and unpacked
LARGEST_TEXT = 2**26  # bytes of editor.json
LARGEST_POINTS = 2**24
LARGEST_TEMPLATE = 2**28  # weights of a network that fills it: what a file says is allocated
SHIPPED = pathlib.Path(__file__).parents[1] / "editors"
_PARAMS, _SCALES = "params/", "scales/"


@dataclasses.dataclass(frozen=True)
class Release:
    """A trained editor with what it was trained for.

    Attributes:
      editor: parameters, units and range of lambda.
      requirement: the dotted path of every requirement.
      encoding: how tables are encoded that its models read: names, categories, standardisation.
      balanced, points: as in its training (see TrainingConfig), which refinement goes on with.
      about: where it is from: task, dataset, digests of data and population, seed, commit,
        versions, licence; for JSON.
    """

    editor: TrainedEditor
    requirement: tuple[str, ...]
    encoding: Encoding
    balanced: bool = False
    points: int = 256
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The function names of the requirements."""
        return tuple(path.rpartition(".")[2] for path in self.requirement)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the inputs, in their order."""
        return tuple(feature.name for feature in self.encoding.features)


def write_release(folder: str | pathlib.Path, release: Release) -> None:
    """Writes a release; of an earlier one in `folder` nothing is left.

    editor.json, which names the arrays by their digest, is written last: a folder whose writing
    was interrupted is refused by `load_editor`.
    """
    folder = pathlib.Path(folder)
    stored, arrays = _parts(release)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(sorted(arrays.items())))
    content = buffer.getvalue()
    with atomic_path(folder / "arrays.npz") as temporary:
        temporary.write_bytes(content)
    named = {"arrays": hashlib.sha256(content).hexdigest(), "about": release.about}
    write_json(folder / "editor.json", stored | named)


def same_editor(one: Release, other: Release) -> bool:
    """Whether two releases edit alike, wherever they are from."""
    (stored, arrays), (stored_other, arrays_other) = _parts(one), _parts(other)
    return (
        json.dumps(stored) == json.dumps(stored_other)
        and arrays.keys() == arrays_other.keys()
        and all(np.array_equal(leaf, arrays_other[name]) for name, leaf in arrays.items())
    )


def _parts(release: Release) -> tuple[dict, dict[str, Any]]:
    """What editor.json has but for `about` and the digest of the arrays; the arrays by name."""
    editor = release.editor
    known = {name: leaf for name, leaf in vars(editor.scales).items() if leaf is not None}
    params = traverse_util.flatten_dict(editor.params, sep="/")
    arrays = {_PARAMS + name: np.asarray(leaf) for name, leaf in params.items()}
    arrays |= {_SCALES + name: np.asarray(leaf) for name, leaf in known.items()}
    stored = {
        "format": FORMAT,
        "requirement": list(release.requirement),
        "lambda_range": [list(map(float, ends)) for ends in editor.lambda_range],
        "config": dataclasses.asdict(editor.config),
        "template": dataclasses.asdict(editor.template),
        "balanced": release.balanced,
        "points": release.points,
        "encoding": release.encoding.to_json(),
    }
    return stored, arrays


def load_editor(place: str | pathlib.Path) -> Release:
    """The release in a folder, or the one that comes with metanet under that name.

    Args:
      place: a folder that `write_release` wrote (a run's editors/NAME), or a name in SHIPPED.

    No code is imported because of a folder: see `dotted.check_known`.

    Raises:
      UserError: there is none, or a file of it is damaged, too large, or a link to another folder.
    """
    folder = _folder(place)
    path = folder / "editor.json"
    if not path.is_file():
        have = ", ".join(shipped()) or "none yet"
        expected = f"a folder RUN/editors/NAME, or an editor that comes with metanet: {have}"
        raise UserError(f"{place}: found no editor.json there, expected {expected}")
    try:
        content = _content(path, LARGEST_TEXT)
        stored = json_of(content, path, "the file is damaged, or from elsewhere")
        if stored.get("format") != FORMAT:
            raise UserError(f"{path}: found format {stored.get('format')}, expected {FORMAT}")
        params, scales = _arrays(folder / "arrays.npz", stored["arrays"])
        editor = editor_of(stored, params, scales, str(path))
        encoding = Encoding.from_json(stored["encoding"], str(path))
        requirement = tuple(map(str, stored["requirement"]))
        if len(requirement) != len(editor.lambda_range):
            raise UserError(f"{path}: found {len(requirement)} requirements, expected one for "
                            f"each of {len(editor.lambda_range)} ranges of lambda")  # fmt: skip
        rest = {key: stored[key] for key in ("balanced", "points", "about")}
        for (key, value), kind in zip(rest.items(), (bool, int, dict), strict=True):
            if type(value) is not kind:
                raise UserError(f"{path}: found {key} {value!r:.40}, expected a {kind.__name__}")
        if not 1 <= rest["points"] <= LARGEST_POINTS:
            raise UserError(f"{path}: found points {rest['points']!r:.40}, expected 1 to "
                            f"{LARGEST_POINTS}")  # fmt: skip
        names = [one.rpartition(".")[2] for one in requirement]
        if len(set(names)) < len(names) or {"jsd", "accuracy"} & set(names):
            raise UserError(f"{path}: found requirements {', '.join(names)}, expected different "
                            "names, and none jsd or accuracy")  # fmt: skip
        return Release(editor, requirement, encoding, **rest)
    except KeyError as error:
        raise UserError(f"{path}: found no {error}, expected it; the file is damaged") from error
    except (OSError, MemoryError, ValueError, TypeError, RecursionError) as error:
        expected = "what metanet wrote; the file is damaged"
        raise unusable(path, " ".join(str(error).split()), expected, error) from error


def release_digest(place: str | pathlib.Path) -> str:
    """The SHA-256 of all that a release has; of one that `load_editor` has read."""
    return hashlib.sha256((_folder(place) / "editor.json").read_bytes()).hexdigest()


def _folder(place: str | pathlib.Path) -> pathlib.Path:
    folder = pathlib.Path(place)
    return SHIPPED / str(place) if not folder.exists() and str(place) in shipped() else folder


def editor_of(stored: dict, params: dict, scales: dict, source: str) -> TrainedEditor:
    """The editor whose config, template and range of lambda an editor.json has.

    Args:
      source: the file that `stored` was read from, for messages.

    Raises:
      UserError: its layer is code that nobody has imported.
      KeyError, TypeError, ValueError: `stored` lacks one of them, or has another version's.
    """
    config = dict(stored["config"])
    check_known(config.get("layer", EditorConfig.layer), f"{source}: config.layer")
    try:
        if config.get("probe") is not None:
            config["probe"] = _built(ProbeConfig, config["probe"], "config.probe")
        found, template = _built(EditorConfig, config, "config"), _template(stored["template"])
    except SettingError as error:
        raise UserError(f"{source}: {error}") from error
    for name, shape in _moments(found, template).items():
        if getattr(scales.get(name), "shape", None) != shape:
            raise ValueError(f"no scales/{name} of shape {shape}, which an editor that imputes has")
    return TrainedEditor(
        params=params,
        scales=Scales(**scales),
        config=found,
        template=template,
        lambda_range=tuple((float(low), float(high)) for low, high in stored["lambda_range"]),
    )


def _built(cls: type[T], stored: dict, key: str) -> T:
    """An instance of a dataclass from its fields in an editor.json.

    Raises:
      ValueError: a whole number, a truth value or a text is none.
    """
    values = dict(stored)
    for field in dataclasses.fields(cast(Any, cls)):
        value = values.get(field.name, field.default)
        if field.type in (int, bool, str) and type(value) is not field.type:
            kind = cast(type, field.type).__name__
            raise ValueError(f"{key}.{field.name} {value!r:.40}, not of type {kind}")
    return cls(**values)


def _moments(config: EditorConfig, template: Template) -> dict[str, tuple[int, ...]]:
    """The shapes of the scales that imputation needs."""
    n_in = template.n_in
    return {"input_mean": (n_in,), "input_covariance": (n_in, n_in)} if config.imputation else {}


def shipped() -> tuple[str, ...]:
    """The names of the editors that come with metanet."""
    return tuple(sorted(path.parent.name for path in SHIPPED.glob("*/editor.json")))


def _template(stored: dict) -> Template:
    """The template in an editor.json, of a size that memory is enough for."""
    found = Template(**stored)
    whole = all(type(size) is int and size >= 1 for size in vars(found).values())
    if not whole or found.n_sources * found.n_targets * TILE**2 > LARGEST_TEMPLATE:
        raise ValueError(f"template: found {stored!r:.100}, expected positive numbers of layers "
                         f"and neurons, of at most {LARGEST_TEMPLATE} weights")  # fmt: skip
    return found


def _content(path: pathlib.Path, most: int) -> bytes:
    """The bytes of one file of a release.

    Raises:
      UserError: it is larger than `most` bytes, no file, or a link to something outside its folder.
    """
    real = path.resolve()
    if real.parent != path.parent.resolve():
        raise UserError(f"{path}: found a link to {real}, expected a file in this folder")
    status = real.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > most:
        raise UserError(f"{path}: found {status.st_size} bytes, expected a file of at most {most}")
    return real.read_bytes()


def _arrays(path: pathlib.Path, digest: str) -> tuple[dict, dict]:
    """The editor's parameters, nested, and its units.

    Raises:
      UserError: the file is another one than was written.
    """
    content = _content(path, LARGEST)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise UserError(f"{path}: its SHA-256 is {found}, expected {digest} as editor.json has "
                        "it: the file is damaged, or from elsewhere")  # fmt: skip
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            arrays = read_arrays(archive, LARGEST)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"no archive ({error})") from error
    parts = [
        {name.removeprefix(part): leaf for name, leaf in arrays.items() if name.startswith(part)}
        for part in (_PARAMS, _SCALES)
    ]
    return traverse_util.unflatten_dict(parts[0], sep="/"), parts[1]
