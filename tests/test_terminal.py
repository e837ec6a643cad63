"""What a real terminal meets: bars under a pseudo-terminal, and encodings that hold no ✓."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT
from terminal import in_terminal

OLD = Path(__file__).parent / "data" / "format1" / "digits_cnn-onnx-w8a8_static"


def verify(encoding, *words):
    command = [sys.executable, "-m", "edgekit", "verify", str(OLD), *words]
    around = ENVIRONMENT | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    return subprocess.run(command, cwd=ROOT, env=around, capture_output=True)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_good_bundle_verifies_whatever_the_terminal_can_print(encoding):
    done = verify(encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("✓" if encoding == "utf-8" else "ok") in done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_json_holds_the_same_in_every_encoding(encoding):
    found = json.loads(verify(encoding, "--json").stdout)
    assert found == json.loads(verify("utf-8", "--json").stdout)


@pytest.mark.parametrize("columns", [120, 40])
def test_reproduce_draws_its_bars_and_writes_its_results(tmp_path, columns):
    places = ["--out", tmp_path / "results", "--runs", tmp_path / "runs", "--docs", tmp_path / "docs"]
    asked = ["--models", "digits_cnn", "--epochs", "1", "--seeds", "1", "--device", "cpu"]
    shown = in_terminal("reproduce", *asked, *places, columns=columns)
    assert shown.returncode == 0, shown.text
    assert "all trainings" in shown.text
    assert "digits_cnn seed 123 " in shown.text
    assert (tmp_path / "results" / "reproduction-1-cpu.json").is_file()


def test_the_version_and_the_short_help_are_there(edgekit):
    assert edgekit("--version").stdout.startswith("edgekit 0.")
    assert edgekit("-h").stdout == edgekit("--help").stdout
    assert "--recipe" in edgekit("optimize", "-h").stdout
