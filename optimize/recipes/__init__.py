"""Recipes: what is done to the weights. The name decodes: w8a8_static = 8-bit weights and activations, calibrated.

A recipe is data plus one function for each toolchain that can carry it out: `pt2e` on a captured torch module, `onnx`
on an ONNX file. It knows nothing about files' formats beyond that, nor about bundles.
"""

from . import fp16, fp32, mixed, w4_dynamic, w4_only, w8_dynamic, w8_only, w8a8_qat, w8a8_static, w8a8_tuned
from .recipe import Recipe

RECIPES: dict[str, Recipe] = {
    "fp32": fp32.RECIPE,
    "fp16": fp16.RECIPE,
    "w8_dynamic": w8_dynamic.RECIPE,
    "w8a8_static": w8a8_static.RECIPE,
    "w8a8_tuned": w8a8_tuned.RECIPE,
    "mixed": mixed.RECIPE,
    "w8a8_qat": w8a8_qat.RECIPE,
    "w8_only": w8_only.RECIPE,
    "w4_only": w4_only.RECIPE,
    "w4_dynamic": w4_dynamic.RECIPE,
}

__all__ = ["RECIPES", "Recipe"]
