"""fp16: 16-bit float weights, half the size; what a device's CPU does with them is its own affair.

A GPU or an ARM CPU computes in 16 bits. onnxruntime on an x86 CPU widens them again before most operators, so there the
file is smaller and the model no faster. Inputs and outputs stay as they are.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from onnxruntime.transformers.float16 import convert_float_to_float16

from edgekit.edge_runtime.arrays import Arrays

from .fp16_norms import unfold_wide_norms, unfold_wide_onnx_norms
from .layers import onnx_layer
from .recipe import FloatLayers, Recipe


def halve_onnx(source: Path, target: Path, calibration: Arrays, float_layers: FloatLayers = frozenset()) -> None:
    """Writes `source` with its weights and arithmetic in float16; `float_layers` and what float16 cannot hold stay."""
    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)
    proto = onnx.load(source)
    unfold_wide_onnx_norms(proto)
    kept = [node.name for node in proto.graph.node if onnx_layer(node) in float_layers]
    onnx.save(convert_float_to_float16(proto, keep_io_types=True, node_block_list=kept), target)


def halve_torch(
    module: torch.fx.GraphModule,
    calibration: Iterator[tuple[torch.Tensor, ...]],
    float_layers: FloatLayers = frozenset(),
) -> torch.fx.GraphModule:
    """A copy of a captured module in float16; its float inputs and outputs stay float32."""
    if float_layers:
        raise ValueError("fp16 cannot keep layers of a torch program in 32 bits")
    module = copy.deepcopy(module)  # a captured module shares its weights with the model it was captured from
    unfold_wide_norms(module)
    module = module.half()
    graph, to = module.graph, torch.ops.aten.to.dtype
    for node in list(graph.nodes):
        value = node.meta.get("val")
        is_float = isinstance(value, torch.Tensor) and value.dtype == torch.float32
        if node.op == "placeholder" and is_float:
            with graph.inserting_after(node):
                halved = graph.call_function(to, (node, torch.float16))
            node.replace_all_uses_with(halved, delete_user_cb=lambda user, halved=halved: user is not halved)
        elif node.op == "call_function":
            node.args = tuple(torch.float16 if arg is torch.float32 else arg for arg in node.args)
            node.kwargs = {k: torch.float16 if arg is torch.float32 else arg for k, arg in node.kwargs.items()}
        elif node.op == "output":
            for answer in list(node.all_input_nodes):
                if answer.meta["val"].dtype == torch.float32:
                    with graph.inserting_before(node):
                        node.replace_input_with(answer, graph.call_function(to, (answer, torch.float32)))
    for check in [n for n in graph.nodes if n.target is torch.ops.aten._assert_tensor_metadata.default]:
        graph.erase_node(check)  # it was recorded for float32
    module.recompile()
    return module


RECIPE = Recipe(
    name="fp16",
    summary="16-bit float weights and activations",
    quantized=False,
    # 11 bits of mantissa are an error of 1/2048 for each value, -66 dB; a deep net adds some up.
    sqnr_floor_db=40.0,
    agreement_floor=0.97,
    pt2e=halve_torch,
    onnx=halve_onnx,
)
