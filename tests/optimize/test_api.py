"""`edgekit.optimize.optimize(request)` from Python."""

import numpy as np
import pytest
import torch
from own_net import LABELS, Branching, Net, pixels

from edgekit.edge_runtime.errors import EdgekitError, UsageError
from edgekit.optimize import Request, optimize
from edgekit.optimize.events import BundleFailed, BundlePacked, Event, MeasuringProgress


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_five_lines_of_python(tmp_path):
    """The public function: one exporter fails and the other goes on, both against the float model in eager PyTorch."""
    found, truth = pixels(24, seed=3)
    heard: list[Event] = []
    request = Request(
        model=Branching(),
        calibration=pixels(16)[0],
        validation=found,
        targets=truth,
        labels=LABELS,
        mean=(0.0,),
        std=(1.0,),
        sample_shape=(1, 3, 8, 8),
        out=tmp_path / "bundles",
        runs=tmp_path / "runs",
        exporters=("onnx", "torchscript_scripted"),
        recipes=("fp32",),
        quick=True,
    )
    result = optimize(request, on_event=heard.append)
    eager, scripted, failed = result.rows
    assert (eager.name, eager.metric.value, failed.exporter) == ("PyTorch eager", 1.0, "onnx")
    assert (scripted.status, scripted.metric.value, scripted.metric.samples) == ("verified", 1.0, 24)
    assert scripted.times_faster > 0
    name = "Branching-torchscript_scripted-fp32"
    assert result.bundles == {name: tmp_path / "bundles" / name}
    assert "torch.where" in result.failed[0].error
    assert [event.name for event in heard if isinstance(event, BundlePacked)] == [name]
    assert [event.reason for event in heard if isinstance(event, BundleFailed)] == [failed.error]
    steps = [event for event in heard if isinstance(event, MeasuringProgress)]
    assert [event.done for event in steps] == list(range(1, steps[0].total + 1))
    assert result.measured.request is None  # arrays in memory are in no file


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": 3}, "model should be an nn.Module"),
        ({"model": Net(), "calibration": np.zeros((0, 3, 8, 8))}, "'x' is empty"),
        ({"model": Net(), "calibration": np.zeros((4, 3, 9, 99), np.float32)}, r"cannot take float32 \[1, 3, 9, 99\]"),
        ({"model": Net(), "targets": np.zeros(3)}, "`targets` are the true answers to `validation`"),
        ({"model": Net(), "exporters": ["tflite"]}, "unknown exporter 'tflite'"),
        ({"model": "birds_cnn", "task": "none", "mean": (0.5,)}, "birds_cnn is a model .* not take --task, --mean;"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(options, message, tmp_path):
    with pytest.raises(EdgekitError, match=message):
        optimize(Request(**options, out=tmp_path / "bundles"))
    assert not (tmp_path / "bundles").exists()


@pytest.mark.parametrize("option", ["out", "runs"])
@pytest.mark.parametrize("given", ["calibration", "validation", "unlabelled", "golden"])
def test_nothing_is_written_into_the_samples(given, option, tmp_path):
    samples = tmp_path / "samples"
    samples.mkdir()
    np.save(samples / "x.npy", pixels(4)[0])
    options = {"calibration": pixels(4)[0], "out": tmp_path / "bundles", "runs": tmp_path / "runs"}
    options |= {given: samples, option: samples / "new"}
    with pytest.raises(UsageError, match="or lies in it, and that is read"):
        optimize(Request(model=Net(), **options))
    assert [path.name for path in tmp_path.rglob("*")] == ["samples", "x.npy"]
