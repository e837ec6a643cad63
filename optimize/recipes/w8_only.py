"""w8_only: 8-bit weights in linear layers, everything else in float. For ONNX alone.

With torchao 0.18 and ExecuTorch 1.5.1, XNNPACK takes torchao's weight-only layers into the delegate, but the file is no
smaller and the answers are wrong (three linear layers: off by 1,052 with 8 bits, by 24 with 4), so it is not offered.
"""

from functools import partial

from .recipe import Recipe
from .weight_only import quantize_onnx

RECIPE = Recipe(
    name="w8_only",
    summary="8-bit weights in linear layers (blocks of 32), activations in float",
    quantized=True,
    on_request=True,
    sqnr_floor_db=30.0,  # rounding to 8 bits is an error of about -45 dB a layer
    agreement_floor=0.95,
    onnx=partial(quantize_onnx, bits=8),
)
