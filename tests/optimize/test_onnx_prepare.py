"""Which nodes the ONNX quantizers leave alone."""

import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from edgekit.optimize.recipes.layers import joins_float, onnx_tail
from edgekit.optimize.recipes.onnx_prepare import normalization, passed_on, prepared


def _graph():
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [1], [0.01])
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "scale"], ["scaled"], name="normalize"),
        helper.make_node("Add", ["scaled", "scale"], ["shifted"], name="shift"),
        helper.make_node("Relu", ["shifted"], ["positive"], name="relu"),
        helper.make_node("Mul", ["positive", "scale"], ["later"], name="not first"),
        helper.make_node("Add", ["shifted", "later"], ["out"], name="joins two"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4])
    return helper.make_graph(nodes, "g", [image], [out], [scale])


def test_only_scaling_by_constants_before_all_else_is_normalization():
    assert normalization(_graph()) == ["cast", "normalize", "shift"]


def test_what_passes_on_float_answers_stays_in_float():
    """A batch norm that was not folded, a layer that is left in float, and the joint of one branch with an int8 one."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="int8"),
        helper.make_node("Relu", ["a"], ["b"], name="behind int8"),
        helper.make_node("BatchNormalization", ["b", "w", "w", "w", "w"], ["c"], name="norm"),
        helper.make_node("AveragePool", ["c"], ["d"], name="pool"),
        helper.make_node("Conv", ["d", "w"], ["e"], name="float"),
        helper.make_node("Relu", ["e"], ["f"], name="behind float"),
        helper.make_node("Concat", ["f", "b"], ["g"], name="joint", axis=1),
        helper.make_node("Conv", ["g", "w"], ["h"], name="also int8"),
        helper.make_node("MaxPool", ["h"], ["out"], name="behind that", kernel_shape=[1, 1]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "out")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])])
    assert passed_on(graph, {"float"}) == ["pool", "behind float", "joint"]


def test_what_is_behind_the_last_layer_stays_in_float_but_for_its_activation():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first"),
        helper.make_node("MaxPool", ["a"], ["b"], name="pool between", kernel_shape=[1, 1]),
        helper.make_node("Conv", ["b", "w"], ["c"], name="last"),
        helper.make_node("Relu", ["c"], ["d"], name="its activation"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], name="pool"),
        helper.make_node("Flatten", ["e"], ["f"], name="flatten"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "f")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])])
    assert sorted(onnx_tail(graph)) == ["flatten", "pool"]


class Branches(torch.nn.Module):
    """Two branches joined twice: once two layers, once a layer and a batch norm behind a ReLU."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.last = (torch.nn.Conv2d(k, 2, 1) for k in (2, 2, 4))
        self.norm = torch.nn.BatchNorm2d(4)

    def forward(self, x):
        joined = torch.cat([self.left(x), self.right(x).relu()], 1)
        return torch.cat([self.norm(joined.relu()), self.last(joined)], 1)


def test_a_joint_in_a_captured_program_with_a_float_branch():
    program = torch.export.export(Branches().eval(), (torch.zeros(1, 2, 4, 4),), strict=False).module()
    joints = [node for node in program.graph.nodes if node.target == torch.ops.aten.cat.default]
    assert [joins_float(node, ()) for node in joints] == [False, True]
    assert [joins_float(node, {"right"}) for node in joints] == [True, True]


class Cosine(nn.Module):
    """Answers by the angle between features and classes, as nets for faces do."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(8, 16)
        self.classes = nn.Linear(16, 4, bias=False)

    def forward(self, x):
        return self.classes(F.normalize(torch.relu(self.body(x)), dim=-1))


def test_a_net_that_normalizes_its_features_is_quantized(tmp_path):
    """Its Expand has an input that onnxruntime's symbolic shapes do not know."""
    torch.manual_seed(0)
    path = tmp_path / "cosine.onnx"
    torch.onnx.export(Cosine().eval(), (torch.randn(2, 8),), dynamo=True, verbose=False).save(path)
    assert "Expand" in {node.op_type for node in onnx.load(path).graph.node}
    with pytest.raises(TypeError):
        quant_pre_process(path, tmp_path / "symbolic.onnx")
    with prepared(path) as (ready, left_alone):
        assert {"Gemm", "Expand"} <= {node.op_type for node in onnx.load(ready).graph.node}
    assert left_alone == []
