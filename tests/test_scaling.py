"""What the measurement of scaling writes; the measuring itself is stubbed."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from helpers import run_commands

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = """
import sys

import pytest
import numpy as np
from benchmarks import scaling
from experiments import launch
from experiments.scaling import main

def measure(cases):  # twice the devices, three quarters of the time
    return {case.name: np.full(3, 0.75 ** (case.cores - 1)) for case in cases}

if __name__ == "__main__":
    scaling.measure, scaling.devices = measure, lambda: (2, "cpu")
    sys.exit(launch.status(main, sys.argv))
"""


@pytest.mark.long
@pytest.mark.slow
def test_rates_and_bytes_are_written_for_the_devices_that_there_are(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, tmp_path / "script.py", f"--workdir={tmp_path / 'out'}"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    for part in ("population", "editor"):
        assert results[part]["weak"].keys() == results[part]["strong"].keys() == {"1", "2"}
    assert results["bytes_summed"]["population"] == 0 < results["bytes_summed"]["editor"]
    row = next(line.split() for line in ended.stdout.splitlines() if line.startswith("editor"))
    assert row == ["editor", "weak", "1", "1", "100%", "0"]
    assert " 67%" in ended.stdout  # 1 / 0.75 of the rate on two devices


def test_a_config_of_another_type_is_refused(tmp_path):
    (tmp_path / "plain.py").write_text("def get_config():\n    return {'members': 3}\n")
    flags = [f"--config={tmp_path / 'plain.py'}", f"--workdir={tmp_path / 'out'}"]
    ((status, _, err),) = run_commands("experiments.scaling", "main", [(flags, {})])
    said = "error: config key config: found {'members': 3}, expected a ConfigDict from get_config"
    assert (status, err.splitlines()) == (2, [said])
    assert not (tmp_path / "out").exists()
