"""A packed bundle records each engine that holds, with its answers and its verdict; one that does not is left out."""

from dataclasses import replace

import pytest
import torch
from drowned import drowned_model

from edgekit.cli.optimize import lines_of
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.worker.replay import replay
from edgekit.optimize.deliver import deliver
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.other_engines import other_versions
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.verify import FloatReference

ONNX, FP32 = EXPORTERS["onnx"], RECIPES["fp32"]
NAME = "drowned-onnx-fp32"


@pytest.fixture(scope="module")
def delivered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("delivered")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        request = Request(model="m", out=folder / "bundles", quick=True)
        return [deliver(drowned_model(), [(ONNX, FP32)], request, lambda samples: None) for _ in range(2)]


def test_both_engines_are_in_the_manifest_with_their_answers(delivered):
    path = delivered[0].packed[0].path
    with Bundle.open(path) as bundle:
        runs, golden = bundle.manifest.engines, bundle.golden()
    assert [(run.name, run.precision) for run in runs] == [("onnxruntime", "float32"), ("openvino", "float32")]
    assert runs[1].version == other_versions("onnx")["openvino"]
    assert set(golden.packed) == {"onnxruntime-float32", "openvino-float32"}
    for engine in ("onnxruntime", "openvino"):
        replayed = replay(path, engine=engine)
        assert replayed.passed
        assert replayed.max_abs_since_packed == 0


def test_the_verdict_is_on_that_engines_own_answers(delivered):
    manifest = delivered[0].packed[0].manifest
    assert manifest.engines[0].verdict is None  # it is the bundle's
    verdict = manifest.engines[1].verdict
    assert (verdict.status, verdict.samples) == (manifest.verdict.status, manifest.verdict.samples)
    assert verdict.value == manifest.verdict.value


def test_each_has_a_row_of_its_own_with_its_accuracy_and_answers(delivered):
    for found in delivered:  # the second run packed nothing
        rows = {row.name: row for row in found.measured.rows}
        assert list(rows) == [NAME, f"{NAME}@openvino"]
        assert rows[f"{NAME}@openvino"].engine.startswith("openvino ")
        assert rows[f"{NAME}@openvino"].metric == rows[NAME].metric
        assert rows[f"{NAME}@openvino"].verdict == found.packed[0].manifest.engines[1].verdict
        assert set(found.answers) == set(rows)
    assert delivered[1].packed[0].unchanged


class WithDeterminant(torch.nn.Module):
    """The same net, and the determinant of the unit matrix, which OpenVINO does not know."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, image):
        picture = image.flatten(1)[:, :4].reshape(-1, 2, 2).float() * 0
        return self.net(image) * torch.linalg.det(picture + torch.eye(2)).reshape(-1, 1)


def test_an_engine_that_cannot_run_it_is_left_out_with_a_remark(tmp_path):
    model, events = drowned_model(), []
    model = replace(model, module=WithDeterminant(model.module).eval())
    reference = FloatReference.of(model)
    made = pack_bundle(model, ONNX, FP32, tmp_path, reference=reference, other_engines=True, on_event=events.append)
    said = "\n".join(line for event in events for line in lines_of(event))
    assert "does not run it" in said
    assert "Det" in said
    assert [run.name for run in made.manifest.engines] == ["onnxruntime"]
    assert made.others == ()


def test_a_format_with_one_engine_has_no_others():
    assert other_versions("executorch") == {}
    assert list(other_versions("onnx")) == ["openvino"]
