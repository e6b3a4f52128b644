"""One run in several processes on this machine: the same results, stopping, a process that dies."""

import math
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from metanet.core import UserError
from metanet.devices import any_process, models_mesh, to_host
from metanet.storage import read_json

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = """\
from configs import presets, quickstart


def get_config():
    config = quickstart.get_config()
    config.editors = {"GMN": {"probe": config.editors["GMN + probe"].probe}}
    config.methods = ("GMN", "SNIP")
    presets.smoke(config)
    config.num_cpu_devices = 1
    config.editor.steps = 100  # rounding grows with every step: 150 tip decisions here
    config.editor.batch_size = 8
    config.editor.checkpoint_every = 50
    config.evaluation.n_lambdas = 3
    return config
"""
ONLINE = """\
    config.editors = {"GMN": {}}
    config.population.mode = "online"
    return config
"""
FEATURES = """\
    config.requirement = "metanet.objectives.data_minimisation.inputs_kept"
    config.editor.mask, config.editor.imputation, config.editor.imitation = "inputs", True, 0.03
    config.editors, config.methods = {"GMN": {}}, ("GMN",)
    return config
"""


@pytest.mark.parametrize(("batch", "size"), [(None, 4), (16, 4), (6, 3), (7, 1), (2, 2)])
def test_the_mesh_has_as_many_devices_as_divide_the_batch(batch, size):
    mesh = models_mesh(batch)
    assert mesh.axis_names == ("models",) and mesh.size == size
    assert list(mesh.devices.flat) == jax.devices()[:size]


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    with pytest.raises(UserError, match="batch_size: found 16, expected a multiple of the 3"):
        models_mesh(16)


def test_one_process_needs_no_other():
    assert any_process(True) and not any_process(False)
    sharded = jax.device_put(
        np.arange(8.0),
        jax.sharding.NamedSharding(models_mesh(), jax.sharding.PartitionSpec("models")),
    )
    found = to_host({"a": sharded, "b": 2.0})
    assert isinstance(found["a"], np.ndarray)
    np.testing.assert_array_equal(found["a"], np.arange(8.0))


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    (folder / "tiny.py").write_text(CONFIG)
    for name, rest in {"online.py": ONLINE, "features.py": FEATURES}.items():
        (folder / name).write_text(CONFIG.replace("    return config\n", rest))
    return folder


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(space, workdir, count, *arguments, config="tiny.py"):
    """The processes of one run."""
    command = [sys.executable, "-m", "experiments.run", f"--config={space / config}"]
    command += [f"--workdir={space / workdir}", *arguments]
    environment = {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    meeting = [f"--coordinator=127.0.0.1:{free_port()}", f"--num_processes={count}"]
    return [
        subprocess.Popen(
            [*command, *([*meeting, f"--process_id={number}"] if count > 1 else [])],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]


def finish(processes, status=0):
    """(stdout, stderr) of every process."""
    said = [process.communicate(timeout=400) for process in processes]
    for process, (_, err) in zip(processes, said, strict=True):
        assert process.returncode == status, err
        assert "Traceback" not in err
    return said


def assert_alike(found, expected):
    """Results of other devices agree to rounding."""
    skipped = {"wall_seconds", "command", "seconds_per_model", "device", "dirty"}
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected.keys() - skipped:
            assert_alike(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-3, abs_tol=1e-5)
    else:
        assert found == expected


def results(space, workdir):
    return read_json(space / workdir / "results.json")


@pytest.fixture(scope="module")
def alone(space):
    """What one process gives."""
    finish(start(space, "alone", 1))
    return results(space, "alone")


@pytest.mark.long
@pytest.mark.slow
def test_eight_devices_give_the_results_of_one(alone, space):
    finish(start(space, "devices-8", 1, "--config.num_cpu_devices=8"))
    assert_alike(results(space, "devices-8"), alone)


@pytest.mark.long
@pytest.mark.slow
def test_processes_together_give_the_results_of_one(alone, space):
    """Four: two are at work in the tests below."""
    first, *others = finish(start(space, "together", 4))
    assert "results: " in first[0]
    for out, err in others:
        assert all(line.startswith("[Gloo]") for line in out.splitlines())
        assert not any(line[:2].isdigit() for line in err.splitlines())  # no log
    assert_alike(results(space, "together"), alone)
    left = [path for path in (space / "together").rglob("*") if ".partial" in path.name]
    assert not left


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", ["online", "features"])
def test_two_processes_train_as_one_does(name, space):
    """With models that train beside the editor; with masks that imitate elimination."""
    for count in (1, 2):
        finish(start(space, f"{name}-{count}", count, config=f"{name}.py"))
    assert_alike(results(space, f"{name}-2"), results(space, f"{name}-1"))


# What is there first when a stage is at work.
BEGUN = {
    "probing": "probes/*/settings.json",
    "editor": "checkpoints/gmn/seed-0/metrics.csv",
    "evaluation": "evaluation/ends/entry.json",
}


def once_at(stage, processes, space, workdir):
    """Waits until the stage is at work."""
    deadline = time.monotonic() + 300
    while not any(
        len(path.read_text().splitlines()) > 2 for path in (space / workdir).glob(BEGUN[stage])
    ):
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.long
@pytest.mark.slow
def test_sigterm_to_any_process_stops_all_and_another_number_goes_on(alone, space):
    for stage in BEGUN:
        processes = start(space, "sigterm", 2)
        once_at(stage, processes, space, "sigterm")
        processes[1].send_signal(signal.SIGTERM)
        for _, err in finish(processes):
            assert "the same command continues" in err
        assert not (space / "sigterm" / "results.json").exists()
    finish(start(space, "sigterm", 1))
    assert_alike(results(space, "sigterm"), alone)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_one_goes_on(alone, space):
    processes = start(space, "killed", 2)
    once_at("editor", processes, space, "killed")
    processes[1].kill()
    began = time.monotonic()
    _, err = processes[0].communicate(timeout=120)
    assert time.monotonic() - began < 60
    assert processes[0].returncode != 0
    assert "another task died" in err or "another process" in err
    finish(start(space, "killed", 1))
    assert_alike(results(space, "killed"), alone)
