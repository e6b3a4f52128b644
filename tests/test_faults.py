"""The bench of faults can say no: what an error advises is done, and what is wrong is said."""

import pytest

from experiments.fault_verdicts import remedied, undone


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("{}/a/one.npz: found x, expected values; remove it and run its command again", "a"),
        ("{}/a/edits.jsonl, line 3: found no JSON (x), expected a file; remove it", "a"),
        ("{}/a/settings.json: found no JSON, expected a file; give another --workdir or remove "
         "that folder", ""),
        ("{}/a: found ValueError, expected a checkpoint; remove that folder, and training goes on "
         "from step 2", ""),
        ("{0}/a/one.npz: found x, expected the database of a study; remove {0}/a", ""),
    ],
)  # fmt: skip
def test_what_an_error_advises_is_done(line, left, tmp_path):
    for name in ("one.npz", "edits.jsonl", "settings.json", "other"):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_text("content")
    error = "error: " + line.format(tmp_path)
    assert remedied(tmp_path, error) is None
    assert [path.name for path in tmp_path.iterdir()] == ([left] if left else [])
    if left:
        assert len(list((tmp_path / left).iterdir())) == 3


@pytest.mark.parametrize(
    "line",
    [
        "error: {}/a: found x, expected y",  # no remedy
        "error: /elsewhere/a: found x, expected y; remove it",
        "error: /elsewhere/a: found x, expected y; remove /",
    ],
)
def test_an_error_that_advises_nothing_or_what_is_others_is_wrong(line, tmp_path):
    (tmp_path / "a").write_text("content")
    assert remedied(tmp_path, line.format(tmp_path)).startswith("WRONG")
    assert (tmp_path / "a").exists()


def test_a_fault_that_has_to_leave_no_trace_may_not_end_in_one_line():
    assert undone("same numbers") == "same numbers"
    assert undone("one line") == "WRONG: one line" and undone("WRONG: x") == "WRONG: x"
