"""w8a8_tuned: w8a8_static, with the calibration, equalization and bias correction that did best on held-out samples."""

from __future__ import annotations

from dataclasses import replace

from . import w8a8_static

RECIPE = replace(
    w8a8_static.RECIPE,
    name="w8a8_tuned",
    summary="8-bit weights and activations, calibration method and corrections chosen by measurement",
    after="w8a8_static",
)
