"""Rewrites as a stage of the chain: what ExecuTorch could not run, it runs; a wrong rewrite is named with the stage."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.errors import ExportError, VerificationError
from edgekit.edge_runtime.tasks.metrics import relative_error
from edgekit.optimize.deploy import DeployModel, run_module
from edgekit.optimize.exporters import EXPORTERS, Stage, executorch
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.rewrites import FOR_XNNPACK, rewrite
from edgekit.optimize.verify import Chain, FloatReference

XNNPACK, FP32 = EXPORTERS["executorch_xnnpack"], RECIPES["fp32"]


class Volume(nn.Module):
    """(N, 2, 4, 6, 6) to (N, 3): two convolutions, one added to its input, pools, a batch norm."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm3d(4)
        self.second = nn.Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1), groups=2)
        self.drop, self.pool, self.last = nn.Dropout3d(0.5), nn.MaxPool3d(2), nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu_(self.norm(self.first(x)))
        x = self.pool(self.drop(x + self.second(x)))
        return self.last(nn.functional.adaptive_avg_pool3d(x, 1).flatten(1))


class Everything(nn.Module):
    """(N, 4, 8, 8) to (N, 3): one of each operator that XNNPACK would leave outside, and transposed convolutions."""

    def __init__(self):
        super().__init__()
        self.borders = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(4, 4, 3), nn.InstanceNorm2d(4, affine=True))
        self.up = nn.ConvTranspose2d(4, 4, 3, 2, padding=1, output_padding=1, groups=2, dilation=2)
        self.norm, self.lstm = nn.GroupNorm(2, 4), nn.LSTM(4, 5, batch_first=True)
        self.last = nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 3))

    def forward(self, x):
        x = self.norm(self.up(torch.relu(self.borders(x))))[:, :, :16, :16]
        x = nn.functional.adaptive_avg_pool2d(nn.functional.interpolate(x, scale_factor=2), (8, 8))
        words = torch.cat([x.mean((2, 3)), -x.mean((2, 3))], 1).reshape(-1, 2, 4)
        return self.last(self.lstm(words)[0][:, -1])


def model(module: nn.Module, sizes: tuple[int, ...]) -> DeployModel:
    torch.manual_seed(0)
    rows = np.random.default_rng(0).normal(size=(4, *sizes)).astype(np.float32)
    return DeployModel(
        name="net",
        task="none",
        module=module.eval().requires_grad_(False),
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, *sizes)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, 3)),),
        preprocessing=None,
        labels=(),
        calibration={"x": rows},
        validation={"x": rows},
        targets=None,
        weights_sha256="0" * 64,
        origin="made by the test",
    )


@pytest.mark.parametrize(("module", "sizes"), [(Volume, (2, 4, 6, 6)), (Everything, (4, 8, 8))])
def test_it_is_delegated_whole_and_right(module, sizes, tmp_path):
    net = model(module(), sizes)
    wanted, kinds, notes = run_module(net, net.module, net.validation)["y"], [], {}
    for stage in XNNPACK.export(net, FP32, tmp_path / "model.pte"):
        kinds.append(stage.kind)
        notes |= stage.notes
        assert relative_error(wanted, stage.run(net.validation)["y"]) <= 1e-5
    assert kinds == ["capture", "rewrite", "lower"]
    assert notes["outside_delegate"] == "nothing"


def test_without_its_rewrite_executorch_cannot_run_it(tmp_path):
    net = model(Volume(), (2, 4, 6, 6))
    as_captured = replace(XNNPACK, export=partial(executorch.export, rewrites=()))
    *_, last = as_captured.export(net, FP32, tmp_path / "model.pte")
    with pytest.raises(ExportError, match="made a program that it cannot run: .*max_pool3d_with_indices"):
        last.run(net.validation)


def test_a_free_batch_stays_free():
    net = model(Volume(), (2, 4, 6, 6)).with_max_batch(8)
    captured = torch.export.export(net.module, net.example, dynamic_shapes=net.dynamic_shapes, strict=False).module()
    assert rewrite(captured, FOR_XNNPACK).text.startswith("volumes: adaptive_avg_pool3d x1, batch_norm x1, conv3d x2")
    for rows in (1, 3, 8):
        x = torch.randn(rows, 2, 4, 6, 6)
        assert relative_error(net.module(x).numpy(), captured(x).numpy()) <= 1e-5


def test_a_wrong_rewrite_is_named():
    net = model(Volume(), (2, 4, 6, 6))
    chain = Chain(net, FP32, FloatReference.of(net), keep_going=False, on_stage=lambda result: None)
    wrong = Stage(
        kind="rewrite",
        run=lambda arrays: run_module(net, net.module, {"x": arrays["x"][:, :, ::-1]}),
        notes={"rewrites": "volumes: conv3d x2"},
    )
    with pytest.raises(VerificationError, match="stage 'rewrite' is wrong .* It rewrote volumes: conv3d x2"):
        chain.check(wrong)


def nearly_the_same(net, size):
    """Answers around 1,000 that vary by thousandths, and those of a stage that is off by `size` of the largest."""

    def run(arrays):
        wanted = run_module(net, net.module, arrays)
        return {name: rows + np.float32(size) * np.abs(rows).max() for name, rows in wanted.items()}

    return Stage(kind="lower", run=run)


@pytest.mark.parametrize(("size", "passes"), [(3e-7, True), (7e-7, False)])
def test_what_float32_rounds_is_no_fault_however_little_the_answers_vary(size, passes):
    class Flat(nn.Module):
        def forward(self, x):
            return 1000 + 0.01 * x.flatten(1).mean(1, keepdim=True)

    net = model(Flat(), (2, 4, 4))
    results = []
    chain = Chain(net, FP32, FloatReference.of(net), keep_going=True, on_stage=results.append)
    chain.check(nearly_the_same(net, size))
    assert results[0].sqnr_db < FP32.sqnr_floor_db
    assert results[0].passed == passes
    assert ("or a difference below 5e-07" in results[0].held_to) == passes
