"""ONNX bundles are verified, run and measured without torch: its import forbidden, and where it is not installed."""

import json
import shutil
import subprocess
import tomllib

import pytest
from conftest import ENVIRONMENT, ROOT

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.preprocess.image import array_to_image

FORBID = """
import sys

class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "executorch", "torchao", "onnx", "onnxscript", "lightning"}:
            raise ImportError(f"a device has no {name}")

sys.meta_path.insert(0, Forbid())
"""


@pytest.fixture(scope="module")
def digit(quickstart, tmp_path_factory):
    path = tmp_path_factory.mktemp("digit") / "digit.png"
    array_to_image(Bundle.open(quickstart.bundle("onnx-fp32")).golden().inputs["image"][0]).save(path)
    return path


@pytest.mark.parametrize("verb", ["verify", "predict", "benchmark"])
def test_no_process_of_the_verb_imports_torch(edgekit, quickstart, digit, tmp_path, verb):
    (tmp_path / "sitecustomize.py").write_text(FORBID)
    arguments = {"verify": [], "predict": [digit], "benchmark": ["--quick"]}[verb]
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = edgekit(verb, quickstart.bundle("onnx-w8a8_static"), *arguments, "--json", env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    refused = edgekit("verify", quickstart.bundle("torchscript_traced-fp32"), "--allow=torchscript", env=environment)
    assert refused.returncode == 1  # so the import really was forbidden
    assert "torch" in refused.stdout + refused.stderr
    assert "--allow" not in refused.stdout + refused.stderr


def test_the_onnx_extra_alone_is_enough_in_an_empty_environment(quickstart, digit, tmp_path):
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")

    def run(*command):
        return subprocess.run(list(map(str, command)), cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)

    python = tmp_path / "venv" / "bin" / "python"
    assert run(uv, "venv", "--python", "3.11", tmp_path / "venv").returncode == 0
    # Of the tested set, so that what was released since decides nothing here.
    tested = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    (tmp_path / "tested.txt").write_text("\n".join(tested))
    installed = run(uv, "pip", "install", "--python", python, "-c", tmp_path / "tested.txt", f"{ROOT}[onnx]")
    if installed.returncode != 0 and "error sending request" in installed.stderr:
        pytest.skip("no package registry can be reached")
    assert installed.returncode == 0, installed.stderr
    command, bundle = python.with_name("edgekit"), quickstart.bundle("onnx-w8a8_static")
    assert run(python, "-c", "import torch").returncode == 1
    for arguments in (["verify", bundle], ["predict", bundle, digit], ["benchmark", bundle, "--quick"]):
        done = run(command, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    missing = run(command, "verify", quickstart.bundle("executorch_xnnpack-fp32"))
    assert missing.returncode == 1
    assert "pip install 'edgekit[executorch]'" in " ".join(missing.stdout.split())
