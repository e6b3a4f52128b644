"""The command: files, exit statuses, stop and resume, through subprocesses."""

import csv
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from helpers import run_commands

from metanet.data import load
from metanet.editor.release import load_editor
from metanet.pipeline.provenance import about_this_process
from metanet.storage import read_json
from metanet.training.checkpoint import load_checkpoint

ROOT = pathlib.Path(__file__).parents[1]
# A user's config, which imports another of the user's.
SIZES = """\
STEPS = 400
"""
TINY = """\
from configs import presets, quickstart
from sizes import STEPS


def get_config():
    config = quickstart.get_config()
    # One editor and one baseline.
    config.editors = {"GMN - Prune": {"edit": False}}
    config.methods = ("GMN - Prune", "Random")
    presets.smoke(config)
    config.num_cpu_devices = 2
    config.population.norms = ("none",)
    config.editor.seeds = 2
    config.editor.steps = STEPS
    config.editor.batch_size = 4
    config.editor.checkpoint_every = 50
    config.evaluation.n_lambdas = 3
    return config
"""
DOTTED = TINY.replace("GMN - Prune", "GMN.Prune")
ENVIRONMENT = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    # No test may reach the network.
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
}
PROGRESS = re.compile(r"^\d\d:\d\d:\d\d ")


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A folder with tiny.py, and the compilation cache of all commands."""
    folder = tmp_path_factory.mktemp("run")
    for name, text in {"tiny": TINY, "sizes": SIZES, "dotted": DOTTED}.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "old" / "population").mkdir(parents=True)
    (folder / "old" / "population" / "settings.json").write_text('{"dataset": "synthetic"}')
    return folder


@pytest.fixture(scope="module")
def start(space):
    """start(arguments, ...) -> the running command."""

    def start(*arguments, **options):
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.run", *flags_of(space, *arguments, **options)],
            cwd=ROOT,
            env=os.environ | ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def flags_of(space, *arguments, config="tiny", workdir="work"):
    """The command's flags; config: of a file in `space`, or any other path."""
    if config is None:
        return list(arguments)
    own = space / f"{config}.py"
    path = own if own.exists() else config
    return [f"--config={path}", f"--workdir={space / workdir}", *arguments]


def finish(process, status=0):
    """(stdout, stderr) of the command once it has ended with `status`."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    assert "Traceback" not in err
    return out, err


def numbers(folder):
    """results.json without what depends on the clock."""
    results = read_json(folder / "results.json")
    for key in ("wall_seconds", "command", "commit", "dirty"):
        del results[key]
    for method in results["methods"].values():
        del method["seconds_per_model"], method["wall_seconds"]
    return results


@pytest.fixture(scope="module")
def done(space, start):
    """(stdout, stderr) of an undisturbed run in work/."""
    return finish(start())


@pytest.mark.slow
def test_a_run_leaves_the_promised_files(done, space):
    work = space / "work"
    pictures = ("front.png", "front_all.png", "stages.png")
    models = ("models/ends.npz", "models/gmn-prune.npz", "models/random.npz")
    for name in ("config.json", "results.json", "front.csv", *pictures, *models):
        assert (work / name).stat().st_size > 0
    for name in pictures:
        assert (work / name).read_bytes().startswith(b"\x89PNG")
    assert list((work / "population").glob("*.npz"))
    editor, other = sorted((work / "checkpoints" / "gmn-prune").iterdir())
    assert (editor.name, other.name) == ("seed-0", "seed-1")
    assert (editor / "metrics.csv").read_text() != (other / "metrics.csv").read_text()
    assert {path.name for path in (editor / "steps").iterdir()} >= {"400"}
    assert list(editor.glob("events.out.tfevents*"))
    with open(editor / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == [str(step) for step in range(50, 401, 50)]
    assert {"loss", "jsd", "requirement", "learning_rate", "gradient_norm"} <= rows[0].keys()
    config = json.loads((work / "config.json").read_text())
    assert config["config"]["editors"]["GMN - Prune"]["training"]["steps"] == 400
    assert config["device"]
    assert config["versions"].keys() >= {"metanet", "jax"}
    assert {"commit", "dirty"} <= config.keys()


@pytest.mark.slow
def test_a_run_leaves_its_editors_as_folders_that_edit_other_models(done, space):
    first, second = sorted((space / "work" / "editors" / "gmn-prune").iterdir())
    release = load_editor(first)
    assert release.requirement == ("metanet.objectives.pruning.weights_kept",)
    assert release.features == load("synthetic", None, 0).features
    about = release.about
    found = tuple(about[key] for key in ("task", "dataset", "editor", "seed", "steps"))
    assert found == ("pruning", "synthetic", "GMN - Prune", 0, 400)
    assert about["data"] == load("synthetic", None, 0).digest and "licence" in about
    trained = load_checkpoint(space / "work" / "checkpoints" / "gmn-prune" / "seed-0")
    jax.tree.map(np.testing.assert_array_equal, release.editor.params, trained.params)
    other = load_editor(second).editor.params
    assert any((a != b).any() for a, b in zip(
        jax.tree.leaves(other), jax.tree.leaves(release.editor.params), strict=True))  # fmt: skip


@pytest.mark.slow
def test_results_follow_the_schema_and_front_csv_agrees(done, space):
    results = json.loads((space / "work" / "results.json").read_text())
    assert (results["schema"], results["kind"]) == (4, "fronts")
    assert results["requirements"] == ["metanet.objectives.pruning.weights_kept"]
    assert results["requirement_labels"] == ["weights kept (fraction of all weights)"]
    assert (results["task"], results["dataset"], results["seed"]) == ("pruning", "synthetic", 0)
    assert results["reference_point"] == [1.0, 0.1]
    assert results["models_evaluated"] == 6  # 15% of 16 experiments, three checkpoints each
    assert results["samples_evaluated"] == 1200
    assert results["wall_seconds"].keys() == {"population", "GMN - Prune", "evaluation"}
    assert results["command"].startswith("python -m experiments.run --config=")
    assert "jax" in results["versions"]
    assert list(results["methods"]) == ["GMN - Prune", "Random"]
    own = json.loads((space / "work" / "population" / "seconds.json").read_text())
    assert results["wall_seconds"]["population"] == own["training"] > 0
    if (ROOT / ".git").exists():
        known = ["git", "merge-base", "--is-ancestor", results["commit"], "HEAD"]
        assert subprocess.run(known, cwd=ROOT).returncode == 0
    seeds = results["methods"]["GMN - Prune"]["seeds"]
    assert len(seeds) == 2 and "seeds" not in results["methods"]["Random"]
    front = results["methods"]["GMN - Prune"]["front"]
    assert [p["jsd"] for p in seeds[0]["front"]] == [p["jsd"] for p in front]
    assert seeds[0]["front"] != seeds[1]["front"]
    against = results["comparison"]["jsd"]["GMN - Prune"]["Random"]
    assert len(against) == len(results["report_levels"]) > 0
    assert all(one["low"] <= one["ratio"] <= one["high"] for one in against)
    constant, unedited = results["ends"]
    assert (constant["requirement"], unedited["requirement"]) == (0.0, 1.0)
    assert (constant["constant"], unedited["jsd"]) == (1.0, pytest.approx(0.0, abs=1e-6))
    rows = []
    for name, method in results["methods"].items():
        assert 0 <= method["hypervolume"] <= method["mixture_hypervolume"] <= 1
        assert method["seconds_per_model"] > 0 and method["wall_seconds"] > 0
        assert method["device"] == results["device"]
        assert method["points_evaluated"] == (3 if name == "GMN - Prune" else 2)
        for point in method["front"]:
            assert 0 <= point["requirement"] <= 1
            assert -1e-6 <= point["jsd"] <= 0.7
            assert min(point["requirement_std"], point["jsd_std"]) >= 0
            assert 0 < point["accuracy"] <= 1 and 0 < point["accuracy_original"] <= 1
            assert point["infeasible"] == 0
            stages = [stage["jsd"] for stage in point["by_stage"].values()]
            assert np.mean(stages) == pytest.approx(point["jsd"])  # two models each
            (label,) = point["setting"]
            assert label == ("lambda" if name == "GMN - Prune" else "fraction")
            rows.append((name, point["requirement"], point["jsd"], point["setting"][label]))
    with open(space / "work" / "front.csv", newline="") as file:
        found = [
            (r["method"], *(float(r[k]) for k in ("requirement", "jsd", "setting")))
            for r in csv.DictReader(file)
        ]
    assert found == rows


@pytest.mark.slow
def test_a_run_prints_its_table_and_where_the_results_are(done, space):
    out, err = done
    assert "GMN - Prune" in out and "Random" in out
    assert str(space / "work" / "results.json") in out
    assert all(PROGRESS.match(line) for line in err.splitlines())


@pytest.mark.slow
def test_a_repeated_command_gives_the_same_numbers_at_once(done, space, start):
    before, path = numbers(space / "work"), space / "work" / "results.json"
    seconds = json.loads(path.read_text())["wall_seconds"]
    began = time.monotonic()
    out, err = finish(start())
    assert time.monotonic() - began < 60
    assert json.loads(path.read_text())["wall_seconds"] == seconds
    assert "step" not in err and "models/s" not in err  # nothing is trained again
    assert numbers(space / "work") == before
    assert [line.split()[:-1] for line in out.splitlines()[2:4]] == [
        line.split()[:-1] for line in done[0].splitlines()[2:4]
    ]


def other_of(process):
    """The number of the process that a command with --processes=2 has started."""
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (other,) = [
        int(one)
        for one in children
        if b"spawn_main" in pathlib.Path(f"/proc/{one}/cmdline").read_bytes()
    ]
    return other


def until_the_other_measures(process):
    """The lines of the log up to the other process's first method; the first one waits for that."""
    heard = []

    def hear(text):
        while text not in (heard or [""])[-1]:
            heard.append(process.stderr.readline())
            assert heard[-1], heard

    hear("evaluation: ")
    os.kill(process.pid, signal.SIGSTOP)  # with a method of its own, if the other has none
    hear("[2] evaluation: ")
    return heard


@pytest.mark.long
@pytest.mark.slow
def test_processes_divide_a_run(done, space, start):
    process = start("--processes=2", workdir="shared")
    heard = until_the_other_measures(process)
    os.kill(process.pid, signal.SIGCONT)
    _, err = finish(process)
    assert numbers(space / "shared") == numbers(space / "work")
    lines = "".join([*heard, err]).splitlines()
    measured = [line.partition("evaluation: ")[2] for line in lines if "evaluation: " in line]
    methods = [one for one in measured if "memory" not in one]  # which ends the phase
    assert sorted(methods) == ["GMN - Prune", "Random", "ends"]
    seconds = read_json(space / "shared" / "results.json")["wall_seconds"]
    assert seconds.keys() == {"population", "GMN - Prune", "evaluation"}
    # What is stored needs nobody.
    assert "[2]" not in finish(start("--processes=2", workdir="shared"))[1]


@pytest.mark.long
@pytest.mark.slow
def test_what_a_killed_process_was_at_another_one_does(done, space, start):
    process = start("--processes=2", workdir="left")
    method = until_the_other_measures(process)[-1].partition("[2] evaluation: ")[2]
    os.kill(other_of(process), signal.SIGKILL)
    os.kill(process.pid, signal.SIGCONT)
    _, err = finish(process)
    assert f" evaluation: {method}" in err
    assert numbers(space / "left") == numbers(space / "work")


@pytest.mark.long
@pytest.mark.slow
def test_a_command_that_is_stopped_stops_the_others(space, start):
    process = start("--processes=2", workdir="stopped")
    wait_for(process, (space / "stopped" / "population" / "family_000.npz").exists)
    other = other_of(process)
    process.terminate()
    _, err = finish(process)
    assert err.count("the same command continues") == 1
    assert not pathlib.Path(f"/proc/{other}").exists()


LOAD = """\
import sys, jax
from metanet.training.checkpoint import load_checkpoint
editor = load_checkpoint(sys.argv[1])
print(len(jax.devices()), type(editor).__name__)
"""


@pytest.mark.slow
def test_an_editor_that_was_trained_on_two_devices_loads_on_one(done, space):
    folder = space / "work" / "checkpoints" / "gmn-prune" / "seed-0"
    command = [sys.executable, "-c", LOAD, str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["1", "TrainedEditor"]


# Arguments, options of `flags_of`, environment, what the message says: what the command line itself
# can get wrong; settings are refused in tests/test_settings.py.
UNUSABLE = {
    "unknown key": (["--config.editor.stepz=3"], {}, {}, "stepz"),
    "unknown flag": (["--nonsense=3"], {}, {}, "nonsense"),
    "bad type": (["--config.editor.steps=many"], {}, {}, "editor.steps"),
    "bad tuple": (["--config.population.learning_rate=0.01"], {}, {}, "learning_rate"),
    "bad value": (["--config.editor.points=0"], {}, {}, "editor.points"),
    "no seeds": (["--config.editor.seeds=0"], {"workdir": "fresh"}, {}, "editor.seeds"),
    "large seed": (["--config.seed=99999999999"], {}, {}, "seed"),
    "one of several": (["--num_processes=2"], {}, {}, "--coordinator: found some of"),
    "no processes": (["--processes=0"], {}, {}, "--processes: found 0, expected 1 to"),
    "no config": ([], {"config": None}, {}, "--config"),
    "absent config": ([], {"config": "configs/absent.py"}, {}, "configs/absent.py"),
    "a name with a dot": ([], {"config": "dotted"}, {}, "GMN.Prune"),
    "other settings": (["--config.population.epochs=2"], {}, {}, "work/population"),
    "an old workdir": ([], {"workdir": "old"}, {}, "other names since version 0.2"),
    "workdir below a file": ([], {"workdir": "tiny.py/work"}, {}, "tiny.py"),
    "absent data": (["--config.dataset=adult"], {}, {"METANET_DATA": __file__}, __file__),
}


@pytest.fixture(scope="module")
def failures(done, space):
    """(status, stdout, stderr) of every unusable command."""
    before = (space / "work" / "config.json").read_bytes()
    commands = [
        (flags_of(space, *arguments, **options), environment)
        for arguments, options, environment, _ in UNUSABLE.values()
    ]
    ended = run_commands("experiments.run", "main", commands, ENVIRONMENT)
    results = dict(zip(UNUSABLE, ended, strict=True))
    unchanged = (space / "work" / "config.json").read_bytes() == before
    return results | {"unchanged": unchanged}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_command_exits_with_2_and_one_line_that_says_what(name, failures):
    status, _, err = failures[name]
    assert status == 2, err
    (line,) = [line for line in err.splitlines() if not PROGRESS.match(line)]
    assert UNUSABLE[name][3] in line and len(line) < 700
    # Quotes within quotes are the representation of a representation.
    assert "\\" not in line


@pytest.mark.slow
def test_a_refused_command_leaves_the_config_beside_the_results_of_another(failures):
    assert failures["unchanged"]


def wait_for(process, condition):
    """Until the condition holds while the command runs."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


# What is there first when a run that is to be interrupted has begun a stage, and how: SIGTERM while
# an editor trains is in tests/test_processes.py.
INTERRUPTED = [
    ("population/family_000.npz", signal.SIGTERM),
    ("population/family_001.npz", signal.SIGKILL),
    ("checkpoints/gmn-prune/seed-0/metrics.csv", signal.SIGKILL),
]


@pytest.mark.long
@pytest.mark.slow
def test_a_run_that_is_stopped_and_killed_goes_on_to_the_same_numbers(done, space, start):
    folder = space / "interrupted"
    metrics = "checkpoints/gmn-prune/seed-0/metrics.csv"
    for first, sent in INTERRUPTED:
        process = start(workdir="interrupted")
        wait_for(process, (folder / first).exists)
        process.send_signal(sent)
        out, err = process.communicate(timeout=300)
        assert not (folder / "results.json").exists()
        assert "Traceback" not in err
        if sent == signal.SIGTERM:
            assert process.returncode == 0
            assert "the same command continues" in err.splitlines()[-1]
            assert not out
        else:
            assert process.returncode == -signal.SIGKILL
    rows = (folder / metrics).read_text().splitlines()
    assert len(rows) < 9, "the editor was done before the signal came"
    finish(start(workdir="interrupted"))
    assert numbers(folder) == numbers(space / "work")
    assert (folder / metrics).read_text().split() == (space / "work" / metrics).read_text().split()


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (
            ["--config=a.py", "--workdir=/home/me/x", "--config.seed=1"],
            "--config=a.py --config.seed=1",
        ),
        (["--workdir", "/home/me/x", "--config=a.py"], "--config=a.py"),
        (["-workdir", "--config=a.py", "--out=x y"], "'--out=x y'"),
        (["--nothing", "workdir"], "--nothing workdir"),
    ],
)
def test_the_command_that_is_recorded_has_no_folder_of_a_machine(arguments, kept, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run.py", *arguments])
    assert about_this_process("experiments.run")["command"] == f"python -m experiments.run {kept}"
