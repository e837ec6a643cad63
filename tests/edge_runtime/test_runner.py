"""A device at home: over a real ssh server on this machine, and by an adb whose phone is an emulated processor."""

import json
import os
from pathlib import Path

import arm64
import loopback_ssh
import pytest
from conftest import run_edgekit
from tiny_bundle import make_bundle, quarter_weights

from edgekit.edge_runtime.devices.linux import libraries, toolchain
from edgekit.edge_runtime.devices.runner.places import Ssh, place
from edgekit.edge_runtime.errors import EngineError, MissingDependency, UsageError

if not libraries.native("x86_64") or toolchain.compiler("x86_64") is None or toolchain.stb_folder() is None:
    pytest.skip("the runner is not built here (x86-64, g++, libstb-dev)", allow_module_level=True)
needs_sshd = pytest.mark.skipif(loopback_ssh.SSHD is None, reason="no sshd (apt-get install openssh-server)")


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    with loopback_ssh.loopback(tmp_path_factory.mktemp("ssh") / "keys") as command:
        yield {"EDGEKIT_SSH": command}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("tiny"), name="quarters-onnx-fp32")


def left_there():
    return sorted(Path("/tmp").glob("edgekit.????????"))


@needs_sshd
def test_a_bundle_is_verified_over_ssh_and_nothing_stays(board, tiny):
    before = left_there()
    done = run_edgekit("verify", tiny, "--on", "ssh:board", "--json", env=board)
    (result,) = json.loads(done.stdout)
    assert (result["passed"], result["samples"], result["agreement"]) == (True, 12, 1.0)
    assert result["sqnr_db"] > 100
    assert left_there() == before


@needs_sshd
def test_a_bundle_is_measured_over_ssh_by_the_same_rules(board, tiny, tmp_path):
    words = ("--on", "ssh:board", "--quick", "--json", "--out", tmp_path / "results.json")
    done = run_edgekit("benchmark", tiny, *words, env=board)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["name"] == "quarters-onnx-fp32"
    assert any("too short" in reason for reason in row["invalid_because"])
    assert json.loads((tmp_path / "results.json").read_text())["rows"][0]["p50_ms"] == row["p50_ms"] > 0


@needs_sshd
def test_a_bundle_that_answers_otherwise_fails_over_ssh(board, tmp_path):
    path = make_bundle(tmp_path, name="quarters-onnx-fp32", weights=-quarter_weights())
    done = run_edgekit("benchmark", path, "--on", "ssh:board", env=board)
    assert done.returncode == 1
    assert "does not give its golden answers on ssh:board" in done.stderr
    assert run_edgekit("verify", path, "--on", "ssh:board", env=board).returncode == 1


@needs_sshd
def test_words_reach_the_device_as_they_are(board, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_SSH", board["EDGEKIT_SSH"])
    device = Ssh("board")
    words = ["$(touch X)", "`id`", "a b", "'", ";true", "*", "\\", ""]
    assert device.run("printf", "%s\\n", *words).stdout.decode().splitlines() == words
    device.make()
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "$HOME").write_text("x")
    device.push(tmp_path)
    assert device.run("cat", f"{device.folder}/a b/$HOME").stdout == b"x"
    folder = Path(device.folder)
    device.remove()
    assert not folder.exists()


@needs_sshd
def test_an_unreachable_host_is_one_sentence(board, tiny):
    for host in ("nobody.invalid", "127.0.0.1"):
        environment = {"EDGEKIT_SSH": f"{board['EDGEKIT_SSH']} -p 1"}
        done = run_edgekit("verify", tiny, "--on", f"ssh:{host}", env=environment)
        assert done.returncode == 1
        assert f"{host} cannot be reached by ssh: " in done.stdout
        done = run_edgekit("benchmark", tiny, "--on", f"ssh:{host}", env=environment)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("where", ["board", "ssh:", "ssh:-oProxyCommand=touch x", "adb:-d", "serial:1", "ssh:a b"])
def test_what_is_no_device_is_refused(where, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"{loopback_ssh.phone(tmp_path, [])}:{os.environ['PATH']}")
    with pytest.raises(UsageError):
        place(where)


def test_a_missing_tool_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="apt-get install openssh-client"):
        place("ssh:board")
    with pytest.raises(MissingDependency, match="apt-get install adb"):
        place("adb:1")


def test_a_phone_that_is_not_there_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"{loopback_ssh.phone(tmp_path, [])}:{os.environ['PATH']}")
    with pytest.raises(EngineError, match="other cannot be reached by adb: error: device 'other' not found"):
        place("adb:other").machine()


@pytest.mark.skipif(bool(arm64.missing()), reason=arm64.missing() or "-")
def test_a_phone_replays_through_adb_and_nothing_stays(tiny, tmp_path):
    programs = loopback_ssh.phone(tmp_path / "phone", arm64.emulated(tmp_path / "root"))
    done = run_edgekit("verify", tiny, "--on", "adb:phone", "--json", env={"PATH": f"{programs}:{os.environ['PATH']}"})
    (result,) = json.loads(done.stdout)
    assert (result["passed"], result["agreement"]) == (True, 1.0)
    assert result["notes"][0].endswith("aarch64")
    assert list((tmp_path / "phone/data").iterdir()) == []
