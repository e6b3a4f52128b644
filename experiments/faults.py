"""Breaks a small run in every way that we know of, and looks at how it ends.

python -m experiments.faults [--cases=kill,damage,...] [--kills=60] [--workdir=DIR]

Every case ends with the numbers of an undisturbed run, or with one line that names the file and the
remedy and exit status 2; never with a traceback, with other numbers, or not within a minute. The
table of cases is printed, and is in DIR/faults.json. Exit status 1 if a case fails. Disks are
filled on a file system of their own, which takes the rights to mount one.
"""

import json
import logging
import os
import pathlib
import sys

from absl import flags

from experiments import fault_cases, launch, run
from experiments.fault_bench import Bench
from experiments.fault_verdicts import Case
from metanet.core import UserError

_CASES = flags.DEFINE_list("cases", list(fault_cases.CASES), "Which cases.")
_KILLS = flags.DEFINE_integer("kills", 60, "How often a run is killed, in all.")
CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "faults.py"

logger = logging.getLogger(__name__)


def table(found: list[tuple[str, Case]]) -> str:
    """A row per fault, in Markdown, after the name in --cases that repeats it."""
    lines = ["| case | fault | times | how it ended | holds | s |", "|---|---|---|---|---|---|"]
    for name, one in found:
        holds = {True: "yes", False: "NO", None: "not run"}[one.holds]
        ended = f"{one.times} | {one.ended} | {holds} | {one.seconds:.0f}"
        lines.append(f"| {name} | {one.fault} | {ended} |")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    launch.parse_flags(argv)
    unknown = sorted(set(_CASES.value) - set(fault_cases.CASES))
    if unknown:
        known = ", ".join(fault_cases.CASES)
        raise UserError(f"--cases: found {unknown[0]}, expected some of {known}")
    if _KILLS.value < 1:
        raise UserError(f"--kills: found {_KILLS.value}, expected at least 1")
    # Those of the commands that are broken are flags here too, and nobody would read them.
    theirs = flags.FLAGS.flags_by_module_dict()
    for module in ("experiments.run", "experiments.search", "experiments.launch",
                   "experiments.processes"):  # fmt: skip
        for flag in theirs.get(module, ()):
            if flag.present and flag.name != "workdir":
                raise UserError(f"--{flag.name}: found it, expected --cases, --kills and --workdir")
    folder = launch.writable(pathlib.Path(run.workdir_given() or "runs/faults"))
    if any(folder.iterdir()):
        raise UserError(f"{folder}: found files, expected an empty folder")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder.absolute() / "cache"))
    bench = Bench.prepared(folder.absolute(), [f"--config={CONFIG}"])
    logger.info("faults: an undisturbed run takes %.0f s", bench.seconds)
    found: list[tuple[str, Case]] = []
    for name in _CASES.value:
        for case in fault_cases.CASES[name](bench, _KILLS.value):
            logger.info("faults: %s: %s", case.fault, case.ended)
            found.append((name, case))
            cases = [{"case": of} | vars(one) for of, one in found]
            content = {"cases": cases, "undisturbed": bench.seconds}
            # Plainly: it would start JAX here, and forks need it not to run.
            (folder / "faults.json").write_text(json.dumps(content, indent=1) + "\n")
    print(table(found))
    failed = [one.fault for _, one in found if one.holds is False]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    sys.exit(launch.status(main, sys.argv))
