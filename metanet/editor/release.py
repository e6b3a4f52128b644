"""A trained editor as a folder: what an edit of somebody else's model needs, and where it is from.

editor.json is text; arrays.npz has the editor's parameters and units, and its SHA-256 is in
editor.json, so that a file that was damaged or exchanged is not read.
"""

import dataclasses
import hashlib
import io
import pathlib
import zipfile
from typing import Any

import numpy as np
from flax import traverse_util

from metanet.core import UserError, atomic_path, read_json, write_json
from metanet.data.encoding import Encoding
from metanet.editor.inputs import Scales
from metanet.editor.model import EditorConfig, TrainedEditor
from metanet.graphs.topology import Template
from metanet.probes.rows import ProbeConfig

FORMAT = 1
LARGEST = 2**28  # bytes of arrays.npz
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
    folder, editor = pathlib.Path(folder), release.editor
    known = {name: leaf for name, leaf in vars(editor.scales).items() if leaf is not None}
    params = traverse_util.flatten_dict(editor.params, sep="/")
    arrays = {_PARAMS + name: np.asarray(leaf) for name, leaf in params.items()}
    arrays |= {_SCALES + name: np.asarray(leaf) for name, leaf in known.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(sorted(arrays.items())))
    content = buffer.getvalue()
    with atomic_path(folder / "arrays.npz") as temporary:
        temporary.write_bytes(content)
    stored = {
        "format": FORMAT,
        "arrays": hashlib.sha256(content).hexdigest(),
        "requirement": list(release.requirement),
        "lambda_range": editor.lambda_range,
        "config": dataclasses.asdict(editor.config),
        "template": dataclasses.asdict(editor.template),
        "balanced": release.balanced,
        "points": release.points,
        "encoding": release.encoding.to_json(),
        "about": release.about,
    }
    write_json(folder / "editor.json", stored)


def load_editor(place: str | pathlib.Path) -> Release:
    """The release in a folder, or the one that comes with metanet under that name.

    Args:
      place: a folder that `write_release` wrote (a run's editors/NAME), or a name in SHIPPED.

    Raises:
      UserError: there is none, or a file of it is damaged.
    """
    folder = _folder(place)
    path = folder / "editor.json"
    if not path.is_file():
        have = ", ".join(shipped()) or "none yet"
        expected = f"a folder RUN/editors/NAME, or an editor that comes with metanet: {have}"
        raise UserError(f"{place}: found no editor.json there, expected {expected}")
    stored = read_json(path, "the file is damaged, or from elsewhere")
    try:
        if stored.get("format") != FORMAT:
            raise UserError(f"{path}: found format {stored.get('format')}, expected {FORMAT}")
        params, scales = _arrays(folder / "arrays.npz", stored["arrays"])
        editor = editor_of(stored, params, scales)
        encoding = Encoding.from_json(stored["encoding"], str(path))
        requirement = tuple(map(str, stored["requirement"]))
        if len(requirement) != len(editor.lambda_range):
            raise UserError(f"{path}: found {len(requirement)} requirements, expected one for "
                            f"each of {len(editor.lambda_range)} ranges of lambda")  # fmt: skip
        rest = {key: stored[key] for key in ("balanced", "points", "about")}
        for (key, value), kind in zip(rest.items(), (bool, int, dict), strict=True):
            if type(value) is not kind:
                raise UserError(f"{path}: found {key} {value!r:.40}, expected a {kind.__name__}")
        names = [one.rpartition(".")[2] for one in requirement]
        if len(set(names)) < len(names) or {"jsd", "accuracy"} & set(names):
            raise UserError(f"{path}: found requirements {', '.join(names)}, expected different "
                            "names, and none jsd or accuracy")  # fmt: skip
        return Release(editor, requirement, encoding, **rest)
    except KeyError as error:
        raise UserError(f"{path}: found no {error}, expected it; the file is damaged") from error
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: found {' '.join(str(error).split())}, expected what metanet "
                        "wrote; the file is damaged") from error  # fmt: skip


def release_digest(place: str | pathlib.Path) -> str:
    """12 hexadecimal digits of all that a release has; of one that `load_editor` has read."""
    return hashlib.sha256((_folder(place) / "editor.json").read_bytes()).hexdigest()[:12]


def _folder(place: str | pathlib.Path) -> pathlib.Path:
    folder = pathlib.Path(place)
    return SHIPPED / str(place) if not folder.exists() and str(place) in shipped() else folder


def editor_of(stored: dict, params: dict, scales: dict) -> TrainedEditor:
    """The editor whose config, template and range of lambda an editor.json has.

    Raises:
      KeyError, TypeError, ValueError: `stored` lacks one of them, or has another version's.
    """
    config = dict(stored["config"])
    if config.get("probe") is not None:
        config["probe"] = ProbeConfig(**config["probe"])
    return TrainedEditor(
        params=params,
        scales=Scales(**scales),
        config=EditorConfig(**config),
        template=Template(**stored["template"]),
        lambda_range=tuple((float(low), float(high)) for low, high in stored["lambda_range"]),
    )


def shipped() -> tuple[str, ...]:
    """The names of the editors that come with metanet."""
    return tuple(sorted(path.parent.name for path in SHIPPED.glob("*/editor.json")))


def _arrays(path: pathlib.Path, digest: str) -> tuple[dict, dict]:
    """The editor's parameters, nested, and its units.

    Raises:
      UserError: the file is another one than was written.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise UserError(f"{path}: found {size} bytes, expected at most {LARGEST}")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise UserError(f"{path}: its SHA-256 is {found}, expected {digest} as editor.json has "
                        "it: the file is damaged, or from elsewhere")  # fmt: skip
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = dict(archive)
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"no archive ({error})") from error
    parts = [
        {name.removeprefix(part): leaf for name, leaf in arrays.items() if name.startswith(part)}
        for part in (_PARAMS, _SCALES)
    ]
    return traverse_util.unflatten_dict(parts[0], sep="/"), parts[1]
