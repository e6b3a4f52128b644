"""Methods of several runs of one task in one front.

python -m experiments.overlay --runs=LABEL:DIR,LABEL:DIR,... --workdir=DIR [--methods=NAME,...]

DIR holds a run's results.json. Methods are called "METHOD, LABEL"; wall seconds are summed per run.
"""

import pathlib
import sys

from absl import flags

from experiments import launch
from metanet import report
from metanet.core import UserError
from metanet.evaluation.values import save_values, values_path
from metanet.report.overlay import overlay, read
from metanet.storage import write_json

_RUNS = flags.DEFINE_list("runs", [], "LABEL:DIR of every run.")
_METHODS = flags.DEFINE_list("methods", [], "Those to show; by default all.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Output folder.")


def _main(argv: list[str]) -> None:
    launch.parse_flags(argv)
    pairs = [run.partition(":") for run in _RUNS.value]
    if len(pairs) < 2 or not all(label and folder for label, _, folder in pairs):
        raise UserError(f"--runs: found {','.join(_RUNS.value)}, expected LABEL:DIR,LABEL:DIR,...")
    if _WORKDIR.value is None:
        raise UserError("--workdir: found nothing, expected a folder")
    results, values = overlay({label: read(folder) for label, _, folder in pairs}, _METHODS.value)
    workdir = launch.writable(pathlib.Path(_WORKDIR.value))
    write_json(workdir / "results.json", results | launch.about("experiments.overlay"))
    for name, one in values.items():
        save_values(values_path(workdir, name), one)
    report.write(results, workdir)
    print(report.table(results))
    print(f"picture: {workdir / 'front.png'}")


if __name__ == "__main__":
    sys.exit(launch.status(_main, sys.argv))
