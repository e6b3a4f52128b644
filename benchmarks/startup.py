"""Process start to first training steps, and compiled programs, of the quickstart.

python -m benchmarks.startup
"""

import os
import subprocess  # nosec B404 # a benchmark of whole commands, without a shell
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.harness import Comparison, report

# Runs an experiment and says when each program is compiled, or loaded from the persistent cache.
CHILD = """
import sys, time
import jax
def listen(event, seconds, **about):
    if event.endswith("backend_compile_duration"):
        print("PROGRAM", time.time(), about.get("fun_name"), file=sys.stderr, flush=True)
jax.monitoring.register_event_duration_secs_listener(listen)
from experiments import launch
from experiments.run import main
sys.exit(launch.status(main, sys.argv))
"""
QUICKSTART = ("--config=configs/quickstart.py",)
REPEATS = 5
TRAINING = "_train"  # in the name of the first program that trains, the population's


def run(flags: Sequence[str], cache: str, whole: bool) -> tuple[float, int]:
    """Seconds from process start until the first training step, and how many programs ran.

    Args:
      flags: of experiments.run.
      whole: whether to let the experiment end; otherwise it is stopped at its first training step.

    Raises:
      RuntimeError: it ended without training, or not with status 0 where it was to end.
    """
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-c", CHILD, *flags, f"--workdir={workdir}"]
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
        start, first, programs, log = time.time(), None, 0, []
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(  # nosec B603 # this Python with metanet's own command
            command, env=environment, **streams
        ) as child:
            for line in child.stderr:
                if not line.startswith("PROGRAM"):
                    log.append(line)
                    continue
                programs += 1
                _, at, name = line.split()
                if first is None and TRAINING in name:
                    first = float(at) - start
                    if not whole:
                        child.kill()
    if first is None or (whole and child.returncode):
        raise RuntimeError(f"{' '.join(command[3:])}: found exit status {child.returncode}, "
                           f"expected a program named {TRAINING}\n{''.join(log[-5:])}")  # fmt: skip
    return first, programs


def main(flags: Sequence[str] = QUICKSTART, repeats: int = REPEATS) -> None:
    cold, warm = [], []
    with tempfile.TemporaryDirectory() as filled:
        _, programs = run(flags, filled, whole=True)
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as empty:
                cold.append(run(flags, empty, whole=False)[0])
            warm.append(run(flags, filled, whole=False)[0])
    seconds = {"persistent cache": np.array(warm), "cold": np.array(cold)}
    table = Comparison("Process start to first training step", "run", seconds, "persistent cache")
    report("startup", [table], {"programs": programs})
    print(f"{programs} compiled programs in the whole run")


if __name__ == "__main__":
    main()
