"""fp32: the weights as trained. The reference that every other recipe is measured against."""

from .recipe import Recipe

# 60 dB is an error of a thousandth of the signal: float kernels that merely add in another order stay above 100 dB.
RECIPE = Recipe(
    name="fp32",
    summary="32-bit float weights and activations, as trained",
    quantized=False,
    sqnr_floor_db=60.0,
    agreement_floor=1.0,
)
