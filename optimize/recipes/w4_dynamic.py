"""w4_dynamic: 4-bit weights in linear layers, their input quantized to 8 bits at run time (8da4w). For XNNPACK."""

from .recipe import Recipe
from .weight_only import quantize_torch

RECIPE = Recipe(
    name="w4_dynamic",
    summary="4-bit weights in linear layers (blocks of 32), activations quantized to 8 bits at run time",
    quantized=True,
    on_request=True,
    sqnr_floor_db=10.0,  # as w4_only: the weights' error is far above that of 8-bit activations
    agreement_floor=0.9,
    pt2e=quantize_torch,
)
