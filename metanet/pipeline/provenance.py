"""The provenance of results: command, commit, device, versions."""

import pathlib
import shlex
import subprocess  # nosec B404 # only for the git of _git, without a shell
import sys
from collections.abc import Sequence

from metanet.core import versions
from metanet.devices import device_name

PACKAGES = ("metanet", "jax", "jaxlib", "flax", "optax", "jraph", "orbax-checkpoint", "numpy")
ROOT = pathlib.Path(__file__).parents[2]


def about_this_process(module: str | None = None) -> dict:
    """The part of results.json about the command and the machine.

    Args:
      module: the module that is run by `python -m`; None is a notebook or script.

    Returns:
      command (without --workdir, on which no number depends), commit (None outside a checkout),
      dirty (whether tracked files differ from the commit), device and versions.
    """
    command = ["python", *(["-m", module] if module else sys.argv[:1]), *_flags(sys.argv[1:])]
    commit, dirty = commit_of(ROOT)
    return {
        "command": shlex.join(command),
        "commit": commit,
        "dirty": dirty,
        "device": device_name(),
        "versions": versions(PACKAGES),
    }


def _flags(arguments: Sequence[str]) -> list[str]:
    """Arguments of a command without its workdir: folders of a machine are nobody else's."""
    kept, value = [], False
    for one in arguments:
        name = one.lstrip("-").partition("=")[0] if one.startswith("-") else ""
        if not value and name != "workdir":
            kept.append(one)
        value = name == "workdir" and "=" not in one
    return kept


def commit_of(root: pathlib.Path) -> tuple[str | None, bool | None]:
    """The commit that `root` has checked out, and whether tracked files differ from it."""
    if not (root / ".git").exists():  # installed, perhaps inside another project's checkout
        return None, None
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return commit, None if changed is None else bool(changed)


def _git(root: pathlib.Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # nosec B603 B607 # fixed arguments; git is where the user has it
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
