"""Which nodes the ONNX quantizers leave alone."""

from onnx import TensorProto, helper

from optimize.recipes.onnx_prepare import normalization


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
