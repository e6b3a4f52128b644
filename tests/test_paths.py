"""Names from files, configs and command lines stay within the folder that they are meant for."""

import os
import pathlib
import zipfile

import numpy as np
import pytest

from experiments import launch
from metanet.core import SettingError, UserError
from metanet.data.files import label_of
from metanet.evaluation.values import values_path
from metanet.interop import files
from metanet.pipeline.evaluate import entry_path
from metanet.pipeline.names import check_names
from metanet.pipeline.testbed import slug_of
from metanet.storage import atomic_path, slug, write_json

HOSTILE = ["..", ".", "../x", "../../etc/passwd", "/etc/passwd", "a/b", "a/../../b", "~", "~root/x",
           "C:\\x", "a\0b", "x/", "-rf", "$(id)", "a\nb", "..csv", "...csv", "../...csv", ".csv",
           "x/..", "x/../.csv", "a/..csv.gz", "\u2025/x", "\uff0e\uff0e/x"]  # fmt: skip


def within(path, folder):
    """Whether a path is directly in a folder, whatever links and dots are in it."""
    return pathlib.Path(os.path.abspath(path)).parent == pathlib.Path(os.path.abspath(folder))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_becomes_one_folder_below_the_one_that_it_is_in(tmp_path, name):
    assert all(one.isalnum() or one == "-" for one in slug(name))
    if slug(name):
        assert within(tmp_path / slug(name), tmp_path)
        assert within(entry_path(tmp_path, name).parent, tmp_path)
    else:
        with pytest.raises(SettingError, match=r"methods: found .*, expected a name with a letter"):
            check_names([name], "methods")
    assert within(values_path(tmp_path, name), tmp_path / "models")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_dataset_becomes_one_folder_below_that_of_its_run(tmp_path, name):
    if "/" in name or name.endswith("csv"):  # a file; any other name has to be known
        assert within(tmp_path / label_of(name), tmp_path)
        assert within(tmp_path / slug_of(name), tmp_path)
    found = launch.default_workdir(f"configs/dm.py:{name}", "synthetic")
    assert within(found, "runs")
    assert within(launch.default_workdir(f"configs/dm.py:{name}", name), "runs")


def test_a_name_whose_folder_is_longer_than_a_file_system_takes_is_refused():
    check_names(["x" * 100], "methods")
    with pytest.raises(SettingError, match=r"methods: found .*, 300 bytes, expected a name whose"):
        check_names(["\u8a9e" * 100], "methods")


def test_links_are_replaced_and_not_written_through(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.write_text("not to be touched")
    folder.mkdir()
    (folder / "results.json").symlink_to(outside)
    write_json(folder / "results.json", {})
    assert outside.read_text() == "not to be touched"
    assert not (folder / "results.json").is_symlink()
    with atomic_path(folder / "front.png") as temporary:
        temporary.write_text("old")
        planted = temporary
    planted.symlink_to(outside)
    with atomic_path(folder / "front.png") as temporary:
        assert temporary == planted
        temporary.write_text("new")
    assert outside.read_text() == "not to be touched"
    assert sorted(path.name for path in folder.iterdir()) == ["front.png", "results.json"]
    assert (folder / "front.png").read_text() == "new"


def test_parts_of_an_archive_are_never_files(tmp_path):
    """A network whose arrays are called as paths is refused; nothing is written anywhere."""
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    np.save(tmp_path / "array.npy", np.ones((3, 2), np.float32))
    for name in ("../../0.weight.npy", "/tmp/0.weight.npy", "..\\0.weight.npy"):
        with zipfile.ZipFile(home / "model.npz", "w") as archive:
            archive.write(tmp_path / "array.npy", name)
        with pytest.raises(UserError, match=r"model\.npz: .*found .*expected"):
            files.read(home / "model.npz", "relu")
        found = sorted(path.name for path in tmp_path.rglob("*"))
        assert found == ["a", "array.npy", "b", "model.npz"]


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/{0}/weights.bin", "link"])
def test_numbers_of_an_onnx_file_are_never_read_from_another_file(tmp_path, location):
    """Also where that file is there and has as many bytes as it should."""
    pytest.importorskip("onnx")
    from hostile_files import external, model

    folder = tmp_path / "model"
    folder.mkdir()
    for place in (folder, tmp_path):
        (place / "weights.bin").write_bytes(np.ones((3, 4), np.float32).tobytes())
    (folder / "link").symlink_to(tmp_path / "weights.bin")
    (folder / "model.onnx").write_bytes(model(change=external(location.format(tmp_path))))
    with pytest.raises(UserError, match=r"initialiser 'w': found numbers in another file"):
        files.read(folder / "model.onnx")
