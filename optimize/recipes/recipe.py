"""The `Recipe` record. The recipes themselves are one file each beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from edgekit.edge_runtime.arrays import Arrays

# Layers that stay in float, by the names that `layers.py` gives them.
FloatLayers = frozenset[str]
# A captured (torch.export) module, an iterator over calibration batches, float layers -> the quantized module.
QuantizePt2e = Callable[[torch.fx.GraphModule, Iterator[tuple[torch.Tensor, ...]], FloatLayers], torch.fx.GraphModule]
# The float .onnx, where to write the quantized one, calibration samples (N, …) by input name, float layers.
QuantizeOnnx = Callable[[Path, Path, Arrays, FloatLayers], None]


class LayerQuantizer(Protocol):
    """A float program that can be quantized but for chosen layers, again and again; each exporter has its own."""

    layers: tuple[str, ...]

    def quantized(self, float_layers: FloatLayers, *, roughly: bool = False) -> Callable[[Arrays], Arrays]:
        """The program with all but `float_layers` quantized, to be run on samples (N, …) by name.

        `roughly`: it may be calibrated on fewer samples, enough to tell one layer's damage from another's.
        """


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """Which layers stay in float, and what was measured to choose them, in words for the manifest."""

    float_layers: FloatLayers = frozenset()
    notes: dict[str, str] = field(default_factory=dict)


ChooseLayers = Callable[[LayerQuantizer], LayerChoice]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to treat the weights, and what its answers are held to.

    `sqnr_floor_db`: smallest signal-to-quantization-noise ratio (dB) against the float model on golden samples.
    `agreement_floor`: smallest share of golden samples whose top answer is the float model's.
    `pt2e`, `onnx`: how each toolchain does it; None where it cannot. A float recipe has neither and needs neither.
    `needs_calibration`: it sets ranges by samples, so it is not carried out where none are given.
    `after`: the recipe whose failure calls for this one; by itself it is carried out only when asked for by name.
    `needs_training`: it trains on, so it follows such a failure only where training data is at hand.
    `on_request`: it suits few models, so it is carried out only when asked for by name.
    `choose_layers`: an exporter asks it which layers stay in float: none, unless a tuner (`tuning/table.py`)
    set it to measure.
    """

    name: str
    summary: str
    quantized: bool
    sqnr_floor_db: float
    agreement_floor: float
    pt2e: QuantizePt2e | None = None
    onnx: QuantizeOnnx | None = None
    after: str | None = None
    needs_calibration: bool = False
    needs_training: bool = False
    on_request: bool = False
    choose_layers: ChooseLayers = lambda quantizer: LayerChoice()

    @property
    def lossy(self) -> bool:
        """Whether it rounds: float32 alone needs no toolchain to do anything."""
        return self.pt2e is not None or self.onnx is not None
