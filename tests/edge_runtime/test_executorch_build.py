"""The shim is compiled once, whole or not at all, and what keeps it from being compiled is said."""

import os
import subprocess
import sys

import pytest
from conftest import ENVIRONMENT, ROOT

from edgekit.edge_runtime.engines import executorch_build, executorch_native
from edgekit.edge_runtime.errors import EngineError, MissingDependency

if reason := executorch_native.missing():
    pytest.skip(f"no native ExecuTorch: {reason}", allow_module_level=True)


def test_the_shim_is_built_once_also_by_two_at_the_same_time(tmp_path, monkeypatch):
    code = "from edgekit.edge_runtime.engines.executorch_build import build; print(build())"
    both = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                         env=ENVIRONMENT | {"XDG_CACHE_HOME": str(tmp_path)})
        for _ in range(2)
    ]  # fmt: skip
    paths = {process.communicate(timeout=300)[0].strip() for process in both}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert {str(executorch_build.build())} == paths
    assert [str(path) for path in (tmp_path / "edgekit" / "native").iterdir()] == list(paths)
    monkeypatch.setenv("PATH", "")  # a compiler is needed once only
    assert {str(executorch_build.build())} == paths


def test_a_build_that_cannot_succeed_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (compiler := tmp_path / "cxx").write_text("#!/bin/sh\necho 'shim.cpp:1: error: no such header' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(EngineError, match="could not compile executorch_shim.cpp: .*no such header"):
        executorch_build.build()
    assert [path for path in tmp_path.rglob("*") if "executorch_shim" in path.name] == []
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(MissingDependency, match=r"no C\+\+ compiler. Install g\+\+ or set CXX"):
        executorch_build.build()
    assert "no C++ compiler" in executorch_native.missing()


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EngineError, match="cannot write the ExecuTorch shim"):
        executorch_build.build()


def test_a_library_of_another_user_is_not_loaded(tmp_path, monkeypatch):
    if os.getuid() != 0:
        pytest.skip("only root may give files away")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = executorch_build.build()
    os.chown(path, 12345, 12345)
    assert executorch_build.build().stat().st_uid == 0
