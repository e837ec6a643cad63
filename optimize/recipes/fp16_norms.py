"""A batch norm whose statistics 16 bits cannot hold becomes one multiplication and one addition, which they can.

Hounsfield units vary by hundreds, so a norm of a CT's voxels has a variance of 150,000; float16 ends at 65,504. What
comes of it, scale = weight / sqrt(variance + eps) and shift = bias - mean * scale, is worked out in float64 and small.
A norm whose statistics fit is left as it is: a runtime does it in one operator, or has it in the convolution before.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from edgekit.optimize.rewrites.graph import Editor, argument, aten, operand, shape

LARGEST = 1e4  # onnxruntime's converter cuts off what is larger, well before float16's own end


def scale_and_shift(
    weight: np.ndarray, bias: np.ndarray, mean: np.ndarray, variance: np.ndarray, *, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Float32 (C,) twice: a batch norm in evaluation mode, by its statistics (C,) each, is x * scale + shift."""
    scale = weight.astype(np.float64) / np.sqrt(variance.astype(np.float64) + eps)
    return scale.astype(np.float32), (bias - mean * scale).astype(np.float32)


def unfold_wide_norms(module: torch.fx.GraphModule) -> None:
    """Rewrites, in place, each batch norm of a captured module that has a mean or variance beyond `LARGEST`."""
    editor = Editor(module)
    for node in editor.nodes(aten.batch_norm.default):
        mean, variance = (editor.constant(argument(node, name)) for name in ("running_mean", "running_var"))
        if mean is None or variance is None or max(mean.abs().max(), variance.max()) <= LARGEST:
            continue
        weight, bias = (editor.constant(argument(node, name)) for name in ("weight", "bias"))
        weight = torch.ones_like(mean) if weight is None else weight
        bias = torch.zeros_like(mean) if bias is None else bias
        given = [tensor.numpy() for tensor in (weight, bias, mean, variance)]
        column = (1, -1, *[1] * (len(shape(node)) - 2))
        scale, shift = (torch.from_numpy(a).reshape(column) for a in scale_and_shift(*given, eps=argument(node, "eps")))
        source = argument(node, "running_var")
        with editor.before(node):
            scaled = editor.call(aten.mul.Tensor, operand(node), editor.weight(scale, source, "scale"))
            editor.replace(node, editor.call(aten.add.Tensor, scaled, editor.weight(shift, source, "shift")))
    editor.finish()


def unfold_wide_onnx_norms(proto: onnx.ModelProto) -> None:
    """The same, in place, for the `BatchNormalization` nodes of an ONNX graph; unused statistics are dropped."""
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output)
    }
    for i, node in reversed(list(enumerate(proto.graph.node))):
        if node.op_type != "BatchNormalization" or not all(name in constants for name in node.input[1:]):
            continue
        rank = ranks.get(node.input[0]) or ranks.get(node.output[0])
        given = [numpy_helper.to_array(constants[name]) for name in node.input[1:]]
        if rank is None or max(np.abs(array).max() for array in given[2:]) <= LARGEST:
            continue
        eps = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
        scale, shift = (array.reshape(-1, *[1] * (rank - 2)) for array in scale_and_shift(*given, eps=eps))
        names = [f"{node.output[0]}.{what}" for what in ("scale", "shift", "scaled")]
        proto.graph.initializer.extend(map(numpy_helper.from_array, (scale, shift), names[:2]))
        proto.graph.node.remove(node)
        mul = onnx.helper.make_node("Mul", [node.input[0], names[0]], [names[2]], name=f"{node.name}_scale")
        add = onnx.helper.make_node("Add", [names[2], names[1]], list(node.output[:1]), name=f"{node.name}_shift")
        for made in (mul, add):
            made.metadata_props.extend(node.metadata_props)  # by them a layer is known
        proto.graph.node.insert(i, mul)
        proto.graph.node.insert(i + 1, add)
    used = {name for node in proto.graph.node for name in node.input}
    for tensor in [tensor for tensor in proto.graph.initializer if tensor.name not in used]:
        proto.graph.initializer.remove(tensor)
