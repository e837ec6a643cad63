"""`edgekit.optimize.optimize(...)` from Python, and what the command line says of a model of one's own."""

import numpy as np
import pytest
import torch
from own_net import LABELS, Branching, Net, pixels

from edgekit.cli.optimize_own import wishes_of
from edgekit.edge_runtime.errors import EdgekitError, UsageError
from edgekit.optimize import PictureWishes, optimize


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_options_for_own_models_are_refused_with_a_registry_name():
    nothing = dict.fromkeys(
        ("calibration", "validation", "labels", "sample_shape", "resize", "resize_to", "mean", "std", "mode",
         "interpolation")
    )  # fmt: skip
    common = {"task": "", "name": "", "calibration_samples": 256, "random_samples": False, "random_weights": False}
    assert wishes_of("birds_cnn", **nothing, **common).task == ""
    with pytest.raises(UsageError, match="birds_cnn is a model of the registry"):
        wishes_of("birds_cnn", **nothing, **(common | {"task": "none"}))
    with pytest.raises(UsageError, match="--mean 'half' should be numbers with commas"):
        wishes_of("x:y", **(nothing | {"mean": "half"}), **common)


def test_five_lines_of_python(tmp_path):
    """The public function: one exporter fails and the other goes on, both against the float model in eager PyTorch."""
    found, truth = pixels(24, seed=3)
    result = optimize(
        Branching(),
        pixels(16)[0],
        validation=found,
        targets=truth,
        labels=LABELS,
        picture=PictureWishes(mean=(0.0,), std=(1.0,)),
        sample_shape=(1, 3, 8, 8),
        out=tmp_path,
        exporters=("onnx", "torchscript_scripted"),
        recipes=("fp32",),
        quick=True,
    )
    eager, scripted, failed = result.rows
    assert (eager.name, eager.metric.value, failed.exporter) == ("PyTorch eager", 1.0, "onnx")
    assert (scripted.status, scripted.metric.value, scripted.metric.samples) == ("verified", 1.0, 24)
    assert scripted.times_faster > 0
    assert result.bundles == {"Branching-torchscript_scripted-fp32": tmp_path / "Branching-torchscript_scripted-fp32"}
    assert "torch.where" in result.failed[0].error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3, "samples": None}, "model should be an nn.Module"),
        ({"model": Net(), "samples": np.zeros((0, 3, 8, 8))}, "'x' is empty"),
        ({"model": Net(), "samples": np.zeros((4, 3, 9, 99), np.float32)}, r"cannot take float32 \[1, 3, 9, 99\]"),
        ({"model": Net(), "samples": None, "targets": np.zeros(3)}, "targets are the true answers to `validation`"),
        ({"model": Net(), "samples": None, "exporters": ["tflite"]}, "unknown exporter 'tflite'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(arguments, message, tmp_path):
    with pytest.raises(EdgekitError, match=message):
        optimize(**arguments, out=tmp_path / "bundles")
    assert not (tmp_path / "bundles").exists()
