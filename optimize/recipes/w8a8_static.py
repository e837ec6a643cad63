"""w8a8_static: 8-bit weights (one scale a channel) and 8-bit activations, their ranges calibrated on real samples."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from edge_runtime.golden import Arrays

from .layers import torch_layer
from .onnx_prepare import prepared
from .recipe import FloatLayers, Recipe

_QUANTIZED_OPERATORS = [
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Reshape", "Transpose"),
]


class _Samples(CalibrationDataReader):
    """Calibration samples one by one, so that memory does not grow with their number."""

    def __init__(self, samples: Arrays):
        count = len(next(iter(samples.values())))
        self._rows = ({name: rows[i : i + 1] for name, rows in samples.items()} for i in range(count))

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rows, None)


def quantize_onnx(source: Path, target: Path, calibration: Arrays, float_layers: FloatLayers = frozenset()) -> None:
    """Writes `source` with QuantizeLinear/DequantizeLinear pairs (QDQ) around what onnxruntime runs in integers."""
    with prepared(source, float_layers) as (ready, excluded):
        quantize_static(
            ready,
            target,
            _Samples(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # The answer itself stays float: 1/256 is a coarse step for a probability, and softmax is no hot spot.
            op_types_to_quantize=_QUANTIZED_OPERATORS,
            nodes_to_exclude=excluded,
        )


def quantize_pt2e(
    module: torch.fx.GraphModule,
    calibration: Iterator[tuple[torch.Tensor, ...]],
    float_layers: FloatLayers = frozenset(),
) -> torch.fx.GraphModule:
    """Quantizes a captured module for XNNPACK (PyTorch 2 Export quantization): observe, calibrate, convert."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    # `prepare_pt2e` has folded batch norms by then; looking for them all the same costs seconds for every model.
    quantizer.SUPPORTED_PATTERNS = [p for p in XNNPACKQuantizer.SUPPORTED_PATTERNS if "bn" not in p.name]
    if float_layers:
        quantizer.set_filter_function(lambda node: torch_layer(node) not in float_layers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchao's notes to its own developers
        observed = prepare_pt2e(module, quantizer)
        with torch.inference_mode():
            for batch in calibration:
                observed(*batch)
        return convert_pt2e(observed)


RECIPE = Recipe(
    name="w8a8_static",
    summary="8-bit weights (per channel) and activations, ranges calibrated on real samples",
    quantized=True,
    sqnr_floor_db=20.0,
    agreement_floor=0.9,
    needs_calibration=True,
    pt2e=quantize_pt2e,
    onnx=quantize_onnx,
)
