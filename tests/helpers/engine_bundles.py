"""Tiny ONNX bundles that tell engines apart: one that OpenVINO cannot run, and one whose cost depends on its input."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import IMAGE, SIDE, change_manifest, make_bundle, onnx_model, quarter_weights

from edgekit.edge_runtime.bundle.manifest import BatchRange, OutputSpec, TensorSpec

HEAVY = 60  # products of 128 x 128 matrices for a bright picture, about a millisecond


def free_batch_bundle(folder: Path, *, name: str = "quarters-free-fp32", most: int = 8) -> Path:
    """The tiny bundle with a batch of 1 to `most`."""
    model = onnx.load_from_string(onnx_model(quarter_weights()))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    path = make_bundle(folder, name=name, model_bytes=model.SerializeToString())
    batch = BatchRange(min=1, max=most)
    return change_manifest(
        path,
        inputs=(TensorSpec(name="image", dtype="uint8", shape=IMAGE.shape, batch=batch),),
        outputs=(OutputSpec(name="probabilities", dtype="float32", shape=(1, 4), batch=batch, holds="probabilities"),),
    )


def onnxruntime_only_bundle(folder: Path, *, name: str = "quarters-onnx-fp32") -> Path:
    """The tiny bundle with a determinant in it, which is 1 and which OpenVINO does not know."""
    model = onnx.load_from_string(onnx_model(quarter_weights()))
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.eye(2, dtype=np.float32), "square"))
    softmax = graph.node.pop()
    graph.node.append(helper.make_node("Det", ["square"], ["one"]))
    graph.node.append(helper.make_node("Mul", ["logits", "one"], ["scaled_logits"]))
    softmax.input[0] = "scaled_logits"
    graph.node.append(softmax)
    onnx.checker.check_model(model)
    return make_bundle(folder, name=name, model_bytes=model.SerializeToString())


def early_exit_bundle(folder: Path, *, name: str = "quarters-exit-fp32") -> Path:
    """The tiny bundle, which also multiplies large matrices where the first pixel is above 150. 3 of 12 samples are so.

    The answers are the same: the product adds nothing.
    """
    model = onnx.load_from_string(onnx_model(quarter_weights()))
    graph = model.graph
    large = np.full((128, 128), 1 / 128, np.float32)
    graph.initializer.append(numpy_helper.from_array(large, "large"))
    for key, value in (("first", [0]), ("last", [1]), ("axis", [1])):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), key))
    graph.initializer.append(numpy_helper.from_array(np.float32(150 / 255), "bright"))
    graph.initializer.append(numpy_helper.from_array(np.float32(0), "zero"))
    row = helper.make_tensor_value_info("extra", TensorProto.FLOAT, [1, 128])
    names = [f"h{i}" for i in range(HEAVY)]
    heavy = [helper.make_node("Add", ["large", "pixel"], [names[0]])]  # of the input, so that nothing is folded
    heavy += [helper.make_node("MatMul", [a, "large"], [b]) for a, b in itertools.pairwise(names)]
    heavy += [
        helper.make_node("ReduceMean", [names[-1]], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["extra"]),
    ]
    light = [helper.make_node("Constant", [], ["extra"], value=numpy_helper.from_array(np.zeros((1, 128), np.float32)))]
    softmax = graph.node.pop()
    graph.node.extend([
        helper.make_node("Slice", ["flat", "first", "last", "axis"], ["pixel"]),
        helper.make_node("Greater", ["pixel", "bright"], ["is_bright"]),
        helper.make_node("Squeeze", ["is_bright"], ["condition"]),
        helper.make_node(
            "If", ["condition"], ["added"],
            then_branch=helper.make_graph(heavy, "heavy", [], [row]),
            else_branch=helper.make_graph(light, "light", [], [row]),
        ),
        helper.make_node("ReduceSum", ["added"], ["nothing"], keepdims=1),
        helper.make_node("Add", ["logits", "nothing"], ["shifted"]),
    ])  # fmt: skip
    softmax.input[0] = "shifted"
    graph.node.append(softmax)
    onnx.checker.check_model(model)
    return make_bundle(folder, name=name, model_bytes=model.SerializeToString())


def large_product_model(side: int = 256) -> bytes:
    """x (1, side) float32 -> y (1, side): a product large enough that an engine chooses its arithmetic for it."""
    weights = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [SIDE, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [SIDE, side])],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()
