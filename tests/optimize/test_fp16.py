"""fp16: half the bytes in ONNX, the same answers, and the outside still sees 32-bit floats."""

import numpy as np
import onnx
import pytest
from drowned import drowned_model

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.verify import FloatReference


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    out, model = tmp_path_factory.mktemp("fp16"), drowned_model(samples=400)  # enough to decide
    reference = FloatReference.of(model)
    return {
        name: pack_bundle(model, EXPORTERS[name], RECIPES["fp16"], out, reference=reference).path
        for name in ("onnx", "executorch_xnnpack")
    }


@pytest.mark.parametrize("exporter", ["onnx", "executorch_xnnpack"])
def test_it_is_verified_and_answers_in_float32(bundles, exporter):
    with Bundle.open(bundles[exporter]) as bundle:
        assert bundle.manifest.status == "verified"
        assert [spec.dtype for spec in bundle.manifest.outputs] == ["float32"]
        quantize = next(stage for stage in bundle.manifest.stages if stage.stage == "quantize")
    assert 40 < quantize.sqnr_db < 120  # 16 bits were used, and they were enough


def test_the_weights_of_the_onnx_file_have_16_bits(bundles):
    graph = onnx.load(bundles["onnx"] / "model.onnx").graph
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name.endswith("weight")]
    assert weights
    assert {rows.dtype for rows in weights} == {np.dtype(np.float16)}
