"""4- and 8-bit weights of linear layers, in blocks of 32 with a scale each; the rest of the model stays in float.

What a linear-heavy model is: most of its bytes in these layers. Convolutions, embeddings and recurrent layers are left
as they are. A weight is rounded to nearest, so no calibration data is needed.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization.onnx_model import ONNXModel
from torch import nn

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.errors import ExportError

from .layers import torch_layer
from .onnx_prepare import prepared
from .recipe import FloatLayers

BLOCK = 32  # weights that share a scale; the smallest block both engines take, and the most exact


def quantize_onnx(
    source: Path, target: Path, calibration: Arrays, float_layers: FloatLayers = frozenset(), *, bits: int
) -> None:
    """Writes `source` with its linear layers as onnxruntime's `MatMulNBits`, `bits` (4 or 8) a weight.

    Activations and arithmetic stay float32: the operator widens the weights as it goes.

    Raises:
        ExportError: there is no linear layer to quantize.
    """
    quantizer_of = _quiet_quantizer()
    with prepared(source, float_layers) as (ready, excluded):
        model = ONNXModel(onnx.load(ready))
        model.replace_gemm_with_matmul()  # the quantizer takes MatMul alone, torch exports Gemm
        kept = {f"{name}{suffix}" for name in excluded for suffix in ("", "_MatMul")}
        quantizer = quantizer_of(
            model.model, bits=bits, block_size=BLOCK, is_symmetric=True, nodes_to_exclude=sorted(kept)
        )
        quantizer.process()
        proto = quantizer.model.model
        if not any(node.op_type == "MatMulNBits" for node in proto.graph.node):
            raise _nothing_linear(bits)
        onnx.save(proto, target)


def quantize_torch(
    module: torch.fx.GraphModule,
    calibration: Iterator[tuple[torch.Tensor, ...]],
    float_layers: FloatLayers = frozenset(),
) -> torch.fx.GraphModule:
    """A copy of a captured module whose linear layers have 4-bit weights and quantize their input as they run.

    A layer stays in float where its input width is no multiple of `BLOCK`: XNNPACK's kernel takes whole blocks.

    Raises:
        ExportError: there is no linear layer to quantize.
    """
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, PerGroup, quantize_

    module = copy.deepcopy(module)  # a captured module shares its weights with the model it was captured from
    graph = module.graph
    made: set[nn.Module] = set()
    for node in list(graph.nodes):
        if node.target is not torch.ops.aten.linear.default or torch_layer(node) in float_layers:
            continue
        source, weight_node, *rest = node.args
        bias_node = rest[0] if rest else None
        if weight_node.op != "get_attr" or (bias_node is not None and bias_node.op != "get_attr"):
            continue  # a product of two computed tensors
        weight = _parameter(module, weight_node.target)
        outs, ins = weight.shape
        if ins % BLOCK:
            continue
        layer = nn.Linear(ins, outs, bias=bias_node is not None, dtype=weight.dtype)
        layer.weight = nn.Parameter(weight, requires_grad=False)
        if bias_node is not None:
            layer.bias = nn.Parameter(_parameter(module, bias_node.target), requires_grad=False)
        made.add(layer)
        name = f"blockwise_{len(made)}"
        module.add_submodule(name, layer.eval())
        with graph.inserting_before(node):
            called = graph.call_module(name, (source,))
        called.meta = dict(node.meta)
        node.replace_all_uses_with(called)
        graph.erase_node(node)
    if not made:
        raise _nothing_linear(4)
    graph.eliminate_dead_code()
    module.recompile()
    module.delete_all_unused_submodules()
    int4 = torch.int4  # type: ignore[attr-defined]  # torch's stubs lack it
    config = Int8DynamicActivationIntxWeightConfig(weight_dtype=int4, weight_granularity=PerGroup(BLOCK))
    quantize_(module, config, filter_fn=lambda layer, name: layer in made)
    return module


def _quiet_quantizer() -> Callable[..., Any]:
    """`MatMulNBitsQuantizer`, whose module sets up the root logger, at INFO, when it is imported: that is undone."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    from onnxruntime.quantization import matmul_nbits_quantizer

    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger(matmul_nbits_quantizer.__name__).setLevel(logging.ERROR)
    return matmul_nbits_quantizer.MatMulNBitsQuantizer


def _parameter(module: torch.fx.GraphModule, path: object) -> torch.Tensor:
    owner, _, name = str(path).rpartition(".")
    tensor = getattr(module.get_submodule(owner), name)
    assert isinstance(tensor, torch.Tensor)
    return tensor.detach()


def _nothing_linear(bits: int) -> ExportError:
    return ExportError(
        f"there is no linear layer whose weights could be kept in {bits} bits (its input width a multiple of {BLOCK}). "
        "Remedy: w8a8_static, which takes convolutions too"
    )
