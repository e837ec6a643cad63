"""w8_dynamic: 8-bit weights in linear and recurrent layers, activations quantized at run time. No calibration data.

Convolutions stay in float: onnxruntime's integer convolution for dynamically quantized input (ConvInteger) has no fast
kernel and is several times slower than float. In a captured torch program only linear layers are quantized: PT2E knows
no recurrent ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.errors import ExportError

from .convert import convert
from .layers import torch_layer
from .onnx_prepare import prepared
from .recipe import FloatLayers, Recipe


def quantize_onnx(source: Path, target: Path, calibration: Arrays, float_layers: FloatLayers = frozenset()) -> None:
    """Writes `source` with its MatMul, Gemm and recurrent weights as int8, one scale a channel."""
    with prepared(source, float_layers) as (ready, excluded):
        quantize_dynamic(
            ready,
            target,
            op_types_to_quantize=["MatMul", "Gemm", "LSTM"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded,
        )


def quantize_pt2e(
    module: torch.fx.GraphModule,
    calibration: Iterator[tuple[torch.Tensor, ...]],
    float_layers: FloatLayers = frozenset(),
) -> torch.fx.GraphModule:
    """Quantizes a captured module's linear layers (PyTorch 2 Export quantization): int8 weights, one scale a channel.

    The scale of their input, one for all of a run's rows, is computed as the program runs.

    Raises:
        ExportError: there is no linear layer to quantize.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

    def is_taken(node: torch.fx.Node) -> bool:
        return node.target is torch.ops.aten.linear.default and torch_layer(node) not in float_layers

    if not any(map(is_taken, module.graph.nodes)):
        raise ExportError(
            "there is no linear layer to quantize with activations quantized at run time. Remedy: w8a8_static, which "
            "takes convolutions too"
        )
    settings = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    quantizer = XNNPACKQuantizer().set_global(settings).set_filter_function(is_taken)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchao's notes to its own developers
        observed = prepare_pt2e(module, quantizer)
        with torch.inference_mode():
            observed(*next(calibration))  # the weights' observers look when the program runs
        return convert(observed)


RECIPE = Recipe(
    name="w8_dynamic",
    summary="8-bit weights in linear and recurrent layers, activations quantized at run time",
    quantized=True,
    sqnr_floor_db=20.0,
    agreement_floor=0.9,
    pt2e=quantize_pt2e,
    onnx=quantize_onnx,
)
