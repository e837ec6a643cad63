"""A convolution used in two places, each before a batch norm of its own: lowered right, copied only where needed."""

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.optimize.deploy import DeployModel, run_module
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.rewrites.unshare import unshare, unshare_all
from edgekit.optimize.user_model.model import own_model
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.user_model.sources import of_module


class Repeated(nn.Module):
    """(N, 4, 6, 6) to (N, 4): one convolution twice."""

    def __init__(self, *, norms: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.first, self.second = (nn.BatchNorm2d(4) if norms else nn.Identity() for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(self.conv(x)))
        return torch.relu(self.second(self.conv(x))).mean((2, 3))


@pytest.fixture
def model():
    torch.manual_seed(0)
    module, pixels = Repeated(norms=True), np.random.default_rng(0).normal(size=(16, 4, 6, 6)).astype(np.float32)
    with torch.no_grad():
        for _ in range(30):
            module(3 * torch.from_numpy(pixels) + 1)  # so that each batch norm has statistics of its own
    return DeployModel(
        name="repeated",
        task="classification",
        module=module.eval().requires_grad_(False),
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 4, 6, 6)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, 4)),),
        preprocessing=None,
        labels=("a", "b", "c", "d"),
        calibration={"x": pixels},
        validation={"x": pixels},
        targets=np.zeros(16, np.int64),
        weights_sha256="0" * 64,
        origin="made by the test",
    )


@pytest.mark.parametrize(("recipe", "floor"), [("fp32", 100), ("w8a8_static", 20)])
def test_the_xnnpack_program_of_a_shared_convolution_is_right(model, recipe, floor, tmp_path):
    wanted = run_module(model, model.module, model.validation)["y"]
    stages = EXPORTERS["executorch_xnnpack"].export(model, RECIPES[recipe], tmp_path / "model.pte")
    found = {stage.kind: sqnr_db(wanted, stage.run(model.validation)["y"]) for stage in stages}
    assert found["capture"] == found["rewrite"] == 200
    assert found["lower"] > floor


@pytest.mark.parametrize("exporter", ["torch_export", "executorch_portable"])
def test_int8_of_a_shared_convolution_is_right_without_xnnpack_too(model, exporter, tmp_path):
    wanted = run_module(model, model.module, model.validation)["y"]
    stages = EXPORTERS[exporter].export(model, RECIPES["w8a8_static"], tmp_path / "model")
    found = {stage.kind: sqnr_db(wanted, stage.run(model.validation)["y"]) for stage in stages}
    assert found["rewrite"] == 200
    assert found["quantize"] > 20


@pytest.mark.parametrize(("norms", "copies"), [(True, 1), (False, 0)])
def test_only_what_batch_norm_would_be_folded_into_is_copied(norms, copies):
    module, sample = Repeated(norms=norms).eval(), (torch.randn(1, 4, 6, 6),)
    captured = torch.export.export(module, sample).module()
    assert unshare(captured) == copies
    assert torch.equal(captured(*sample), module(*sample))


class Shared(nn.Module):
    """One head behind two branches, and a linear layer in two places: no batch norm is near."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        one, other = (self.head(torch.relu(side(x))).mean((2, 3)) for side in (self.left, self.right))
        return self.fc(one), self.fc(other)


def test_every_layer_of_a_program_in_8_bits_gets_weights_of_its_own():
    module, sample = Shared().eval(), (torch.randn(1, 4, 6, 6),)
    captured = torch.export.export(module, sample).module()
    assert unshare_all(captured) == 2 + 2  # head and fc once more, weights and biases
    assert all(torch.equal(a, b) for a, b in zip(captured(*sample), module(*sample), strict=True))


def test_layers_that_are_used_twice_run_in_8_bits_on_xnnpack(tmp_path):
    pixels = np.random.default_rng(0).normal(size=(4, 4, 6, 6)).astype(np.float32)
    model = own_model(of_module(Shared()), Request(model=Shared(), calibration=pixels, task="none")).model
    wanted = run_module(model, model.module, model.validation)
    for stage in EXPORTERS["executorch_xnnpack"].export(model, RECIPES["w8a8_static"], tmp_path / "model"):
        found = stage.run(model.validation)
    assert stage.kind == "lower"
    assert min(sqnr_db(wanted[name], found[name]) for name in wanted) > 20
