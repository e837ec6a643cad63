"""ExecuTorch without a delegate: verified like the rest, nothing delegated, and only for who asks for it by name."""

import pytest
from quarters import quarters_model
from torch import nn

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.optimize.combinations import combinations
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.verify import FloatReference

PORTABLE = EXPORTERS["executorch_portable"]


@pytest.fixture(scope="module")
def model():
    """The brightest quarter, by a convolution that adds each up and a linear layer."""
    net = nn.Sequential(nn.Conv2d(1, 1, 2, stride=2), nn.Flatten(), nn.Linear(4, 4))
    for layer, start in ((net[0], nn.init.ones_), (net[2], nn.init.eye_)):
        start(layer.weight)
        nn.init.zeros_(layer.bias)
    return quarters_model(net, name="quarters", samples=64)


@pytest.mark.parametrize("recipe", PORTABLE.recipes)
def test_it_is_verified_and_nothing_is_delegated(model, recipe, tmp_path):
    folder = pack_bundle(model, PORTABLE, RECIPES[recipe], tmp_path, reference=FloatReference.of(model)).path
    manifest = Bundle.open(folder).manifest
    assert manifest.artifact.format == "executorch"
    assert manifest.status in (("verified",) if recipe == "fp32" else ("verified", "undecided"))
    assert manifest.provenance["delegated_operators"].startswith("0 of ")
    assert "convolution_default x1" in manifest.provenance["outside_delegate"]
    assert b"XnnpackBackend" not in (folder / "model.pte").read_bytes()


def test_it_runs_only_where_it_is_named():
    assert PORTABLE not in [exporter for exporter, _ in combinations(Request(model="m"))]
    asked = combinations(Request(model="m", exporters=("executorch_portable",)))
    assert {recipe.name for _, recipe in asked} <= set(PORTABLE.recipes)
    assert {exporter for exporter, _ in asked} == {PORTABLE}
