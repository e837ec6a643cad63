"""Residual nets in 8 bits: a layer put back to float computes with floats, and is found by its name."""

import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from torch import nn

from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.optimize.recipes import w8a8_static
from edgekit.optimize.recipes.layers import torch_layers
from edgekit.optimize.recipes.onnx_prepare import choosable_layers, prepared
from edgekit.optimize.recipes.w8a8_static import quantize_onnx, quantize_pt2e
from edgekit.optimize.rewrites import FOR_PT2E, rewrite


class Shared(nn.Module):
    """One convolution in five places, each with a batch norm of its own, as the book's 100-block net has it."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(5))
        for place, norm in enumerate(self.norms, start=1):
            norm.running_var.fill_(place)

    def forward(self, x):
        x = self.first(x)
        for norm in self.norms:
            x = x + torch.relu(norm(self.conv(x)))
        return x.mean((2, 3))


@pytest.fixture(scope="module")
def residual(tmp_path_factory):
    """(path of the float model, calibration samples, float answers)"""
    torch.manual_seed(0)
    net, samples = Shared().eval(), torch.randn(16, 2, 8, 8)
    path = tmp_path_factory.mktemp("residual") / "float.onnx"
    torch.onnx.export(net, (samples[:1],), dynamo=True, verbose=False, input_names=["x"]).save(path)
    return path, {"x": samples.numpy()}, net(samples).detach().numpy()


def _quantized(residual, path, float_layers):
    source, samples, _ = residual
    quantize_onnx(source, path, samples, frozenset(float_layers))
    return onnx.load(path).graph


def _read_by_additions(graph):
    maker = {name: node for node in graph.node for name in node.output}
    return [sorted(maker[name].op_type for name in node.input) for node in graph.node if node.op_type == "Add"]


def _sqnr_db(residual, path):
    _, samples, wanted = residual
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return sqnr_db(wanted, torch.cat([torch.tensor(session.run(None, {"x": row[None]})[0]) for row in samples["x"]]))


def test_a_layer_in_several_places_is_several_when_batch_norms_are_folded_into_it(residual):
    layers = choosable_layers(residual[0])
    assert len(layers) == 1 + 5 + 4  # with the additions, but for the last, whose result no layer takes
    assert layers[:2] == ("first", "conv")
    places = [layer for layer in layers if layer.startswith("conv")]
    assert all(place.startswith("conv at node_") for place in places[1:])
    with prepared(residual[0], frozenset({"conv", places[3]})) as (ready, excluded):
        convolutions = [node.name for node in onnx.load(ready).graph.node if node.op_type == "Conv"]
    assert [name in excluded for name in convolutions] == [False, True, False, False, True, False]


def test_so_it_is_in_a_captured_program():
    captured = torch.export.export(Shared().eval(), (torch.zeros(1, 2, 8, 8),), strict=False).module()
    assert [layer for layer in torch_layers(captured) if layer.startswith("conv")] == ["conv"]
    rewrite(captured, FOR_PT2E)
    places = [layer for layer in torch_layers(captured) if layer.startswith("conv")]
    assert places == ["conv", *(f"conv at conv2d_{i}" for i in range(2, 6))]
    samples = [(torch.randn(1, 2, 8, 8),) for _ in range(4)]
    quantized = quantize_pt2e(captured, iter(samples), frozenset({places[2]}))
    convolutions = [node for node in quantized.graph.nodes if node.target == torch.ops.aten.conv2d.default]
    rounded = ["dequantize" in node.args[1].name for node in convolutions]
    assert rounded == [True, True, True, False, True, True]


def test_calibrating_once_for_all_choices_changes_nothing(residual, tmp_path):
    _quantized(residual, tmp_path / "first.onnx", {"first"})
    _quantized(residual, tmp_path / "again.onnx", ())
    assert w8a8_static._RANGES.recall(residual[0], residual[1], "minmax", tmp_path / "known.json")
    source, samples, _ = residual
    others = {"x": 3 * samples["x"]}
    assert not w8a8_static._RANGES.recall(source, others, "minmax", tmp_path / "other.json")
    quantize_onnx(source, tmp_path / "others.onnx", others)
    _quantized(residual, tmp_path / "anew.onnx", ())
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "anew.onnx").read_bytes()
    assert (tmp_path / "again.onnx").read_bytes() != (tmp_path / "others.onnx").read_bytes()


def test_a_layer_that_is_not_there_is_named(residual, tmp_path):
    with pytest.raises(ValueError, match=r"no layers of this graph.*: model\.conv9"):
        _quantized(residual, tmp_path / "out.onnx", {"model.conv9"})


def test_float_additions_add_what_was_computed_and_not_what_was_rounded_for_the_convolution(residual, tmp_path):
    additions = {layer for layer in choosable_layers(residual[0]) if "add" in layer}
    read = _read_by_additions(_quantized(residual, tmp_path / "mixed.onnx", additions))
    # The first convolution and each ReLU behind one answer in 8 bits; the sum before comes as it is.
    assert read == [2 * ["DequantizeLinear"]] + 4 * [["Add", "DequantizeLinear"]]
    assert _read_by_additions(_quantized(residual, tmp_path / "int8.onnx", ())) == 5 * [2 * ["DequantizeLinear"]]
    assert _sqnr_db(residual, tmp_path / "mixed.onnx") > _sqnr_db(residual, tmp_path / "int8.onnx") + 3


def test_with_every_layer_in_float_nothing_is_rounded(residual, tmp_path):
    graph = _quantized(residual, tmp_path / "all.onnx", choosable_layers(residual[0]))
    assert {node.op_type for node in graph.node}.isdisjoint({"QuantizeLinear", "DequantizeLinear"})
    assert _sqnr_db(residual, tmp_path / "all.onnx") > 100
