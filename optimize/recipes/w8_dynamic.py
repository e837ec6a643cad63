"""w8_dynamic: 8-bit weights in linear and recurrent layers, activations quantized at run time. No calibration data.

Convolutions stay in float: onnxruntime's integer convolution for dynamically quantized input (ConvInteger) has no fast
kernel and is several times slower than float.
"""

from __future__ import annotations

from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic

from edge_runtime.golden import Arrays

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


RECIPE = Recipe(
    name="w8_dynamic",
    summary="8-bit weights in linear and recurrent layers, activations quantized at run time",
    quantized=True,
    sqnr_floor_db=20.0,
    agreement_floor=0.9,
    onnx=quantize_onnx,
)
