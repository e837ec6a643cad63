"""Which tensors XNNPACK gets in 8 bits: rounded behind a ReLU6, not before the first layer, not behind the last."""

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.engines.executorch_python import ExecuTorchSession
from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.optimize.deploy import DeployModel, run_module, run_session
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.recipes.layers import torch_layers, torch_normalization, torch_tail


def _rounds(node):
    return str(node.target) == "quantized_decomposed.quantize_per_tensor.default"


class Net(nn.Module):
    """Pixels 0 to 255, normalized, through a convolution whose answers go far beyond 6; logits by an average pool."""

    def __init__(self, clamp: nn.Module):
        super().__init__()
        self.register_buffer("scale", torch.full((1, 3, 1, 1), 1 / 255))
        self.first, self.clamp, self.last = nn.Conv2d(3, 8, 3), clamp, nn.Conv2d(8, 5, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        x = (x * self.scale - 0.5) * 2
        return self.pool(self.last(self.clamp(self.first(x)))).flatten(1)


@pytest.fixture(scope="module", params=[nn.ReLU6(), nn.ReLU6(inplace=True), nn.Hardtanh(0.0, 6.0)])
def model(request):
    torch.manual_seed(0)
    net = Net(request.param).eval().requires_grad_(False)
    net.first.weight.mul_(60)
    rows = np.random.default_rng(0).integers(0, 256, (64, 3, 12, 12)).astype(np.float32)
    return DeployModel(
        name="net",
        task="none",
        module=net,
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 3, 12, 12)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, 5)),),
        preprocessing=None,
        labels=(),
        calibration={"x": rows[:32]},
        validation={"x": rows[32:]},
        targets=None,
        weights_sha256="0" * 64,
        origin="noise",
    )


def _quantized(model):
    captured = torch.export.export(model.module, model.example, strict=False).module()
    batches = ((torch.from_numpy(row[None]),) for row in model.calibration["x"])
    return RECIPES["w8a8_static"].pt2e(captured, batches, frozenset())


def test_a_relu6_is_rounded_once_and_by_the_scale_of_its_own_answers(model):
    (clamp,) = (node for node in _quantized(model).graph.nodes if "hardtanh" in node.name)
    (behind,) = clamp.users
    assert _rounds(behind)
    assert behind.args[1] == pytest.approx(6 / 255, rel=0.02)


def test_what_is_in_front_of_the_first_layer_and_behind_the_last_stays_float(model):
    captured = torch.export.export(model.module, model.example, strict=False).module()
    assert torch_normalization(captured.graph) == {"mul", "sub", "mul_1"}
    assert torch_tail(captured.graph) == {"adaptive_avg_pool2d", "flatten"}
    assert torch_layers(captured) == ("first", "last")
    rounded = {str(node.args[0]) for node in _quantized(model).graph.nodes if _rounds(node)}
    assert {name.rstrip("_") for name in rounded} == {"mul_1", "hardtanh", "conv2d_1"}


def test_the_file_keeps_what_the_clamp_lets_through_and_is_wholly_delegated(model, tmp_path):
    path = tmp_path / "model.pte"
    *_, last = EXPORTERS["executorch_xnnpack"].export(model, RECIPES["w8a8_static"], path)
    assert last.notes["outside_delegate"] == "nothing"
    found = run_session(model, ExecuTorchSession(path, num_threads=1), model.validation)["y"]
    assert (
        sqnr_db(run_module(model, model.module, model.validation)["y"], found) > 38
    )  # 28.7 dB with the quantizer as executorch has it
