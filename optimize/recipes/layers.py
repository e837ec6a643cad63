"""The layers that int8 can be taken back from one by one, by name, in a captured torch program and in an ONNX graph.

A layer with weights is named as the user's module names it ("model.conv1") in both; what joins two tensors has no
module and goes by its node. A layer in several places, each with a batch norm of its own folded into it, is several:
it may be one place alone that 8 bits damage. This module names layers; it quantizes none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import onnx
import torch
from torch import fx

from edgekit.optimize.rewrites.unshare import is_copy

_aten = torch.ops.aten
WEIGHTED = {
    *(_aten.conv1d.default, _aten.conv1d.padding, _aten.conv2d.default, _aten.conv2d.padding),
    *(_aten.conv_transpose1d.default, _aten.conv_transpose2d.input, _aten.linear.default),
}
CLAMPS = {_aten.hardtanh.default, _aten.hardtanh_.default, _aten.relu6.default, _aten.relu6_.default}
_ACTIVATIONS = {_aten.relu.default, _aten.relu_.default, *CLAMPS}
_JOINING = {_aten.add.Tensor, _aten.add_.Tensor, _aten.mul.Tensor, _aten.mul_.Tensor}
_SCALING = {*_JOINING, _aten.sub.Tensor, _aten.sub_.Tensor, _aten.div.Tensor, _aten.div_.Tensor}
MOVING = {
    *(_aten.permute.default, _aten.flip.default, _aten.to.dtype, _aten._to_copy.default, _aten.contiguous.default),
    *(_aten.view.default, _aten.reshape.default, _aten.unsqueeze.default, _aten.lift_fresh_copy.default),
}
# What hands values on to an 8-bit layer as they are, or as the larger of them.
_PASSING = {
    *(_aten.cat.default, _aten.max_pool2d.default, _aten.avg_pool2d.default, _aten.adaptive_avg_pool2d.default),
    *(_aten.dropout.default, _aten.flatten.using_ints, _aten.slice.Tensor, _aten.select.int, _aten.transpose.int),
    *(_aten.squeeze.dim, _aten.squeeze.dims, _aten.expand.default, _aten.pad.default),
}
_ONNX_PASSING = {
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Reshape", "Transpose", "Flatten", "Slice", "Split"),
    *("Squeeze", "Unsqueeze", "Pad", "Expand"),
}
_ONNX_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_ONNX_JOINING = {"Add", "Mul"}
_ONNX_ACTIVATIONS = {"Relu", "Clip"}
# What onnxruntime makes of a weight's name when it folds a batch norm into it, once for each place of a shared weight.
_FOLDED = re.compile(r"(?:Conv(?:Bn|Mul)Fusion_W_)+(?P<name>.+?)(?P<again>(?:_token_\d+)*)")


def torch_layer(node: fx.Node) -> str | None:
    """The layer a node of a captured program belongs to; None for a node that quantizes with its neighbours."""
    if node.target in WEIGHTED:
        modules = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
        if not modules or not modules[-1]:
            return node.name
        return f"{modules[-1]} at {node.name}" if is_copy(node.args[1]) else modules[-1]
    return node.name if node.target in _JOINING else None


def joins_float(node: fx.Node, float_layers: Collection[str]) -> bool:
    """Whether a node of a captured program joins branches of which one comes from a float layer or a batch norm.

    In 8 bits it would round that branch, and all of them with one scale; the next layer rounds what it takes itself.
    """
    return node.target == _aten.cat.default and any(_float(source, float_layers) for source in node.all_input_nodes)


def _float(node: fx.Node, float_layers: Collection[str]) -> bool:
    while node.target in _ACTIVATIONS:
        node = node.all_input_nodes[0]
    return node.target == _aten.batch_norm.default or torch_layer(node) in float_layers


def torch_normalization(graph: fx.Graph) -> frozenset[str]:
    """The names of the nodes that scale and shift the inputs by constants, before anything else is computed.

    In 8 bits they would round what the first layer rounds itself, once for each step, and constants as well.
    """
    raw = {node for node in graph.nodes if node.op == "placeholder"}
    found = []
    for node in graph.nodes:  # in the order in which they run
        computed = [source for source in node.all_input_nodes if source.op != "get_attr"]
        if node.target in _SCALING | MOVING and len(computed) == 1 and computed[0] in raw:
            raw.add(node)
            found += [node.name] if node.target in _SCALING else []
    return frozenset(found)


def torch_tail(graph: fx.Graph) -> frozenset[str]:
    """The names of the nodes behind the last layers, such as a pool in front of the softmax, but for activations.

    They compute the answer itself, at next to no cost. A pool in 8 bits rounds a mean by the scale of what it is of.
    """
    found: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        behind = torch_layer(node) is None and node.op == "call_function" and found.issuperset(node.users)
        if behind or node.op == "output":
            found.add(node)
    return frozenset(node.name for node in found if node.op != "output" and node.target not in _ACTIVATIONS)


def torch_unread(graph: fx.Graph) -> frozenset[str]:
    """The names of the additions and multiplications whose results no layer takes in 8 bits.

    A layer norm or a GELU computes in float. In front of it 8 bits only lose: the residual stream of a transformer,
    which such additions alone carry from block to block, is rounded again and again. vit_tiny gains 9 dB without.
    """
    taken: set[fx.Node] = set()
    found: set[str] = set()
    for node in reversed(graph.nodes):
        joins = node.target in _JOINING
        if node.target in WEIGHTED or (node in taken and (joins or node.target in _ACTIVATIONS | MOVING | _PASSING)):
            taken.update(node.all_input_nodes)
        elif joins:
            found.add(node.name)
    return frozenset(found)


def torch_layers(module: fx.GraphModule) -> tuple[str, ...]:
    """The layers of a captured program, in the order in which they run."""
    never = torch_normalization(module.graph) | torch_unread(module.graph)
    return _ordered(torch_layer(node) for node in module.graph.nodes if node.name not in never)


def onnx_tail(graph: onnx.GraphProto) -> list[str]:
    """The names of the nodes behind the last layers, as `torch_tail` for an ONNX graph."""
    read_by_layers: set[str] = set()  # tensors
    found = []
    for node in reversed(graph.node):
        if onnx_layer(node) is not None or any(name in read_by_layers for name in node.output):
            read_by_layers.update(node.input)
        elif node.op_type not in _ONNX_ACTIVATIONS:
            found.append(node.name)
    return found


def onnx_unread(graph: onnx.GraphProto) -> list[str]:
    """The names of the additions and multiplications whose results no layer takes in 8 bits, as `torch_unread`."""
    taken: set[str] = set()  # tensors
    found = []
    products = set(onnx_products(graph))
    for node in reversed(graph.node):
        joins = node.op_type in _ONNX_JOINING
        passes = joins or node.op_type in _ONNX_ACTIVATIONS | _ONNX_PASSING
        weighted = node.op_type in _ONNX_WEIGHTED and node.name not in products
        if weighted or (passes and any(name in taken for name in node.output)):
            taken.update(node.input)
        elif joins:
            found.append(node.name)
    return found


def onnx_products(graph: onnx.GraphProto) -> list[str]:
    """The names of the matrix products of two computed tensors, as in attention.

    onnxruntime packs such a matrix anew for each of its 8-bit products, which takes longer than the float one.
    """
    constant = {tensor.name for tensor in graph.initializer}
    products = (node for node in graph.node if node.op_type == "MatMul")
    return [node.name for node in products if not constant.intersection(node.input)]


def onnx_layer(node: onnx.NodeProto) -> str | None:
    """The layer a node of an ONNX graph belongs to; None for a node that quantizes with its neighbours."""
    if node.op_type in _ONNX_WEIGHTED:
        folded = _FOLDED.fullmatch(node.input[1])
        name, dot, kind = (folded["name"] if folded else node.input[1]).rpartition(".")
        if not dot or kind != "weight":
            return node.name
        return f"{name} at {node.name}" if folded and folded["again"] else name
    return node.name if node.op_type in _ONNX_JOINING else None


def onnx_layers(graph: onnx.GraphProto) -> tuple[str, ...]:
    """The layers of an ONNX graph, in the order in which they run."""
    return _ordered(onnx_layer(node) for node in graph.node)


def _ordered(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))
