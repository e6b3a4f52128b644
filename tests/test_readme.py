"""What README tells users to type works, to the letter."""

import json
import os
import pathlib
import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from metanet.objectives.base import EditView, resolve

ROOT = pathlib.Path(__file__).parents[1]
TINY = """\
from configs import dm, presets


def get_config():
    config = dm.get_config("synthetic")
    config.editors = {"GMN": {}}
    config.baselines = ("FS",)
    presets.smoke(config)
    config.refined = {}
    config.population.norms = ("none",)
    return config
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """The folder with the objective, its text exactly as in README, and its dotted path."""
    text = (ROOT / "README.md").read_text()
    (source,) = re.findall(r"```python\n(# \w+\.py\n.*?)```", text, flags=re.DOTALL)
    name = source[2:].split(".py")[0]
    assert len(source.splitlines()) <= 15
    folder = tmp_path_factory.mktemp("user")
    (folder / f"{name}.py").write_text(source)
    (path,) = re.findall(rf"--config\.requirement=({name}\.\w+)", text)
    return folder, path


def test_the_objective_of_readme_is_the_price_of_the_features_that_are_kept(module, monkeypatch):
    folder, path = module
    monkeypatch.syspath_prepend(str(folder))
    view = EditView(*[None] * 8).replace(input_keep=jnp.array([1.0, 0.0, 1.0, 0.0]))
    np.testing.assert_allclose(resolve(path)(view), (1 + 3) / (1 + 2 + 3 + 4))


def test_the_objective_of_readme_trains_an_editor(module):
    folder, path = module
    (folder / "tiny.py").write_text(TINY)
    command = [sys.executable, "-m", "experiments.run", f"--config={folder / 'tiny.py'}",
               f"--config.requirement={path}", f"--workdir={folder / 'work'}"]  # fmt: skip
    environment = {"PYTHONPATH": str(folder), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".pytest_cache" / "jax")
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    methods = json.loads((folder / "work" / "results.json").read_text())["methods"]
    # FS keeps the most important features, whatever they cost: k of 10, but not in steps of 0.1.
    costs = np.array([point["requirement"] for point in methods["FS"]["front"]])
    assert ((costs > 0) & (costs < 1)).all()
    np.testing.assert_allclose(55 * costs, np.round(55 * costs), atol=1e-4)
    assert (np.abs(10 * costs - np.round(10 * costs)) > 1e-3).any()
