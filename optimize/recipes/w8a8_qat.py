"""w8a8_qat: w8a8_static, its weights trained on for a few epochs while rounded to 8 bits (quantization-aware training).

How it is trained is in `optimize/tuning/qat.py`; here is what the result is held to.
"""

from __future__ import annotations

from dataclasses import replace

from . import w8a8_static

RECIPE = replace(
    w8a8_static.RECIPE,
    name="w8a8_qat",
    summary="8-bit weights and activations, trained on for a few epochs as they will be rounded",
    # Trained weights are others than the float model's, and so are probabilities; the top answer and the accuracy stay.
    sqnr_floor_db=10.0,
    after="w8a8_static",
    needs_training=True,
    onnx=None,
)
