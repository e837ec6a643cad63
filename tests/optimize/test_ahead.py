"""Programs lowered for Vulkan and Core ML: the delegate is inside, and nothing says that they were run."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from quarters import quarters_model
from torch import nn

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.bundle.status import PROVEN, stamp_of
from edgekit.edge_runtime.errors import ExportError
from edgekit.optimize.combinations import combinations
from edgekit.optimize.deliver import deliver
from edgekit.optimize.events import BundleUnchanged, Event
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.exporters.ahead import delegates_in
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.verify import FloatReference

VULKAN, CORE_ML = EXPORTERS["executorch_vulkan"], EXPORTERS["executorch_coreml"]
DELEGATES = {VULKAN.name: "VulkanBackend", CORE_ML.name: "CoreMLBackend"}
FP32 = RECIPES["fp32"]


@pytest.fixture(scope="module")
def model():
    """A net of convolution, batch norm, pooling and a linear layer, behind raw pixels."""
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
    return quarters_model(nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 4)), name="small", samples=64)


@pytest.mark.parametrize("exporter", [VULKAN, CORE_ML], ids=lambda exporter: exporter.name)
def test_a_net_is_lowered_to_the_delegate_and_never_called_verified(exporter, model, tmp_path):
    if exporter is CORE_ML:
        pytest.importorskip("coremltools")
    folder = pack_bundle(model, exporter, FP32, tmp_path, reference=FloatReference.of(model)).path
    manifest = Bundle.open(folder).manifest
    assert (manifest.status, manifest.metrics, manifest.artifact.format) == ("not_run", (), "executorch")
    assert manifest.status not in PROVEN
    assert stamp_of(manifest.status) == "NEVER RUN"
    assert [(stage.stage, stage.passed) for stage in manifest.stages] == [("capture", True)]
    program = (folder / "model.pte").read_bytes()
    assert set(delegates_in(program)) == {DELEGATES[exporter.name]}
    delegated, total = map(int, manifest.provenance["delegated_operators"].split(" of "))
    assert 6 <= delegated <= total <= delegated + 6
    # The weights went into the delegate's part, and not into the program's own constants.
    assert len(program) > 4 * sum(p.numel() for p in model.module.parameters())


@pytest.mark.parametrize("pool", [partial(F.max_pool2d, kernel_size=2), lambda x: F.max_pool3d(x[None], (1, 2, 2))[0]])
def test_core_ml_takes_a_pool_whose_stride_is_its_size_without_saying_so(pool, tmp_path):
    pytest.importorskip("coremltools")

    class Pooled(nn.Module):
        def forward(self, x):
            return pool(x).flatten(1)

    model = quarters_model(Pooled(), name="pooled", samples=64)
    folder = pack_bundle(model, CORE_ML, FP32, tmp_path, reference=FloatReference.of(model)).path
    assert set(delegates_in((folder / "model.pte").read_bytes())) == {"CoreMLBackend"}


def test_what_no_operator_of_goes_to_the_delegate_is_not_packed(model, tmp_path):
    class Sorts(nn.Module):
        def forward(self, x):
            return torch.sort(x)[0]

    floats = {"image": torch.randn(40, 4).numpy()}
    spec = TensorSpec(name="image", dtype="float32", shape=(1, 4))
    sorting = replace(
        model, name="sorting", module=Sorts(), inputs=(spec,), calibration=floats, validation=floats, targets=None
    )
    with pytest.raises(ExportError, match="VulkanBackend takes no operator of sorting"):
        pack_bundle(sorting, VULKAN, FP32, tmp_path, reference=FloatReference.of(sorting))
    assert list(tmp_path.iterdir()) == []


def test_both_are_made_only_for_who_names_them():
    assert {VULKAN, CORE_ML}.isdisjoint(exporter for exporter, _ in combinations(Request(model="m")))
    asked = combinations(Request(model="m", exporters=("executorch_vulkan",)))
    assert [(exporter.name, recipe.name) for exporter, recipe in asked] == [("executorch_vulkan", "fp32")]


@pytest.mark.slow
def test_beside_others_it_is_kept_and_not_measured(model, tmp_path):
    pairs = [(EXPORTERS["onnx"], FP32), (VULKAN, FP32)]
    heard: list[Event] = []
    options = Request(model="m", out=tmp_path, quick=True)
    for _ in range(2):  # the second time both are known again
        done = deliver(model, pairs, options, lambda inputs: None, on_event=heard.append)
        names = [bundle.name for bundle in done.packed]
        assert names == ["small-onnx-fp32", "small-executorch_vulkan-fp32"]
        [row] = [row for row in done.measured.rows if row.exporter == VULKAN.name]
        assert (row.status, row.p50_ms) == ("not_run", None)
        assert "packed and not run here" in row.error
        assert "VulkanBackend" in row.error
    assert json.loads((tmp_path / names[1] / "manifest.json").read_bytes())["status"] == "not_run"
    assert [event.name for event in heard if isinstance(event, BundleUnchanged)] == names
