"""What every part of metanet shares: errors, key streams, safe files, devices and processes."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pathlib
import zlib
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils


class UserError(Exception):
    """The config, the data or a file is unusable.

    The message is one line: which file or config key, what was found, what was expected. The
    runner prints it on stderr and exits with status 2.
    """


def require(ok: bool, key: str, found, expected: str) -> None:
    """Raises UserError about the config key `key` unless `ok`."""
    if not ok:
        raise UserError(f"config key {key}: found {found}, expected {expected}")


class Stopped(Exception):
    """The user asked the run to stop (SIGTERM); everything is saved, the same command continues."""


class Diverged(Exception):
    """A loss or gradient was not finite; the last good checkpoint is kept."""


def stream(seed: int, name: str, index: int | jax.Array = 0) -> jax.Array:
    """The random key of one use: a pure function of (seed, name, index).

    Nothing has to be stored to resume: the key of step `index` is the same before and after a kill.
    `index` may be traced.
    """
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
    return jax.random.fold_in(key, index)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path in the folder of `path`, which becomes `path` if the block succeeds.

    A reader sees the old file or the whole new one, never a part. Of several processes, which
    share the folder, the first one's file counts; the others' are removed.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    process = jax.process_index()
    temporary = path.with_name(f".{path.name}.{process}-{os.getpid()}.partial")
    try:
        yield temporary
        if process == 0:
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def digest(settings: dict) -> str:
    """A short name for `settings`, a flat dict for JSON: 12 hexadecimal digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def claim(folder: str | os.PathLike, settings: dict) -> None:
    """Makes `folder` the output of one stage with these `settings`, a flat dict for JSON.

    Raises:
      UserError: the folder holds the output of other settings; nothing in it is touched.
    """
    path = pathlib.Path(folder) / "settings.json"
    wanted = json.loads(json.dumps(settings))
    if not path.exists():
        write_json(path, wanted)
        return
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: found no JSON ({error}), expected settings") from error
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise UserError(
                f"{path}: found {key} = {found.get(key)}, expected {wanted.get(key)} as in the "
                "config; give another --workdir or remove that folder"
            )


def device_name() -> str:
    """How many devices and what they are; of a CPU its model too, where the system tells."""
    devices, model = jax.devices(), ""
    info = pathlib.Path("/proc/cpuinfo")
    if devices[0].platform == "cpu" and info.exists():
        names = [s.partition(":")[2].strip() for s in info.read_text().splitlines()
                 if s.startswith("model name")]  # fmt: skip
        model = f" ({names[0]})" if names else ""
    return f"{len(devices)} x {devices[0].device_kind}{model}"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of the installed ones of `packages`."""
    found = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def models_mesh(batch: int | None = None) -> jax.sharding.Mesh:
    """One axis, `models`, on which the population and the editor's batch lie.

    Over all devices or, given the size of a batch, over the largest number of every process's
    devices that divides it.

    Raises:
      UserError: the batch cannot be divided among the processes.
    """
    processes = jax.process_count()
    size = jax.local_device_count()
    if batch is not None:
        fits = [n for n in range(1, size + 1) if batch % (n * processes) == 0]
        require(bool(fits), "batch_size", batch, f"a multiple of the {processes} processes")
        size = fits[-1]
    devices = [
        device
        for process in range(processes)
        for device in [d for d in jax.devices() if d.process_index == process][:size]
    ]
    return jax.sharding.Mesh(devices, ("models",))


def replicate(tree, mesh: jax.sharding.Mesh):
    """The tree on every device of the mesh; its values are the same in every process."""
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.jit(lambda tree: tree, out_shardings=everywhere)(tree)


def to_host(tree):
    """The tree with numpy leaves, in every process, wherever its arrays lie."""

    def one(leaf):
        elsewhere = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
        if elsewhere and not leaf.is_fully_replicated:
            return multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(leaf)

    return jax.tree.map(one, tree)


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process; all of them have to ask."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def wait_for_all(name: str) -> None:
    """Returns once every process is here: what the first one wrote before can be read."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def each_model(function):
    """jax.vmap(function), for what runs networks.

    On CPU the models are taken one after another: the activations of one stay in the cache, those
    of a batch do not.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function)
    return lambda *args: jax.lax.map(lambda one: function(*one), args)


def over_models(function, mesh: jax.sharding.Mesh, in_specs, out_specs):
    """`function` run on every device's share of the `models` axis.

    Values without that axis (`PartitionSpec()`) are replicated; reductions over it are written out
    in `function` (`jax.lax.psum(..., "models")`).
    """
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )
