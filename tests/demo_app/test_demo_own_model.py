"""A user's own picture model in the demo, like any other; that nobody measured its accuracy is said there as well."""

import sys

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest
from test_demo_page import APP, checked, png, text, upload
from torch import nn

from edgekit.demo_app import cached
from edgekit.optimize import Request
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.user_model.array_samples import Samples
from edgekit.optimize.user_model.model import own_model
from edgekit.optimize.user_model.sources import Source
from edgekit.optimize.verify import FloatReference


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Is it brighter on the left or on the right? Without validation samples."""
    net = nn.Sequential(nn.AvgPool2d((8, 4)), nn.Flatten(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[2].weight.copy_(9 * torch.eye(2))
    pixels = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), np.uint8)
    request = Request(
        model="sides",
        calibration=Samples(arrays={"image": pixels}, words="made by the test"),
        labels=("left", "right"),
        sample_shape=(1, 1, 8, 8),
        mode="L",
        no_normalise=True,
    )
    source = Source(what="sides", name="sides", module=net, weights="made by the test")
    model, out = own_model(source, request).model, tmp_path_factory.mktemp("own")
    pack_bundle(model, EXPORTERS["onnx"], RECIPES["fp32"], out, reference=FloatReference.of(model))
    yield out
    cached._runner.clear()
    cached.open_bundle.clear()


def test_it_is_shown_and_answers_an_uploaded_picture(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(APP), str(folder)])
    page = checked(AppTest.from_file(APP, default_timeout=60).run())
    cards = " ".join(element.body for element in page.html)
    assert ">verified</span>" in cards  # a float file that follows the float model is lossless, truth or not
    assert "<dt>Accuracy</dt><dd>not measured" in cards
    assert "UNVERIFIED" not in cards
    bright_right = np.tile(np.uint8([20, 230]), (30, 1)).repeat(20, axis=1)
    assert text(upload(page, png(bright_right)), "label-left") == "right"
    assert text(page, "verdict") == "Both say right."
