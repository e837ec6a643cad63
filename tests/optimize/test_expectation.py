"""What the user knows of the float model, what may travel, and whose it is: said at once, and kept in the manifest."""

import numpy as np
import pytest
import torch
from own_net import LABELS, Net, pixels
from torch import nn

from edgekit.cli.optimize import travelling
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.errors import UsageError
from edgekit.optimize.combinations import combinations
from edgekit.optimize.deliver import deliver
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.user_model.model import own_model
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.user_model.sources import of_module
from edgekit.optimize.verify import FloatReference


def request_of(module, **options):
    found, truth = pixels(24, seed=3)
    given = {"calibration": pixels(8)[0], "validation": found, "targets": truth, "labels": LABELS, "no_normalise": True}
    return Request(model=module, sample_shape=(1, 3, 8, 8), exporters=("onnx",), recipes=("fp32",), **(given | options))


def delivered(request):
    model = own_model(of_module(request.model), request).model
    return deliver(model, combinations(request), request, lambda rows: None)


def test_a_float_model_that_misses_what_is_expected_stops_everything(tmp_path):
    net = Net()
    with torch.no_grad():
        net.fc.weight[1] *= -1  # a quarter of the answers is lost
    message = (
        r"has accuracy 75\.00 % on 24 samples, and at least 90\.00 % was expected: nothing was made.*--mean and --std"
    )
    with pytest.raises(UsageError, match=message + ".*colour channels.*resizing.*order of the labels"):
        delivered(request_of(net, expect_accuracy=0.9, out=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_expected_to_be_no_larger(tmp_path):
    rows = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    asked = {"calibration": rows[:4], "validation": rows[4:], "targets": np.ones(8), "out": tmp_path}
    zero = nn.Linear(3, 1)
    with torch.no_grad():
        zero.weight.zero_(), zero.bias.zero_()
    request = Request(model=zero, exporters=("onnx",), recipes=("fp32",), expect_accuracy=0.5, **asked)
    with pytest.raises(UsageError, match="mean absolute error 1 on 8 samples, and at most 0.5 was expected"):
        delivered(request)


def test_an_expectation_needs_true_answers(tmp_path):
    with pytest.raises(UsageError, match="--expect-accuracy 0.9 needs samples with true answers"):
        delivered(request_of(Net(), validation=None, targets=None, expect_accuracy=0.9, out=tmp_path))


def packed(request, tmp_path):
    model = own_model(of_module(request.model), request).model
    made = pack_bundle(model, EXPORTERS["onnx"], RECIPES["fp32"], tmp_path, reference=FloatReference.of(model))
    return Bundle.open(made.path)


def test_named_samples_travel_instead_of_those_of_the_validation(tmp_path):
    chosen = pixels(5, seed=9)[0]
    request = request_of(Net(), golden=chosen, golden_licence="CC0-1.0", weights_licence="MIT")
    bundle = packed(request, tmp_path)
    golden, origin = bundle.golden(), bundle.manifest.origin
    assert np.array_equal(golden.inputs["image"], chosen)
    assert golden.targets.shape == (5, 0)
    assert (bundle.manifest.status, bundle.manifest.metrics[0].samples) == ("verified", 24)
    assert (origin.golden.source, origin.golden.licence, origin.golden.may_travel) == (
        "5 samples in memory", "CC0-1.0", True,
    )  # fmt: skip
    assert (origin.weights.source, origin.weights.licence) == ("as given from Python", "MIT")
    assert travelling(bundle.manifest).endswith("You named them with --golden.")


def test_others_are_said_to_travel_and_nobody_said_that_they_may(tmp_path):
    manifest = packed(request_of(Net()), tmp_path).manifest
    assert (manifest.origin.golden.source, manifest.origin.golden.may_travel) == ("24 samples in memory", None)
    assert "24 real inputs, of 24 samples in memory, travel with every bundle" in travelling(manifest)
    assert "--golden DIR" in travelling(manifest)
