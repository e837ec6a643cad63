"""w4_only: 4-bit weights in linear layers, everything else in float. For ONNX; XNNPACK's way is `w4_dynamic`."""

from functools import partial

from .recipe import Recipe
from .weight_only import quantize_onnx

RECIPE = Recipe(
    name="w4_only",
    summary="4-bit weights in linear layers (blocks of 32), activations in float",
    quantized=True,
    on_request=True,
    sqnr_floor_db=10.0,  # rounding to 4 bits is an error of about -20 dB a layer, and layers add up
    agreement_floor=0.9,
    onnx=partial(quantize_onnx, bits=4),
)
