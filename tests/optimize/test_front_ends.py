"""`optimize` says of every bundle that takes raw pixels how much of its time goes by before the first layer."""

import torch
from pair_model import pair_model, unproven_bundle
from quarters import quarters_model
from torch import nn

from edgekit.cli.optimize import lines_of
from edgekit.optimize.events import FrontEndMeasured
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.front_ends import SHARE, front_ends
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.verify import FloatReference


def test_a_bundle_of_pixels_is_told_with_its_operators(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4))
    model = quarters_model(net, name="quarters", samples=96)
    reference = FloatReference.of(model)
    path = pack_bundle(model, EXPORTERS["onnx"], RECIPES["fp32"], tmp_path, reference=reference).path
    heard = []
    notes = front_ends(model, [path], heard.append)
    (event,) = heard
    assert event.kinds[:4] == ("Reshape", "Cast", "Mul", "Add")
    assert 0 < event.share < 1
    assert notes == {"quarters-onnx-fp32": {SHARE: f"{event.share:.3f}"}}


def test_other_inputs_have_none(tmp_path):
    model = pair_model()
    assert front_ends(model, [unproven_bundle(model, "onnx", tmp_path / "pair")], print) == {}


def test_above_a_tenth_it_is_printed():
    event = FrontEndMeasured(name="net-onnx-fp32", share=0.101, kinds=("Cast", "Mul"))
    said = "net-onnx-fp32: 10 % of its time goes by before the first layer, in Cast, Mul"
    assert lines_of(event) == [f"  [yellow]{said}[/yellow]"]
    assert lines_of(FrontEndMeasured(name="net-onnx-fp32", share=0.1, kinds=("Cast",))) == []
