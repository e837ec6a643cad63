"""Softplus and its kin, rewritten into what XNNPACK has: the same numbers at every size, and 8-bit programs run."""

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.optimize.deploy import DeployModel, run_module
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.rewrites import FOR_XNNPACK, rewrite

KIN = [nn.Softplus(), nn.Softplus(beta=2), nn.Mish(), nn.LogSigmoid(), nn.CELU(0.5)]
X = torch.cat([torch.linspace(-30, 30, 6001), torch.tensor([-1e30, -200.0, 0.0, 200.0, 1e30])])


@pytest.mark.parametrize("net", KIN, ids=str)
def test_the_numbers_are_the_same_at_every_size(net):
    captured = torch.export.export(net, (X,)).module()
    assert rewrite(captured, FOR_XNNPACK).text.startswith("softplus: ")
    assert torch.allclose(captured(X), net(X), rtol=1e-6, atol=2e-6)


def test_a_softplus_that_has_a_step_is_left():
    captured = torch.export.export(nn.Softplus(threshold=5), (X,)).module()
    assert not rewrite(captured, FOR_XNNPACK)


class Layers(nn.Module):
    """(N, 4, 12, 12) to (N, 4): each of them between two convolutions."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.steps = nn.ModuleList(nn.Sequential(nn.Conv2d(4, 4, 3), net, nn.Conv2d(4, 4, 1)) for net in KIN)
        for step in self.steps:
            nn.init.normal_(step[0].weight)

    def forward(self, x):
        return sum(step(x) for step in self.steps).mean((2, 3))


def test_8_bit_programs_with_them_run(tmp_path):
    rows = np.random.default_rng(0).normal(size=(16, 4, 12, 12)).astype(np.float32)
    model = DeployModel(
        name="net",
        task="none",
        module=Layers().eval().requires_grad_(False),
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 4, 12, 12)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, 4)),),
        preprocessing=None,
        labels=(),
        calibration={"x": rows},
        validation={"x": rows},
        targets=None,
        weights_sha256="0" * 64,
        origin="made by the test",
    )
    *_, last = EXPORTERS["executorch_xnnpack"].export(model, RECIPES["w8a8_static"], tmp_path / "model.pte")
    assert last.notes["outside_delegate"] == "aten_elu_default x1"
    assert sqnr_db(run_module(model, model.module, {"x": rows})["y"], last.run({"x": rows})["y"]) >= 25
