"""A full disk, a closed pipe, a file for a folder, no place for temporary files: the sentence names what and how."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT

from edgekit.cli.json_answer import print_json
from edgekit.edge_runtime.errors import system_text
from edgekit.edge_runtime.files import write_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and ulimit are Linux's")
OLD = Path(__file__).parent / "data" / "format1" / "digits_cnn-onnx-w8a8_static"
MEASURED = ROOT / "results" / "quickstart.json"


def shell(text, **environment):
    """What `edgekit …` in a shell's words prints, its errors, and its status."""
    around = ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | environment
    command = text.replace("edgekit", f"{sys.executable} -m edgekit").replace("BUNDLE", str(OLD))
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=around, capture_output=True, timeout=100)
    return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"), done.returncode


@pytest.mark.parametrize("verb", ["inspect BUNDLE", "inspect BUNDLE --json", "--help", "--version"])
def test_a_full_disk_behind_standard_output_is_one_sentence(verb):
    _, errors, status = shell(f"edgekit {verb} > /dev/full")
    assert errors == "error: No space left on device: standard output. Free space there, or choose another place\n"
    assert status == 1


def test_a_full_disk_behind_standard_error_too_ends_in_silence():
    assert shell("edgekit inspect BUNDLE > /dev/full 2> /dev/full") == ("", "", 1)


@pytest.mark.parametrize("verb", ["inspect BUNDLE", "--help", "inspect BUNDLE --json"])
def test_a_reader_that_goes_is_no_error(verb):
    out, errors, _ = shell(f"edgekit {verb} | head -n 1")
    assert len(out.splitlines()) == 1
    assert errors == ""


def test_closed_streams_change_nothing():
    assert shell("edgekit inspect BUNDLE >&- 2>&-")[2] == 0
    assert "verified" in shell("edgekit inspect BUNDLE <&-")[0]


def test_a_file_too_large_is_named_and_nothing_is_left(tmp_path):
    _, errors, _ = shell(f"ulimit -f 1; edgekit pack BUNDLE --out {tmp_path}/x.zip 2>&1 | cat >&2")
    assert f"{tmp_path}/x.zip was not written: File too large" in errors
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_is_needed_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    _, errors, status = shell(f"edgekit report {MEASURED} --out {tmp_path}/file/report.html")
    assert f"{tmp_path}/file" in errors
    assert "a file where a folder is needed" in errors
    assert (status, "Traceback" in errors) == (1, False)


@pytest.mark.parametrize("variables", [{"HOME": ""}, {"HOME": "/nowhere"}, {"TMPDIR": "/nowhere"}, {"TMPDIR": ""}])
def test_json_is_clean_without_a_home_or_a_place_for_temporary_files(variables):
    out, _, status = shell("edgekit verify BUNDLE --json", **variables)
    assert (status, json.loads(out)[0]["passed"]) == (0, True)


@pytest.mark.parametrize(
    "variables", [{"NO_COLOR": "1"}, {"COLUMNS": "40"}, {"TERM": "dumb"}, {"LC_ALL": "C"}, {"TZ": "x"}]
)
def test_json_is_the_same_on_any_terminal(variables):
    out, _, status = shell("edgekit inspect BUNDLE --json 2> /dev/null", **variables)
    assert (status, json.loads(out)["name"]) == (0, OLD.name)


WRITES = """
import resource, sys
from pathlib import Path
from edgekit.cli.json_answer import print_json
from edgekit.edge_runtime.errors import system_text
from edgekit.edge_runtime.files import write_bytes

resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    write_bytes(Path(sys.argv[1]), bytes(99))
except OSError as error:
    print(system_text(error))
"""


NOISY = """
import os, sys

from edgekit.cli import inspect, main

shown = inspect.inspect_all

def noisy(*words, **named):
    os.write(1, b"a library in C\\n")
    os.system("echo a program")
    print("code in Python")
    return shown(*words, **named)

inspect.inspect_all = noisy
sys.argv[0] = "edgekit"
main()
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_libraries_print_is_not_among_the_json(encoding):
    around = ENVIRONMENT | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", NOISY, "inspect", str(OLD), "--json"]
    done = subprocess.run(command, env=around, capture_output=True, text=True, encoding=encoding)
    assert json.loads(done.stdout)["name"] == OLD.name
    for noise in ("a library in C", "a program", "code in Python"):
        assert noise in done.stderr


def test_json_has_null_for_what_is_no_number(capsys):
    print_json({"b": float("nan"), "a": [float("inf"), 1.5]}, sort_keys=True)
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": None}


def test_a_write_that_fails_names_the_file_that_was_meant(tmp_path):
    target = tmp_path / "results.json"
    around = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", WRITES, target], env=around, capture_output=True, text=True)
    assert done.stdout.startswith(f"File too large: {target}. Raise the limit on the size of files"), done.stderr
    assert list(tmp_path.iterdir()) == []
    write_bytes(target, b"now it can")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("/data/.x.npz.9zeulb4o.part", "/data/x.npz"),
        ("ro/.b.zip.123-456-0a1b2c3d.o_xfbp3f.part", "ro/b.zip"),
        ("/data/.hidden", "/data/.hidden"),
        ("/data/x.part", "/data/x.part"),
    ],
)
def test_a_temporary_name_is_told_as_what_it_was_to_become(name, meant):
    assert system_text(OSError(30, "Read-only file system", name)).startswith(f"Read-only file system: {meant}. Choose")


def test_where_nothing_can_be_written_is_said_before_the_work(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    place = tmp_path / "file" / "below"
    out, errors, status = shell(f"edgekit benchmark BUNDLE --quick --out {place}/x.json")
    assert (out, status) == ("", 1)
    assert errors.startswith(f"error: Not a directory: {place}. A part of that path is a file")


@pytest.mark.parametrize("columns", ["0", "", "1", "abc", "-3"])
def test_whatever_the_width_something_is_shown(columns):
    out, errors, status = shell("edgekit inspect BUNDLE", COLUMNS=columns)
    assert (status, errors) == (0, "")
    assert OLD.name in out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-16", "shift_jis"])
def test_help_is_readable_in_any_encoding(encoding):
    around = ENVIRONMENT | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "edgekit", "optimize", "--help"]
    done = subprocess.run(command, env=around, capture_output=True, cwd=ROOT)
    text = done.stdout.decode(encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    for name in ("executorch_xnnpack", "w8a8_static", "--calibration-samples"):
        assert name in text


def test_what_the_system_says_becomes_a_sentence_with_advice():
    assert system_text(OSError(28, "No space left on device", "/x")) == (
        "No space left on device: /x. Free space there, or choose another place"
    )
    assert system_text(OSError(30, "Read-only file system", "/x")).endswith("a disk that can be written to")
    text = system_text(FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"))
    assert text.endswith("Set TMPDIR to a folder that may be written to")
    assert system_text(OSError("odd")) == "odd"
    assert os.strerror(28) == "No space left on device"
