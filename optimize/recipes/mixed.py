"""mixed: w8a8_static, with the fewest layers put back to float that bring the accuracy back into its budget."""

from __future__ import annotations

from dataclasses import replace

from . import w8a8_static

RECIPE = replace(
    w8a8_static.RECIPE,
    name="mixed",
    summary="8-bit weights and activations but for the layers that int8 damages most, chosen by measurement",
    after="w8a8_static",
)
