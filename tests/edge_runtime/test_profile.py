"""Time by operator on real bundles of every format, and its arithmetic against counts made elsewhere and by hand."""

import json
import struct
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import make_bundle, with_program
from typer.testing import CliRunner

from edgekit import cli as command
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import OutputSpec, TensorSpec
from edgekit.edge_runtime.errors import EngineError, UsageError
from edgekit.edge_runtime.profiling.child import MIN_RUNS
from edgekit.edge_runtime.profiling.child import run as run_profile
from edgekit.edge_runtime.profiling.operators import Operator, tensor_bytes
from edgekit.edge_runtime.profiling.profile import profile_bundle, typical_ns
from edgekit.edge_runtime.profiling.xnnpack_graph import multiplying_nodes

SHORT = 0.1  # seconds; ten runs are made however long they take


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles"), name="quarters-onnx-fp32")


@pytest.fixture(scope="module")
def profile(bundle):
    return profile_bundle(bundle, seconds=SHORT)


@pytest.fixture(scope="module")
def digits(quickstart):
    """The digit classifier in each format, profiled once."""
    names = ["onnx-fp32", "onnx-w8a8_static", "executorch_xnnpack-fp32", "executorch_xnnpack-w8a8_static"]
    names += ["torchscript_traced-fp32"]
    allow = ("torchscript",)
    return {name: profile_bundle(quickstart.bundle(name), seconds=SHORT, allow=allow) for name in names}


def test_a_small_model_operator_by_operator(profile):
    assert [operator.kind for operator in profile.operators] == ["Cast", "Mul", "Flatten", "Gemm", "Softmax"]
    gemm = profile.operators[3]
    assert (gemm.macs, gemm.bytes, gemm.precision) == (64 * 4, 4 * (64 + 64 * 4 + 4), "fp32")
    assert profile.macs == 256
    assert all(len(operator.ns) == len(profile.profiled_ns) >= MIN_RUNS for operator in profile.operators)
    assert sum(profile.share(operator) for operator in profile.operators) == pytest.approx(1)


def test_every_format_counts_what_torch_counts_for_the_module(digits, quickstart):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from edgekit.train.registry import BOOK_MODELS

    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        BOOK_MODELS["digits_cnn"].build()(torch.zeros(1, 1, 8, 8))
    assert {name: profile.macs for name, profile in digits.items()} == dict.fromkeys(
        digits, counter.get_total_flops() // 2
    )


def test_bytes_shrink_to_a_quarter_with_int8(digits):
    for exporter in ("onnx", "executorch_xnnpack"):
        float_bytes = sum(o.bytes for o in digits[f"{exporter}-fp32"].operators if o.macs)
        int8_bytes = sum(o.bytes for o in digits[f"{exporter}-w8a8_static"].operators if o.macs)
        assert 3 < float_bytes / int8_bytes < 4.2
        assert {o.precision for o in digits[f"{exporter}-w8a8_static"].operators if o.macs} == {"int8"}


def test_executorch_is_told_apart_inside_its_delegate(digits):
    profile = digits["executorch_xnnpack-fp32"]
    inside = [operator.kind.split(" (")[0] for operator in profile.operators if operator.place == "XNNPACK"]
    assert inside.count("Convolution") == 3
    assert inside.count("Fully Connected") == 2
    assert dict(profile.by_place())["XNNPACK"] > 0.5
    assert next(o.kind for o in profile.operators if not o.place).startswith("_to_dim_order_copy")


def test_conversions_and_int8_kernels_are_named(digits):
    profile = digits["onnx-w8a8_static"]
    assert 0 < profile.conversion_share < 0.5
    assert dict(profile.by_place())["int8 kernel"] > 0.3
    assert digits["onnx-fp32"].conversion_share == 0


def conv_model(channels):
    """(1, 3, 16, 16) float32 -> (1, `channels`, 16, 16): a kind of number that kernels with blocks pad."""
    weights = np.ones((channels, 3, 3, 3), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="only", pads=[1, 1, 1, 1])],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, 16, 16])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@pytest.mark.parametrize("channels", [10, 16])
def test_padding_of_a_kernel_is_no_arithmetic_of_the_model(bundle, tmp_path, channels):
    from edgekit.edge_runtime.profiling import onnx as onnx_profile

    onnx.save(conv_model(channels), tmp_path / "conv.onnx")
    tensors = {
        "inputs": (TensorSpec(name="x", dtype="float32", shape=(1, 3, 16, 16)),),
        "outputs": (OutputSpec(name="y", dtype="float32", shape=(1, channels, 16, 16), holds="values"),),
    }
    manifest = with_program(Bundle.open(bundle).manifest, **tensors)
    profiler = onnx_profile.open_profiler(tmp_path / "conv.onnx", manifest, 1)
    profiler.run([np.ones((1, 3, 16, 16), np.float32)])
    operators, remarks = profiler.operators()
    assert sum(operator.macs for operator in operators) == channels * 16 * 16 * 3 * 9
    assert not any("as executed" in remark for remark in remarks)


def test_multiplications_by_hand():
    from edgekit.edge_runtime.profiling.onnx import macs_of_node

    def node(kind, inputs, output):
        return {
            "op_name": kind,
            "input_type_shape": [{"float": list(shape)} for shape in inputs],
            "output_type_shape": [{"float": list(output)}],
        }

    assert macs_of_node(node("Conv", [(1, 8, 5, 5), (4, 2, 3, 3)], (1, 4, 3, 3))) == 4 * 9 * 2 * 9  # 4 groups
    assert macs_of_node(node("ConvTranspose", [(1, 8, 5, 5), (8, 4, 2, 2)], (1, 4, 10, 10))) == 8 * 25 * 4 * 4
    assert macs_of_node(node("Gemm", [(7, 5), (7, 3)], (5, 3))) == 5 * 3 * 7  # the first transposed
    assert macs_of_node(node("MatMul", [(2, 6, 4), (4, 9)], (2, 6, 9))) == 2 * 6 * 9 * 4
    assert macs_of_node(node("LSTM", [(3, 1, 10), (1, 32, 10), (1, 32, 8)], (3, 1, 1, 8))) == 3 * 32 * (10 + 8)
    assert macs_of_node(node("Relu", [(5,)], (5,))) == 0
    assert macs_of_node(node("Loop", [(5,)], (5,))) is None


def test_the_typical_time_forgets_the_extremes_but_not_what_lies_between_two_microseconds():
    assert typical_ns(Operator(name="a", kind="a", ns=(1000, 2000) * 20)) == 1500
    assert typical_ns(Operator(name="a", kind="a", ns=(*[2000] * 18, 0, 900_000))) == 2000


def test_elements_smaller_than_a_byte_are_counted_together():
    assert tensor_bytes("int4", (3, 3)) == 5
    assert tensor_bytes("float", (2, 2)) == 16


def test_a_format_without_a_profiler_is_named(bundle):
    asked = {"bundle": str(bundle), "num_threads": 1, "seconds": SHORT}
    raw = (bundle / "manifest.json").read_bytes()
    manifest = Bundle.open(bundle).manifest
    aot = with_program(manifest, artifact=replace(manifest.artifact, format="aot"))
    (bundle / "manifest.json").write_bytes(aot.to_bytes())
    try:
        with pytest.raises(UsageError, match="unknown format to profile 'aot'. Known: executorch, onnx, torchscript"):
            run_profile(None, [], asked)
    finally:
        (bundle / "manifest.json").write_bytes(raw)


def test_a_damaged_graph_is_an_error_and_no_crash(tmp_path):
    graph = struct.pack("<I", 8) + b"XN01" + b"\xff" * 24
    header = b"\0\0\0\0XH00" + struct.pack("<HII", 30, 30, len(graph)) + b"\0" * 12
    (tmp_path / "model.pte").write_bytes(b"before" + header + graph)
    (tmp_path / "none.pte").write_bytes(b"no delegate, XH00 by chance" * 9)
    with pytest.raises(EngineError, match=r"model\.pte: its XNNPACK graph cannot be read"):
        multiplying_nodes(tmp_path / "model.pte")
    assert multiplying_nodes(tmp_path / "none.pte") == []


def test_the_command_prints_operators_and_keeps_profile_and_roofline(bundle, tmp_path):
    done = CliRunner().invoke(command.app, ["benchmark", str(bundle), "--profile", "--quick", "--out", str(tmp_path)])
    text = " ".join(done.stdout.split())
    assert done.exit_code == 0, done.output
    for words in (
        "quarters-onnx-fp32: ",
        "Gemm",
        "Softmax",
        "by kind: ",
        "whole run: 0.000256 million",
        "Peaks of this",
    ):
        assert words in text
    kept = json.loads((tmp_path / "profile.json").read_text())
    assert len(kept["bundles"][0]["profile"]["operators"]) == 5
    assert ElementTree.parse(tmp_path / "roofline.svg").getroot().get("role") == "img"


def test_the_command_takes_one_number_of_threads(bundle, tmp_path):
    for option in (["--profile"], ["--scenario", "Offline"]):
        done = CliRunner().invoke(command.app, ["benchmark", str(bundle), *option, "--threads", "1,2"])
        assert isinstance(done.exception, UsageError)
        assert "one number of threads" in str(done.exception)
