"""Recipes that choose by measuring: calibration, layers that stay in float, quantization-aware training."""
