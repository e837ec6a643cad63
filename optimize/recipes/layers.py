"""The layers that int8 can be taken back from one by one, by name, in a captured torch program and in an ONNX graph.

A layer with weights is named as the user's module names it ("model.conv1") in both; what joins two tensors has no
module and goes by its node. This module names layers; it quantizes none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx
import torch
from torch import fx

_aten = torch.ops.aten
_WEIGHTED = {
    *(_aten.conv1d.default, _aten.conv1d.padding, _aten.conv2d.default, _aten.conv2d.padding),
    *(_aten.conv_transpose1d.default, _aten.conv_transpose2d.input, _aten.linear.default),
}
_ACTIVATIONS = {_aten.relu.default, _aten.relu_.default}
_JOINING = {_aten.add.Tensor, _aten.add_.Tensor, _aten.mul.Tensor, _aten.mul_.Tensor}
_ONNX_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_ONNX_JOINING = {"Add", "Mul"}


def torch_layer(node: fx.Node) -> str | None:
    """The layer a node of a captured program belongs to; None for a node that quantizes with its neighbours."""
    if node.target in _WEIGHTED:
        modules = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
        return modules[-1] if modules and modules[-1] else node.name
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


def torch_layers(module: fx.GraphModule) -> tuple[str, ...]:
    """The layers of a captured program, in the order in which they run."""
    return _ordered(torch_layer(node) for node in module.graph.nodes)


def onnx_layer(node: onnx.NodeProto) -> str | None:
    """The layer a node of an ONNX graph belongs to; None for a node that quantizes with its neighbours."""
    if node.op_type in _ONNX_WEIGHTED:
        name, dot, kind = node.input[1].rpartition(".")
        return name if dot and kind == "weight" else node.name
    return node.name if node.op_type in _ONNX_JOINING else None


def onnx_layers(graph: onnx.GraphProto) -> tuple[str, ...]:
    """The layers of an ONNX graph, in the order in which they run."""
    return _ordered(onnx_layer(node) for node in graph.node)


def _ordered(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))
