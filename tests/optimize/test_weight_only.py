"""4- and 8-bit weights of linear layers: smaller files, the float model's answers, only when asked for."""

import onnx
import pytest
import torch
from drowned import drowned_model
from quarters import quarters_model
from torch import nn

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.errors import ExportError
from edgekit.optimize.combinations import combinations
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.verify import FloatReference

WIDTH = 512
ONNX, XNNPACK = EXPORTERS["onnx"], EXPORTERS["executorch_xnnpack"]
PAIRS = [(ONNX, "w8_only"), (ONNX, "w4_only"), (XNNPACK, "w4_dynamic")]


def heavy_model():
    """The brightest quarter through two wide linear layers: a basis, a rotation, and the basis undone."""
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(WIDTH, 4)).Q
    rotation = torch.linalg.qr(torch.randn(WIDTH, WIDTH)).Q
    weights = [basis, rotation, 3 * (rotation @ basis).T]
    layers = [nn.Linear(w.shape[1], w.shape[0]) for w in weights]
    with torch.no_grad():
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight.copy_(weight)
            layer.bias.zero_()
    return quarters_model(nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), *layers), name="heavy", samples=160)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    out, model = tmp_path_factory.mktemp("weight-only"), heavy_model()
    reference = FloatReference.of(model)
    pairs = [(ONNX, "fp32"), (XNNPACK, "fp32"), *PAIRS]
    return {
        (exporter.name, recipe): pack_bundle(model, exporter, RECIPES[recipe], out, reference=reference).path
        for exporter, recipe in pairs
    }


def size(bundles, exporter, recipe):
    folder = bundles[exporter.name, recipe]
    return (folder / f"model{exporter.suffix}").stat().st_size


@pytest.mark.parametrize(("exporter", "recipe", "least"), [(*PAIRS[0], 3.2), (*PAIRS[1], 5.5), (*PAIRS[2], 5.5)])
def test_the_file_is_smaller_by_what_the_bits_promise(bundles, exporter, recipe, least):
    # A scale for each block of 32 costs 1 bit a weight in ONNX (float32), so 4 bits are 5, and 32 / 5 is 6.4 times.
    bits = 8 if recipe == "w8_only" else 4
    assert least < size(bundles, exporter, "fp32") / size(bundles, exporter, recipe) < 32 / bits


@pytest.mark.parametrize(("exporter", "recipe"), PAIRS)
def test_it_is_verified_and_answers_as_the_float_model_does(bundles, exporter, recipe):
    with Bundle.open(bundles[exporter.name, recipe]) as bundle:
        manifest = bundle.manifest
    assert manifest.status in ("verified", "undecided")
    reload = next(stage for stage in manifest.stages if stage.stage == "reload")
    assert reload.agreement >= 0.9
    assert 20 < reload.sqnr_db < 80  # the weights were rounded, and it was little


@pytest.mark.parametrize(("recipe", "bits"), [("w8_only", 8), ("w4_only", 4)])
def test_onnxruntime_gets_its_own_operator_with_these_bits(bundles, recipe, bits):
    nodes = onnx.load(bundles["onnx", recipe] / "model.onnx").graph.node
    found = [node for node in nodes if node.op_type == "MatMulNBits"]
    assert len(found) == 3
    assert {a.i for node in found for a in node.attribute if a.name == "bits"} == {bits}


def test_the_layers_run_in_the_delegate(bundles):
    with Bundle.open(bundles["executorch_xnnpack", "w4_dynamic"]) as bundle:
        outside = bundle.manifest.provenance["outside_delegate"]
    assert not [name for name in ("linear", "addmm", "mm", "quantize") if name in outside]


def test_a_model_whose_layers_are_too_narrow_is_refused_in_words(tmp_path):
    model = drowned_model()  # its linear layers are 4 wide
    with pytest.raises(ExportError, match=r"no linear layer .* multiple of 32\). Remedy: w8a8_static"):
        pack_bundle(model, XNNPACK, RECIPES["w4_dynamic"], tmp_path, reference=FloatReference.of(model))
    assert list(tmp_path.iterdir()) == []


def test_they_are_made_only_when_asked_for():
    asked = {recipe.name for _, recipe in combinations(Request(model="m", recipes=("w4_only", "w4_dynamic")))}
    by_default = {recipe.name for _, recipe in combinations(Request(model="m"))}
    assert asked == {"w4_only", "w4_dynamic"}
    assert asked.isdisjoint(by_default)
    assert "w8_only" not in by_default
