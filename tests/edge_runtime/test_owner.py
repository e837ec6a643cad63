"""Hidden names say whose they are: what a killed process left goes, what a live one writes stays."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT

from edgekit.edge_runtime.bundle.bundle import find_bundles
from edgekit.edge_runtime.files import folder_atomically, write_atomically
from edgekit.edge_runtime.owner import ELSEWHERE_S, is_gone, mark, sweep

KILLED = """
import os, signal, sys
from pathlib import Path
from edgekit.edge_runtime.files import folder_atomically, write_atomically
place = Path(sys.argv[1])
with write_atomically(place / "results.json") as part, folder_atomically(place / "net", replace=True) as folder:
    part.write_text("half"); (folder / "manifest.json").write_text("half")
    if sys.argv[2] == "between":
        (place / "net").rename(folder.with_name(folder.name + ".old"))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_in(place: Path, when: str = "") -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(place), when], env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -9


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_what_a_killed_process_was_writing_is_no_bundle_and_is_swept(tmp_path):
    killed_in(tmp_path)
    left = names(tmp_path)
    assert [name.split(".")[1] for name in left] == ["net", "results"]
    assert find_bundles(tmp_path) == []
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_a_bundle_that_was_set_aside_when_it_was_killed_comes_back(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "manifest.json").write_text("the old one")
    killed_in(tmp_path, "between")
    assert not (tmp_path / "net").exists()
    sweep(tmp_path)
    assert names(tmp_path) == ["net"]
    assert (tmp_path / "net" / "manifest.json").read_text() == "the old one"


def test_what_is_half_removed_does_not_come_back(tmp_path):
    """Killed between the removal of one file of the old folder and the next."""
    code = (
        "import os, shutil, signal, sys; from pathlib import Path; from edgekit.edge_runtime import files\n"
        "os.unlink = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with files.folder_atomically(Path(sys.argv[1]) / 'net', replace=True) as folder: (folder / 'new').touch()"
    )
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "manifest.json").touch()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -9
    assert names(tmp_path / "net") == ["new"]
    assert len(names(tmp_path)) == 2
    shutil.rmtree(tmp_path / "net")
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_a_name_that_was_cut_off_does_not_come_back_as_another(tmp_path):
    """Its own name is longer than what a hidden one has room for."""
    path = tmp_path / "n" / ("x" * 200)
    path.mkdir(parents=True)
    left = path.with_name(f".{'x' * 160}.4194304-17-{mark().split('-')[2]}.abcdefgh.old")
    path.rename(left)
    sweep(path.parent)
    assert names(path.parent) == [left.name]
    with folder_atomically(path, replace=False):
        assert len(names(path.parent)) == 2
    assert names(path.parent) == [left.name, path.name]


def test_the_mark_of_a_name_is_its_last_one(tmp_path):
    """What is being written may itself be called like something that a killed process left."""
    dead = f"4194304-17-{mark().split('-')[2]}"
    with write_atomically(tmp_path / f"net.{dead}.abcdefgh") as part:
        sweep(tmp_path)
        assert part.exists()


def test_what_this_process_still_writes_stays(tmp_path):
    with write_atomically(tmp_path / "a.json") as part, folder_atomically(tmp_path / "b", replace=True) as folder:
        sweep(tmp_path)
        assert part.exists()
        assert folder.exists()
    assert names(tmp_path) == ["a.json", "b"]
    assert not is_gone(f".b.{mark()}.abcdefgh")


@pytest.mark.parametrize(("age_s", "stays"), [(ELSEWHERE_S - 60, True), (ELSEWHERE_S + 60, False)])
def test_what_another_machine_made_stays_for_a_week(tmp_path, age_s, stays):
    path = tmp_path / ".net.4194304-17-00000000.abcdefgh"
    path.mkdir()
    os.utime(path, (time.time() - age_s,) * 2)
    sweep(tmp_path)
    assert path.exists() is stays


def test_a_number_that_another_process_has_by_now_is_gone():
    pid, began, place = mark().split("-")
    assert is_gone(f".a.{pid}-{began}-{place}.abcdefgh") is False
    assert is_gone(f".a.{pid}-{int(began) - 1}-{place}.abcdefgh") is True
    assert is_gone(".a.abcdefgh.part") is None
    assert is_gone(f".a.{pid}-0-{place}.abcdefgh") is None  # it could not tell when it began


@pytest.mark.parametrize("name", [".git", ".a.part", "a.4194304-17-{place}.abcdefgh", ".a.4194304-17-{place}.abc.json"])
def test_other_names_are_left_alone(tmp_path, name):
    path = tmp_path / name.format(place=mark().split("-")[2])
    path.touch()
    sweep(tmp_path)
    assert path.exists()


def test_a_folder_gives_way_only_where_it_may(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    with pytest.raises(OSError, match="not empty"), folder_atomically(tmp_path / "a", replace=False) as folder:
        (folder / "new").touch()
    assert names(tmp_path / "a") == ["old"]
    with folder_atomically(tmp_path / "a", replace=True) as folder:
        (folder / "new").touch()
    assert (names(tmp_path), names(tmp_path / "a")) == (["a"], ["new"])


def test_what_an_earlier_version_left_beside_a_folder_stops_no_later_one(tmp_path):
    target = tmp_path / "digits_cnn-onnx-fp32"
    (tmp_path / f".{target.name}.old").mkdir()
    (tmp_path / f".{target.name}.old" / "model.onnx").write_bytes(b"half")
    for text in ("first", "second"):
        with folder_atomically(target, replace=True) as folder:
            (folder / "model.onnx").write_text(text)
    assert (target / "model.onnx").read_text() == "second"
