"""Every option that reads a file, given a device or a pipe: refused in words, without waiting and without end."""

import os
from pathlib import Path

import numpy as np
import pytest
from own_net import pixels
from tiny_bundle import make_bundle
from typer.testing import CliRunner

from edgekit.cli import app
from edgekit.edge_runtime.errors import EdgekitError

NET = str(Path(__file__).with_name("helpers") / "own_net.py") + ":Net"
OPTIMIZE = ("optimize", NET, "--out", "{here}/out", "--runs", "{here}/runs", "--exporter", "onnx", "--recipe", "fp32")
SAMPLES = ("--calibration", "{here}/x.npz")
PICTURES = ("--mean", "0,0,0", "--std", "1,1,1", "--sample-shape", "1,3,8,8")

COMMANDS = {
    "inspect": ("inspect", "{strange}"),
    "inspect --key": ("inspect", "{here}/x", "--key", "{strange}"),
    "verify": ("verify", "{strange}"),
    "verify --key": ("verify", "{here}/x", "--key", "{strange}"),
    "sign": ("sign", "{strange}", "--key", "{strange}"),
    "sign --key": ("sign", "{here}/x", "--key", "{strange}"),
    "pack": ("pack", "{strange}"),
    "predict": ("predict", "{here}/x", "{strange}"),
    "predict --input": ("predict", "{here}/x", "--input", "{strange}"),
    "predict BUNDLE": ("predict", "{strange}", "{here}/x.npz"),
    "benchmark": ("benchmark", "{strange}", "--quick"),
    "demo": ("demo", "--bundles", "{strange}", "--no-browser"),
    "demo --key": ("demo", "--bundles", "{here}", "--no-browser", "--key", "{strange}"),
    "report": ("report", "{strange}"),
    "compare": ("compare", "{strange}", "{strange}"),
    "optimize": ("optimize", "{strange}:Net"),
    "optimize --from": ("optimize", "--from", "{strange}"),
    "optimize --weights": (*OPTIMIZE, *SAMPLES, "--weights", "{strange}"),
    "optimize --calibration": (*OPTIMIZE, "--calibration", "{strange}"),
    "optimize --validation": (*OPTIMIZE, *SAMPLES, "--validation", "{strange}"),
    "optimize --validation, pictures": (*OPTIMIZE, *PICTURES, *SAMPLES, "--validation", "{strange}"),
    "optimize --unlabelled": (*OPTIMIZE, *SAMPLES, "--unlabelled", "{strange}"),
    "optimize --golden": (*OPTIMIZE, *SAMPLES, "--golden", "{strange}"),
    "optimize --labels": (*OPTIMIZE, *SAMPLES, "--labels", "{strange}"),
    "luna prepare": ("luna", "prepare", "{strange}", "--store", "{here}/store"),
    "nodules": (
        "nodules",
        "{strange}",
        "--out",
        "{here}/nodules",
        "--segmenter",
        "{here}/x",
        "--classifier",
        "{here}/x",
    ),
    "nodules --segmenter": (
        *("nodules", "{here}/x.npz", "--out", "{here}/nodules"),
        *("--segmenter", "{strange}", "--classifier", "{strange}"),
    ),
    "nodules --bundles": ("nodules", "{here}/x.npz", "--out", "{here}/nodules", "--bundles", "{strange}"),
    "nodules --against": ("nodules", "{here}/x.npz", "--out", "{here}/nodules", "--against", "{strange}"),
    "nodules evaluate --series": ("nodules", "evaluate", "{here}", "--out", "{here}/e", "--series", "{strange}"),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    make_bundle(folder, name="x")
    found, truth = pixels(16)
    np.savez(folder / "x.npz", x=found.transpose(0, 3, 1, 2).astype(np.float32) / 255, targets=truth)
    os.mkfifo(folder / "pipe")
    for name in ("pipe.npz", "pipe.csv", "pipe.safetensors", "pipe.mhd", "pipe.h5", "pipe.zip", "pipe.py"):
        (folder / name).symlink_to("pipe")
    return folder


ENDINGS = {
    "--weights": ".safetensors",
    "--segmenter": ".safetensors",
    "pictures": ".csv",
    "nodules": ".mhd",
    "BUNDLE": ".zip",
}


@pytest.mark.parametrize("kind", ["a device", "a pipe", "a pipe by its ending"])
@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_refused_in_words(here, name, kind):
    ending = ENDINGS.get(name.split(" ")[-1], ".npz")
    strange = {"a device": "/dev/zero", "a pipe": here / "pipe", "a pipe by its ending": here / f"pipe{ending}"}[kind]
    result = CliRunner().invoke(app, [word.format(here=here, strange=strange) for word in COMMANDS[name]])
    if result.exit_code == 1 and name in ("verify", "predict"):  # which go on with the others
        assert "pipe" in result.output or "/dev/zero" in result.output
    else:
        assert isinstance(result.exception, EdgekitError), result.exception
    assert len(str(result.exception)) < 1000
