"""Every verb, and a script, in a folder full of files named like us and like libraries: none of these is ever executed.

Each would leave its name in a file and end the program that ran it. `quickstart` is left out: it trains for a minute
through what `train` and `optimize` run here.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ENVIRONMENT, ROOT
from killed import descendants
from tiny_bundle import make_bundle

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.files import sha256_file
from edgekit.edge_runtime.preprocess.image import array_to_image

HOSTILE = """
import os
open(os.environ["EXECUTED"], "a").write(__file__ + chr(10))
raise SystemExit("this file should not run: " + __file__)
"""
OURS = ("edgekit", "edge_runtime", "train", "optimize", "demo_app", "experiments")
LIBRARIES = ("torch", "numpy", "click", "typer", "rich", "streamlit", "onnx", "onnxruntime", "PIL", "lightning", "yaml")
STANDARD = ("argparse", "json", "multiprocessing", "pickle", "random", "subprocess", "tempfile")
# The command as pip installs it, and in one process for many verbs, each of which still starts children of its own.
COMMAND = """
import io, sys
from edgekit.__main__ import main
for line in sys.stdin.read().splitlines():
    sys.argv[1:], status = eval(line), 0
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    try:
        main()
    except SystemExit as ended:
        status = ended.code or 0
    print([status, sys.stdout.getvalue(), sys.stderr.getvalue()], file=sys.__stdout__, flush=True)
"""
MY_NET = """
import train
from models import Net
def build():
    import optimize
    return Net(optimize.WIDTH * train.SCALE)
"""
MODELS = """
import torch, numpy, onnx
class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        torch.manual_seed(0)
        self.fc = torch.nn.Linear(16, width)
    def forward(self, x):
        from utils import double
        return double(self.fc(x))
"""
OWN = {"my_net": MY_NET, "models": MODELS, "train": "SCALE = 2", "optimize": "WIDTH = 4",
       "utils": "def double(x): return 2 * x"}  # fmt: skip


def fill(folder: Path, names=(), files=None) -> Path:
    folder.mkdir(parents=True)
    for name, text in {**dict.fromkeys(names, HOSTILE), **(files or {})}.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def in_folder(folder: Path, *words: object, path: str = str(ROOT), given: str | None = None):
    """A finished Python process there; one thread, so that two cores do not wait for each other."""
    around = ENVIRONMENT | {"PYTHONPATH": path, "EXECUTED": str(folder.parent / "executed"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=around, input=given, capture_output=True, text=True, timeout=400)


def executed(folder: Path) -> str:
    marker = folder.parent / "executed"
    return marker.read_text() if marker.exists() else ""


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("small"), name="quarters-onnx-fp32")


REPRODUCED = "runs/reproduction/cpu/seed-123"
VERBS = {
    "inspect": ["inspect", "{small}", "--json"],
    "verify": ["verify", "{small}", "{old}", "--json"],
    "predict": ["predict", "{small}", "corner.png", "--json"],
    "benchmark": ["benchmark", "{small}", "--quick", "--out", "bench.json", "--json"],
    "compare": ["compare", "bench.json", "bench.json", "--json"],
    "report": ["report", "bench.json"],
    "pack": ["pack", "{small}", "--out", "packed.zip"],
    "models": ["models", "--json"],
    "train": ["train", "digits_cnn", "--epochs", "1", "--device", "cpu", "--json"],
    "optimize": ["optimize", "digits_cnn", "--exporter", "onnx", "--recipe", "fp32", "--quick", "--json"],
    "optimize own": ["optimize", "mine/my_net.py:build", "--calibration", "samples.npy", "--exporter", "onnx",
                     "--recipe", "fp32", "--quick", "--json"],
    "reproduce": ["reproduce", "--models", "digits_cnn", "--seeds", "1", "--epochs", "1", "--device", "cpu"],
    "luna synthesize": ["luna", "synthesize", "scans", "--scans", "2", "--slices", "40", "--side", "96",
                        "--others", "3"],
    "luna prepare": ["luna", "prepare", "scans", "--store", "store", "--jobs", "2", "--json"],
}  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory, small):
    """The hostile folder in which every verb was run, and what each of them said."""
    place = tmp_path_factory.mktemp("hostile")
    folder = fill(place / "here", (*OURS, *LIBRARIES, *STANDARD, "utils", "models"))
    fill(folder / "mine", LIBRARIES, OWN)
    np.save(folder / "samples.npy", np.random.default_rng(0).standard_normal((32, 16), np.float32))
    with Bundle.open(small) as bundle:
        array_to_image(bundle.golden().inputs["image"][1]).save(folder / "corner.png")
    fill(place / "bin")
    (place / "bin" / "edgekit").write_text(COMMAND)
    old = ROOT / "tests" / "data" / "format1" / "digits_cnn-onnx-fp32.zip"
    commands = [[word.format(small=small, old=old) for word in words] for words in VERBS.values()]
    # The last entry of the path is empty, which means the current folder, as in PYTHONPATH=/home/me/lib:
    done = in_folder(folder, place / "bin" / "edgekit", path=f"{ROOT}{os.pathsep}",
                     given="\n".join(map(repr, commands)))  # fmt: skip
    answers = [ast.literal_eval(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(VERBS), done.stdout[-500:] + done.stderr
    return folder, dict(zip(VERBS, answers, strict=True))


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_runs_a_file_of_the_folder(ran, verb):
    status, _, errors = ran[1][verb]
    assert (status, executed(ran[0])) == (0, ""), errors


def test_the_answers_are_what_they_are_elsewhere(ran):
    said = {verb: json.loads(answer[1]) for verb, answer in ran[1].items() if "--json" in VERBS[verb]}
    assert [one["passed"] for one in said["verify"]] == [True, True]
    assert said["predict"]["answers"][0]["label"] == "top right"
    assert names(said["optimize"]) == ["PyTorch eager", "digits_cnn-onnx-fp32", "digits_cnn-onnx-fp32@openvino"]
    assert said["optimize"]["rows"][0]["metric"]["value"] == said["train"]["value"]
    trained = (ran[0] / place / "digits_cnn" / "weights.safetensors" for place in ("runs", REPRODUCED))
    assert len({sha256_file(path) for path in trained}) == 1
    assert said["luna prepare"]["skipped"] == {}


def names(results):
    return [row["name"] for row in results["rows"] if not row["error"]]


def test_a_model_finds_its_own_modules_in_the_process_that_measures_it_too(ran):
    bundles = ["my_net-onnx-fp32", "my_net-onnx-fp32@openvino"]
    assert names(json.loads(ran[1]["optimize own"][1])) == ["PyTorch eager", *bundles]
    with Bundle.open(ran[0] / "bundles" / "my_net-onnx-fp32") as bundle:
        assert bundle.manifest.outputs[0].shape == (1, 8)


def test_by_python_m_too(tmp_path, small):
    folder = fill(tmp_path / "here", (*OURS[1:], *LIBRARIES, *STANDARD))  # Python itself would run its edgekit.py
    verified = in_folder(folder, "-m", "edgekit", "verify", small, "--json")
    assert json.loads(verified.stdout)[0]["passed"], verified.stderr
    trained = in_folder(folder, "-m", "edgekit.train", "--help")
    assert "python -m edgekit.train" in trained.stdout, trained.stderr
    # No torch here, so that the engines that need it are broken at once, and not tried for half a minute.
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "torch.py").write_text("raise ImportError('no torch')")
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    asked = in_folder(folder, "-m", "edgekit", "doctor", "--json", path=path)
    states = {engine["engine"]: engine["state"] for engine in json.loads(asked.stdout)["engines"]}
    assert (states["onnx"], states["torchscript"]) == ("works", "broken")
    assert executed(folder) == ""


def test_the_demo_serves_there(tmp_path, small):
    folder = fill(tmp_path / "here", (*OURS[1:], *LIBRARIES, *STANDARD, "app", "charts", "inputs"))
    around = ENVIRONMENT | {"PYTHONPATH": str(ROOT), "EXECUTED": str(tmp_path / "executed")}
    command = [sys.executable, "-m", "edgekit", "demo", "--bundles", str(small.parent), "--no-browser"]
    process = subprocess.Popen(command, cwd=folder, env=around, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("The demo is at http://127.0.0.1:")
    (server,) = descendants(process.pid)
    assert os.readlink(f"/proc/{server}/cwd") != str(folder)
    process.terminate()
    assert process.wait(20) == 0
    assert executed(folder) == ""


SCRIPT = """
import json, sys, torch
import train
from models import Net
from edgekit.optimize import Request, optimize
samples = torch.randn(32, 16, generator=torch.Generator().manual_seed(0)).numpy()
request = Request(model=Net(8), calibration=samples, exporters=("onnx",), recipes=("fp32",), quick=True)
result = optimize(request)
import optimize
print(json.dumps([row.name for row in result.rows if not row.error] + [train.SCALE, optimize.WIDTH]))
"""


def test_a_script_beside_its_own_train_and_optimize_uses_both_its_own_and_ours(tmp_path):
    script = fill(tmp_path / "mine", OURS[1:2], OWN | {"script": SCRIPT}) / "script.py"
    folder = fill(tmp_path / "here", (*OURS, *LIBRARIES, *STANDARD, "utils", "models"))
    done = in_folder(folder, script)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["PyTorch eager", "Net-onnx-fp32", "Net-onnx-fp32@openvino", 2, 4]
    assert executed(folder) == ""
