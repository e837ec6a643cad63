"""A `.pte` runs where torch is not: with a compiler, with a shim that was compiled before, and what is said without."""

import os
import shutil
import subprocess
import tomllib

import pytest
from conftest import ENVIRONMENT, ROOT

from edgekit.edge_runtime.command_line import install

PTE = ROOT / "edge_runtime" / "doctor" / "models" / "executorch.zip"
NO_TORCH = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name="torch")

sys.meta_path.insert(0, NotInstalled())
"""


@pytest.fixture
def device(edgekit, tmp_path):
    """`edgekit verify` of a `.pte`, as where torch is not installed; more of the environment may be given."""
    (tmp_path / "sitecustomize.py").write_text(NO_TORCH)

    def verify(**environment):
        paths = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "XDG_CACHE_HOME": str(tmp_path / "cache")}
        return edgekit("verify", PTE, env=paths | environment)

    return verify


def test_the_shim_is_compiled_once_and_then_needs_no_compiler(device, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "executorch 1.5.1 (native)" in device().stdout
    [library] = (tmp_path / "cache" / "edgekit" / "native").glob("executorch_shim-*")
    made = library.stat().st_mtime_ns
    without = device(PATH=str(tmp_path / "empty"))
    assert (without.returncode, library.stat().st_mtime_ns) == (0, made)
    assert "executorch 1.5.1 (native)" in without.stdout


def test_without_a_compiler_and_without_torch_it_says_what_to_install(device, tmp_path):
    (tmp_path / "empty").mkdir()
    done = device(PATH=str(tmp_path / "empty"))
    said = " ".join(done.stdout.split())
    assert done.returncode == 1
    assert "there is no C++ compiler. Its Python runtime needs torch, which is not installed" in said
    assert "Install g++ or clang++, or set CXX to your compiler" in said
    assert install("torch") in said
    done = device(CXX="/nowhere/g++-99")
    assert "CXX names no C++ compiler that is there (/nowhere/g++-99). Its Python runtime needs torch" in done.stdout
    done = device(EDGEKIT_EXECUTORCH="python")
    assert "EDGEKIT_EXECUTORCH=python is set" in done.stdout
    assert "Unset that" in done.stdout


def test_the_extra_asks_for_no_torch():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert extras["executorch"] == ["executorch>=1.5,<2"]
    assert any(one.startswith("torch>=2.13") for one in extras["optimize"])


@pytest.mark.slow
def test_the_leanest_way_works_in_an_empty_environment(tmp_path):
    uv = shutil.which("uv")
    if uv is None or shutil.which("g++") is None:
        pytest.skip("uv or g++ is not installed")

    def run(*command, **environment):
        around = ENVIRONMENT | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | environment
        return subprocess.run(list(map(str, command)), cwd=tmp_path, env=around, capture_output=True, text=True)

    python = tmp_path / "venv" / "bin" / "python"
    assert run(uv, "venv", "--python", "3.11", tmp_path / "venv").returncode == 0
    tested = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"][
        "constraint-dependencies"
    ]
    (tmp_path / "tested.txt").write_text("\n".join(tested))
    of_tested = ("-c", tmp_path / "tested.txt")
    for words in ((ROOT,), ("--no-deps", "executorch")):
        installed = run(uv, "pip", "install", "--python", python, *of_tested, *words)
        if installed.returncode != 0 and "error sending request" in installed.stderr:
            pytest.skip("no package registry can be reached")
        assert installed.returncode == 0, installed.stderr
    assert run(python, "-c", "import torch").returncode == 1
    command = python.with_name("edgekit")
    for arguments in (["verify", PTE], ["benchmark", PTE, "--quick"], ["doctor"]):
        done = run(command, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "executorch 1.5.1 (native)" in done.stdout or arguments[0] == "benchmark"
