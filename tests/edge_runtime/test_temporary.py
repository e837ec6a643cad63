"""Temporary folders go with their process, or are swept by a later one; what is not ours or in use stays."""

import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from conftest import ENVIRONMENT, ROOT

from edgekit.edge_runtime.temporary import PREFIX, YOUNG_S, LockedFolder, sweep

HOLD = "from edgekit.edge_runtime.temporary import LockedFolder as L; one = L(); print(one.path, flush=True); input()"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def made_before(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def hold(place):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT), "TMPDIR": str(place)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline().strip()


def test_it_is_removed_with_what_is_in_it(place):
    with LockedFolder() as folder:
        (folder.path / "a").mkdir()
        (folder.path / "a" / "b").touch()
        assert folder.path.stat().st_mode & 0o777 == 0o700
    assert list(place.iterdir()) == []


def test_a_program_that_ends_leaves_none(place):
    process, path = hold(place)
    assert os.path.isdir(path)
    process.communicate("\n")
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_is_swept_later_and_not_what_one_still_uses(place):
    (killed, left), (alive, used) = hold(place), hold(place)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    for path in (left, used):
        made_before(path, YOUNG_S + 5)
    sweep()
    assert [str(path) for path in place.iterdir()] == [used]
    alive.communicate("\n")


def test_what_is_young_goes_too_where_its_maker_is_known_to_be_gone(place):
    (killed, _), (alive, used) = hold(place), hold(place)
    killed.kill()
    killed.wait()
    sweep()
    assert [str(path) for path in place.iterdir()] == [used]
    alive.communicate("\n")


def test_what_is_young_or_of_another_name_or_a_link_stays(place, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "file").touch()
    (place / f"{PREFIX}link").symlink_to(elsewhere)
    os.utime(place / f"{PREFIX}link", (0, 0), follow_symlinks=False)
    for name, age in ((f"{PREFIX}young", YOUNG_S - 5), ("edgekit-other", YOUNG_S + 5), (f"{PREFIX}old", YOUNG_S + 5)):
        (place / name).mkdir()
        made_before(place / name, age)
    sweep()
    assert {path.name for path in place.iterdir()} == {f"{PREFIX}link", f"{PREFIX}young", "edgekit-other"}
    assert (elsewhere / "file").exists()
