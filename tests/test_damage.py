"""Files that metanet reads again, damaged: they give what was written, or an error in one line."""

import errno
import json
import logging
import os
import pathlib
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from helpers import random_stack
from tensorboardX.event_file_writer import event_pb2

from experiments.children import Child
from metanet.core import UserError
from metanet.editor.inputs import scales_of
from metanet.editor.model import EditorConfig
from metanet.graphs.packing import pack
from metanet.mlp.spec import MLPSpec
from metanet.storage import (
    match_settings,
    read_json,
    read_npz,
    read_seconds,
    write_json,
    write_npz,
)
from metanet.training.checkpoint import Checkpoints, load_checkpoint
from metanet.training.config import TrainingConfig
from metanet.training.step import init_state
from metanet.training.writer import Writer

VALUE = {"a": [1.5, 1e-300, float("nan")], "b": {"sha256": "of something else"}, "c": None}


def flipped(content: bytes, rng) -> bytes:
    place = rng.integers(len(content))
    changed = bytearray(content)
    changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


def damages(content: bytes, flips: int):
    """The content emptied, cut, and with one bit flipped at `flips` places."""
    rng = np.random.default_rng(0)
    return [b"", content[: len(content) // 2], *(flipped(content, rng) for _ in range(flips))]


def assert_one_line(error: UserError, path: pathlib.Path):
    text = str(error)
    assert text.startswith(f"{path}: found ") and ", expected " in text and "\n" not in text
    assert len(text) < 700


def test_json_is_read_as_it_was_written_or_refused(tmp_path):
    path = tmp_path / "one.json"
    write_json(path, VALUE)
    content = path.read_bytes()
    assert json.dumps(read_json(path)) == json.dumps(VALUE)
    refused = 0
    for damaged in damages(content, 400):
        path.write_bytes(damaged)
        try:
            assert json.dumps(read_json(path)) == json.dumps(VALUE)  # of white space a flip may be
        except UserError as error:
            assert_one_line(error, path)
            refused += 1
    assert refused > 300


def test_json_whose_checksum_has_another_name_is_refused(tmp_path):
    path = tmp_path / "one.json"
    write_json(path, VALUE)
    content = path.read_text()
    path.write_text("sha257".join(content.rsplit("sha256", 1)))
    with pytest.raises(UserError, match="found content that its sha256 does not fit"):
        read_json(path)


def test_json_without_a_checksum_is_read_as_it_is(tmp_path):
    (tmp_path / "old.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "old.json") == {"a": 1}


@pytest.mark.parametrize("content", ["", "[]", "3", "null", '{"a": ', "\0"])
def test_what_is_no_json_of_ours_is_refused_with_the_remedy(content, tmp_path):
    path = tmp_path / "one.json"
    path.write_text(content)
    with pytest.raises(UserError, match="expected a file that metanet wrote; remove it") as caught:
        read_json(path)
    assert_one_line(caught.value, path)


def test_damaged_settings_are_refused_and_their_folder_is_named(tmp_path):
    match_settings(tmp_path, {"a": 1})
    path = tmp_path / "settings.json"
    path.write_text(path.read_text().replace('"a": 1', '"a": 2'))
    with pytest.raises(UserError, match="give another --workdir or remove that folder"):
        match_settings(tmp_path, {"a": 2})


def test_json_without_a_key_that_it_has_to_have_is_refused(tmp_path):
    path = tmp_path / "one.json"
    write_json(path, {"a": 1})
    assert read_json(path, keys=("a",)) == {"a": 1}
    with pytest.raises(UserError, match="found no b, expected a file that metanet wrote; remove"):
        read_json(path, keys=("a", "b"))


def test_seconds_are_read_as_they_were_written_or_refused(tmp_path):
    path = tmp_path / "seconds.json"
    assert read_seconds(path, ("training",)) == {}
    write_json(path, {"training": 2.5, "evaluation": 0})
    assert read_seconds(path, ("training",)) == {"training": 2.5, "evaluation": 0}
    for value in (None, "2", -1, float("nan"), float("inf"), [1]):
        write_json(path, {"training": value})
        with pytest.raises(UserError, match=r"found training = .*, expected seconds") as caught:
            read_seconds(path)
        assert_one_line(caught.value, path)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_file_that_the_system_refuses_to_read_is_not_to_be_removed(
    code, checkpoints, tmp_path, monkeypatch
):
    path, text = tmp_path / "one", os.strerror(code)
    write_json(path, VALUE)

    def refuse(*args, **kwargs):
        raise OSError(code, text)

    def quoted(*args, **kwargs):  # as TensorStore says it
        raise ValueError(f"UNKNOWN: Failed to open file [OS error {code}: {text}]")

    monkeypatch.setattr(pathlib.Path, "read_bytes", refuse)
    monkeypatch.setattr(np, "load", refuse)
    monkeypatch.setattr(ocp.CheckpointManager, "restore", quoted)
    folder, _, restored = checkpoints
    for place, read in (
        (path, lambda: read_json(path)),
        (path, lambda: read_npz(path, "one; remove it")),
        (folder / "steps" / "4", lambda: restored(folder)),
    ):
        with pytest.raises(UserError) as caught:
            read()
        expected = "expected a file that can be read; the same command continues then"
        assert str(caught.value) == f"{place}: found {text}, {expected}"


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_read_as_they_were_written_or_refused(compressed, tmp_path):
    path, rng = tmp_path / "one.npz", np.random.default_rng(1)
    arrays = {"a": rng.normal(size=(5, 7)), "b": np.arange(3, dtype=np.int32), "c": np.zeros(())}
    write_npz(path, arrays, compressed)
    for damaged in damages(path.read_bytes(), 400):
        path.write_bytes(damaged)
        try:
            found = read_npz(path, "three arrays")
            assert found.keys() == arrays.keys()
            for name, leaf in arrays.items():
                assert found[name].dtype == leaf.dtype
                np.testing.assert_array_equal(found[name], leaf)
        except UserError as error:
            assert_one_line(error, path)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """(folder with two checkpoints of an editor, its parameters, how to restore from a folder)."""
    models = pack([random_stack(MLPSpec((5, 4, 2)))])
    config = EditorConfig(layers=1, node_width=4, edge_width=4, message_width=4)
    training = TrainingConfig(batch_size=1)
    scales = jax.device_get(scales_of(models, np.arange(3)))
    state = init_state(config, training, models, scales, 0)

    def at(folder):
        return Checkpoints(folder, config, models.template, training.lambda_range)

    folder = tmp_path_factory.mktemp("trained")
    saved = at(folder)
    for step in (2, 4):
        saved.save(state.replace(step=np.int32(step)), scales)
    saved.close()

    def restored(folder):
        opened = at(folder)
        try:
            return opened.restore(state, scales)
        finally:
            opened.close()

    return folder, state.params, restored


def assert_same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, jax.device_get(expected))


def test_a_whole_checkpoint_is_restored(checkpoints):
    folder, params, restored = checkpoints
    assert_same(load_checkpoint(folder).params, params)
    assert int(restored(folder).step) == 4


@pytest.mark.slow
def test_a_damaged_checkpoint_is_never_taken_for_a_whole_one(checkpoints, tmp_path):
    # What Orbax reads beside a damaged file fails too, and each task would print a traceback.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    folder, params, restored = checkpoints
    newest = folder / "steps" / "4"
    files = sorted(path for path in newest.rglob("*") if path.is_file())
    assert len(files) > 10
    refused = 0
    for number, file in enumerate(files):
        content = file.read_bytes()
        if not content:
            continue
        for kind, damaged in enumerate(damages(content, 1)):
            copy = tmp_path / f"{number}-{kind}"
            shutil.copytree(folder, copy)
            (copy / file.relative_to(folder)).write_bytes(damaged)
            read = (load_checkpoint, restored)[(number + kind) % 2]
            try:
                assert_same(read(copy).params, params)
            except UserError as error:
                assert_one_line(error, copy / "steps" / "4")
                assert str(error).endswith("that folder, and training goes on from step 2")
                refused += 1
            shutil.rmtree(copy)
    assert refused >= 10


def test_a_checkpoint_whose_folder_is_empty_is_named_with_the_older_one(checkpoints, tmp_path):
    folder, _, restored = checkpoints
    shutil.copytree(folder, tmp_path / "copy")
    newest = tmp_path / "copy" / "steps" / "4"
    shutil.rmtree(newest)
    newest.mkdir()
    with pytest.raises(UserError, match="goes on from step 2") as caught:
        restored(tmp_path / "copy")
    assert_one_line(caught.value, newest)
    newest.rmdir()
    assert int(restored(tmp_path / "copy").step) == 2


@pytest.mark.parametrize("content", ["", "step,lo", "\0\1", "step,loss\n1,0.5\n2,0.2\n3,0."])
def test_curves_that_a_kill_or_a_disk_damaged_go_on_with_their_whole_rows(content, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(content)
    writer = Writer(tmp_path, 2)
    writer.write(3, {"loss": 0.125})
    writer.close()
    whole = ["1,0.5", "2,0.2"] if "0.5" in content else []
    assert path.read_text().splitlines() == ["step,loss", *whole, "3,0.125"]


def test_a_piece_of_a_row_is_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss,jsd\n1,0.5,0.25\n2,0.123456789,0.5\n3,0.")
    Writer(tmp_path, 3).close()
    assert path.read_text() == "step,loss,jsd\n1,0.5,0.25\n2,0.123456789,0.5\n"


def test_a_disk_that_is_full_of_curves_is_one_line_and_no_wait(tmp_path, monkeypatch):
    writer = Writer(tmp_path, 0)
    writer.write(1, {"loss": 0.5, "jsd": 0.25})

    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer._events, "flush", full)
    for step in range(2, 20):  # more than a queue would take
        with pytest.raises(UserError, match=r"events.out.tfevents: found No space left on device"):
            writer.write(step, {"loss": 0.5, "jsd": 0.25})
    writer.close()


def test_curves_are_events_of_tensorboard_too(tmp_path):
    for first in (0, 2):  # the second goes on after step 2
        writer = Writer(tmp_path, first)
        for step in range(first + 1, 4):
            writer.write(step, {"loss": 0.5 * step, "jsd": 0.25})
        writer.close()
    found = []
    for path in sorted(tmp_path.glob("events.out.tfevents*")):
        content = path.read_bytes()
        while content:  # length, its checksum, the event, its checksum
            size = int.from_bytes(content[:8], "little")
            found.append(event_pb2.Event.FromString(content[12 : 12 + size]))
            content = content[16 + size :]
    steps = [(one.step, [(v.tag, v.simple_value) for v in one.summary.value]) for one in found]
    assert [one for one in steps if one[1]] == [
        (step, [("loss", 0.5 * step), ("jsd", 0.25)]) for step in (1, 2, 3, 3)
    ]
    assert [one.step for one in found if one.session_log.status] == [1, 3]


def test_an_array_whose_header_asks_for_more_than_there_is_is_damaged(tmp_path):
    path = tmp_path / "one.npz"
    write_npz(path, {"a": np.zeros(8)})
    content = path.read_bytes()
    assert content.count(b"(8,)") == 1
    path.write_bytes(content.replace(b"(8,), }   ", b"(8" + b"0" * 3 + b",), }"))
    with pytest.raises(UserError, match=r"one.npz: found .*, expected one; remove it"):
        read_npz(path, "one; remove it")


@pytest.mark.filterwarnings("ignore:os.fork")
def test_what_the_system_refuses_is_one_line_of_a_command(tmp_path):
    def command(_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "runs/one.json")

    ended = Child(command, [], tmp_path / "log").wait(30)
    expected = "expected a file that can be read and written; the same command continues then"
    assert ended.error == f"error: runs/one.json: found Permission denied, {expected}"
