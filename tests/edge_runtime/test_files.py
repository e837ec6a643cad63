"""What an option names may be a device, and what is to be written may lie in what is read: both are refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT
from tiny_bundle import make_bundle

from edgekit.cli import bundles as verbs
from edgekit.cli.benchmark import Printing, benchmark
from edgekit.cli.measure import profile
from edgekit.cli.report import report
from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.bundle import signature
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.errors import MOST_MESSAGE, BundleError, UsageError
from edgekit.edge_runtime.files import check_output, folder_atomically, read_plain, write_bytes


@pytest.fixture
def strange(tmp_path):
    """A device that never ends, a pipe that nobody writes to, a folder, a link to the device."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/dev/zero")
    return {"a device": "/dev/zero", "a pipe": tmp_path / "pipe", "a folder": tmp_path / "folder",
            "a device, by a link": tmp_path / "link"}  # fmt: skip


KINDS = ["a device", "a pipe", "a folder", "a device, by a link"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_not_read(strange, kind, tmp_path):
    path = Path(strange[kind])
    said = f"it is {kind.removesuffix(', by a link')}, not a regular file"
    with pytest.raises(OSError, match=said):
        read_plain(path)
    with pytest.raises(UsageError, match=said):
        signature.check_key(path)
    with pytest.raises(UsageError, match=said):
        signature.sign(make_bundle(tmp_path, name="x"), path)
    with pytest.raises(UsageError, match=said):
        measurement.load(path)


def test_a_file_is_read_up_to_its_limit(tmp_path):
    (tmp_path / "x").write_bytes(b"123")
    assert read_plain(tmp_path / "x", most_bytes=3) == b"123"
    with pytest.raises(OSError, match="it has more than 2 bytes"):
        read_plain(tmp_path / "x", most_bytes=2)


def test_an_output_in_a_bundle_is_refused_and_the_bundle_stays_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = make_bundle(tmp_path, name="x")
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    (tmp_path / "alias").symlink_to(path)
    for target in (path / "model.onnx", path, tmp_path / "alias" / "new.zip", path / "deeper" / "new.zip"):
        with pytest.raises(UsageError, match="or lies in it, and that is read"):
            verbs.pack(path, target)
    for target in (path / "manifest.json", path / "rows.json"):
        for given in (path, tmp_path):  # a folder of bundles stands for those in it
            with pytest.raises(UsageError, match="or lies in it, and that is read"):
                benchmark([given], quick=True, printing=Printing(save_to=target))
    with pytest.raises(UsageError, match="or lies in it, and that is read"):
        profile([path], quick=True, save_to=path, as_json=True)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


@pytest.mark.parametrize("name", ["rows.npz", "folder"])
def test_where_rows_cannot_be_kept_is_said_before_anything_is_measured(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=r"--out should be a \.json file"):
        benchmark([make_bundle(tmp_path, name="x")], quick=True, printing=Printing(save_to=tmp_path / name))


def test_a_report_replaces_no_measurement(tmp_path):
    results = tmp_path / "results.json"
    results.write_text(json.dumps({}))
    for target in (results, tmp_path / "results.npz"):
        (tmp_path / "results.npz").touch()
        with pytest.raises(UsageError, match="and that is read"):
            report(results, target)


def test_a_new_place_and_one_beside_an_input_are_free(tmp_path):
    path = make_bundle(tmp_path, name="x")
    for target in (tmp_path / "x.zip", tmp_path / "new" / "x.zip", tmp_path / "xy"):
        check_output(target, [path, tmp_path / "gone"])


def test_a_bundle_is_packed_under_its_own_name_from_within_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(make_bundle(tmp_path, name="x"))
    verbs.pack(Path("."), None)
    Bundle.open(tmp_path / "x.zip").close()


def test_the_command_says_it_in_one_line_and_ends():
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "verify", "x", "--key", "/dev/zero"],
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "error: /dev/zero cannot be read: it is a device, not a regular file. Check the path of the public key\n"
    )


@pytest.mark.parametrize(("length", "shown"), [(MOST_MESSAGE, MOST_MESSAGE), (MOST_MESSAGE + 1, MOST_MESSAGE + 3)])
def test_a_message_has_an_end_whatever_it_quotes(length, shown):
    text = str(BundleError("a" + "x" * (length - 2) + "z"))
    assert (len(text), text[0], text[-1]) == (shown, "a", "z")
    assert (" … " in text) is (length > MOST_MESSAGE)


@pytest.mark.parametrize("path", ["x" * 5000, "x/" * 3000, "a\0b"])
def test_no_path_is_too_strange_for_a_sentence(path):
    with pytest.raises(BundleError, match="is not a path to a bundle|no bundle at"):
        Bundle.open(path)
    with pytest.raises(UsageError, match="cannot"):
        measurement.load(Path(path))
    with pytest.raises(UsageError, match="cannot be written"):
        check_output(Path(path), [Path("x")])


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_no_output_takes_the_place_of_a_pipe_or_a_device(tmp_path, kind):
    place = tmp_path / "place"
    os.mkfifo(place) if kind == "fifo" else place.symlink_to("/dev/null")
    for write in (lambda: check_output(place), lambda: write_bytes(place, b"x")):
        with pytest.raises((UsageError, OSError), match="not a regular file"):
            write()
    with pytest.raises(OSError, match="not a regular file"), folder_atomically(place, replace=True):
        pass
    assert not place.is_file()
    with pytest.raises(UsageError, match="not a regular file"):
        check_output(Path("/dev/stdout"))


def test_an_output_is_added_to_no_bundle_read_or_not(tmp_path):
    path = make_bundle(tmp_path, name="x")
    (tmp_path / "results.json").write_text(json.dumps({}))
    with pytest.raises(UsageError, match="lies in the bundle"):
        report(tmp_path / "results.json", path / "report.html")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "manifest.json").write_text("{}")  # as many web pages have one
    check_output(tmp_path / "app" / "out.zip")


def test_a_name_of_bytes_that_are_no_text_can_be_written(tmp_path):
    place = tmp_path / os.fsdecode(b"\xff\xfe")
    write_bytes(place, b"x")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"x"]
