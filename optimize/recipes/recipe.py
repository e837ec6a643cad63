"""The `Recipe` record. The recipes themselves are one file each beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from edge_runtime.golden import Arrays

# A captured (torch.export) module and an iterator over calibration batches -> the quantized module.
QuantizePt2e = Callable[[torch.fx.GraphModule, Iterator[tuple[torch.Tensor, ...]]], torch.fx.GraphModule]
# The float .onnx, where to write the quantized one, calibration samples (N, …) by input name.
QuantizeOnnx = Callable[[Path, Path, Arrays], None]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to treat the weights, and what its answers are held to.

    `sqnr_floor_db`: smallest signal-to-quantization-noise ratio (dB) against the float model on golden samples.
    `agreement_floor`: smallest share of golden samples whose top answer is the float model's.
    `pt2e`, `onnx`: how each toolchain does it; None where it cannot. A float recipe has neither and needs neither.
    """

    name: str
    summary: str
    quantized: bool
    sqnr_floor_db: float
    agreement_floor: float
    pt2e: QuantizePt2e | None = None
    onnx: QuantizeOnnx | None = None
