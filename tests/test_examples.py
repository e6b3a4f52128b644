"""Examples: networks of other frameworks, edited by an editor that comes with metanet."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from metanet.editor.release import load_editor, shipped

ROOT = pathlib.Path(__file__).parents[1]
UCI = pathlib.Path(os.environ.get("METANET_DATA") or ROOT.parent / "shared" / "data" / "uci")
HERE = (UCI / "adult" / "adult.data").exists()
needs_adult = pytest.mark.skipif(not HERE, reason="no Adult here")
LINE = re.compile(r"(.+): accuracy ([\d.]+), JSD to the original ([\d.]+) nats")


def measured(name: str, folder: pathlib.Path) -> tuple[list[tuple[float, float]], str]:
    """(accuracy, JSD) that an example prints of the original and what comes of it; its output."""
    pytest.importorskip("onnxruntime")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), f"--out={folder}"],
        cwd=ROOT, capture_output=True, text=True, timeout=500,
        env=os.environ | {"PYTHONPATH": str(ROOT), "METANET_DATA": str(UCI)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [LINE.fullmatch(line) for line in done.stdout.splitlines()]
    return [(float(row[2]), float(row[3])) for row in rows if row], done.stdout


@pytest.mark.slow
@needs_adult
def test_a_pytorch_network_is_edited_and_read_back_by_pytorch_and_onnx_runtime(tmp_path):
    pytest.importorskip("torch")
    (original, edited, compact), output = measured("pytorch_adult.py", tmp_path)
    assert original[0] > 0.84 and original[1] == 0.0
    assert edited[0] > original[0] - 0.03 and 0 < edited[1] < 0.03
    assert compact == pytest.approx(edited, abs=2e-4)
    before, after = re.search(r"parameters: (\d+) -> (\d+)", output).groups()
    assert int(after) < int(before)


@pytest.mark.slow
@needs_adult
def test_a_scikit_learn_pipeline_is_edited_and_read_back_by_onnx_runtime(tmp_path):
    pytest.importorskip("onnx")
    (original, edited, exported), output = measured("sklearn_adult.py", tmp_path)
    assert original[0] > 0.84
    assert edited[0] > original[0] - 0.03 and 0 < edited[1] < 0.03
    assert exported == pytest.approx(edited, abs=2e-4)
    assert float(re.search(r"weights kept: ([\d.]+)", output)[1]) <= 0.2


@pytest.mark.slow
@needs_adult
def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("onnxruntime")
    notebook = nbformat.read(ROOT / "examples" / "tutorial.ipynb", 4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("METANET_DATA", str(UCI))
    client = nbclient.NotebookClient(
        notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    text = "".join(
        out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", ())
    )
    assert re.search(r"agrees on (99\.9\d|100\.00)% of the rows", text)


@pytest.mark.parametrize("name", shipped())
def test_editors_that_come_with_metanet_say_where_they_are_from(name):
    release = load_editor(name)
    about = release.about
    dataset, task = name.split("-")[:2]
    assert (about["dataset"], about["task"]) == (dataset, task)
    assert (release.editor.config.probe is not None) == name.endswith("-probe")
    assert re.fullmatch("[0-9a-f]{40}", about["commit"]) and not about["dirty"]
    assert about["command"].startswith("python -m experiments.") and about["licence"]
    folder = ROOT / "metanet" / "editors" / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000


def test_some_editors_come_with_metanet():
    assert shipped()
