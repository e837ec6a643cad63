"""w8a8_static: 8-bit weights (one scale a channel) and 8-bit activations, their ranges calibrated on real samples."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.temporary import temporary_folder

from .convert import convert
from .layers import joins_float, torch_layer
from .onnx_moving import round_before_moving
from .onnx_prepare import prepared
from .onnx_ranges import KnownRanges, write_ranges
from .onnx_unrounded import leave_unrounded, read_unrounded
from .recipe import FloatLayers, Recipe

QUANTIZED_OPERATORS = [
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Reshape", "Transpose"),
]

_RANGES = KnownRanges()


class _Samples(CalibrationDataReader):
    """Calibration samples one by one, so that memory does not grow with their number."""

    def __init__(self, samples: Arrays):
        count = len(next(iter(samples.values())))
        self._rows = ({name: rows[i : i + 1] for name, rows in samples.items()} for i in range(count))

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rows, None)


def quantize_onnx(
    source: Path, target: Path, calibration: Arrays, float_layers: FloatLayers = frozenset(), *, method: str = "minmax"
) -> None:
    """Writes `source` with QuantizeLinear/DequantizeLinear pairs (QDQ) around what onnxruntime runs in integers.

    `method` of `ranges.METHODS` says how activations' ranges follow from the calibration samples.
    """
    with prepared(source, float_layers) as (ready, excluded), temporary_folder() as folder:
        ranges = folder / "ranges.json"
        known = _RANGES.recall(source, calibration, method, ranges)
        if not known and method != "minmax":
            write_ranges(ready, calibration, QUANTIZED_OPERATORS, method, ranges)
        quantize_static(
            ready,
            target,
            _Samples(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,  # of ranges that were read, it is only the label
            calibration_cache_path=ranges,  # which it writes where nothing is there
            # The answer itself stays float: 1/256 is a coarse step for a probability, and softmax is no hot spot.
            op_types_to_quantize=QUANTIZED_OPERATORS,
            nodes_to_exclude=excluded,
        )
        if not known:
            _RANGES.keep(method, ranges)
    read_unrounded(target, QUANTIZED_OPERATORS, excluded)
    leave_unrounded(target, QUANTIZED_OPERATORS, excluded)
    round_before_moving(target, excluded)


def quantize_pt2e(
    module: torch.fx.GraphModule,
    calibration: Iterator[tuple[torch.Tensor, ...]],
    float_layers: FloatLayers = frozenset(),
    *,
    method: str = "",
) -> torch.fx.GraphModule:
    """Quantizes a captured module for XNNPACK (PyTorch 2 Export quantization): observe, calibrate, convert.

    `method` of `ranges.METHODS` says how activations' ranges follow from the calibration samples; without one it is
    torchao's own search for the smallest squared error.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import get_symmetric_quantization_config
    from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

    from .xnnpack import LayerQuantizer8

    settings = get_symmetric_quantization_config(is_per_channel=True)
    if method:
        from .observer import RangeObserver

        observer = RangeObserver.with_args(eps=2**-12, method=method)  # the smallest scale that XNNPACK takes
        activation = replace(settings.input_activation, observer_or_fake_quant_ctr=observer)
        settings = replace(settings, input_activation=activation, output_activation=activation)
    quantizer = LayerQuantizer8(
        settings, lambda node: torch_layer(node) not in float_layers and not joins_float(node, float_layers)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchao's notes to its own developers
        observed = prepare_pt2e(module, quantizer)
        with torch.inference_mode():
            for batch in calibration:
                observed(*batch)
        return convert(observed)


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
