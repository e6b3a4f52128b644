"""One process at a time works in a run's folder, and forked commands end as they should."""

import errno
import os
import signal
import subprocess
import sys
import time

import jax
import pytest
from helpers import ROOT

from experiments.children import Child
from metanet.core import Stopped, UserError
from metanet.pipeline.locks import alone, divided, hold, try_hold
from metanet.storage import atomic_path, writing

HOLDER = """
import sys, time
from metanet.pipeline.locks import alone
alone(lambda config, folder: (print("held", flush=True), time.sleep(60)))(None, sys.argv[1])
"""

SHARER = """
import sys, time, pathlib
from metanet.pipeline.locks import try_hold
lock = try_hold(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(1)
"""


@pytest.fixture
def holder(tmp_path):
    """(a process that works in the folder, the folder)."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process, tmp_path
    process.kill()
    process.wait()


def test_a_folder_that_another_process_works_in_is_refused_until_that_ends(holder):
    process, folder = holder
    run = alone(lambda config, folder: "done")
    with pytest.raises(UserError) as caught:
        run(None, folder)
    said = str(caught.value)
    assert said.startswith(
        f"{folder}: found process {process.pid} at work in it, expected no other"
    )
    process.kill()
    process.wait()
    assert run(None, folder=folder) == "done" and run(None, folder) == "done"


@pytest.mark.slow
def test_who_shares_a_folder_waits_for_the_other(tmp_path):
    path = tmp_path / ".lock"
    process = subprocess.Popen([sys.executable, "-c", SHARER, str(path)], cwd=ROOT,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    process.stdout.readline()
    with hold(path, lambda: False):
        assert process.wait() == 0


@pytest.mark.slow
def test_tasks_of_others_come_last_and_one_that_fails_is_free_again(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SHARER, str(tmp_path / "b")], cwd=ROOT,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    process.stdout.readline()
    done = []
    divided("abc", tmp_path.joinpath, done.append, lambda: False)
    assert done == ["a", "c", "b"] and process.wait() == 0

    def fails(task):
        assert try_hold(tmp_path / task) is None
        raise ValueError(task)

    with pytest.raises(ValueError, match="a") as caught:
        divided("abc", tmp_path.joinpath, fails, lambda: False)
    with try_hold(tmp_path / "a") as held:
        assert held is not None and caught.type is ValueError  # which is still there


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def flock(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("metanet.pipeline.locks.fcntl.flock", flock)
    with pytest.raises(UserError, match=r"lock: found No locks available, expected a folder on a"):
        try_hold(tmp_path / ".lock")


def test_who_waits_for_long_says_so_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("metanet.pipeline.locks.PAUSE", 0.0)
    caplog.set_level("INFO")
    looks = iter(range(40))
    with try_hold(tmp_path / "a"):
        with pytest.raises(Stopped):
            with hold(tmp_path / "a", lambda: next(looks) == 35):
                raise AssertionError("not reached")
        looks = iter(range(40))
        with pytest.raises(Stopped):
            divided("a", tmp_path.joinpath, print, lambda: next(looks) == 35)
    assert caplog.text.count("a is held by another process: waiting for its end") == 2


def test_what_the_system_refuses_to_write_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a: found No space left on device, expected a file that"):
        with writing(tmp_path / "a"):
            raise OSError(28, os.strerror(28))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/b: found File exists"):
        with atomic_path(tmp_path / "file" / "b"):
            raise AssertionError("not reached")


def ends(argv):
    print("a line")
    match argv[1]:
        case "error":
            raise UserError("x: found y, expected z")
        case "sleep":
            time.sleep(60)
        case "left" | "alone":
            jax.distributed.is_initialized = lambda: argv[1] == "left"
            raise jax.errors.JaxRuntimeError("UNKNOWN: Gloo AllGather failed: closed by peer")
        case "full":
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        case "fault":
            raise KeyError("ours")


@pytest.mark.filterwarnings("ignore:os.fork")
def test_children_end_with_the_status_and_the_text_of_their_command(tmp_path):
    log = tmp_path / "log"
    assert (ended := Child(ends, ["well"], log).wait(30)).status == 0 and ended.text == "a line\n"
    ended = Child(ends, ["error"], log).wait(30)
    assert ended.status == 2 and ended.text.splitlines()[-1] == "error: x: found y, expected z"
    assert ended.error is None  # it is not the only line
    assert "Traceback" in Child(ends, ["fault"], log).wait(30).text
    assert "Traceback" in Child(ends, ["full"], log).wait(30).text
    assert "Traceback" in Child(ends, ["alone"], log).wait(30).text
    ended = Child(ends, ["left"], log).wait(30)  # of several processes
    assert ended.status == 1 and "Traceback" not in ended.text
    said = "another process has ended (JaxRuntimeError: UNKNOWN: Gloo AllGather failed: closed by"
    assert ended.text.splitlines()[-1].startswith(f"error: {said}")
    child = Child(ends, ["sleep"], log)
    assert child.runs(0.2)
    child.kill()
    assert child.wait(30).status == -signal.SIGKILL
    assert Child(ends, ["sleep"], log).wait(0.2).status is None
